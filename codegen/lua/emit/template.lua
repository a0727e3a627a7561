-- Templates are ordinary C files. A line that starts with //% is Lua; $expression$ in any other line is replaced by its
-- value. Each template line becomes one line of Lua, so that an error names the template's own line.
--
--    //% for _, field in ipairs(fields) do
--        uint64_t $field.name$;
--    //% end

local fail = require "fail"

local template = {}

-- How a value is written in C: integers as they are, floats as single-precision literals with nine digits.
local function literal(value, expression, where)
   local kind = math.type(value)
   if kind == "integer" then return string.format("%d", value) end
   if kind == "float" then
      assert(value == value and math.abs(value) < math.huge, where .. ": $" .. expression .. "$ is not finite")
      local text = string.format("%.9g", value)
      if not text:find("[%.e]") then text = text .. ".0" end
      return text .. "f"
   end
   if type(value) == "boolean" then return tostring(value) end
   if type(value) == "string" then return value end
   error(string.format("%s: $%s$ is %s; expected a number, a boolean or a string", where, expression, type(value)), 0)
end

-- 'a $b$ c' -> Lua code that appends the line to the output.
local function text_line(line, chunk, number)
   local parts, position = {}, 1
   while true do
      local first, last, expression = line:find("%$([^%$]+)%$", position)
      if not first then break end
      if first > position then parts[#parts + 1] = string.format("%q", line:sub(position, first - 1)) end
      parts[#parts + 1] = string.format("literal((%s), %q, %q)", expression, expression, chunk .. ":" .. number)
      position = last + 1
   end
   parts[#parts + 1] = string.format("%q", line:sub(position) .. "\n"):gsub("\\\n", "\\n")
   return "write(" .. table.concat(parts, " .. ") .. ")"
end

-- Names that a template may use besides the values that it is given.
local library = { ipairs = ipairs, string = string, table = table, math = math }

-- expand(text, values, chunk) -> the expanded text. chunk: the template's path, for messages. A name that is not in
-- `values` is an error.
function template.expand(text, values, chunk)
   local code, number = {}, 0
   if text ~= "" and text:sub(-1) ~= "\n" then text = text .. "\n" end
   for line in text:gmatch("([^\n]*)\n") do
      number = number + 1
      local control = line:match("^%s*//%%(.*)$")
      code[#code + 1] = control or text_line(line, chunk, number)
   end
   local out = {}
   local environment = setmetatable({
      write = function(piece) out[#out + 1] = piece end,
      literal = literal,
   }, {
      __index = function(_, name)
         local value = values[name]
         if value == nil then value = library[name] end
         if value == nil then error(string.format("'%s' is not defined", name), 2) end
         return value
      end,
   })
   local loaded, message = load(table.concat(code, "\n"), "@" .. chunk, "t", environment)
   if not loaded then fail("%s (the template cannot be read)", message) end
   local done, problem = pcall(loaded)
   if not done then fail("%s (the template cannot be expanded)", tostring(problem)) end
   return table.concat(out)
end

return template
