/* A draft head: its config.json, a NUL, its model.safetensors. All that `lathe build --eagle` does with it beside a target of
   8 layers: read, described, planned, now and then written as sources, and every tensor converted. */
#include <string.h>

#include "support.h"

static const char run[] =
    "local describe, draft, host = require 'describe.describe', require 'draft', require 'host'\n"
    "local make_plan, pipeline, recipe = require 'plan.plan', require 'pipeline', require 'recipe'\n"
    "local config = { hidden_size = 8, intermediate_size = 8, num_hidden_layers = 8, num_attention_heads = 2,\n"
    "                 num_key_value_heads = 1, head_dim = 4, vocab_size = 16, max_position_embeddings = 64,\n"
    "                 rms_norm_eps = 1e-5, hidden_act = 'silu' }\n"
    "return function(folder, size)\n"
    "   local settings = recipe.complete({ model = 'target', eagle = folder }, 'fuzz')\n"
    "   local target = { path = 'target', config_file = 'target/config.json', config = config, tensors = {}, files = "
    "{},\n"
    "                    architecture = 'LlamaForCausalLM', generation = {} }\n"
    "   local description = describe(target, recipe.complete({ model = 'target', random_weights = 1 }, 'fuzz'))\n"
    "   draft.add(description, target, settings)\n"
    "   local plan = make_plan(description, settings, 'fuzz', 0, {})\n"
    "   if description.draft.ids then draft.ids_blob(description) end\n"
    "   if size % 13 == 0 then\n" /* ten times as slow as all before */
    "      plan.generator, plan.generation = 'fuzz', { eos = {}, sample = false, temperature = 1.0, top_p = 1.0,\n"
    "         min_p = 0.0, repetition_penalty = 1.0, top_k = 0 }\n"
    "      plan.chat = { templates = {}, tokens = {} }\n"
    "      pipeline.sources(plan, settings)\n"
    "   end\n"
    "   local writer = host.writer('/dev/null', 'append')\n"
    "   for _, section in ipairs(plan.payload.sections) do\n"
    "      for _, source in ipairs(section.sources or {}) do\n"
    "         if target.tensors[source.tensor] then writer:tensor(target.tensors[source.tensor], section.dtype) end\n"
    "      end\n"
    "   end\n"
    "   writer:close()\n"
    "end";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size);
    size_t config = end ? (size_t)(end - data) : size;
    fuzz_file("config.json", data, config);
    fuzz_file("model.safetensors", end ? end + 1 : NULL, end ? size - config - 1 : 0);
    fuzz_lua(run, fuzz_folder(), size);
    return 0;
}
