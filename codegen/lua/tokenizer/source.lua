-- A place in a decoded JSON file that knows its own path, so that every error names file, field, what was expected
-- and what was found.

local host = require "host"
local fail = require "fail"

local source = {}
source.__index = source

local function printable(value)
   if value == nil or value == host.null then return "nothing" end
   if type(value) == "string" then
      if #value > 80 then value = value:sub(1, 80) .. "..." end
      return '"' .. value:gsub("%c", "?") .. '"'
   end
   if type(value) == "table" then return host.is_array(value) and "a list" or "an object" end
   return tostring(value)
end

function source.new(value, file, path)
   return setmetatable({ value = value, file = file, path = path or "" }, source)
end

-- The error for a field below this place. `found` is text already.
function source:fail(field, expected, found, advice)
   local path = self.path
   if field and field ~= "" then path = path == "" and field or path .. "." .. field end
   fail("%s: %s: expected %s, found %s%s", self.file, path, expected, found, advice and "; " .. advice or "")
end

function source:fail_value(field, expected, value, advice)
   self:fail(field, expected, printable(value), advice)
end

-- The raw value of a field; nil for absent and null.
function source:raw(field)
   local value = self.value[field]
   if value == host.null then return nil end
   return value
end

local function typed(name, check)
   return function(self, field, default)
      local value = self:raw(field)
      if value == nil then
         if default == nil then self:fail(field, name, "nothing") end
         return default
      end
      if not check(value) then self:fail_value(field, name, value) end
      return value
   end
end

source.string = typed("a string", function(value) return type(value) == "string" end)
source.boolean = typed("true or false", function(value) return type(value) == "boolean" end)
source.count = typed("a whole number from 0 to 16777213", function(value)
   return math.type(value) == "integer" and value >= 0 and value <= 0xFFFFFD
end)

-- The place of a field that holds an object; nil if it is absent or null.
function source:object(field)
   local value = self:raw(field)
   if value == nil then return nil end
   if type(value) ~= "table" or host.is_array(value) then self:fail_value(field, "an object", value) end
   return source.new(value, self.file, self.path == "" and field or self.path .. "." .. field)
end

-- The places of the objects in a list; {} if it is absent or null.
function source:objects(field)
   local value = self:raw(field)
   if value == nil then return {} end
   if type(value) ~= "table" or not host.is_array(value) then self:fail_value(field, "a list", value) end
   local places = {}
   for i, item in ipairs(value) do
      local path = string.format("%s[%d]", self.path == "" and field or self.path .. "." .. field, i - 1)
      if type(item) ~= "table" or host.is_array(item) then
         fail("%s: %s: expected an object, found %s", self.file, path, printable(item))
      end
      places[i] = source.new(item, self.file, path)
   end
   return places
end

-- One of the keys of `choices`; returns what stands there. `default`: a key, or nil if the field must be there.
function source:choice(field, choices, default)
   local value = self:raw(field)
   if value == nil then value = default end
   local chosen = type(value) == "string" and choices[value]
   if chosen == nil or chosen == false then
      local names = {}
      for name in pairs(choices) do names[#names + 1] = name end
      table.sort(names)
      self:fail_value(field, "one of " .. table.concat(names, ", "), value,
                      "lathe does not support other values yet")
   end
   return chosen
end

return source
