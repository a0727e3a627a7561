-- Little-endian values read one after another from a mapped file, through a window, never past its end.
-- Every size that comes from the file is checked here before it is used: a short file is a user error, not a crash.

local expect = require "read.expect"

local WINDOW = 1 << 20 -- bytes held as a Lua string at a time

local cursor = {}
cursor.__index = cursor

-- cursor.new(file [, position])
function cursor.new(file, position)
   return setmetatable({ file = file, size = file:size(), position = position or 0, window = "", base = 0 }, cursor)
end

function cursor:left() return self.size - self.position end

-- Makes sure that `bytes` bytes at the position are in the window; returns where they start in it (from 1).
-- `field` says what is being read, for the message.
function cursor:need(bytes, field)
   local start = self.position - self.base
   if start + bytes > #self.window then
      local left = self.size - self.position
      if bytes > left then
         expect.fail(self.file:path(), field, ("%d bytes at offset %d"):format(bytes, self.position),
                     ("%d to the end of the file"):format(left), "the file is truncated or damaged; download it again")
      end
      self.window = self.file:read(self.position, math.min(math.max(bytes, WINDOW), left))
      self.base = self.position
      start = 0
   end
   return start + 1
end

-- One number in string.pack's format, of that many bytes.
function cursor:number(format, bytes, field)
   local start = self:need(bytes, field) -- may replace the window
   local value = string.unpack(format, self.window, start)
   self.position = self.position + bytes
   return value
end

function cursor:u32(field) return self:number("<I4", 4, field) end

-- A count or a length. At most `limit`, which is far below 2^63, so sums and small products of them do not overflow.
function cursor:size64(limit, field)
   local value = self:number("<i8", 8, field)
   if value < 0 or value > limit then
      expect.fail(self.file:path(), field, ("at most %d"):format(limit),
                  value < 0 and "2^63 or more" or ("%d"):format(value), "the file is damaged; download it again")
   end
   return value
end

function cursor:string(limit, field)
   local length = self:size64(math.min(limit, self.size - self.position), field)
   local start = self:need(length, field)
   self.position = self.position + length
   return self.window:sub(start, start + length - 1)
end

-- A list of `count` strings of at most `limit` bytes: a vocabulary has hundreds of thousands, hence the loop without calls.
function cursor:strings(count, limit, field)
   local list, unpack, need = {}, string.unpack, self.need
   for i = 1, count do
      local start = self.position - self.base + 1
      if start + 7 > #self.window then start = need(self, 8, field) end
      local length = unpack("<i8", self.window, start)
      local after = start + 8
      if length < 0 or after + length - 1 > #self.window then
         list[i] = self:string(limit, field)
      else
         list[i] = self.window:sub(after, after + length - 1)
         self.position = self.position + 8 + length
      end
   end
   return list
end

function cursor:skip_strings(count, field)
   local unpack, need = string.unpack, self.need
   for _ = 1, count do
      local start = self.position - self.base + 1
      if start + 7 > #self.window then start = need(self, 8, field) end
      local length = unpack("<i8", self.window, start)
      local left = self.size - self.position - 8
      if length < 0 or length > left then self:size64(left, field) end
      self.position = self.position + 8 + length
      -- A long string may end beyond the window: the next read starts a new one.
      if self.position - self.base > #self.window then self.window, self.base = "", self.position end
   end
end

-- A list of `count` numbers, unpacked in groups.
function cursor:numbers(count, format, bytes, field)
   local list, group = {}, 64
   local letter = format:sub(2)
   local full = "<" .. letter:rep(group)
   local n = 0
   while n < count do
      local part = math.min(group, count - n)
      local start = self:need(part * bytes, field)
      local values = { string.unpack(part == group and full or "<" .. letter:rep(part), self.window, start) }
      for i = 1, part do list[n + i] = values[i] end
      n = n + part
      self.position = self.position + part * bytes
   end
   return list
end

-- Moves on without reading; `bytes` must have been checked against left().
function cursor:skip(bytes)
   self.position = self.position + bytes
   if self.position - self.base > #self.window then self.window, self.base = "", self.position end
end

return cursor
