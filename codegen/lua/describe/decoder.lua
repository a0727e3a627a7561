-- What the Llama-like families share: the config keys of a pre-norm decoder with rotary attention and a gated MLP, and
-- the description that they lead to. A family states only what is its own.

local fail = require "fail"
local primitives = require "describe.primitives"
local rope = require "describe.rope"

local decoder = {}

local common = {
   { name = "hidden_size", "size" },
   { name = "intermediate_size", "size" },
   { name = "num_hidden_layers", "size" },
   { name = "num_attention_heads", "size" },
   { name = "num_key_value_heads", "size", default = function(c) return c.num_attention_heads end },
   { name = "head_dim", "size", default = function(c) return c.hidden_size // c.num_attention_heads end },
   { name = "vocab_size", "size" },
   { name = "max_position_embeddings", "size", default = 2048 },
   { name = "rms_norm_eps", "positive", default = 1e-6 },
   { name = "rope_theta", "positive", default = 10000 },
   { name = "rope_scaling", "object", optional = true },
   { name = "tie_word_embeddings", "boolean", default = false },
   { name = "layer_types", "list", optional = true },
   { name = "quantization_config", only = false }, -- quantised checkpoints: not yet
   { name = "partial_rotary_factor", only = 1 },
}

-- config { own keys } -> the common keys and the family's own, in an order in which defaults can be worked out
function decoder.config(own)
   local keys = {}
   for _, key in ipairs(common) do keys[#keys + 1] = key end
   for _, key in ipairs(own) do keys[#keys + 1] = key end
   return keys
end

-- The keys of Qwen's optional window, with the defaults of transformers.
function decoder.windowed(own)
   own[#own + 1] = { name = "use_sliding_window", "boolean", default = false }
   own[#own + 1] = { name = "sliding_window", "size", default = 4096, nullable = true }
   own[#own + 1] = { name = "max_window_layers", "count", default = 28 }
   return own
end

-- The window of layer i (from 0): off unless use_sliding_window; layer_types decides, else the first layers are full.
function decoder.window_from_layer(c)
   return function(i)
      if not c.use_sliding_window then return nil end
      if c.layer_types then return c.layer_types[i + 1] == "sliding_attention" and c.sliding_window or nil end
      return i >= c.max_window_layers and c.sliding_window or nil
   end
end

local function check_layer_types(c, file, windowed)
   if not c.layer_types then return end
   if #c.layer_types ~= c.num_hidden_layers then
      fail("%s: layer_types: expected %d entries (num_hidden_layers), found %d; correct the config", file,
           c.num_hidden_layers, #c.layer_types)
   end
   for i, kind in ipairs(c.layer_types) do
      if kind ~= "full_attention" and not (windowed and kind == "sliding_attention") then
         fail("%s: layer_types[%d]: expected full_attention%s, found %s; lathe does not handle this layer", file, i - 1,
              windowed and " or sliding_attention" or "", tostring(kind))
      end
   end
end

local function check_heads(c, file)
   if c.num_attention_heads % c.num_key_value_heads ~= 0 then
      fail("%s: num_key_value_heads: expected a divisor of num_attention_heads (%d), found %d; correct the config", file,
           c.num_attention_heads, c.num_key_value_heads)
   end
   if c.num_attention_heads * c.head_dim > 1 << 24 then
      fail("%s: num_attention_heads: expected heads * head_dim up to %d, found %d * %d; correct the config", file, 1 << 24,
           c.num_attention_heads, c.head_dim)
   end
   if c.head_dim == 0 then
      fail("%s: hidden_size: expected at least num_attention_heads (%d), found %d; correct the config", file,
           c.num_attention_heads, c.hidden_size)
   end
   if c.num_hidden_layers > 4096 then
      fail("%s: num_hidden_layers: expected at most 4096, found %d; correct the config", file, c.num_hidden_layers)
   end
end

-- One layer. `variant`: what the family sets (biases, window, q/k norms).
local function layer(c, i, variant, rotary)
   local prefix = string.format("model.layers.%d.", i)
   local hidden, dim = c.hidden_size, c.head_dim
   local function attention(name, rows, columns, bias)
      return primitives.linear(prefix .. "self_attn." .. name, rows, columns, bias)
   end
   local function mlp(name, rows, columns)
      return primitives.linear(prefix .. "mlp." .. name, rows, columns, variant.mlp_bias)
   end
   local query, key = c.num_attention_heads * dim, c.num_key_value_heads * dim
   return {
      mixer_norm = primitives.rms(prefix .. "input_layernorm", hidden, c.rms_norm_eps),
      mixer = primitives.gqa {
         heads = c.num_attention_heads, kv_heads = c.num_key_value_heads, head_dim = dim,
         q = attention("q_proj", query, hidden, variant.qkv_bias),
         k = attention("k_proj", key, hidden, variant.qkv_bias),
         v = attention("v_proj", key, hidden, variant.qkv_bias),
         o = attention("o_proj", hidden, query, variant.o_bias),
         q_norm = variant.qk_norm and primitives.rms(prefix .. "self_attn.q_norm", dim, c.rms_norm_eps) or nil,
         k_norm = variant.qk_norm and primitives.rms(prefix .. "self_attn.k_norm", dim, c.rms_norm_eps) or nil,
         window = variant.window and variant.window(i) or nil,
         rope = rotary,
      },
      ffn_norm = primitives.rms(prefix .. "post_attention_layernorm", hidden, c.rms_norm_eps),
      ffn = primitives.gated {
         activation = c.hidden_act, intermediate = c.intermediate_size,
         gate = mlp("gate_proj", c.intermediate_size, hidden),
         up = mlp("up_proj", c.intermediate_size, hidden),
         down = mlp("down_proj", hidden, c.intermediate_size),
      },
   }
end

-- describe(c, file, variant) -> description; c: the config's values, file: its name for messages
function decoder.describe(c, file, variant)
   check_heads(c, file)
   check_layer_types(c, file, variant.window ~= nil)
   local rotary = rope.half(file, c.rope_theta, c.head_dim, c.rope_scaling)
   local layers = {}
   for i = 0, c.num_hidden_layers - 1 do layers[i + 1] = layer(c, i, variant, rotary) end
   local embedding = { tensor = "model.embed_tokens.weight", shape = { c.vocab_size, c.hidden_size } }
   return {
      vocab = c.vocab_size, hidden = c.hidden_size, max_position = c.max_position_embeddings,
      embedding = { weight = embedding },
      layers = layers,
      final_norm = primitives.rms("model.norm", c.hidden_size, c.rms_norm_eps),
      head = {
         tied = c.tie_word_embeddings, untied = "lm_head.weight",
         weight = c.tie_word_embeddings and embedding
            or { tensor = "lm_head.weight", shape = { c.vocab_size, c.hidden_size } },
      },
   }
end

return decoder
