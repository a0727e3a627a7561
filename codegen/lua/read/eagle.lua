-- A draft head (EAGLE) in one of its published layouts, brought to one form. Which layout it is says config.json:
--
--    SafeAILab EAGLE-1 and 2   a Llama config; layers.0.*, no input norm, no output layer
--    SafeAILab EAGLE-3, SpecForge, AngelSlim   architecture ...Eagle3; midlayer.*
--    speculators (RedHatAI)    speculators_model_type "eagle3", the layer's config nested; layers.0.*
--
-- Sources: SafeAILab/EAGLE eagle/model/{cnets,cnets1,configs}.py, SpecForge specforge/modeling/draft/llama3_eagle.py,
-- vLLM transformers_utils/configs/speculators and model_executor/models/llama_eagle3.py.

local fail = require "fail"
local host = require "host"
local config = require "read.config"
local expect = require "read.expect"
local json_file = require "read.json_file"
local read_safetensors = require "read.safetensors"
local read_torch = require "read.torch"
local sorted_keys = require "read.sorted_keys"

local ADVICE = "use the config.json that came with the head"

-- What speculators keeps around the layer's config: how to serve the head, nothing of its maths.
local speculators_harmless = {}
for key in ([[
   architectures auto_map speculators_config speculators_model_type speculators_version transformers_version torch_dtype dtype
   tie_word_embeddings has_no_defaults_at_init embed_requires_grad
]]):gmatch("%S+") do speculators_harmless[key] = true end

-- Keys of it that say something of the maths; they join the layer's own.
local speculators_keys = {
   "draft_vocab_size", "norm_before_residual", "norm_before_fc", "fc_norm", "norm_output", "target_hidden_size",
   "eagle_aux_hidden_state_layer_ids",
}

local function read_speculators(outer, file, ignored)
   local kind = expect.string(file, "speculators_model_type", outer.speculators_model_type, ADVICE)
   if kind ~= "eagle3" then
      fail('%s: speculators_model_type: expected "eagle3", found %s; lathe reads no other speculators', file, expect.show(kind))
   end
   if type(outer.norm_before_residual) ~= "boolean" then -- tools disagree about what its absence means
      expect.fail(file, "norm_before_residual", "true or false", expect.show(outer.norm_before_residual), ADVICE)
   end
   local inner_file = file .. ": transformer_layer_config"
   local inner = expect.object(file, "transformer_layer_config", outer.transformer_layer_config, ADVICE)
   local result, architecture = config.read(inner, inner_file)
   for _, key in ipairs(speculators_keys) do
      if outer[key] ~= nil then result[key] = outer[key] end
      outer[key] = nil
   end
   outer.transformer_layer_config = nil
   for _, key in ipairs(sorted_keys(outer)) do
      if not speculators_harmless[key] and not ignored[key] then
         fail("%s: %s: this key is not known to lathe and may change the maths (found %s); if it does not, pass "
              .. "--ignore-config-key %s", file, expect.shorten(key), expect.show(outer[key]), expect.shorten(key))
      end
   end
   return result, architecture
end

-- Layers of the target whose residual stream the head takes, as the layers that it enters. Two keys of one name say it in
-- two ways: SpecForge and SGLang nest it in eagle_config and mean the layer that it leaves; speculators and vLLM have it on
-- top and mean the layer that it enters.
local function taps_of(values, file)
   local function list(field, value, shift)
      local taps = {}
      for i, id in ipairs(expect.array(file, field, value, ADVICE)) do
         taps[i] = expect.integer(file, ("%s[%d]"):format(field, i - 1), id, 0, 1 << 16, ADVICE) + shift
      end
      return #taps > 0 and taps or nil
   end
   local key = "eagle_aux_hidden_state_layer_ids"
   local nested, taps = values.eagle_config, nil
   if nested ~= nil then
      expect.object(file, "eagle_config", nested, ADVICE)
      for _, name in ipairs(sorted_keys(nested)) do
         if name ~= key and name ~= "use_aux_hidden_state" then
            fail("%s: eagle_config.%s: this key is not known to lathe and may change the maths (found %s); remove it if it "
                 .. "does not", file, expect.shorten(name), expect.show(nested[name]))
         end
      end
      if nested.use_aux_hidden_state ~= nil and nested.use_aux_hidden_state ~= true then
         expect.fail(file, "eagle_config.use_aux_hidden_state", "true", expect.show(nested.use_aux_hidden_state),
                     "lathe does not handle this variant")
      end
      if nested[key] ~= nil then taps = list("eagle_config." .. key, nested[key], 1) end
   end
   if values[key] ~= nil then
      local other = list(key, values[key], 0)
      if taps and other then
         fail("%s: %s: stands there twice, in eagle_config too, where it means something else; remove one", file, key)
      end
      taps = taps or other
   end
   values.eagle_config, values[key] = nil, nil
   return taps
end

-- Heads come in one file. A pytorch_model.bin can only make tensors here.
local function read_tensors(folder, open)
   if host.exists(folder .. "/model.safetensors") then return read_safetensors(open("model.safetensors")) end
   if host.exists(folder .. "/pytorch_model.bin") then return read_torch(open("pytorch_model.bin")) end
   fail("%s: expected model.safetensors or pytorch_model.bin, found neither; download all files of the head", folder)
end

-- read(folder, options) -> { path, config_file, config, kind = "eagle1" | "eagle3", layer = prefix of its layer's tensors,
-- taps = { layers entered } or nil, tensors, files }. options.no_weights: the config only. options.ignored: a set of config
-- keys that the user vouches for.
return function(folder, options)
   folder = folder:gsub("(.)/+$", "%1")
   if not host.is_directory(folder) then
      fail("%s: --eagle: expected a folder with a draft head (config.json, model.safetensors), found none", folder)
   end
   local files = {}
   local function open(name)
      local file = host.open(folder .. "/" .. name)
      files[#files + 1] = { name = name, file = file }
      return file
   end

   local config_file = folder .. "/config.json"
   if not host.exists(config_file) then fail("%s: expected config.json in this folder, found none", folder) end
   local given, file = json_file(config_file)
   files[1] = { name = "config.json", file = file }
   expect.object(config_file, "the file", given, ADVICE)

   local head = { path = folder, config_file = config_file, files = files, tensors = {} }
   local cleaned = config.clean(given, config_file)
   if cleaned.speculators_model_type ~= nil then
      head.kind = "eagle3"
      head.config = read_speculators(cleaned, config_file, options.ignored)
   else
      local architecture
      head.config, architecture = config.read(given, config_file)
      local named = architecture:find("Eagle3", 1, true) ~= nil
      head.kind = (named or head.config.draft_vocab_size ~= nil) and "eagle3" or "eagle1"
   end
   if head.config.sliding_window == host.null then head.config.sliding_window = nil end
   head.taps = taps_of(head.config, config_file)
   if not options.no_weights then head.tensors = read_tensors(folder, open) end
   head.layer = (head.kind == "eagle1" or head.tensors["layers.0.self_attn.q_proj.weight"]) and "layers.0." or "midlayer."
   return head
end
