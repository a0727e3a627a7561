/* model.safetensors, or, after the line INDEX, a model.safetensors.index.json over two shards that are there: read,
   checked against a config, and every tensor converted. */
#include <string.h>

#include "support.h"

static const char config[] =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 8, \"intermediate_size\": "
    "8,"
    "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"head_dim\": 4, "
    "\"vocab_size\": 8,"
    "\"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"hidden_act\": \"silu\","
    "\"tie_word_embeddings\": true, \"attention_bias\": false, \"mlp_bias\": false}";

static const char shards[2][200] = {
    "\x4a\0\0\0\0\0\0\0{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}             \0\0\0\0",
    "\x4a\0\0\0\0\0\0\0{\"b\": {\"dtype\": \"F16\", \"shape\": [2, 1], \"data_offsets\": [0, 4]}}          \0\0\0\0"};
enum { SHARD_BYTES = 8 + 0x4a + 4 };

static const char run[] =
    "local describe, read, recipe = require 'describe.describe', require 'read.checkpoint', require 'recipe'\n"
    "local host = require 'host'\n"
    "return function(folder)\n"
    "   local checkpoint = read(folder)\n"
    "   for _, dtype in ipairs { 'bf16', 'f32' } do\n"
    "      local writer = host.writer('/dev/null', 'append')\n"
    "      for _, tensor in pairs(checkpoint.tensors) do\n"
    "         if tensor.dtype:find '^B?F%d+$' and tensor.dtype ~= 'F64' then writer:tensor(tensor, dtype) end\n"
    "      end\n"
    "      writer:close()\n"
    "   end\n"
    "   describe(checkpoint, recipe.complete({ model = folder }, 'fuzz'))\n"
    "end";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char index[] = "INDEX\n";
    bool sharded = size >= 6 && memcmp(data, index, 6) == 0;
    fuzz_file("config.json", config, sizeof config - 1);
    fuzz_file("model.safetensors", sharded ? NULL : data, size);
    fuzz_file("model.safetensors.index.json", sharded ? data + 6 : NULL, size - 6);
    fuzz_file("m-1.safetensors", sharded ? shards[0] : NULL, SHARD_BYTES);
    fuzz_file("m-2.safetensors", sharded ? shards[1] : NULL, SHARD_BYTES);
    fuzz_lua(run, fuzz_folder(), size);
    return 0;
}
