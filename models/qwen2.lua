-- Qwen2 and Qwen2.5: Llama with biases on q, k and v; a sliding window only with use_sliding_window, and then only from
-- layer max_window_layers on. transformers: models/qwen2/modeling_qwen2.py.

local decoder = require "describe.decoder"

return {
   architectures = { "Qwen2ForCausalLM" },
   config = decoder.config(decoder.windowed {
      { name = "hidden_act", one_of = { "silu" }, default = "silu" },
   }),
   describe = function(c, file)
      return decoder.describe(c, file, { qkv_bias = true, window = decoder.window_from_layer(c) })
   end,
}
