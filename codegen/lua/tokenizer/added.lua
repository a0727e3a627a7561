-- `added_tokens` of tokenizer.json: which ids they get, which are special, and in which order they are looked for.
-- Reference: tokenizers/src/tokenizer/{added_vocabulary,serialization}.rs.

local blob = require "tokenizer.blob"

local function read(place)
   local flags = 0
   for name, bit in pairs(blob.added_flag) do
      if place:boolean(name, false) then flags = flags | bit end
   end
   place:count("id")
   return { content = place:string("content"), flags = flags, special = place:boolean("special", false) }
end

-- The ids: a token of the model keeps its own, the others are numbered on from the model's size; the id in the file is
-- only a remark. Of two entries with one id, the later counts.
local function number(root, bpe, list)
   local id, by_id = {}, {}
   local fresh = #bpe.tokens
   for _, token in ipairs(list) do
      if token.content ~= "" then
         local new = id[token.content] or bpe.vocab[token.content]
         if not new then
            new, fresh = fresh, fresh + 1
         end
         if new > blob.max_id then root:fail("added_tokens", "ids up to " .. blob.max_id, tostring(new)) end
         id[token.content], by_id[new] = new, token
      end
   end
   return id, by_id
end

-- How every id is spelled, and how many ids there are below the highest.
local function spellings(bpe, by_id)
   local spelling, count, vocab = {}, 0, 0
   for _, entry in ipairs(bpe.tokens) do spelling[entry.id] = entry.token end
   for id, token in pairs(by_id) do spelling[id] = token.content end
   for id in pairs(spelling) do
      count = count + 1
      vocab = math.max(vocab, id + 1)
   end
   return spelling, count, vocab
end

return function(root, bpe)
   local list, special = {}, {}
   for index, place in ipairs(root:objects("added_tokens")) do
      list[index] = read(place)
      if list[index].special then special[list[index].content] = true end
   end
   local id, by_id = number(root, bpe, list)
   local spelling, count, vocab = spellings(bpe, by_id)
   if vocab == 0 then root:fail("model.vocab", "at least one token", "none") end
   -- The tables are as long as the highest id says: one stray id must not make them a thousand times the file.
   local most = 8 * count + 65536
   if vocab > most then
      root:fail("model.vocab", string.format("ids below %d, since there are %d tokens", most, count), tostring(vocab - 1))
   end

   -- In the order in which equal ones (they can become equal when normalized) win: special tokens, then by id.
   local matched, special_ids = {}, {}
   for new, token in pairs(by_id) do
      local is_special = special[token.content]
      matched[#matched + 1] = { id = new, content = token.content, special = is_special,
                                flags = token.flags | (is_special and blob.added_flag_special or 0) }
   end
   table.sort(matched, function(one, other)
      if one.special ~= other.special then return one.special == true end
      return one.id < other.id
   end)
   for new, content in pairs(spelling) do special_ids[new] = special[content] end
   local ids = setmetatable({}, { __index = function(_, content) return id[content] or bpe.vocab[content] end })
   return { vocab = vocab, count = count, spelling = spelling, special = special_ids, list = matched, id = ids }
end
