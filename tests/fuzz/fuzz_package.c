/* A file that should end in a package's payload and trailer, opened as --weights FILE; and by the generator, as it does
   to build a package again. */
#include <string.h>

#include "package.h"
#include "support.h"

static const char run[] = "local host, payload = require 'host', require 'pack.payload'\n"
                          "return function(path)\n"
                          "   local file <close> = host.open(path)\n"
                          "   local where = payload.find(file)\n"
                          "   if not where then return end\n"
                          "   payload.copy('/dev/null', 'append', file, where)\n"
                          "end";

static void read_payload(const struct package *package, const struct model *model)
{
    unsigned char sum = 0;
    for (uint64_t i = 0; i < model->payload_bytes; i++)
        sum ^= package->payload[i];
    *(volatile unsigned char *)&sum = sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct model model = {.name = "fuzz", .layout = "0123456789abcdef0123456789abcdef", .payload_bytes = 192};
    fuzz_file("weights.bin", data, size);
    for (int verify = 0; verify < 2; verify++) {
        struct package package;
        struct error error = {""};
        if (package_open(&package, &model, fuzz_path("weights.bin"), verify, NULL, NULL, &error) == 0)
            read_payload(&package, &model);
        else
            fuzz_check_message(error.message, strlen(error.message));
        package_close(&package);
    }
    fuzz_lua(run, fuzz_path("weights.bin"), size);
    return 0;
}
