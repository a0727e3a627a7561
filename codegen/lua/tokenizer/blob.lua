-- Writes the tables of runtime/tokenizer_internal.h: the same numbers, the same hash, the same layout.

local blob = {}

blob.max_id = 0xFFFFFD

blob.model_flag = { ignore_merges = 1, byte_fallback = 2, fuse_unk = 4, has_unk = 8 }
blob.added_flag = { single_word = 1, lstrip = 2, rstrip = 4, normalized = 8 }
blob.added_flag_special = 16

blob.operation = {
   normal_form = 1, replace_text = 2, replace_regex = 3, prepend = 4, append = 5, lowercase = 6, strip = 7,
   strip_accents = 8, byte_chars = 9, prefix = 10, split_text = 11, split_regex = 12, split_class = 13,
   split_words = 14, decode_byte_chars = 15, decode_byte_fallback = 16, decode_fuse = 17, decode_strip = 18,
   decode_metaspace = 19, decode_suffix = 20, decode_join = 21,
}
blob.form = { NFC = 0, NFD = 1, NFKC = 2, NFKD = 3 }
blob.prefix_when = { always = 0, first = 1 }
blob.behavior = { Removed = 0, Isolated = 1, MergedWithPrevious = 2, MergedWithNext = 3, Contiguous = 4 }
blob.class = { white_space = 0, numeric = 1, punctuation = 2 }

local none = 0xFFFFFFFF
local most_probes = 4096

-- See finish, hash_text and hash_pair in runtime/tokenizer.c.
local function finish(hash)
   hash = hash ~ (hash >> 32)
   hash = hash * 0x9E3779B97F4A7C15
   return hash ~ (hash >> 29)
end

local function hash_text(text)
   local hash = 0xCBF29CE484222325
   for i = 1, #text do hash = (hash ~ text:byte(i)) * 0x100000001B3 end
   return finish(hash)
end

local function hash_pair(left, right)
   return finish(left << 32 | right)
end

-- Open addressing: each entry is hash tag << 24 | index + 1 in the first free slot from its own. Returns the slots as
-- bytes and how far from its own slot any entry lies.
local function hash_table(count, each)
   local size = 2
   while size * 3 < count * 4 do size = size * 2 end
   local slots, farthest = {}, 0
   for i = 1, size do slots[i] = 0 end
   each(function(hash, index)
      local slot = (hash >> 8) & (size - 1)
      local probes = 0
      while slots[slot + 1] ~= 0 do
         slot = (slot + 1) & (size - 1)
         probes = probes + 1
      end
      slots[slot + 1] = (hash & 0xFF) << 24 | (index + 1)
      if probes > farthest then farthest = probes end
   end)
   assert(farthest <= most_probes, "the hash table is too crowded")
   return blob.words(slots), farthest
end

-- A list of whole numbers as 32-bit words.
function blob.words(list)
   local parts = {}
   local step = 200 -- string.pack takes a bounded number of arguments
   for i = 1, #list, step do
      local last = math.min(i + step - 1, #list)
      parts[#parts + 1] = string.pack("<" .. string.rep("I4", last - i + 1), table.unpack(list, i, last))
   end
   return table.concat(parts)
end

-- The bytes that spans and texts point into.
local function string_pool()
   local pool = { parts = {}, bytes = 0, places = {} }
   function pool:append(text)
      local offset = self.bytes
      self.parts[#self.parts + 1] = text
      self.bytes = offset + #text
      return offset
   end
   function pool:text(text) -- packed struct blob_text
      self.places[text] = self.places[text] or self:append(text)
      return string.pack("<I4I4", self.places[text], #text)
   end
   return pool
end

-- The spellings by id; behind them those of the model's tokens whose id is spelled otherwise (two tokens share an id),
-- with the id of each. Returns too where each token of the model stands.
local function write_spellings(tables, pool)
   local spans, flags, aliases, entries = {}, {}, {}, {}
   for id = 0, tables.vocab - 1 do
      spans[id + 1] = pool.bytes
      local spelling = tables.spelling[id]
      if spelling then pool:append(spelling) end
      flags[id + 1] = string.char((spelling and 1 or 0) | (tables.special[id] and 2 or 0))
   end
   for index, entry in ipairs(tables.model_tokens) do
      if tables.spelling[entry.id] == entry.token then
         entries[index] = entry.id
      else
         entries[index] = #spans
         spans[#spans + 1] = pool:append(entry.token)
         aliases[#aliases + 1] = entry.id
      end
   end
   assert(#spans <= blob.max_id, "too many tokens")
   spans[#spans + 1] = pool.bytes
   return blob.words(spans), table.concat(flags), blob.words(aliases), entries
end

local function write_merges(merges)
   local words, last = {}, {}
   for index, merge in ipairs(merges) do
      words[#words + 1] = merge[1]
      words[#words + 1] = merge[2]
      words[#words + 1] = merge[3]
      last[merge[1] << 32 | merge[2]] = index -- of two merges of one pair, the later counts
   end
   local slots, farthest = hash_table(#merges, function(add)
      for index, merge in ipairs(merges) do
         if last[merge[1] << 32 | merge[2]] == index then add(hash_pair(merge[1], merge[2]), index - 1) end
      end
   end)
   return blob.words(words), slots, farthest
end

local function write_operations(lists, pool)
   local parts = {}
   for _, list in ipairs(lists) do
      for _, operation in ipairs(list) do
         parts[#parts + 1] = string.pack("<I4I4I4I4", operation.kind, operation.a or 0, operation.b or 0,
                                         operation.c or 0)
         parts[#parts + 1] = pool:text(operation.first or "")
         parts[#parts + 1] = pool:text(operation.second or "")
      end
   end
   return table.concat(parts)
end

local function write_added(list, pool)
   local parts = {}
   for _, token in ipairs(list) do
      parts[#parts + 1] = string.pack("<I4I4", token.id, token.flags) .. pool:text(token.content)
   end
   return table.concat(parts)
end

-- tables: see compile.lua. Sections in the order of enum blob_section.
function blob.write(tables)
   local pool = string_pool()
   local spans, flags, aliases, entries = write_spellings(tables, pool)
   local vocab_slots, farthest = hash_table(#tables.model_tokens, function(add)
      for index, token in ipairs(tables.model_tokens) do add(hash_text(token.token), entries[index]) end
   end)
   local merges, merge_slots, farthest_merge = write_merges(tables.merges)
   local operations = write_operations({ tables.normalizers, tables.pretokenizers, tables.decoders }, pool)
   local added = write_added(tables.added, pool)
   local template = blob.words(tables.before) .. blob.words(tables.after)
   local texts = pool:text(tables.subword_prefix) .. pool:text(tables.word_suffix)
   assert(pool.bytes < none, "the vocabulary's strings are too long")

   local sections = { spans, table.concat(pool.parts), flags, vocab_slots, merges, merge_slots, operations, added,
                      template, aliases, tables.ranks and blob.words(tables.ranks) or "" }
   local header_bytes = 8 + 8 + 4 * 4 + 16 + 6 * 4 + #sections * 16
   local offset = (header_bytes + 7) // 8 * 8
   local places, parts = {}, {}
   for _, section in ipairs(sections) do
      places[#places + 1] = string.pack("<I8I8", offset, #section)
      local padding = -#section % 8
      parts[#parts + 1] = section .. string.rep("\0", padding)
      offset = offset + #section + padding
   end
   local header = "LATHETK2" .. string.pack("<I8I4I4I4I4", offset, tables.vocab, tables.flags, tables.unk or none,
                                            math.max(farthest, farthest_merge))
      .. texts .. string.pack("<I4I4I4I4I4I4", #tables.normalizers, #tables.pretokenizers, #tables.decoders,
                              #tables.before, #tables.after, 0)
      .. table.concat(places)
   return header .. string.rep("\0", -#header % 8) .. table.concat(parts)
end

return blob
