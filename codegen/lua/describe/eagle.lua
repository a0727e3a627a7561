-- From a draft head and its target's description to the head's own: the same primitives, and what is only a head's.
--
--    { kind, name, vocab, ids, taps, gap, depth, top_k, tokens, embedding?, fc, embedding_norm?, hidden_norm?,
--      norm_before_residual, layer = { mixer, ffn_norm, ffn }, final_norm?, head? }
--
-- taps: EAGLE-3: the layers whose incoming residual stream the head takes, counted from 0 (the number of layers: what the
-- last one leaves); EAGLE-1: nil, it takes what the target's last norm leaves. Without `embedding` and `head` it uses the
-- target's. ids: the target's id of each of its own; nil: the same.

local fail = require "fail"
local config = require "describe.config"
local primitives = require "describe.primitives"
local rope = require "describe.rope"
local tensors = require "describe.tensors"
local vocabulary = require "read.vocabulary"

local keys = {
   { name = "hidden_size", "size" },
   { name = "target_hidden_size", "size", default = function(c) return c.hidden_size end },
   { name = "intermediate_size", "size" },
   { name = "num_hidden_layers", only = 1 },
   { name = "num_attention_heads", "size" },
   { name = "num_key_value_heads", "size", default = function(c) return c.num_attention_heads end },
   { name = "head_dim", "size", default = function(c) return c.hidden_size // c.num_attention_heads end },
   { name = "vocab_size", "size" },
   { name = "draft_vocab_size", "size", default = function(c) return c.vocab_size end },
   { name = "max_position_embeddings", "size", default = 2048 },
   { name = "rms_norm_eps", "positive", default = 1e-6 },
   { name = "rope_theta", "positive", default = 10000 }, -- the head's own, never the target's
   { name = "rope_scaling", "object", optional = true },
   { name = "partial_rotary_factor", only = 1 },
   { name = "hidden_act", one_of = { "silu" }, default = "silu" },
   { name = "bias", "boolean", default = true },          -- EAGLE-1: of fc
   { name = "attention_bias", "boolean", default = false }, -- the biases that there are say so themselves:
   { name = "qkv_bias", "boolean", default = false },     -- not every tool heeds these three
   { name = "mlp_bias", "boolean", default = false },
   { name = "tie_word_embeddings", "boolean", default = false }, -- copied from the target's config
   { name = "pretraining_tp", "size", default = 1 },
   { name = "use_sliding_window", "boolean", default = false },
   { name = "sliding_window", "size", optional = true },
   { name = "max_window_layers", "count", optional = true },
   { name = "layer_types", "list", optional = true },
   { name = "norm_before_residual", "boolean", default = false },
   { name = "norm_before_fc", only = false },
   { name = "fc_norm", only = false },
   { name = "norm_output", only = false },
   { name = "quantization_config", only = false },
}

local function check_sizes(c, file, target)
   local advice = "this head was made for another model"
   local function same(key, value, wanted, whose)
      if value ~= wanted then
         fail("%s: %s: expected %d, which is %s, found %d; %s", file, key, wanted, whose, value, advice)
      end
   end
   same("target_hidden_size", c.target_hidden_size, target.hidden, "the target's hidden_size")
   same("hidden_size", c.hidden_size, target.hidden, "the target's")
   same("vocab_size", c.vocab_size, target.vocab, "the target's")
   if c.head_dim == 0 or c.num_attention_heads % c.num_key_value_heads ~= 0 then
      fail("%s: num_attention_heads: expected a multiple of num_key_value_heads (%d), and at most hidden_size (%d), found %d; "
           .. "correct the config", file, c.num_key_value_heads, c.hidden_size, c.num_attention_heads)
   end
   if c.num_attention_heads * c.head_dim > 1 << 24 then
      fail("%s: num_attention_heads: expected heads * head_dim up to %d, found %d * %d; correct the config", file, 1 << 24,
           c.num_attention_heads, c.head_dim)
   end
   local windowed = c.sliding_window and c.use_sliding_window
   for i, kind in ipairs(c.layer_types or {}) do
      if kind ~= "full_attention" then
         fail("%s: layer_types[%d]: expected full_attention, found %s; lathe does not handle this layer", file, i - 1,
              config.shown(kind))
      end
   end
   if windowed then
      fail("%s: sliding_window: expected none, found %d; lathe does not handle heads with a window", file, c.sliding_window)
   end
end

-- The layers that an EAGLE-3 head listens to: what the recipe says, else what its config says, else the published default.
local function taps_of(head, target, settings)
   local layers = #target.layers
   local taps, where = { 2, layers // 2, layers - 3 }, head.config_file .. ": the layers that a head takes by default"
   if settings.taps then
      taps, where = settings.taps, "--eagle-taps"
   elseif head.taps then
      taps, where = head.taps, head.config_file .. ": eagle_aux_hidden_state_layer_ids"
   end
   local seen = {}
   for _, layer in ipairs(taps) do
      if layer < 1 or layer > layers or seen[layer] then
         fail("%s: expected different layers from 1 to %d that are entered (%d: what the last one leaves), found %s; choose "
              .. "with --eagle-taps", where, layers, layers, table.concat(taps, ", "))
      end
      seen[layer] = true
   end
   return taps
end

-- The head's layer: a decoder layer, whose queries, keys and values take `input` columns.
local function layer_of(head, c, input)
   local prefix, hidden, dim = head.layer, c.hidden_size, c.head_dim
   local function linear(name, rows, columns)
      return primitives.linear(prefix .. name, rows, columns, head.tensors[prefix .. name .. ".bias"] ~= nil)
   end
   local function head_norm(name)
      local full = prefix .. "self_attn." .. name
      return head.tensors[full .. ".weight"] and primitives.rms(full, dim, c.rms_norm_eps) or nil
   end
   local query, key = c.num_attention_heads * dim, c.num_key_value_heads * dim
   return {
      mixer = primitives.gqa {
         heads = c.num_attention_heads, kv_heads = c.num_key_value_heads, head_dim = dim,
         q = linear("self_attn.q_proj", query, input), k = linear("self_attn.k_proj", key, input),
         v = linear("self_attn.v_proj", key, input), o = linear("self_attn.o_proj", hidden, query),
         q_norm = head_norm("q_norm"), k_norm = head_norm("k_norm"),
         rope = rope.half(head.config_file, c.rope_theta, dim, c.rope_scaling),
      },
      ffn_norm = primitives.rms(prefix .. "post_attention_layernorm", hidden, c.rms_norm_eps),
      ffn = primitives.gated {
         activation = c.hidden_act, intermediate = c.intermediate_size,
         gate = linear("mlp.gate_proj", c.intermediate_size, hidden), up = linear("mlp.up_proj", c.intermediate_size, hidden),
         down = linear("mlp.down_proj", hidden, c.intermediate_size),
      },
   }
end

local function eagle3(head, c, target, settings)
   local hidden = c.hidden_size
   local taps = taps_of(head, target, settings)
   return {
      taps = taps, vocab = c.draft_vocab_size, norm_before_residual = c.norm_before_residual,
      fc = primitives.linear("fc", hidden, #taps * hidden, head.tensors["fc.bias"] ~= nil),
      embedding_norm = primitives.rms(head.layer .. "input_layernorm", hidden, c.rms_norm_eps),
      hidden_norm = primitives.rms(head.layer .. "hidden_norm", hidden, c.rms_norm_eps),
      layer = layer_of(head, c, 2 * hidden), final_norm = primitives.rms("norm", hidden, c.rms_norm_eps),
      head = primitives.linear("lm_head", c.draft_vocab_size, hidden),
   }
end

local function eagle1(head, c, target, settings)
   if settings.taps then fail("--eagle-taps: %s is an EAGLE-1 head, which takes none; leave it out", head.path) end
   if c.draft_vocab_size ~= target.vocab then
      fail("%s: draft_vocab_size: expected vocab_size (%d) of an EAGLE-1 head, found %d; correct the config", head.config_file,
           target.vocab, c.draft_vocab_size)
   end
   return {
      vocab = target.vocab, norm_before_residual = false,
      fc = primitives.linear("fc", c.hidden_size, 2 * c.hidden_size, c.bias), layer = layer_of(head, c, c.hidden_size),
   }
end

local makers = { eagle1 = eagle1, eagle3 = eagle3 }

local function check_tensors(head, description)
   local where = { path = head.path, part = "an " .. (head.kind == "eagle1" and "EAGLE-1" or "EAGLE-3") .. " head",
                   reason = "its config and the target", missing = "the head is incomplete, or of a layout that lathe does not know",
                   disagree = "the head does not fit" }
   local used = tensors.check(head.tensors, description, where)
   used.d2t, used.t2d = description.kind == "eagle3", description.kind == "eagle3"
   tensors.check_unused(head.tensors, used, where, function(name) return name:find("rotary_emb%.inv_freq$") ~= nil end)
end

-- Random weights know no text: ids spread evenly over the target's.
local function spread_ids(draft, vocab, file)
   if draft > vocab then
      fail("%s: draft_vocab_size: expected at most vocab_size (%d), found %d; correct the config", file, vocab, draft)
   end
   if draft == vocab then return nil end
   local ids = {}
   for i = 0, draft - 1 do ids[i + 1] = i * vocab // draft end
   return ids
end

-- describe(head, target's description, settings, recipe) -> description. settings: { taps, gap, depth, top_k, tokens }. With
-- random weights a head needs no tensors.
return function(head, target, settings, recipe)
   local ignored = {}
   for _, key in ipairs(recipe.ignore_config_keys) do ignored[key] = true end
   local c = config.read(head.config_file, head.config, keys, ignored)
   check_sizes(c, head.config_file, target)
   local description = makers[head.kind](head, c, target, settings)
   description.kind, description.hidden = head.kind, c.hidden_size
   description.name = head.path:match("([^/]+)$") or head.path
   description.gap, description.depth = settings.gap, settings.depth
   description.top_k, description.tokens = settings.top_k, settings.tokens
   if recipe.random_weights then
      description.ids = spread_ids(description.vocab, target.vocab, head.config_file)
      return description
   end
   if head.tensors["embed_tokens.weight"] then
      description.embedding = { weight = { tensor = "embed_tokens.weight", shape = { target.vocab, c.hidden_size } } }
   end
   check_tensors(head, description)
   if head.kind == "eagle3" then
      description.ids = vocabulary(head.tensors, description.vocab, target.vocab, head.config_file)
   end
   return description
end
