-- Jinja's lexer: a template's text to tokens { kind, value, line }. White space is treated as transformers sets it:
-- trim_blocks (the line feed after a block is dropped) and lstrip_blocks (so is the indentation before one).
--
-- kinds: "data" (text), "variable" and "variable_end" ({{ }}), "block" and "block_end" ({% %}), "name", "string", "integer",
-- "float", "operator", "end".

local fail = require "fail"

local lexer = {}

-- What Python counts as white space, beyond ASCII.
local WIDE_SPACES = { [0x85] = true, [0xA0] = true, [0x1680] = true, [0x2028] = true, [0x2029] = true, [0x202F] = true,
                      [0x205F] = true, [0x3000] = true }
for code = 0x2000, 0x200A do WIDE_SPACES[code] = true end

local OPERATORS = { "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
                    "=", ".", ":", "|", "," }
local CLOSING = { ["("] = ")", ["["] = "]", ["{"] = "}" }

-- The position after the white space at `position`.
local function skip_space(text, position)
   while true do
      local byte = text:byte(position)
      if not byte then return position end
      if byte == 32 or byte >= 9 and byte <= 13 or byte >= 28 and byte <= 31 then
         position = position + 1
      elseif byte >= 0xC2 and WIDE_SPACES[utf8.codepoint(text, position)] then
         position = utf8.offset(text, 2, position)
      else
         return position
      end
   end
end

-- The text without the white space at its end.
local function trim_end(text)
   local last = #text
   while last > 0 do
      local start = last
      while start > 1 and text:byte(start) & 0xC0 == 0x80 do start = start - 1 end
      if skip_space(text, start) <= last then break end
      last = start - 1
   end
   return text:sub(1, last)
end

-- Line ends become line feeds, and the one at the very end goes.
local function normal_lines(text)
   return (text:gsub("\r\n?", "\n"):gsub("\n$", ""))
end

-- ---- strings

local SIMPLE = { n = "\n", t = "\t", r = "\r", b = "\b", f = "\f", v = "\v", a = "\a", ["\\"] = "\\", ["'"] = "'", ['"'] = '"',
                 ["\n"] = "" }
local HEX_DIGITS = { x = 2, u = 4, U = 8 }

-- A character by its code; half of a surrogate pair is joined with the other half, or becomes U+FFFD.
local function add_character(out, code)
   local last = out[#out]
   if code >= 0xDC00 and code <= 0xDFFF and type(last) == "number" then
      out[#out] = utf8.char(0x10000 + ((last - 0xD800) << 10) + (code - 0xDC00))
   elseif code >= 0xD800 and code <= 0xDBFF then
      out[#out + 1] = code
   else
      out[#out + 1] = utf8.char((code >= 0xDC00 and code <= 0xDFFF) and 0xFFFD or code)
   end
end

-- What a string literal's inside means: Python's escapes.
local function unescape(body, where)
   if not body:find("\\", 1, true) then return body end
   local out, position = {}, 1
   while true do
      local slash = body:find("\\", position, true)
      if slash ~= position then out[#out + 1] = body:sub(position, (slash or #body + 1) - 1) end
      if not slash then break end
      local letter = body:sub(slash + 1, slash + 1)
      position = slash + 2
      if SIMPLE[letter] then
         out[#out + 1] = SIMPLE[letter]
      elseif HEX_DIGITS[letter] then
         local digits = body:sub(position, position + HEX_DIGITS[letter] - 1)
         local code = #digits == HEX_DIGITS[letter] and digits:match("^%x+$") and tonumber(digits, 16)
         if not code or code > 0x10FFFF then fail("%s: expected %d hexadecimal digits after \\%s", where, HEX_DIGITS[letter], letter) end
         add_character(out, code)
         position = position + #digits
      elseif letter:match("[0-7]") then
         local digits = body:match("^[0-7][0-7]?[0-7]?", slash + 1)
         add_character(out, tonumber(digits, 8))
         position = slash + 1 + #digits
      elseif letter == "N" then
         fail("%s: \\N{...} is outside the subset; write the character itself", where)
      else
         out[#out + 1] = "\\"
         position = slash + 1
      end
   end
   for i, item in ipairs(out) do
      if type(item) == "number" then out[i] = utf8.char(0xFFFD) end
   end
   return table.concat(out)
end

-- ---- inside {{ }} and {% %}

local FLOATS = { "^%d[%d_]*%.%d[%d_]*[eE][+-]?%d[%d_]*", "^%d[%d_]*[eE][+-]?%d[%d_]*", "^%d[%d_]*%.%d[%d_]*" }

local function read_number(text, position, where)
   for _, pattern in ipairs(text:sub(position - 1, position - 1) == "." and {} or FLOATS) do
      local digits = text:match(pattern, position)
      if digits then return "float", tonumber((digits:gsub("_", ""))) + 0.0, #digits end
   end
   local prefixed = text:match("^0[xX][%x_]+", position) or text:match("^0[bB][01_]+", position)
      or text:match("^0[oO][0-7_]+", position)
   if prefixed then
      local base = ({ x = 16, b = 2, o = 8 })[prefixed:sub(2, 2):lower()]
      local value = tonumber((prefixed:sub(3):gsub("_", "")), base)
      if not value or #prefixed > 64 + 2 then fail("%s: '%s' is no number", where, prefixed:sub(1, 40)) end
      return "integer", value, #prefixed
   end
   local digits = text:match("^0[0_]*", position) or text:match("^%d[%d_]*", position)
   local plain = digits:gsub("_", "")
   return "integer", math.tointeger(tonumber(plain)) or plain, #digits -- a string of digits when it is beyond 64 bits
end

local Lexer = {}
Lexer.__index = Lexer

function Lexer:where() return ("%s: line %d"):format(self.name, self.line) end

function Lexer:add(kind, value)
   self.tokens[#self.tokens + 1] = { kind = kind, value = value, line = self.line }
end

-- Goes on to a position, counting the lines on the way; `newline` is the next line feed's place.
function Lexer:move(position)
   while self.newline < position do
      self.line = self.line + 1
      self.newline = self.text:find("\n", self.newline + 1, true) or math.huge
   end
   self.position = position
end

-- One string literal.
function Lexer:string(quote)
   local text, position = self.text, self.position + 1
   while true do
      local stop = text:find("[\\" .. quote .. "]", position)
      if not stop then fail("%s: a string that begins here does not end", self:where()) end
      if text:sub(stop, stop) == quote then
         self:add("string", unescape(text:sub(self.position + 1, stop - 1), self:where()))
         return self:move(stop + 1)
      end
      position = stop + 2
   end
end

function Lexer:operator(open)
   local text, position = self.text, self.position
   for _, operator in ipairs(OPERATORS) do
      if text:sub(position, position + #operator - 1) == operator then
         if CLOSING[operator] then
            open[#open + 1] = CLOSING[operator]
         elseif operator == ")" or operator == "]" or operator == "}" then
            if open[#open] ~= operator then fail("%s: unexpected '%s'", self:where(), operator) end
            open[#open] = nil
         end
         self:add("operator", operator)
         return self:move(position + #operator)
      end
   end
   local character = text:match("^[\1-\127]", position) or text:match("^" .. utf8.charpattern, position) or "?"
   fail("%s: unexpected character '%s'", self:where(), require "emit.escape".comment(character))
end

-- The end of a tag at this position: -%}, +%}, %} with what they take along; nil if there is none.
function Lexer:tag_end(close)
   local text, position = self.text, self.position
   if text:sub(position, position + 2) == "-" .. close then return skip_space(text, position + 3) end
   if close ~= "}}" and text:sub(position, position + 2) == "+" .. close then return position + 3 end
   if text:sub(position, position + 1) ~= close then return nil end
   return position + 2 + (close ~= "}}" and text:sub(position + 2, position + 2) == "\n" and 1 or 0)
end

-- The tokens of a {{ }} or {% %}, whose beginning has been read.
function Lexer:tag(kind, close)
   local text, open = self.text, {}
   self:add(kind)
   while true do
      self:move(skip_space(text, self.position))
      local position = self.position
      local stop = #open == 0 and self:tag_end(close)
      if stop then
         self:add(kind .. "_end")
         return self:move(stop)
      end
      local byte = text:sub(position, position)
      if byte == "" then fail("%s: the template ends inside %s", self:where(), close == "}}" and "{{ }}" or "{% %}") end
      local name = text:match("^[%a_][%w_]*", position)
      if byte:match("%d") then
         local number, value, length = read_number(text, position, self:where())
         self:add(number, value)
         self:move(position + length)
      elseif name then
         if #name > 100 then fail("%s: a name is longer than 100 characters", self:where()) end
         self:add("name", name)
         self:move(position + #name)
      elseif byte == '"' or byte == "'" then
         self:string(byte)
      else
         self:operator(open)
      end
   end
end

-- ---- outside

-- The text before a tag at `start`, as the tag's sign and kind leave it.
function Lexer:data(start, sign, is_block)
   local text = self.text:sub(self.position, start - 1)
   if sign == "-" then
      text = trim_end(text)
   elseif sign ~= "+" and is_block then
      local line = text:match(".*()\n") or 0
      if (line > 0 or self.line_starts) and skip_space(text, line + 1) > #text then text = text:sub(1, line) end
   end
   if text ~= "" then self:add("data", text) end
   self:move(start)
end

function Lexer:comment(from)
   local stop = self.text:find("#}", from, true)
   if not stop then fail("%s: the comment that begins here does not end", self:where()) end
   local before = stop > from and self.text:sub(stop - 1, stop - 1)
   local after = stop + 2
   if before == "-" then
      after = skip_space(self.text, after)
   elseif before ~= "+" and self.text:sub(after, after) == "\n" then
      after = after + 1
   end
   self:move(after)
end

-- {% raw %} ... {% endraw %}: true if there was one at `start`.
function Lexer:raw(start, sign)
   local text = self.text
   local name = skip_space(text, start + 2 + #sign)
   if text:sub(name, name + 2) ~= "raw" then return false end
   local position = skip_space(text, name + 3)
   if text:sub(position, position + 2) == "-%}" then
      position = skip_space(text, position + 3)
   elseif text:sub(position, position + 1) == "%}" then
      position = position + 2
   else
      return false
   end
   self:data(start, sign, true)
   self:move(position)
   local search = position
   while true do
      local tag = text:find("{%", search, true)
      if not tag then fail("%s: the raw block that begins here does not end", self:where()) end
      local own = text:match("^[-+]", tag + 2) or ""
      local word = skip_space(text, tag + 2 + #own)
      if text:sub(word, word + 5) == "endraw" then
         self.line_starts = text:sub(position - 1, position - 1) == "\n"
         self:data(tag, own, true)
         self:move(skip_space(text, word + 6))
         local stop = self:tag_end("%}")
         if not stop then fail("%s: expected %%} after endraw", self:where()) end
         self:move(stop)
         return true
      end
      search = tag + 2
   end
end

-- lex(text, name) -> tokens. name: of the template, for messages.
function lexer.lex(text, name)
   if not utf8.len(text) then fail("%s: expected UTF-8, found other bytes; save it as UTF-8", name) end
   local self = setmetatable({ text = normal_lines(text), name = name, position = 1, line = 1, tokens = {},
                               line_starts = true }, Lexer)
   self.newline = self.text:find("\n", 1, true) or math.huge
   while true do
      local start = self.text:find("{[{%%#]", self.position)
      if not start then break end
      local opening = self.text:sub(start, start + 1)
      local sign = self.text:match("^[-+]", start + 2) or ""
      if opening == "{{" then
         self:data(start, sign, false)
         self:move(start + 2 + #sign)
         self:tag("variable", "}}")
      elseif opening == "{#" then
         self:data(start, sign, true)
         self:comment(start + 2 + #sign)
      elseif not self:raw(start, sign) then
         self:data(start, sign, true)
         self:move(start + 2 + #sign)
         self:tag("block", "%}")
      end
      self.line_starts = self.text:sub(self.position - 1, self.position - 1) == "\n"
   end
   if self.position <= #self.text then self:add("data", self.text:sub(self.position)) end
   self:add("end")
   return self.tokens
end

return lexer
