-- The reduced vocabulary of an EAGLE-3 head: d2t says how far each of its ids is from the target's (target id = draft id +
-- d2t[draft id]), t2d which ids of the target it has.

local fail = require "fail"
local expect = require "read.expect"

local ADVICE = "download the head again"
local CHUNK = 8192 -- elements read at a time

local formats = { I64 = { "<i8", 8 }, I32 = { "<i4", 4 }, BOOL = { "B", 1 }, U8 = { "B", 1 } }

-- Calls visit(index from 0, value) for each element of a vector of whole numbers.
local function each(tensor, name, size, allowed, visit)
   local path = tensor.file:path()
   if #tensor.shape ~= 1 or tensor.shape[1] ~= size then
      expect.fail(path, name, ("shape [%d]"):format(size), "[" .. table.concat(tensor.shape, ", ") .. "]", ADVICE)
   end
   local format = allowed:find(tensor.dtype, 1, true) and formats[tensor.dtype]
   if not format then expect.fail(path, name .. ": dtype", allowed, expect.shorten(tensor.dtype), ADVICE) end
   for first = 0, size - 1, CHUNK do
      local count = math.min(CHUNK, size - first)
      local text, at = tensor.file:read(tensor.offset + first * format[2], count * format[2]), 1
      for i = 0, count - 1 do
         local value
         value, at = string.unpack(format[1], text, at)
         visit(first + i, value)
      end
   end
end

local function check_t2d(t2d, vocab, has)
   each(t2d, "t2d", vocab, "BOOL or U8", function(id, value)
      if (value ~= 0) ~= (has[id] ~= nil) then
         fail("%s: t2d[%d]: expected %s, which is what d2t says, found %d; %s", t2d.file:path(), id,
              has[id] and "1" or "0", value, ADVICE)
      end
   end)
end

-- target_ids(tensors, draft vocabulary, target's vocabulary, where) -> { target's id of each draft id }, or nil where they
-- are the same.
return function(tensors, draft, vocab, where)
   local d2t, t2d = tensors.d2t, tensors.t2d
   if draft > vocab then
      fail("%s: draft_vocab_size: expected at most vocab_size (%d), found %d; config and head disagree", where, vocab, draft)
   end
   if not d2t then
      if draft < vocab then
         fail("%s: d2t: expected it, since the head knows %d of %d ids, found none; %s", where, draft, vocab, ADVICE)
      end
      return nil
   end
   local ids, has, same = {}, {}, true
   each(d2t, "d2t", draft, "I64 or I32", function(id, distance)
      local target = distance > -vocab and distance < vocab and id + distance or -1
      if target < 0 or target >= vocab then
         fail("%s: d2t[%d]: expected an id from 0 to %d when it is added, found %d + %d; %s", d2t.file:path(), id, vocab - 1,
              id, distance, ADVICE)
      end
      if has[target] then
         fail("%s: d2t[%d]: expected different ids, found %d, which is also that of %d; %s", d2t.file:path(), id, target,
              has[target], ADVICE)
      end
      has[target], ids[id + 1] = id, target
      same = same and distance == 0
   end)
   -- Heads with all ids have zeros in d2t, and may never have written t2d.
   if t2d and not (same and draft == vocab) then check_t2d(t2d, vocab, has) end
   return not (same and draft == vocab) and ids or nil
end
