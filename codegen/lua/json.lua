-- Lua values to JSON: keys sorted, integers without a fraction, floats with 17 digits, so that the same value is
-- always the same bytes. (Reading is host.json_decode.)

local host = require "host"

local json = {}

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function quote(text)
   return '"' .. text:gsub('[%c"\\\127]', function(character)
      return escapes[character] or string.format("\\u%04x", character:byte())
   end) .. '"'
end

local function number(value)
   if math.type(value) == "integer" then return tostring(value) end
   assert(value == value and value ~= math.huge and value ~= -math.huge, "JSON has no NaN or infinity")
   return (string.format("%.17g", value):gsub("^(-?%d+)$", "%1.0"))
end

local function is_list(value)
   return host.is_array(value) or #value > 0
end

local function sorted_keys(value)
   local keys = {}
   for key in pairs(value) do keys[#keys + 1] = tostring(key) end
   table.sort(keys)
   return keys
end

-- Short lists of scalars stay on one line even in pretty output: shapes, ids.
local function is_flat(value)
   for _, item in ipairs(value) do
      if type(item) == "table" then return false end
   end
   return true
end

local function write(value, indent, out)
   local kind = type(value)
   if value == nil or value == host.null then
      out[#out + 1] = "null"
   elseif kind == "boolean" then
      out[#out + 1] = tostring(value)
   elseif kind == "number" then
      out[#out + 1] = number(value)
   elseif kind == "string" then
      out[#out + 1] = quote(value)
   elseif kind == "table" then
      local list = is_list(value)
      local inner = indent and not (list and is_flat(value)) and indent .. "  "
      local separator, break_line = inner and ",\n" .. inner or (indent and ", " or ","), inner and "\n" .. inner or ""
      out[#out + 1] = list and "[" or "{"
      local keys = not list and sorted_keys(value)
      local count = list and #value or #keys
      for i = 1, count do
         out[#out + 1] = i == 1 and break_line or separator
         if keys then
            out[#out + 1] = quote(keys[i]) .. (indent and ": " or ":")
            write(value[keys[i]], inner, out)
         else
            write(value[i], inner, out)
         end
      end
      if inner and count > 0 then out[#out + 1] = "\n" .. indent end
      out[#out + 1] = list and "]" or "}"
   else
      error("JSON cannot hold a " .. kind)
   end
end

-- encode(value [, pretty]) -> text
function json.encode(value, pretty)
   local out = {}
   write(value, pretty and "" or nil, out)
   return table.concat(out)
end

return json
