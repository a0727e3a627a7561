/* config.json, generation_config.json and tokenizer_config.json, in this order with a NUL between: all that `lathe
   generate --random-weights` does, from the folder to the sources. */
#include "support.h"

static const char run[] =
    "local pipeline, recipe = require 'pipeline', require 'recipe'\n"
    "return function(folder, size)\n"
    "   local settings = recipe.complete({ model = folder, random_weights = 1 }, 'fuzz')\n"
    "   local plan = pipeline.plan(settings, 'fuzz')\n"
    "   if size % 13 == 0 then pipeline.sources(plan, settings) end\n" /* ten times as slow as all before */
    "end";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"config.json", "generation_config.json", "tokenizer_config.json"};
    struct fuzz_part parts[3];
    fuzz_split(data, size, parts, 3);
    for (int i = 0; i < 3; i++)
        fuzz_file(names[i], parts[i].data, parts[i].length);
    fuzz_lua(run, fuzz_folder(), size);
    return 0;
}
