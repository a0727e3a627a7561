-- Reads config values the way a family declares them: each key with its type and default, every other key an error
-- unless it is known not to change the maths.

local fail = require "fail"
local host = require "host"

-- Keys that do not change what the model computes at inference.
local harmless = {}
for key in ([[
   architectures model_type bos_token_id eos_token_id pad_token_id unk_token_id use_cache initializer_range
   transformers_version torch_dtype dtype _name_or_path attention_dropout hidden_dropout resid_pdrop embd_pdrop
  
   is_llama_config output_attentions output_hidden_states return_dict problem_type id2label label2id
   tokenizer_class task_specific_params finetuning_task gradient_checkpointing
   unsloth_version unsloth_fixed transformers.js_config _attn_implementation _attn_implementation_autoset
   attn_implementation chunk_size_feed_forward torchscript use_bfloat16 prefix is_encoder_decoder
   is_decoder add_cross_attention cross_attention_hidden_size tie_encoder_decoder
   forced_bos_token_id forced_eos_token_id suppress_tokens begin_suppress_tokens decoder_start_token_id
   num_beams num_beam_groups num_return_sequences do_sample temperature top_k top_p typical_p
   repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids
   min_length max_length early_stopping diversity_penalty exponential_decay_length_penalty output_scores
   return_dict_in_generate remove_invalid_values sep_token_id tf_legacy_loss pruned_heads auto_map
]]):gmatch("%S+") do harmless[key] = true end

-- "size": an integer from 1 to 2^24 (2^31 for nothing that a real model has); others by their Lua type.
local limits = { size = { 1, 1 << 24 }, count = { 0, 1 << 24 } }

local function shown(value)
   if value == nil then return "nothing" end
   if value == host.null then return "null" end
   if type(value) == "table" then return host.is_array(value) and "a list" or "an object" end
   return type(value) == "string" and string.format('"%s"', value:sub(1, 60)) or tostring(value)
end

local check = {}

function check.size(value)
   return math.type(value) == "integer" and value >= limits.size[1] and value <= limits.size[2],
      string.format("an integer from 1 to %d", limits.size[2])
end

function check.count(value)
   return math.type(value) == "integer" and value >= 0 and value <= limits.count[2],
      string.format("an integer from 0 to %d", limits.count[2])
end

function check.positive(value)
   return type(value) == "number" and value > 0 and value < math.huge, "a positive number"
end

function check.boolean(value) return type(value) == "boolean", "true or false" end

function check.object(value)
   return type(value) == "table" and not host.is_array(value), "an object"
end

function check.list(value) return type(value) == "table" and host.is_array(value), "a list" end

-- A key's declaration is { kind, default = value | function(values), optional, nullable }, { only = value } for a key that is understood
-- with one value only, or { one_of = { ... } }.
local function read_key(file, key, declaration, config, values)
   local value = config[key]
   if value == host.null then
      if declaration.nullable then return nil end -- null means something of its own here: "none"
      value = nil
   end
   if value == nil then
      local default = declaration.default
      if declaration.only ~= nil then return declaration.only end
      if declaration.one_of then return default end
      if type(default) == "function" then return default(values) end
      if default == nil and not declaration.optional then
         fail("%s: %s: expected a value, found nothing; the config is incomplete", file, key)
      end
      return default
   end
   if declaration.only ~= nil then
      if value ~= declaration.only then
         fail("%s: %s: expected %s, found %s; lathe does not handle this variant", file, key, shown(declaration.only),
              shown(value))
      end
      return value
   end
   if declaration.one_of then
      for _, allowed in ipairs(declaration.one_of) do
         if value == allowed then return value end
      end
      fail("%s: %s: expected one of %s, found %s; lathe does not handle it", file, key,
           table.concat(declaration.one_of, ", "), shown(value))
   end
   local good, expected = check[declaration[1]](value)
   if not good then fail("%s: %s: expected %s, found %s; correct the config", file, key, expected, shown(value)) end
   return value
end

-- read(file, config, declarations, ignored) -> values. declarations: an ordered list of { name = key, ... }, so that a
-- default can use the values before it. ignored: keys that the user vouches for (--ignore-config-key).
local function read(file, config, declarations, ignored)
   local values, known = {}, {}
   for _, declaration in ipairs(declarations) do
      known[declaration.name] = true
      values[declaration.name] = read_key(file, declaration.name, declaration, config, values)
   end
   local unknown = {}
   for key, value in pairs(config) do
      if not known[key] and not harmless[key] and not ignored[key] and value ~= host.null then
         unknown[#unknown + 1] = key
      end
   end
   table.sort(unknown)
   if #unknown > 0 then
      fail("%s: %s: this key is not known to lathe and may change the maths (found %s); if it does not, pass "
           .. "--ignore-config-key %s", file, unknown[1], shown(config[unknown[1]]), unknown[1])
   end
   return values
end

return { read = read, shown = shown }
