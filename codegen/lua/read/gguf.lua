-- A GGUF file as a checkpoint: its keys become those of config.json, its tensors get their Hugging Face names.
-- Sources: llama.cpp's convert_hf_to_gguf.py (what is written, and why) and gguf-py's constants.py (names).

local fail = require "fail"
local config = require "read.config"
local expect = require "read.expect"
local host = require "host"
local parts = require "read.gguf_parts"
local rope = require "read.gguf_rope"
local sorted_keys = require "read.sorted_keys"
local tokenizer = require "read.gguf_tokenizer"

-- By general.architecture. `permuted`: the rows of q and k are stored in another order (see host_tensor.h).
-- Mistral models are stored as "llama".
local architectures = {
   llama = { name = "LlamaForCausalLM", model_type = "llama", permuted = true },
   qwen2 = { name = "Qwen2ForCausalLM", model_type = "qwen2" },
   qwen3 = { name = "Qwen3ForCausalLM", model_type = "qwen3" },
}

local outer_names = {
   ["token_embd.weight"] = "model.embed_tokens.weight",
   ["output_norm.weight"] = "model.norm.weight",
   ["output.weight"] = "lm_head.weight",
}
local layer_names = {
   attn_norm = "input_layernorm", attn_q = "self_attn.q_proj", attn_k = "self_attn.k_proj", attn_v = "self_attn.v_proj",
   attn_output = "self_attn.o_proj", attn_q_norm = "self_attn.q_norm", attn_k_norm = "self_attn.k_norm",
   ffn_norm = "post_attention_layernorm", ffn_gate = "mlp.gate_proj", ffn_up = "mlp.up_proj", ffn_down = "mlp.down_proj",
}

-- Keys of the architecture that are read here or in gguf_rope.lua, and those that change nothing that is computed.
local known = {}
for key in ([[
   block_count context_length embedding_length feed_forward_length vocab_size tensor_data_layout pooling_type
   attention.head_count attention.head_count_kv attention.key_length attention.value_length attention.sliding_window
   attention.layer_norm_rms_epsilon attention.layer_norm_epsilon attention.causal
   rope.dimension_count rope.freq_base rope.scale_linear rope.scaling.type rope.scaling.factor rope.scaling.attn_factor
   rope.scaling.original_context_length rope.scaling.finetuned
]]):gmatch("%S+") do known[key] = true end

-- Further keys that may be there when they say "nothing of the kind": 0 or false.
local off = { "expert", "logit_scale", "residual_scale", "embedding_scale", "attention.scale", "use_parallel_residual" }

local function huggingface_name(name)
   if outer_names[name] then return outer_names[name] end
   local layer, module, kind = name:match("^blk%.(%d+)%.([%w_]+)%.(%w+)$")
   if layer and layer_names[module] and (kind == "weight" or kind == "bias") then
      return ("model.layers.%s.%s.%s"):format(layer, layer_names[module], kind), module
   end
end

-- Ids that end the text: generation_config.json's eos_token_id. Chat models end a turn with another one than a document.
local function generation_of(gguf, settings)
   local ids, seen = host.array {}, {}
   for _, name in ipairs { "eos", "eot", "eom" } do
      local key = "tokenizer.ggml." .. name .. "_token_id"
      local id = gguf.values[key]
      if id ~= nil then
         expect.integer(gguf.path, key, id, 0, settings.vocab_size - 1, "the file is damaged")
         if not seen[id] then ids[#ids + 1] = id end
         seen[id] = true
      end
   end
   return #ids > 1 and { eos_token_id = ids } or {}
end

-- A key of the file's architecture: get("block_count") is llama.block_count.
local function getter(gguf, prefix)
   local function name_of(key) return prefix .. "." .. key end

   local get = { name = name_of, prefix = prefix }

   function get.value(key) return gguf.values[name_of(key)] end

   function get.size(key, highest)
      local value = get.value(key)
      if value == nil and gguf.arrays[name_of(key)] then -- some keys may be given for each layer
         local list = gguf:array(name_of(key), "number", 1 << 16)
         for _, item in ipairs(list) do
            if item ~= list[1] then
               fail("%s: %s: expected the same value for every layer, found %s and %s; this is not supported", gguf.path,
                    name_of(key), expect.show(list[1]), expect.show(item))
            end
         end
         value = list[1]
      end
      if value == nil then return nil end
      return expect.integer(gguf.path, name_of(key), value, 1, highest or (1 << 31) - 1, "the file is damaged")
   end

   function get.required(key)
      local value = get.size(key)
      if value == nil then
         expect.fail(gguf.path, name_of(key), "a number", "nothing", "convert the model again with a current llama.cpp")
      end
      return value
   end

   return get
end

local function is_off(key, value)
   for _, beginning in ipairs(off) do
      if key:sub(1, #beginning) == beginning then return value == 0 or value == false end
   end
   return false
end

-- Experts are refused here, by name; other keys that are not known go on into the config, where one that may change the
-- maths is an error unless the user vouches for it (--ignore-config-key).
local function add_unknown(gguf, prefix, result)
   local names = {}
   for _, list in ipairs { gguf.values, gguf.arrays } do
      for name, value in pairs(list) do names[name] = value end
   end
   for _, name in ipairs(sorted_keys(names)) do
      local key = name:sub(1, #prefix + 1) == prefix .. "." and name:sub(#prefix + 2)
      if key and not known[key] and not is_off(key, names[name]) then
         if key:find("^expert") then
            fail("%s: %s: expected a plain dense model, found %s; mixtures of experts are not supported", gguf.path, name,
                 expect.show(names[name]))
         end
         result[name] = gguf.arrays[name] and host.array {} or names[name]
      end
   end
end

local function head_dimension(gguf, get, hidden, heads)
   local head_dim = get.size("attention.key_length")
   local value_length = get.size("attention.value_length")
   if head_dim == nil then
      if hidden % heads ~= 0 then
         expect.fail(gguf.path, get.name("attention.key_length"), "the size of a head", "nothing",
                     ("%d heads do not divide the hidden size %d"):format(heads, hidden))
      end
      head_dim = hidden // heads
   end
   if value_length and value_length ~= head_dim then
      fail("%s: %s: expected the same as the keys' %d, found %d; this is not supported", gguf.path,
           get.name("attention.value_length"), head_dim, value_length)
   end
   return head_dim
end

local function has_bias(gguf, modules)
   for _, module in ipairs(modules) do
      if gguf.tensors["blk.0." .. module .. ".bias"] then return true end
   end
   return false
end

-- The sliding window, or nil. Qwen's models have it in some layers only, and the file does not say in which.
local function read_window(gguf, get, architecture, context)
   local window = get.value("attention.sliding_window")
   if window == nil or window == 0 then return nil end
   expect.integer(gguf.path, get.name("attention.sliding_window"), window, 1, (1 << 31) - 1, "the file is damaged")
   if architecture.model_type == "llama" then return window end
   if window < context then
      expect.fail(gguf.path, get.name("attention.sliding_window"), ("no window shorter than the context of %d"):format(context),
                  ("%d"):format(window), "the file does not say which layers have it; use the model's Hugging Face folder")
   end
   return nil
end

local function read_config(gguf, get, architecture)
   local embedding = gguf.tensors["token_embd.weight"]
   if not embedding then
      fail("%s: expected the tensor token_embd.weight, found none; this file holds no whole model", gguf.path)
   end
   local hidden, heads = get.required("embedding_length"), get.required("attention.head_count")
   local result = {
      architectures = host.array { architecture.name },
      model_type = architecture.model_type,
      hidden_size = hidden,
      intermediate_size = get.required("feed_forward_length"),
      num_hidden_layers = get.required("block_count"),
      num_attention_heads = heads,
      num_key_value_heads = get.size("attention.head_count_kv") or heads,
      head_dim = head_dimension(gguf, get, hidden, heads),
      vocab_size = embedding.shape[1],
      max_position_embeddings = get.required("context_length"),
      rms_norm_eps = get.value("attention.layer_norm_rms_epsilon"),
      rope_theta = get.value("rope.freq_base") or 10000.0,
      hidden_act = "silu",
      tie_word_embeddings = gguf.tensors["output.weight"] == nil,
      bos_token_id = gguf.values["tokenizer.ggml.bos_token_id"],
      eos_token_id = gguf.values["tokenizer.ggml.eos_token_id"],
   }
   expect.positive(gguf.path, get.name("attention.layer_norm_rms_epsilon"), result.rms_norm_eps, "the file is damaged")
   expect.positive(gguf.path, get.name("rope.freq_base"), result.rope_theta, "the file is damaged")
   result.rope_theta = math.tointeger(result.rope_theta) or result.rope_theta -- as JSON has it
   local rotary = get.size("rope.dimension_count")
   if rotary and rotary ~= result.head_dim then result.partial_rotary_factor = rotary / result.head_dim end
   result.rope_scaling = rope.scaling(gguf, get, result)
   result.sliding_window = read_window(gguf, get, architecture, result.max_position_embeddings)
   if architecture.model_type ~= "qwen2" then -- whose biases are always there
      result.attention_bias = has_bias(gguf, { "attn_q", "attn_k", "attn_v", "attn_output" })
   end
   if architecture.model_type == "llama" then
      result.mlp_bias = has_bias(gguf, { "ffn_gate", "ffn_up", "ffn_down" })
   end
   add_unknown(gguf, get.prefix, result)
   config.check(result, gguf.path)
   return result
end

local function rename_tensors(gguf, architecture, settings)
   local tensors = {}
   for _, name in ipairs(sorted_keys(gguf.tensors)) do
      local tensor = gguf.tensors[name]
      local new, module = huggingface_name(name)
      if new then
         tensor.name = new
         if architecture.permuted and module == "attn_q" then tensor.permute = settings.num_attention_heads end
         if architecture.permuted and module == "attn_k" then tensor.permute = settings.num_key_value_heads end
         if tensor.permute and tensor.shape[1] % (2 * tensor.permute) ~= 0 then
            expect.fail(tensor.file:path(), name, ("an even number of rows for each of %d heads"):format(tensor.permute),
                        ("%d rows"):format(tensor.shape[1]), "the file is damaged")
         end
         tensors[new] = tensor
      elseif not rope.tensors[name] and not name:find("^blk%.%d+%.attn_rot_embd%.") then
         fail("%s: tensor %s: is not known for %s; this is not supported", tensor.file:path(), expect.shorten(name),
              architecture.name)
      end
   end
   return tensors
end

-- read(file, options) -> checkpoint
-- tokenizer.chat_template, and tokenizer.chat_template.NAME for the others.
local function chat_templates(gguf)
   local templates = {}
   for _, key in ipairs(sorted_keys(gguf.values)) do
      local name = key == "tokenizer.chat_template" and "default" or key:match("^tokenizer%.chat_template%.(.+)$")
      if name then
         local text = expect.string(gguf.path, key, gguf.values[key], "the file is damaged")
         templates[#templates + 1] = { name = name, text = text, where = gguf.path .. ": " .. key }
      end
   end
   return templates
end

return function(file)
   local gguf, files = parts.read(file)
   local path = gguf.path
   local kind = expect.string(path, "general.architecture", gguf.values["general.architecture"], "the file is damaged")
   local architecture = architectures[kind]
   if not architecture then
      expect.fail(path, "general.architecture", "one of " .. table.concat(sorted_keys(architectures), ", "), expect.show(kind),
                  "this architecture is not supported")
   end
   local get = getter(gguf, kind)
   if get.value("attention.causal") == false then
      fail("%s: %s: expected a model that generates text, found one that does not (an encoder)", path, get.name("attention.causal"))
   end
   local settings = read_config(gguf, get, architecture)
   if kind == "llama" and settings.sliding_window then
      architecture = { name = "MistralForCausalLM", model_type = "mistral", permuted = true }
      settings.architectures, settings.model_type = host.array { architecture.name }, architecture.model_type
      -- Mistral's configs have no such keys: biases that are there are an unknown key.
      settings.attention_bias, settings.mlp_bias = settings.attention_bias or nil, settings.mlp_bias or nil
   end
   local checkpoint = {
      kind = "gguf", path = path, config_file = path, tokenizer_file = path,
      architecture = architecture.name, config = settings,
      tensors = rename_tensors(gguf, architecture, settings),
      generation = generation_of(gguf, settings),
      chat_templates = chat_templates(gguf),
      files = {},
   }
   for i, part in ipairs(files) do checkpoint.files[i] = { name = part:path():match("[^/]*$"), file = part } end
   checkpoint.tokenizer, checkpoint.tokenizer_config = tokenizer(gguf, settings)
   return checkpoint
end
