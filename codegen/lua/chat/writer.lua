-- The text of emitted C: functions as lists of lines, names of variables, breaking of long lines.

local escape = require "emit.escape"

local writer = {}

local WIDTH, LITERAL = 116, 2000

-- ---- names

local RESERVED = {}
for word in ([[auto break case char const continue default do double else enum extern float for goto if inline int long
   register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while asm typeof
   bool true false linux unix i386]]):gmatch("%S+") do
   RESERVED[word] = true
end

-- A template's name as an identifier that no keyword or macro is: names of small letters stay as they are, others get an
-- underscore, and so does what ends in one, so that no two become the same.
local function identifier(name)
   if not name:match("^[a-z][a-z0-9_]*$") or name:sub(-1) == "_" or RESERVED[name] then
      name = (name:sub(1, 1) == "_" and "x" or "") .. name .. "_"
   end
   return name
end
writer.identifier = identifier

-- A variable inside a function; level 0 lies in the struct that all functions share.
function writer.variable(variable)
   if variable.level == 0 then return "v->" .. identifier(variable.name) end
   return identifier(variable.name) .. "_" .. variable.level
end

-- ---- literals

-- Pieces of a text, each short enough for any compiler, cut between characters and preferably at line ends.
function writer.pieces(text)
   local pieces, position = {}, 1
   while #text - position + 1 > LITERAL do
      local last = position + LITERAL - 1
      while text:byte(last + 1) & 0xC0 == 0x80 do last = last - 1 end
      pieces[#pieces + 1] = text:sub(position, last)
      position = last + 1
   end
   pieces[#pieces + 1] = text:sub(position)
   return pieces
end

-- A literal broken after line feeds: "..." "..." on lines of their own when it is long.
function writer.literal(text, indent)
   local parts = escape.c_lines(text, 80)
   if #parts == 1 or #escape.c_string(text) <= 80 then return escape.c_string(text) end
   return table.concat(parts, "\n" .. indent)
end

-- ---- lines

-- Breaks a line of code that is too long, after commas and before operators, outside literals.
local function broken(line, out)
   if #line <= WIDTH then
      out[#out + 1] = line
      return
   end
   local indent = #line:match("^ *")
   local start, first = 1, ""       -- of the piece being filled; what stands before it
   local position, in_string, cut = indent + 1, false, nil
   while position <= #line do
      local byte = line:byte(position)
      if in_string then
         if byte == 92 then position = position + 1 end -- a backslash
         if byte == 34 then in_string = false end
      elseif byte == 34 then
         in_string = true
      elseif byte == 32 then
         local before, after = line:sub(position - 1, position - 1), line:sub(position + 1, position + 2)
         if before == "," or after == "&&" or after == "||" or after == "? " or after == ": " then cut = position end
      end
      if cut and #first + position - start >= WIDTH then
         out[#out + 1] = first .. line:sub(start, cut - 1)
         start, first, cut = cut + 1, (" "):rep(indent + 8), nil
      end
      position = position + 1
   end
   out[#out + 1] = first .. line:sub(start)
end

function writer.wrap(text)
   local out = {}
   for line in (text .. "\n"):gmatch("([^\n]*)\n") do broken(line, out) end
   return table.concat(out, "\n")
end

return writer
