-- The one way for text from a checkpoint into generated source: a C string literal, a comment, a file name.

local escape = {}

local named = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ['"'] = '\\"', ["\\"] = "\\\\" }

-- "text" as a C string literal; octal escapes for all but printable ASCII, no ?? (trigraphs).
function escape.c_string(text)
   local body = text:gsub("[%c\"\\\127-\255]", function(byte)
      return named[byte] or string.format("\\%03o", byte:byte())
   end)
   return '"' .. body:gsub("%?%?+", function(marks) return "?" .. ("\\?"):rep(#marks - 1) end) .. '"'
end

-- A long text as lines of C string literals of at most `width` bytes each.
function escape.c_lines(text, width)
   local lines, position = {}, 1
   while position <= #text do
      local newline = text:find("\n", position, true)
      local last = math.min(newline or #text, position + width - 1)
      lines[#lines + 1] = escape.c_string(text:sub(position, last))
      position = last + 1
   end
   if #lines == 0 then lines[1] = '""' end
   return lines
end

-- Text inside a comment: nothing that could end it or continue it on the next line (nor ??/, which is a backslash),
-- nothing but printable ASCII.
function escape.comment(text)
   return (text:gsub("[^\32-\126]", "_"):gsub("\\", "_"):gsub("%?%?", "?_"):gsub("%*/", "* /"):gsub("/%*", "/ *"))
end

-- A shell word for the command in a header; quoted when it needs to be.
function escape.shell(text)
   if text:match("^[%w%._/=:,+-]+$") then return text end
   return "'" .. text:gsub("'", "'\\''") .. "'"
end

local taken = { src = true, ["MANIFEST.json"] = true, ["lathe.h"] = true, ["weights.bin"] = true }

-- Whether a package may be called so: it becomes file names and messages.
function escape.is_name(text)
   return not taken[text] and text:match("^[%w_][%w%._-]*$") ~= nil and #text <= 100
end

return escape
