-- Llama 1, 2, 3.x and everything that shares the layout (SmolLM2, TinyLlama, Yi): pre-norm, half-split RoPE, grouped
-- queries, SwiGLU. transformers: models/llama/modeling_llama.py.

local decoder = require "describe.decoder"

return {
   architectures = { "LlamaForCausalLM" },
   config = decoder.config {
      { name = "hidden_act", one_of = { "silu" }, default = "silu" },
      { name = "attention_bias", "boolean", default = false },
      { name = "mlp_bias", "boolean", default = false },
      { name = "pretraining_tp", "size", default = 1 }, -- splits the same sums; the result is the same
      { name = "rope_interleaved", only = false },
      { name = "sliding_window", only = false },
   },
   describe = function(c, file)
      return decoder.describe(c, file, {
         qkv_bias = c.attention_bias, o_bias = c.attention_bias, mlp_bias = c.mlp_bias,
      })
   end,
}
