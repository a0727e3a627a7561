-- The draft head of a recipe: read, described and added to its target's description and checkpoint.

local fail = require "fail"
local describe = require "describe.eagle"
local each_tensor = require "describe.tensors".each
local read = require "read.eagle"

local draft = {}

local CHUNK = 16 << 20 -- bytes compared at a time

-- "2,16,29" -> { 2, 16, 29 }
local function taps_of(text)
   if not text then return nil end
   local taps = {}
   for word in (text .. ","):gmatch("([^,]*),") do
      local layer = word:find("^%s*%d+%s*$") and #word < 10 and math.tointeger(tonumber(word))
      if not layer then fail("--eagle-taps: expected numbers of layers such as 2,16,29, found '%s'", text) end
      taps[#taps + 1] = layer
   end
   if #taps > 16 then fail("--eagle-taps: expected at most 16 layers, found %d", #taps) end
   return taps
end

local function same_bytes(a, b)
   if a.dtype ~= b.dtype or a.bytes ~= b.bytes then return false end
   for at = 0, a.bytes - 1, CHUNK do
      local count = math.min(CHUNK, a.bytes - at)
      if a.file:read(a.offset + at, count) ~= b.file:read(b.offset + at, count) then return false end
   end
   return true
end

-- Most heads carry a copy of the target's embedding; one is enough.
local function share_embedding(head, description, checkpoint)
   local own = description.draft.embedding
   local theirs = own and checkpoint.tensors[description.embedding.weight.tensor]
   if theirs and same_bytes(head.tensors[own.weight.tensor], theirs) then description.draft.embedding = nil end
end

-- add(description, checkpoint, recipe): description.draft, and the head's tensors and files with the checkpoint's, their names
-- beginning with "eagle/".
function draft.add(description, checkpoint, recipe)
   if recipe.eagle_tokens > recipe.max_rows then
      fail("--eagle-tokens: expected at most --max-rows (%d), found %d", recipe.max_rows, recipe.eagle_tokens)
   end
   local ignored = {}
   for _, key in ipairs(recipe.ignore_config_keys) do ignored[key] = true end
   local head = read(recipe.eagle, { no_weights = recipe.random_weights ~= nil, ignored = ignored })
   local settings = { taps = taps_of(recipe.eagle_taps), gap = recipe.eagle_gap, depth = recipe.eagle_depth,
                      top_k = recipe.eagle_top_k, tokens = recipe.eagle_tokens }
   description.draft = describe(head, description, settings, recipe)
   share_embedding(head, description, checkpoint)
   each_tensor(description.draft, function(node) node.tensor = "eagle/" .. node.tensor end)
   for name, tensor in pairs(head.tensors) do checkpoint.tensors["eagle/" .. name] = tensor end
   for _, entry in ipairs(head.files) do
      checkpoint.files[#checkpoint.files + 1] = { name = "eagle/" .. entry.name, file = entry.file }
   end
end

-- ids_blob(description) -> the section draft.target_ids, or nil
function draft.ids_blob(description)
   local ids = description.draft.ids
   if not ids then return nil end
   local parts = {}
   for first = 1, #ids, 128 do
      local last = math.min(first + 127, #ids)
      parts[#parts + 1] = string.pack("<" .. ("i4"):rep(last - first + 1), table.unpack(ids, first, last))
   end
   return table.concat(parts)
end

return draft
