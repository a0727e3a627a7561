-- Qwen3 (dense): an explicit head_dim, an RMS norm over each head of q and k before RoPE, no biases unless
-- attention_bias says so. transformers: models/qwen3/modeling_qwen3.py.

local decoder = require "describe.decoder"

return {
   architectures = { "Qwen3ForCausalLM" },
   config = decoder.config(decoder.windowed {
      { name = "head_dim", "size", default = 128 },
      { name = "hidden_act", one_of = { "silu" }, default = "silu" },
      { name = "attention_bias", "boolean", default = false },
   }),
   describe = function(c, file)
      return decoder.describe(c, file, {
         qkv_bias = c.attention_bias, o_bias = c.attention_bias, qk_norm = true, window = decoder.window_from_layer(c),
      })
   end,
}
