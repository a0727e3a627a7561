-- Regular expressions of tokenizer.json, written for Oniguruma (its own syntax, UTF-8), translated for PCRE2 with
-- UTF and UCP. Where the two read a pattern differently (doc/RE of Oniguruma 6.9, pcre2pattern(3)):
--
--    ^ $             at every line               (?m:^) (?m:$)
--    (?m) (?m:...)   the dot matches \n          (?s) (?s:...)
--    \h \H           a hexadecimal digit         [0-9A-Fa-f]
--    \s \w           White_Space; UTS #18 word   classes with these properties ([[:space:]] and friends too)
--    \uHHHH, \xE2\x96\x81 (bytes)                \x{HHHH}
--    [a-z[0-9]&&[^5]]                            unions and intersections of classes, as alternatives and lookaheads
--    x{,n}           x{0,n}                      (?:x)? for x{n}?, (?:x{n,m})+ for x{n,m}+
--    \p{^L} \p{Letter} \p{Alnum}                 \P{L} \p{L} [...]

local host = require "host"
local fail = require "fail"

local regex = {}

local space = [[\p{White_Space}]]
local word = [[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]]
local word_alone = word .. [[\xB2\xB3\xB9\xBC-\xBE]] -- outside a class Oniguruma counts Latin-1's small digits in

-- What stands inside a class for each of the POSIX brackets and of Oniguruma's own properties.
local named = {
   alnum = [[\p{Alphabetic}\p{Nd}]], alpha = [[\p{Alphabetic}]], blank = [[\p{Zs}\t]], cntrl = [[\p{Cc}]],
   digit = [[\p{Nd}]], lower = [[\p{Lowercase}]], punct = [[\p{P}\p{S}]], space = space,
   upper = [[\p{Uppercase}]], xdigit = "0-9A-Fa-f", word = word, ascii = [[\x00-\x7F]],
   graph = { [[\p{White_Space}\p{Cc}\p{Cn}\p{Cs}]] }, print = { [[\p{Cc}\p{Cn}\p{Cs}\x{2028}\x{2029}]] }, -- all but
}

-- General categories by their long names, which PCRE2 does not know.
local categories = {
   letter = "L", casedletter = "L&", uppercaseletter = "Lu", lowercaseletter = "Ll", titlecaseletter = "Lt",
   modifierletter = "Lm", otherletter = "Lo", mark = "M", nonspacingmark = "Mn", spacingmark = "Mc",
   enclosingmark = "Me", number = "N", decimalnumber = "Nd", letternumber = "Nl", othernumber = "No",
   punctuation = "P", connectorpunctuation = "Pc", dashpunctuation = "Pd", openpunctuation = "Ps",
   closepunctuation = "Pe", initialpunctuation = "Pi", finalpunctuation = "Pf", otherpunctuation = "Po",
   symbol = "S", mathsymbol = "Sm", currencysymbol = "Sc", modifiersymbol = "Sk", othersymbol = "So",
   separator = "Z", spaceseparator = "Zs", lineseparator = "Zl", paragraphseparator = "Zp", other = "C",
   control = "Cc", format = "Cf", surrogate = "Cs", privateuse = "Co", unassigned = "Cn", combiningmark = "M",
}

-- A class is a set: { items = what stands inside [...], sets = other sets, all in union }, possibly `negated`; or
-- { both = {set, set} }, an intersection. As PCRE2: one character that is in the set.
local function written(set)
   if set.text then return set.text end
   local text
   if set.both then
      text = "(?:(?=" .. written(set.both[1]) .. ")" .. written(set.both[2]) .. ")"
   elseif #set.sets == 0 and set.items ~= "" then
      return "[" .. (set.negated and "^" or "") .. set.items .. "]"
   else
      local parts = {}
      if set.items ~= "" then parts[1] = "[" .. set.items .. "]" end
      for _, inner in ipairs(set.sets) do parts[#parts + 1] = written(inner) end
      text = #parts > 0 and "(?:" .. table.concat(parts, "|") .. ")" or "(?!)"
   end
   return set.negated and "(?:(?!" .. text .. [[)\p{Any})]] or text
end

local function all_but(items) return { items = items, sets = {}, negated = true } end

-- \b and \B: whether the characters before and after differ in being word characters.
local function boundary(differ)
   local before, after = "(?<=[" .. word_alone .. "])", "(?=[" .. word_alone .. "])"
   local not_before, not_after = "(?<![" .. word_alone .. "])", "(?![" .. word_alone .. "])"
   if differ then return "(?:" .. before .. not_after .. "|" .. not_before .. after .. ")" end
   return "(?:" .. before .. after .. "|" .. not_before .. not_after .. ")"
end

local parser = {}
parser.__index = parser

function parser:error(message)
   local shown = self.pattern
   if #shown > 200 then shown = shown:sub(1, 200) .. "..." end
   self.place:fail(self.field, "a regular expression that lathe can translate",
                   string.format('%s at offset %d of "%s"', message, self.at - 1, shown:gsub("%c", "?")))
end

function parser:peek(text) return self.pattern:sub(self.at, self.at + #text - 1) == text end

function parser:take(lua_pattern)
   local first, last, capture = self.pattern:find("^" .. lua_pattern, self.at)
   if not first then return nil end
   self.at = last + 1
   return capture or self.pattern:sub(first, last)
end

-- The name in \p{...}: items of a class, or a negated set; nil if it is passed on as it stands.
local function property(name)
   local plain = name:lower():gsub("[ _-]", "")
   if plain == "punct" then return [[\p{P}]] end -- narrower than [:punct:]
   return named[plain] or categories[plain] and "\\p{" .. categories[plain] .. "}"
end

-- One escape. In a class it gives items, or a set; outside it gives a set or literal text. Returns items, set.
function parser:escape(in_class)
   local letter = self:take(utf8.charpattern)
   if not letter then self:error("a backslash at the end") end
   if letter == "h" then return "0-9A-Fa-f" end
   if letter == "H" then return nil, all_but "0-9A-Fa-f" end
   if letter == "s" then return space end
   if letter == "S" then return in_class and [[\P{White_Space}]] or nil, all_but(space) end
   if letter == "w" then return in_class and word or word_alone end
   if letter == "W" then return nil, all_but(in_class and word or word_alone) end
   if not in_class and letter == "b" then return nil, { text = boundary(true) } end
   if not in_class and letter == "B" then return nil, { text = boundary(false) } end
   if letter == "p" or letter == "P" then
      local caret = self:take "{(%^?)"
      local name = caret and self:take "([%w_ %-&]+)}"
      if not name then self:error("an unreadable property") end
      local negated = (letter == "P") ~= (caret == "^")
      local items = property(name)
      if type(items) == "table" then -- all but these
         if negated then return items[1] end
         return nil, all_but(items[1])
      end
      if not items then
         -- By a script's name PCRE2 means Script_Extensions, Oniguruma means Script.
         if #name > 2 and host.regex_check("\\p{sc:" .. name .. "}") then name = "sc:" .. name end
         return (negated and "\\P{" or "\\p{") .. name .. "}"
      end
      if not negated then return items end
      return nil, all_but(items)
   end
   if letter == "u" then
      local digits = self:take "%x%x%x%x"
      if not digits then self:error("\\u without four digits") end
      return "\\x{" .. digits .. "}"
   end
   if letter == "x" then
      local digits = self:take "{%s*(%x+)%s*}"
      if digits then return "\\x{" .. digits .. "}" end
      digits = self:take "%x%x?" or "0"
      local byte = tonumber(digits, 16)
      if byte < 0x80 then return string.format("\\x{%x}", byte) end
      local bytes = string.char(byte) -- the bytes of one character, written one by one
      while not utf8.len(bytes) do
         digits = self:take "\\x(%x%x)"
         if not digits or #bytes == 4 then self:error("bytes that are no character") end
         bytes = bytes .. string.char(tonumber(digits, 16))
      end
      return string.format("\\x{%x}", utf8.codepoint(bytes))
   end
   if #letter > 1 then return letter end -- an escaped character beyond ASCII is itself
   return "\\" .. letter
end

-- From behind "[" to behind "]".
function parser:class()
   local set = { items = "", sets = {}, negated = self:take "%^" ~= nil }
   local left -- what stands before the last &&
   local first = true
   local function close(one)
      if not left then return one end
      return { both = { left, one }, items = "", sets = {} }
   end
   local negated = set.negated
   set.negated = false
   while true do
      if self.at > #self.pattern then self:error("a class without an end") end
      if not first and self:take "%]" then break end
      local name = self:peek "[:" and self:take "%[:(%^?%a+):%]"
      if name then
         local inverted = name:sub(1, 1) == "^"
         local items = named[name:gsub("^%^", "")]
         if not items then self:error("an unknown bracket [:" .. name .. ":]") end
         if type(items) == "table" then items, inverted = items[1], not inverted end
         if inverted then set.sets[#set.sets + 1] = all_but(items) else set.items = set.items .. items end
      elseif self:take "%[" then
         set.sets[#set.sets + 1] = self:class()
      elseif self:take "&&" then
         left = close(set)
         set = { items = "", sets = {} }
      elseif self:take "\\" then
         local items, inner = self:escape(true)
         if items then set.items = set.items .. items else set.sets[#set.sets + 1] = inner end
      else
         local character = self:take(utf8.charpattern)
         if character == "]" or character == "^" then character = "\\" .. character end
         set.items = set.items .. character
      end
      first = false
   end
   set = close(set)
   if not negated then return set end
   if set.both or #set.sets > 0 then return { items = "", sets = { set }, negated = true } end
   set.negated = true
   return set
end

-- (?imx-imx) and (?imx-imx:...): Oniguruma's m is PCRE2's s.
function parser:options()
   local options = self:take "%(%?([imx%-]+[:)])"
   return options and "(?" .. options:gsub("m", "s")
end

-- Repeats of a counted repeat: {n,m}+ repeats it again, and {n}? makes it optional.
function parser:count(out, atom)
   local low, comma, high = self.pattern:match("^{(%d*)(,?)(%d*)}", self.at)
   if not low or (low == "" and high == "") then return false end
   self:take "{%d*,?%d*}"
   if low == "" then low = "0" end
   out[#out + 1] = "{" .. low .. comma .. high .. "}"
   if self:peek "+" or (comma == "" and self:peek "?") then
      table.insert(out, atom, "(?:")
      out[#out + 1] = ")"
   elseif self:take "%?" then
      out[#out + 1] = "?"
   end
   return true
end

function parser:run()
   local out = {}
   local atom = 1       -- where in `out` the last thing that can be repeated begins
   local groups = {}    -- where the open groups begin
   local function add(text) atom = #out + 1; out[atom] = text end
   while self.at <= #self.pattern do
      if self:take "\\" then
         if self:peek "Q" then self:error("\\Q") end
         local items, set = self:escape(false)
         if set then
            add(written(set))
         elseif items:find "^\\.$" or items:find "^\\[pPx]{[^}]*}$" or utf8.len(items) == 1 then
            local reference = items:find "^\\[gk]$" and self:take "[<'][^>']*[>']" or ""
            add(items .. reference)
         else
            add("[" .. items .. "]")
         end
      elseif self:take "%[" then
         add(written(self:class()))
      elseif self:take "%^" then
         add "(?m:^)"
      elseif self:take "%$" then
         add "(?m:$)"
      elseif self:peek "(?#" then
         if not self:take "%(%?#[^)]*%)" then self:error("a comment without an end") end
      elseif self:peek "(" then
         local text = self:options() or self:take "%(%?[:=!>|]" or self:take "%(%?<[=!]" or
            self:take "%(%?<[%a_][%w_]*>" or not self:peek "(?" and self:take "%("
         if not text then self:error("a group of an unknown kind") end
         add(text)
         if text:sub(-1) ~= ")" then groups[#groups + 1] = atom end
      elseif self:take "%)" then
         out[#out + 1] = ")"
         atom = table.remove(groups) or self:error("a parenthesis too many")
      elseif self:peek "{" and self:count(out, atom) then -- done
      else
         local character = self:take(utf8.charpattern)
         if character:find "^[*+?]$" then
            out[#out + 1] = character
         elseif character == "{" then
            add "\\{"
         else
            add(character)
         end
      end
   end
   return table.concat(out)
end

-- The pattern in a field of a place, for PCRE2; a user error if it is none.
function regex.translate(place, field)
   local pattern = place:string(field)
   if not utf8.len(pattern) then place:fail(field, "valid UTF-8", "other bytes") end
   if #pattern > 65536 then place:fail(field, "at most 65536 bytes", tostring(#pattern)) end
   local translated = setmetatable({ place = place, field = field, pattern = pattern, at = 1 }, parser):run()
   local valid, message, offset = host.regex_check(translated)
   if not valid then
      fail('%s: %s.%s: expected a regular expression, found "%s": %s (offset %d of its PCRE2 form "%s")', place.file,
           place.path, field, pattern:sub(1, 200), message, offset, translated:sub(1, 300))
   end
   return translated
end

return regex
