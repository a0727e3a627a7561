/* A GGUF file, or two parts of one: all that `lathe build` does with it, from its bytes to the sources, and every tensor converted. */
#include <string.h>

#include "support.h"

static const char run[] =
    "local pipeline, recipe = require 'pipeline', require 'recipe'\n"
    "local host = require 'host'\n"
    "return function(path, size)\n"
    "   local settings = recipe.complete({ model = path }, 'fuzz')\n"
    "   local plan, checkpoint = pipeline.plan(settings, 'fuzz')\n"
    "   if size % 13 == 0 then pipeline.sources(plan, settings) end\n" /* ten times as slow as all before */
    "   for _, dtype in ipairs { 'bf16', 'f32' } do\n"
    "      local writer = host.writer('/dev/null', 'append')\n"
    "      for _, tensor in pairs(checkpoint.tensors) do writer:tensor(tensor, dtype) end\n"
    "      writer:close()\n"
    "   end\n"
    "end";

/* PARTS, the bytes of the first part as two digits of base 256, the first part, the second. */
static const char parts[] = "PARTS";
enum { PARTS_BYTES = sizeof parts - 1 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_path("model.gguf");
    bool split = size >= PARTS_BYTES + 2 && memcmp(data, parts, PARTS_BYTES) == 0;
    fuzz_file("model.gguf", split ? NULL : data, size);
    if (split) {
        const uint8_t *first = data + PARTS_BYTES + 2;
        size_t room = size - PARTS_BYTES - 2, bytes = (size_t)(data[PARTS_BYTES] << 8 | data[PARTS_BYTES + 1]);
        if (bytes > room)
            bytes = room;
        fuzz_file("model-00001-of-00002.gguf", first, bytes);
        fuzz_file("model-00002-of-00002.gguf", first + bytes, room - bytes);
        path = fuzz_path("model-00001-of-00002.gguf");
    }
    fuzz_lua(run, path, size);
    return 0;
}
