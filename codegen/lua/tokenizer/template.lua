-- `post_processor` of tokenizer.json, for a single text: the ids that stand before and after it.
-- Reference: tokenizers/src/processors/*.rs.

local host = require "host"
local fail = require "fail"
local blob = require "tokenizer.blob"

local process

local function ids_of(place, name)
   local specials = place:object("special_tokens")
   local entry = specials and specials:object(name)
   local ids = entry and entry:raw("ids")
   if type(ids) ~= "table" or not host.is_array(ids) then
      fail("%s: %s.special_tokens: expected an entry '%s' with ids, since the template names it, found none",
           place.file, place.path, name)
   end
   for _, id in ipairs(ids) do
      if math.type(id) ~= "integer" or id < 0 or id > blob.max_id then
         entry:fail_value("ids", "token ids", id)
      end
   end
   return ids
end

-- The parts of a template: {"SpecialToken": {"id": ...}} or {"Sequence": {"id": "A"}}.
local function template_processing(place, before, after)
   local ids, seen = {}, false
   local head = {}
   for _, part in ipairs(place:objects("single")) do
      local token, sequence = part:object("SpecialToken"), part:object("Sequence")
      if token then
         table.move(ids_of(place, token:string("id")), 1, #ids_of(place, token:string("id")), #ids + 1, ids)
      elseif sequence and not seen and sequence:string("id") == "A" then
         seen, head, ids = true, ids, {}
      else
         place:fail_value("single", "special tokens around one Sequence A", part.value.Sequence or part.value)
      end
   end
   if not seen then place:fail("single", "special tokens around one Sequence A", "no Sequence") end
   for i = #head, 1, -1 do table.insert(before, 1, head[i]) end
   table.move(ids, 1, #ids, #after + 1, after)
end

-- BertProcessing, RobertaProcessing: ["token", id] at each end.
local function around(place, before, after)
   local function id_of(field)
      local pair = place:raw(field)
      local id = type(pair) == "table" and pair[2]
      if math.type(id) ~= "integer" or id < 0 or id > blob.max_id then
         place:fail_value(field, '["token", id]', pair)
      end
      return id
   end
   table.insert(before, 1, id_of("cls"))
   table.insert(after, id_of("sep"))
end

-- The reference hands the second of two processors that add ids something else than the text with the first's ids
-- around it (it takes them for a pair, or stops), so there must not be two.
local function sequence(place, before, after)
   for _, inner in ipairs(place:objects("processors")) do
      local had = #before + #after
      process(inner, before, after)
      if had > 0 and #before + #after > had then
         place:fail("processors", "one processor that adds tokens", "two")
      end
   end
end

local processors = {
   TemplateProcessing = template_processing,
   BertProcessing = around,
   RobertaProcessing = around,
   Sequence = sequence,
   ByteLevel = function() end, -- trims offsets, adds nothing
}

function process(place, before, after)
   place:choice("type", processors)(place, before, after)
end

return function(root)
   local before, after = {}, {}
   local place = root:object("post_processor")
   if place then process(place, before, after) end
   return before, after
end
