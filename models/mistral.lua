-- Mistral 7B and its descendants (NeMo with its own head_dim): Llama with a sliding window, or none when it is null.
-- transformers: models/mistral/modeling_mistral.py.

local decoder = require "describe.decoder"

return {
   architectures = { "MistralForCausalLM" },
   config = decoder.config {
      { name = "hidden_act", one_of = { "silu" }, default = "silu" },
      { name = "sliding_window", "size", default = 4096, nullable = true },
   },
   describe = function(c, file)
      return decoder.describe(c, file, { window = function() return c.sliding_window end })
   end,
}
