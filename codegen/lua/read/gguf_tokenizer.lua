-- The tokenizer of a GGUF file (tokenizer.ggml.*) as the tokenizer.json that its model had, so that one compiler of
-- tokenizers serves both. Sources: ggml's docs/gguf.md for the keys, llama.cpp's llama-vocab.cpp for what is meant
-- where a key is missing, transformers for the structure.

local fail = require "fail"
local host = require "host"
local expect = require "read.expect"
local derive_merges = require "read.gguf_merges"
local pretokenizers = require "read.gguf_pretokenizers"

local PREFIX = "tokenizer.ggml."
local ADVICE = "convert the model again with a current llama.cpp"
local MOST_TOKENS, MOST_MERGES = 1 << 22, 1 << 23
local SPACE = "\u{2581}" -- SentencePiece's visible space

-- Kinds of token (tokenizer.ggml.token_type)
local UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 2, 3, 4, 5

-- Whether a token is spelled in the alphabet of byte-level BPE, where each of the 256 bytes is a printable character.
local function in_byte_alphabet(token)
   if not token:find("[^!-~]") then return true end
   for _, code in utf8.codes(token) do
      local printable = code >= 0x21 and code <= 0x7e or code >= 0xa1 and code <= 0x143 and code ~= 0xad
      if not printable then return false end
   end
   return true
end

local function read_tokens(gguf)
   local key = PREFIX .. "tokens"
   local tokens = gguf:array(key, "string", MOST_TOKENS)
   if not tokens then expect.fail(gguf.path, key, "an array of strings", "nothing", ADVICE) end
   for i, token in ipairs(tokens) do
      if not utf8.len(token) then
         expect.fail(gguf.path, ("%s[%d]"):format(key, i - 1), "UTF-8", "other bytes", ADVICE)
      end
   end
   return tokens
end

-- An array with one number for each token, or nil.
local function read_per_token(gguf, name, count)
   local list = gguf:array(PREFIX .. name, "number", MOST_TOKENS)
   if list and #list < count then
      expect.fail(gguf.path, PREFIX .. name, ("%d numbers, one a token"):format(count), ("%d"):format(#list), ADVICE)
   end
   return list
end

-- The vocabulary and the tokens that are found in the text before anything else.
local function split_vocabulary(gguf, tokens, types, byte_level)
   local ids, added = {}, host.array {}
   for i, token in ipairs(tokens) do
      local id, kind = i - 1, types and types[i] or 1
      local is_added = kind == CONTROL or kind == USER_DEFINED or kind == UNKNOWN
      local is_padding = token == "" or kind == UNUSED and token == ("[PAD%d]"):format(id)
      if is_added and token ~= "" then
         added[#added + 1] = { id = id, content = token, single_word = false, lstrip = false, rstrip = false,
                               normalized = false, special = kind ~= USER_DEFINED }
      end
      -- The converter writes added tokens as they are and the others in the byte alphabet.
      if not is_padding and not (is_added and byte_level and not in_byte_alphabet(token)) then
         if ids[token] then
            fail("%s: %stokens[%d]: expected each token once, found %s at %d too; %s", gguf.path, PREFIX, id, expect.show(token),
                 ids[token], ADVICE)
         end
         ids[token] = id
      end
   end
   return ids, added
end

-- An id of a special token, or nil; `otherwise` is what a file means that does not say.
local function special_id(gguf, name, count, otherwise)
   local key = PREFIX .. name .. "_token_id"
   local id = gguf.values[key]
   if id == nil then return otherwise and otherwise < count and otherwise or nil end
   return expect.integer(gguf.path, key, id, 0, count - 1, ADVICE)
end

local function flag(gguf, name, otherwise)
   local value = gguf.values[PREFIX .. name]
   if value == nil then return otherwise end
   return expect.boolean(gguf.path, PREFIX .. name, value, ADVICE)
end

-- TemplateProcessing that puts a BOS before the text and an EOS after it, or nil for neither.
local function post_processor(gguf, specials, tokens)
   if not specials.add_bos and not specials.add_eos then return nil end
   local single, pair, named = host.array {}, host.array {}, {}

   local function add(list, id, type_id)
      local token = tokens[id + 1]
      list[#list + 1] = { SpecialToken = { id = token, type_id = type_id } }
      named[token] = { id = token, ids = host.array { id }, tokens = host.array { token } }
   end

   for _, name in ipairs { "bos", "eos" } do
      if specials["add_" .. name] and not specials[name] then
         fail("%s: %sadd_%s_token: expected %s%s_token_id with it, found none; %s", gguf.path, PREFIX, name, PREFIX, name, ADVICE)
      end
   end
   for type_id, sequence in ipairs { "A", "B" } do
      for _, list in ipairs(type_id == 1 and { single, pair } or { pair }) do
         if specials.add_bos then add(list, specials.bos, type_id - 1) end
         list[#list + 1] = { Sequence = { id = sequence, type_id = type_id - 1 } }
         if specials.add_eos then add(list, specials.eos, type_id - 1) end
      end
   end
   return { type = "TemplateProcessing", single = single, pair = pair, special_tokens = named }
end

local function byte_level_tokenizer(gguf, tokens, types)
   local name = gguf.values[PREFIX .. "pre"] or "default"
   expect.string(gguf.path, PREFIX .. "pre", name, ADVICE)
   local kind = pretokenizers.find(name)
   if not kind then
      expect.fail(gguf.path, PREFIX .. "pre", "one of " .. pretokenizers.names(), expect.show(name),
                  "use the model's Hugging Face folder, whose tokenizer.json says how")
   end
   local merges = gguf:array(PREFIX .. "merges", "string", MOST_MERGES)
   if not merges then expect.fail(gguf.path, PREFIX .. "merges", "an array of strings", "nothing", ADVICE) end
   for i, merge in ipairs(merges) do
      if not utf8.len(merge) or not merge:find("^[^ ]+ [^ ]+$") then
         expect.fail(gguf.path, ("%smerges[%d]"):format(PREFIX, i - 1), "two tokens with a space between", expect.show(merge), ADVICE)
      end
   end
   local ids, added = split_vocabulary(gguf, tokens, types, true)
   return {
      version = "1.0",
      added_tokens = added,
      normalizer = kind.nfc and { type = "NFC" } or nil,
      pre_tokenizer = pretokenizers.build(kind),
      decoder = { type = "ByteLevel", add_prefix_space = true, trim_offsets = true, use_regex = true },
      model = { type = "BPE", fuse_unk = false, byte_fallback = false, ignore_merges = kind.ignore_merges or false,
                vocab = ids, merges = host.array(merges) },
   }, kind.add_bos or false
end

-- Merges of a SentencePiece vocabulary, and their ranks: the file's, or those that its scores imply.
local function sentencepiece_merges(gguf, tokens, ids)
   local given = gguf:array(PREFIX .. "merges", "string", MOST_MERGES)
   if given then return host.array(given) end
   local scores = read_per_token(gguf, "scores", #tokens)
   if not scores then expect.fail(gguf.path, PREFIX .. "scores", "an array of numbers", "nothing", ADVICE) end
   for i, score in ipairs(scores) do
      if score ~= score then expect.fail(gguf.path, ("%sscores[%d]"):format(PREFIX, i - 1), "a number", "NaN", ADVICE) end
   end
   local merges, derived, ranks = host.array {}, derive_merges(tokens, scores, ids)
   for i, merge in ipairs(derived) do merges[i] = host.array { merge[1], merge[2] } end
   return merges, host.array(ranks)
end

-- What SentencePiece can do to a text before it looks for tokens, and no model of this kind asks for.
local function check_normalization(gguf)
   if flag(gguf, "remove_extra_whitespaces", false) then
      expect.fail(gguf.path, PREFIX .. "remove_extra_whitespaces", "false", "true", "this is not supported")
   end
   local rules = gguf.arrays[PREFIX .. "precompiled_charsmap"]
   if rules and rules.count > 0 then
      expect.fail(gguf.path, PREFIX .. "precompiled_charsmap", "no rules of normalization", ("%d bytes"):format(rules.count),
                  "this is not supported; use the model's Hugging Face folder")
   end
end

local function sentencepiece_tokenizer(gguf, tokens, types)
   local ids, added = split_vocabulary(gguf, tokens, types, false)
   local merges, ranks = sentencepiece_merges(gguf, tokens, ids)
   local prefix = flag(gguf, "add_space_prefix", true)
   check_normalization(gguf)
   local unknown = special_id(gguf, "unknown", #tokens, 0)
   local to_visible = { type = "Replace", pattern = { String = " " }, content = SPACE }
   local decoders = host.array {
      { type = "Replace", pattern = { String = SPACE }, content = " " }, { type = "ByteFallback" }, { type = "Fuse" },
   }
   if prefix then decoders[4] = { type = "Strip", content = " ", start = 1, stop = 0 } end
   return {
      version = "1.0",
      added_tokens = added,
      normalizer = prefix and { type = "Sequence", normalizers = host.array { { type = "Prepend", prepend = SPACE }, to_visible } }
         or to_visible,
      decoder = { type = "Sequence", decoders = decoders },
      model = { type = "BPE", unk_token = unknown and tokens[unknown + 1] or nil, fuse_unk = true, byte_fallback = true,
                ignore_merges = false, vocab = ids, merges = merges, merge_ranks = ranks },
   }, true
end

local builders = { gpt2 = byte_level_tokenizer, llama = sentencepiece_tokenizer }

-- read(gguf, config) -> tokenizer or nil, tokenizer_config
return function(gguf, config)
   local kind = gguf.values[PREFIX .. "model"]
   if kind == nil or kind == "none" or kind == "no_vocab" then return nil, {} end
   local build = builders[expect.string(gguf.path, PREFIX .. "model", kind, ADVICE)]
   if not build then
      expect.fail(gguf.path, PREFIX .. "model", "gpt2 (byte-level BPE) or llama (SentencePiece BPE)", expect.show(kind),
                  "this tokenizer is not supported")
   end
   local tokens = read_tokens(gguf)
   if #tokens > config.vocab_size then
      expect.fail(gguf.path, PREFIX .. "tokens", ("at most %d tokens, the rows of token_embd.weight"):format(config.vocab_size),
                  ("%d"):format(#tokens), ADVICE)
   end
   local types = read_per_token(gguf, "token_type", #tokens)
   local tokenizer, add_bos = build(gguf, tokens, types)

   local sentencepiece = kind == "llama"
   local specials = {
      bos = special_id(gguf, "bos", #tokens, sentencepiece and 1), eos = special_id(gguf, "eos", #tokens, sentencepiece and 2),
      unk = special_id(gguf, "unknown", #tokens, sentencepiece and 0), pad = special_id(gguf, "padding", #tokens),
      add_bos = flag(gguf, "add_bos_token", add_bos), add_eos = flag(gguf, "add_eos_token", false),
   }
   tokenizer.post_processor = post_processor(gguf, specials, tokens)
   local settings = { add_bos_token = specials.add_bos, add_eos_token = specials.add_eos,
                      chat_template = gguf.values["tokenizer.chat_template"], clean_up_tokenization_spaces = false }
   for _, name in ipairs { "bos", "eos", "unk", "pad" } do
      settings[name .. "_token"] = specials[name] and tokens[specials[name] + 1] or nil
   end
   return tokenizer, settings
end
