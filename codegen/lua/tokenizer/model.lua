-- The `model` of tokenizer.json: a BPE vocabulary with its merges.
-- Reference: tokenizers/src/models/bpe/{model,serialization}.rs.

local host = require "host"
local fail = require "fail"
local blob = require "tokenizer.blob"

-- { token = spelling, id = id } sorted by id, then spelling (two spellings may share an id).
local function sorted_tokens(place)
   local vocab = place:raw("vocab")
   if type(vocab) ~= "table" or host.is_array(vocab) and #vocab > 0 then
      place:fail_value("vocab", "an object of token: id", vocab)
   end
   local tokens = {}
   for token, id in pairs(vocab) do
      if math.type(id) ~= "integer" or id < 0 or id > blob.max_id then
         place:fail_value(string.format("vocab[%q]", token), "an id from 0 to " .. blob.max_id, id)
      end
      tokens[#tokens + 1] = { token = token, id = id }
   end
   table.sort(tokens, function(one, other)
      if one.id ~= other.id then return one.id < other.id end
      return one.token < other.token
   end)
   return tokens, vocab
end

-- A merge is written as "a b" or as ["a", "b"].
local function merge_pair(place, merge, index)
   local left, right
   if type(merge) == "string" then
      left, right = merge:match("^([^ ]*) ([^ ]*)$")
   elseif type(merge) == "table" and #merge == 2 then
      left, right = merge[1], merge[2]
   end
   if type(left) ~= "string" or type(right) ~= "string" then
      place:fail_value(string.format("merges[%d]", index - 1), 'two tokens, as "a b" or ["a", "b"]', merge)
   end
   return left, right
end

local function read_merges(place, vocab, prefix)
   local list = place:raw("merges")
   if type(list) ~= "table" or not host.is_array(list) then place:fail_value("merges", "a list", list) end
   if #list > blob.max_id then
      place:fail("merges", "at most " .. blob.max_id .. " merges", tostring(#list))
   end
   local merges = {}
   local function id_of(token, index)
      local id = vocab[token]
      if not id then
         fail("%s: %s.merges[%d]: expected tokens of the vocabulary that join to one, found '%s', which is not in it",
              place.file, place.path, index - 1, token:sub(1, 100))
      end
      return id
   end
   for index, merge in ipairs(list) do
      local left, right = merge_pair(place, merge, index)
      merges[index] = { id_of(left, index), id_of(right, index), id_of(left .. right:sub(#prefix + 1), index) }
   end
   return merges
end

-- `merge_ranks` is in no file of the reference: gguf_tokenizer.lua says so which merges SentencePiece takes for equal.
-- Merge i (from 0) has rank merge_ranks[i], at most i and no less than the merge before it.
local function read_ranks(place, count)
   local ranks = place:raw("merge_ranks")
   if ranks == nil then return nil end
   if not host.is_array(ranks) or #ranks ~= count then
      place:fail("merge_ranks", string.format("a list of %d ranks, one a merge", count),
                 host.is_array(ranks) and tostring(#ranks) or "something else")
   end
   for i, rank in ipairs(ranks) do
      local lowest = i > 1 and ranks[i - 1] or 0
      if math.type(rank) ~= "integer" or rank < lowest or rank >= i then
         place:fail_value(string.format("merge_ranks[%d]", i - 1), string.format("a rank from %d to %d", lowest, i - 1), rank)
      end
   end
   return ranks
end

return function(root)
   local place = root:object("model")
   if not place then root:fail("model", "an object", "nothing") end
   local kind = place:raw("type")
   if kind == nil and place:raw("merges") ~= nil then kind = "BPE" end -- old files do not say
   if kind ~= "BPE" then
      place:fail_value("type", '"BPE"', kind, "lathe does not support other tokenizer models yet")
   end
   local dropout = place:raw("dropout")
   if dropout ~= nil and dropout ~= 0 then
      place:fail_value("dropout", "null or 0", dropout, "random merges are for training only")
   end
   local tokens, vocab = sorted_tokens(place)
   local prefix = place:string("continuing_subword_prefix", "")
   local unk = place:raw("unk_token")
   if unk ~= nil and type(unk) ~= "string" then place:fail_value("unk_token", "a string or null", unk) end
   local flags = 0
   for name, bit in pairs(blob.model_flag) do
      if name ~= "has_unk" and place:boolean(name, false) then flags = flags | bit end
   end
   if unk then flags = flags | blob.model_flag.has_unk end
   local merges = read_merges(place, vocab, prefix)
   return {
      tokens = tokens, vocab = vocab, merges = merges, ranks = read_ranks(place, #merges), flags = flags,
      unk = unk and vocab[unk], subword_prefix = prefix, word_suffix = place:string("end_of_word_suffix", ""),
   }
end
