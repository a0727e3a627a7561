-- config.json to one style of keys, checked. Keys that are not known here are kept: the families judge them.
-- Sources: transformers' configuration_utils.py and modeling_rope_utils.py (versions 4 and 5).

local fail = require "fail"
local host = require "host"
local expect = require "read.expect"
local sorted_keys = require "read.sorted_keys"

local ADVICE = "use the config.json that came with the model"

-- Whole numbers, with a bound far above any model, so that products of a few of them fit 64 bits.
local sizes = {
   hidden_size = 1 << 20, intermediate_size = 1 << 24, num_hidden_layers = 1 << 16, num_attention_heads = 1 << 16,
   num_key_value_heads = 1 << 16, head_dim = 1 << 16, vocab_size = 1 << 26, max_position_embeddings = (1 << 31) - 1,
   sliding_window = (1 << 31) - 1,
}
local checks = {
   { expect.positive, "rms_norm_eps", "layer_norm_eps", "rope_theta" },
   { expect.boolean, "tie_word_embeddings", "attention_bias", "mlp_bias", "use_sliding_window" },
   { expect.string, "hidden_act", "model_type", "torch_dtype" },
}

-- Configs without `architectures` (it is optional) still say their type.
local architecture_of_type = {
   llama = "LlamaForCausalLM", mistral = "MistralForCausalLM", qwen2 = "Qwen2ForCausalLM", qwen3 = "Qwen3ForCausalLM",
}

-- A copy without nulls. JSON can spell numbers that are infinite (1e999); no key of a config may be one.
local function clean(value, file, field)
   if type(value) == "number" and (value ~= value or math.abs(value) == math.huge) then
      expect.fail(file, field, "a finite number", expect.show(value), ADVICE)
   end
   if type(value) ~= "table" then return value end
   local copy = {}
   if host.is_array(value) then -- a list keeps its length, and its nulls
      for i, item in ipairs(value) do copy[i] = clean(item, file, ("%s[%d]"):format(field, i - 1)) end
      return host.array(copy)
   end
   for _, key in ipairs(sorted_keys(value)) do
      if value[key] ~= host.null then
         copy[key] = clean(value[key], file, field == "" and key or field .. "." .. key)
      end
   end
   return copy
end

-- Two spellings of one key: takes the one that is there, refuses two that differ.
local function fold(config, new, old, file)
   if config[new] ~= nil and config[old] ~= nil and config[new] ~= config[old] then
      fail("%s: %s and %s are one setting, found %s and %s; remove one", file, new, old, expect.show(config[new]),
           expect.show(config[old]))
   end
   if config[new] == nil then config[new] = config[old] end
   config[old] = nil
end

local function same(a, b)
   if type(a) ~= "table" or type(b) ~= "table" then return a == b end
   for key, value in pairs(a) do
      if not same(value, b[key]) then return false end
   end
   for key in pairs(b) do
      if a[key] == nil then return false end
   end
   return true
end

-- rope_parameters by layer type ({"full_attention": {...}, "sliding_attention": {...}}) is one set if all are equal.
local function flatten_layer_types(parameters, file)
   local layer_types = {}
   for _, key in ipairs(sorted_keys(parameters)) do
      local value = parameters[key]
      if type(value) == "table" and not host.is_array(value) then layer_types[#layer_types + 1] = key end
   end
   if #layer_types == 0 then return parameters end
   for _, key in ipairs(layer_types) do
      if not same(parameters[key], parameters[layer_types[1]]) then
         fail("%s: rope_parameters: expected the same RoPE for every layer type, found different ones for %s and %s; "
              .. "this is not supported", file, layer_types[1], key)
      end
   end
   return parameters[layer_types[1]]
end

-- Keys that transformers ignores, with a warning, where there is no scaling.
local unused_by_default = {
   rope_type = true, factor = true, low_freq_factor = true, high_freq_factor = true, original_max_position_embeddings = true,
}

-- rope_theta, partial_rotary_factor and rope_scaling (a table with rope_type, or nil when it is "default"), from either
-- the old keys or the new rope_parameters, which holds all three.
local function fold_rope(config, file)
   local scaling = {}
   for _, key in ipairs { "rope_scaling", "rope_parameters" } do
      local given = config[key]
      if given ~= nil then
         given = flatten_layer_types(expect.object(file, key, given, ADVICE), file)
         for _, name in ipairs(sorted_keys(given)) do
            local value = given[name]
            if name == "type" then name = "rope_type" end
            if scaling[name] ~= nil and not same(scaling[name], value) then
               fail("%s: rope_scaling and rope_parameters are one setting, found %s = %s and %s; remove one", file, name,
                    expect.show(scaling[name]), expect.show(value))
            end
            scaling[name] = value
         end
      end
   end
   for _, key in ipairs { "rope_theta", "partial_rotary_factor" } do
      if scaling[key] ~= nil and config[key] ~= nil and scaling[key] ~= config[key] then
         fail("%s: %s: expected the same value inside and outside rope_parameters, found %s and %s; remove one", file, key,
              expect.show(scaling[key]), expect.show(config[key]))
      end
      if scaling[key] ~= nil then config[key] = scaling[key] end
      scaling[key] = nil
   end
   config.rope_parameters, config.rope_scaling = nil, nil
   if next(scaling) == nil then return end
   if scaling.rope_type == nil then scaling.rope_type = "default" end
   expect.string(file, "rope_scaling.rope_type", scaling.rope_type, ADVICE)
   for _, key in ipairs { "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings" } do
      if scaling[key] ~= nil then expect.positive(file, "rope_scaling." .. key, scaling[key], ADVICE) end
   end
   if scaling.rope_type ~= "default" then
      if scaling.rope_type ~= "linear" then -- transformers' default; some models keep it outside
         scaling.original_max_position_embeddings = config.original_max_position_embeddings
            or scaling.original_max_position_embeddings or config.max_position_embeddings
      end
      config.rope_scaling = scaling
      return
   end
   for _, key in ipairs(sorted_keys(scaling)) do
      if not unused_by_default[key] then
         fail("%s: rope_parameters.%s: is not known for the default RoPE; this is not supported", file, expect.shorten(key))
      end
   end
end

local function architecture_of(config, file)
   local names = config.architectures
   if names == nil then
      local name = architecture_of_type[config.model_type]
      if not name then
         expect.fail(file, "architectures", 'a list such as ["LlamaForCausalLM"]', "nothing", ADVICE)
      end
      return name
   end
   expect.array(file, "architectures", names, ADVICE)
   if #names ~= 1 then expect.fail(file, "architectures", "one architecture", ("%d"):format(#names), ADVICE) end
   return expect.string(file, "architectures[0]", names[1], ADVICE)
end

local config = {}

-- config.clean(value, file) -> the value without nulls; infinite numbers are user errors.
function config.clean(value, file) return clean(value, file, "") end

-- config.check(config, file): types and bounds of the keys that every family shares.
function config.check(table, file)
   for _, key in ipairs(sorted_keys(sizes)) do
      if table[key] ~= nil then expect.integer(file, key, table[key], 1, sizes[key], ADVICE) end
   end
   for _, check in ipairs(checks) do
      for i = 2, #check do
         if table[check[i]] ~= nil then check[1](file, check[i], table[check[i]], ADVICE) end
      end
   end
   for _, key in ipairs { "bos_token_id", "eos_token_id" } do
      local ids = table[key]
      if ids ~= nil then
         for i, id in ipairs(host.is_array(ids) and ids or { ids }) do
            expect.integer(file, host.is_array(ids) and ("%s[%d]"):format(key, i - 1) or key, id, 0, (1 << 31) - 1, ADVICE)
         end
      end
   end
end

-- config.read(value, file) -> config, architecture. `value` is the decoded file; `file` its name for messages.
function config.read(value, file)
   expect.object(file, "the file", value, ADVICE)
   local result = clean(value, file, "")
   if result.text_config ~= nil then
      fail("%s: text_config: the language model is nested in a larger one (model_type %s); only plain text models are "
           .. "supported", file, expect.show(result.model_type))
   end
   if result.quantization_config ~= nil then
      local kind = type(result.quantization_config) == "table" and result.quantization_config.quant_method
      fail("%s: quantization_config: the weights are quantised (%s), which is not supported yet; use the BF16 checkpoint",
           file, expect.show(kind or nil))
   end
   fold(result, "torch_dtype", "dtype", file)
   if type(result.torch_dtype) == "string" then result.torch_dtype = result.torch_dtype:gsub("^torch%.", "") end
   fold_rope(result, file)
   config.check(result, file)
   -- The one null that says something of its own: no window, where the family's default may be one.
   if value.sliding_window == host.null then result.sliding_window = host.null end
   return result, architecture_of(result, file)
end

return config
