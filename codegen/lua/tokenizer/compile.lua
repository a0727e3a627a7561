-- tokenizer.json (decoded) to the tables that runtime/tokenizer*.c reads in place.
--
-- The reference for what each field means is Hugging Face's `tokenizers` library. What it would do differently from
-- us is an error here, never a silent difference.

local blob = require "tokenizer.blob"
local source = require "tokenizer.source"
local model = require "tokenizer.model"
local added = require "tokenizer.added"
local components = require "tokenizer.components"
local template = require "tokenizer.template"

-- The name of a special token in tokenizer_config.json: a string, or an object with the string in `content`.
local function special_name(config, field)
   local value = config and config[field]
   if type(value) == "table" then value = value.content end
   return type(value) == "string" and value or nil
end

local function kind_name(pretokenizers, decoders)
   for _, operation in ipairs(pretokenizers) do
      if operation.kind == blob.operation.byte_chars then return "byte-level BPE" end
   end
   for _, operation in ipairs(decoders) do
      if operation.kind == blob.operation.decode_byte_fallback then return "BPE with byte fallback" end
   end
   return "BPE"
end

local function check_template(root, ids, vocab)
   for _, id in ipairs(ids) do
      if id >= vocab then
         root:fail("post_processor", string.format("ids below %d, the size of the vocabulary", vocab), tostring(id))
      end
   end
end

-- tokenizer: the decoded tokenizer.json; config: the decoded tokenizer_config.json or nil; file: the name for
-- messages. Returns the tables as a string of bytes, and {vocab, tokens, merges, added, bos, kind}.
return function(tokenizer, config, file)
   local root = source.new(tokenizer, file or "tokenizer.json")
   if config and config.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output == true then
      root:fail("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output (tokenizer_config.json)",
                "false or absent", "true", "remove it: lathe decodes to the exact text")
   end
   local bpe = model(root)
   local tokens = added(root, bpe)
   local normalizers = components.normalizers(root)
   local pretokenizers = components.pretokenizers(root)
   local decoders = components.decoders(root)
   local before, after = template(root)
   check_template(root, before, tokens.vocab)
   check_template(root, after, tokens.vocab)

   local bytes = blob.write {
      vocab = tokens.vocab, spelling = tokens.spelling, special = tokens.special, model_tokens = bpe.tokens,
      merges = bpe.merges, ranks = bpe.ranks, flags = bpe.flags, unk = bpe.unk, subword_prefix = bpe.subword_prefix,
      word_suffix = bpe.word_suffix, added = tokens.list, normalizers = normalizers, pretokenizers = pretokenizers,
      decoders = decoders, before = before, after = after,
   }
   local bos = special_name(config, "bos_token")
   return bytes, {
      vocab = tokens.vocab, tokens = tokens.count, merges = #bpe.merges, added = #tokens.list,
      bos = bos and tokens.id[bos], kind = kind_name(pretokenizers, decoders),
   }
end
