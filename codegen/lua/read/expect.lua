-- Checks on values that came from untrusted files. A failed check is a user error in one form:
-- FILE: FIELD: expected THIS, found THAT; DO THIS.

local fail = require "fail"
local host = require "host"

local expect = {}

-- Names and values from files are cut short in messages: a hostile one may be megabytes long.
local function shorten(text)
   return #text > 80 and text:sub(1, 77) .. "..." or text
end

-- How a value looks in a message.
function expect.show(value)
   local kind = type(value)
   if value == host.null then return "null" end
   if value == nil then return "nothing" end
   if kind == "string" then return '"' .. shorten(value) .. '"' end
   if math.type(value) == "integer" then return ("%d"):format(value) end
   if kind == "number" then return ("%.9g"):format(value) end
   if kind == "table" then return host.is_array(value) and "an array" or "an object" end
   return tostring(value)
end

expect.shorten = shorten

-- The general form; `advice` may be nil.
function expect.fail(file, field, wanted, found, advice)
   fail("%s: %s: expected %s, found %s%s", file, shorten(field), wanted, found, advice and "; " .. advice or "")
end

-- Each of these returns the value, or fails. They take where the value stands, for the message.

function expect.integer(file, field, value, lowest, highest, advice)
   if math.type(value) ~= "integer" or value < lowest or value > highest then
      expect.fail(file, field, ("a whole number from %d to %d"):format(lowest, highest), expect.show(value), advice)
   end
   return value
end

function expect.positive(file, field, value, advice)
   if type(value) ~= "number" or not (value > 0 and value < math.huge) then
      expect.fail(file, field, "a positive number", expect.show(value), advice)
   end
   return value
end

function expect.boolean(file, field, value, advice)
   if type(value) ~= "boolean" then expect.fail(file, field, "true or false", expect.show(value), advice) end
   return value
end

function expect.string(file, field, value, advice)
   if type(value) ~= "string" then expect.fail(file, field, "a string", expect.show(value), advice) end
   return value
end

function expect.object(file, field, value, advice)
   if type(value) ~= "table" or host.is_array(value) then
      expect.fail(file, field, "an object", expect.show(value), advice)
   end
   return value
end

function expect.array(file, field, value, advice)
   if not host.is_array(value) then expect.fail(file, field, "an array", expect.show(value), advice) end
   return value
end

return expect
