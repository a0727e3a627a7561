/* The MANIFEST.json of a package, which may come from anywhere: what `lathe inspect` and rebuilding read of it. */
#include "support.h"

static const char run[] = "local inspect = require 'commands.inspect'.inspect\n"
                          "return function(folder)\n"
                          "   inspect(folder)\n"
                          "   inspect(folder, '--json')\n"
                          "   inspect(folder, '--kernel', 'qkv')\n"
                          "end";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_file("MANIFEST.json", data, size);
    fuzz_lua(run, fuzz_folder(), size);
    return 0;
}
