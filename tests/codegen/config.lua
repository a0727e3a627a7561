-- describe/config.lua and what the families declare: no key that may change the maths passes unseen.

local check = require "check"
local host = require "host"
local config = require "describe.config"
local families = require "describe.families"
local read_config = require "read.config"

local tests = {}

local base = [[{"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
   "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 8192, "hidden_act": "silu", "rms_norm_eps": 1e-5,
   "rope_theta": 10000.0, "tie_word_embeddings": false}]]

-- The description that a family makes of the base config with the changes (as JSON), read as config.json is.
local function describe(architecture, changes, ignored)
   local values = host.json_decode(base, "base")
   for key, value in pairs(host.json_decode(changes or "{}", "changes")) do values[key] = value end
   values.architectures = host.array { architecture }
   local clean, found = read_config.read(values, "config.json")
   local family = families.find(found, "config.json")
   return family.describe(config.read("config.json", clean, family.config, ignored or {}), "config.json")
end

local all = { "LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM" }

local function refused(architecture, changes, ...)
   local fragments = { "config.json", ... }
   check.fails(function() describe(architecture, changes) end, table.unpack(fragments))
end

local function windows(architecture, changes)
   local found = {}
   for i, layer in ipairs(describe(architecture, changes).layers) do found[i] = layer.mixer.window end
   return found
end

function tests.unknown_keys_are_named()
   for _, architecture in ipairs(all) do
      refused(architecture, '{"logit_scale": 0.0625}', "logit_scale", "0.0625", "--ignore-config-key logit_scale")
      refused(architecture, '{"attn_logit_softcapping": 50}', "attn_logit_softcapping")
      refused(architecture, '{"num_experts": 8}', "num_experts")
      refused(architecture, '{"zz": 1, "aa": {"b": 1}}', "aa", "an object")
   end
end

function tests.unknown_keys_that_are_null_or_vouched_for()
   describe("LlamaForCausalLM", '{"logit_scale": null}')
   describe("LlamaForCausalLM", '{"logit_scale": 1}', { logit_scale = true })
end

function tests.harmless_keys()
   describe("LlamaForCausalLM", [[{"use_cache": true, "initializer_range": 0.02, "transformers_version": "5.0",
      "torch_dtype": "bfloat16", "attention_dropout": 0.1, "bos_token_id": 1, "eos_token_id": [1, 2], "pad_token_id": null,
      "_name_or_path": "x", "id2label": {"0": "a"}}]])
end

-- transformers: an absent sliding_window of Mistral is 4096, null is none.
function tests.mistral_window_absent_null_and_given()
   check.equal(windows("MistralForCausalLM"), { 4096, 4096, 4096 })
   check.equal(windows("MistralForCausalLM", '{"sliding_window": null}'), { 0, 0, 0 })
   check.equal(windows("MistralForCausalLM", '{"sliding_window": 37}'), { 37, 37, 37 })
end

function tests.qwen_windows()
   for _, architecture in ipairs { "Qwen2ForCausalLM", "Qwen3ForCausalLM" } do
      check.equal(windows(architecture), { 0, 0, 0 })
      check.equal(windows(architecture, '{"sliding_window": 29, "max_window_layers": 1}'), { 0, 0, 0 })
      check.equal(windows(architecture, '{"use_sliding_window": false, "sliding_window": 29, "max_window_layers": 0}'),
                  { 0, 0, 0 })
      check.equal(windows(architecture, '{"use_sliding_window": true, "sliding_window": 29, "max_window_layers": 1}'),
                  { 0, 29, 29 })
      check.equal(windows(architecture, '{"use_sliding_window": true, "sliding_window": null, "max_window_layers": 0}'),
                  { 0, 0, 0 })
      check.equal(windows(architecture, '{"use_sliding_window": true, "max_window_layers": 2}'), { 0, 0, 4096 })
      check.equal(windows(architecture, '{"use_sliding_window": true, "sliding_window": 29}'), { 0, 0, 0 }) -- from layer 28
      check.equal(windows(architecture, [[{"use_sliding_window": true, "sliding_window": 29, "max_window_layers": 0,
         "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}]]), { 29, 0, 29 })
   end
end

function tests.llama_has_no_window()
   refused("LlamaForCausalLM", '{"sliding_window": 4096}', "sliding_window")
   check.equal(windows("LlamaForCausalLM", '{"sliding_window": null}'), { 0, 0, 0 })
end

function tests.layer_types()
   refused("Qwen2ForCausalLM", '{"layer_types": ["full_attention"]}', "layer_types", "3", "1")
   refused("Qwen2ForCausalLM", '{"layer_types": ["full_attention", "linear_attention", "full_attention"]}',
           "layer_types[1]", "linear_attention")
   refused("LlamaForCausalLM", '{"layer_types": ["full_attention", "sliding_attention", "full_attention"]}', "layer_types[1]")
   refused("Qwen2ForCausalLM", '{"layer_types": "full_attention"}', "layer_types", "list")
   refused("Qwen2ForCausalLM", '{"layer_types": ["full_attention", 3, "full_attention"]}', "layer_types[1]", "3")
end

function tests.biases_and_norms()
   local function shape(architecture, changes)
      local mixer, ffn = describe(architecture, changes).layers[1].mixer, describe(architecture, changes).layers[1].ffn
      return { mixer.q.bias ~= nil, mixer.v.bias ~= nil, mixer.o.bias ~= nil, ffn.gate.bias ~= nil, mixer.q_norm ~= nil }
   end
   check.equal(shape "LlamaForCausalLM", { false, false, false, false, false })
   check.equal(shape("LlamaForCausalLM", '{"attention_bias": true, "mlp_bias": true}'), { true, true, true, true, false })
   check.equal(shape "Qwen2ForCausalLM", { true, true, false, false, false })
   check.equal(shape "Qwen3ForCausalLM", { false, false, false, false, true })
   check.equal(shape("Qwen3ForCausalLM", '{"attention_bias": true}'), { true, true, true, false, true })
   refused("Qwen2ForCausalLM", '{"attention_bias": true}', "attention_bias")
end

function tests.wrong_types()
   local cases = {
      { "hidden_size", '"64"' }, { "hidden_size", "64.5" }, { "hidden_size", "0" }, { "hidden_size", "-64" },
      { "hidden_size", "{}" }, { "hidden_size", "true" }, { "rms_norm_eps", '"x"' }, { "rms_norm_eps", "0" },
      { "rms_norm_eps", "-1e-5" }, { "tie_word_embeddings", "1" }, { "tie_word_embeddings", '"yes"' },
      { "hidden_act", '"gelu"' }, { "hidden_act", "3" }, { "rope_theta", "0" }, { "rope_scaling", "3" }, { "rope_scaling", "[]" },
      { "head_dim", "17" }, { "vocab_size", "1.5" }, { "partial_rotary_factor", "0.5" }, { "max_position_embeddings", "[8]" },
   }
   for _, architecture in ipairs(all) do
      for _, case in ipairs(cases) do refused(architecture, string.format('{"%s": %s}', case[1], case[2]), case[1]) end
   end
end

function tests.missing_keys()
   for _, key in ipairs { "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size" } do
      refused("LlamaForCausalLM", string.format('{"%s": null}', key), key)
   end
end

function tests.huge_sizes()
   for _, key in ipairs { "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                          "vocab_size", "head_dim", "max_position_embeddings" } do
      for _, value in ipairs { "1e300", "1e19", "9007199254740992", "9223372036854775807", "4294967296" } do
         refused("LlamaForCausalLM", string.format('{"%s": %s}', key, value), key)
      end
   end
   refused("LlamaForCausalLM", '{"num_hidden_layers": 5000}', "num_hidden_layers", "4096")
   refused("LlamaForCausalLM", '{"num_attention_heads": 65536, "num_key_value_heads": 65536, "head_dim": 65536}')
end

function tests.heads()
   refused("LlamaForCausalLM", '{"num_key_value_heads": 3}', "num_key_value_heads", "divisor")
   refused("LlamaForCausalLM", '{"num_attention_heads": 128, "num_key_value_heads": 128}')
   local mixer = describe("LlamaForCausalLM", '{"num_key_value_heads": null}').layers[1].mixer
   check.equal({ mixer.kv_heads, mixer.head_dim, mixer.scale }, { 4, 16, 0.25 })
   check.equal(describe("LlamaForCausalLM", '{"head_dim": 32}').layers[1].mixer.q.weight.shape, { 128, 64 })
end

function tests.tied_heads()
   check.equal(describe("LlamaForCausalLM").head.weight.tensor, "lm_head.weight")
   check.equal(describe("LlamaForCausalLM", '{"tie_word_embeddings": true}').head.weight.tensor, "model.embed_tokens.weight")
end

return tests
