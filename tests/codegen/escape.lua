-- emit/escape.lua: whatever a checkpoint is called, it does not become code.

local check = require "check"
local escape = require "emit.escape"

local tests = {}

local hostile = {
   "plain", "a\"b", "a\nb", "a\r\nb", "*/ int x; /*", "/* open", "*//*/ */", "ends with a backslash\\", "\\", "??/", "???/", "??/\n",
   "????????", "??", "caf\xc3\xa9", "\xff\xfe", "\0nul\0", "\127", "%d %s", "$x$", "//% os.exit()", "'", "`id`", "$(id)",
   "tab\there", "a\\\nb", "\27[31m", "\"); system(\"id\"); (\"", "#include </etc/passwd>", "1\0001", "\xc3\xa99",
   ("x"):rep(300), "", " ", "é/", "\\?\\?/",
}

-- What a C compiler makes of adjacent string literals; nil when they are not well formed.
local function c_value(source)
   local bytes, position = {}, 1
   check.is(not source:find("[^\32-\126]"), "not printable ASCII: %q", source)
   check.is(not source:find("%?%?[=/'()!<>-]"), "a trigraph: %q", source)
   while position <= #source do
      if source:sub(position, position) ~= '"' then return nil end
      position = position + 1
      while source:sub(position, position) ~= '"' do
         local character = source:sub(position, position)
         if character == "" then return nil end
         if character ~= "\\" then
            bytes[#bytes + 1] = character
            position = position + 1
         else
            local octal = source:match("^%d%d?%d?", position + 1)
            local letter = source:sub(position + 1, position + 1)
            local plain = ({ n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["?"] = "?" })[letter]
            if octal then
               bytes[#bytes + 1] = string.char(tonumber(octal, 8))
               position = position + 1 + #octal
            elseif plain then
               bytes[#bytes + 1] = plain
               position = position + 2
            else
               return nil
            end
         end
      end
      position = position + 1
   end
   return table.concat(bytes)
end

function tests.c_strings_come_back_as_they_were()
   for _, text in ipairs(hostile) do
      check.equal(c_value(escape.c_string(text)), text, string.format("%q", text))
   end
   check.equal(escape.c_string("why?"), '"why?"')
end

function tests.c_strings_of_all_bytes_and_pairs()
   for first = 0, 255 do
      for _, second in ipairs { 0x30, 0x3f, 0x5c, 0x22, 0x41, 0x0a, 0xff } do
         local text = string.char(first, second)
         check.equal(c_value(escape.c_string(text)), text)
      end
   end
end

function tests.c_lines_are_the_text_in_order()
   for _, text in ipairs(hostile) do
      for _, width in ipairs { 1, 2, 7, 90 } do
         local values = {}
         for i, line in ipairs(escape.c_lines(text, width)) do
            values[i] = c_value(line)
            check.is(#values[i] <= width, "longer than %d: %q", width, values[i])
            check.is(not values[i]:find("\n.", 1), "goes on after a newline: %q", values[i])
         end
         check.equal(table.concat(values), text)
      end
   end
end

function tests.comments_stay_comments()
   for _, text in ipairs(hostile) do
      local comment = escape.comment(text)
      check.is(not comment:find("[^\32-\126]"), "%q", comment)
      check.is(not comment:find("*/", 1, true) and not comment:find("/*", 1, true), "%q", comment)
      check.is(not comment:find("\\", 1, true) and not comment:find("??", 1, true), "%q", comment)
   end
   check.equal(escape.comment("lathe build 'a b' --dtype f32"), "lathe build 'a b' --dtype f32")
end

-- A real shell is the judge.
function tests.shell_words_come_back_as_they_were()
   local script, expected = {}, {}
   for _, text in ipairs(hostile) do
      if not text:find("\0") then
         script[#script + 1] = "printf '%s\\0' " .. escape.shell(text)
         expected[#expected + 1] = text .. "\0"
      end
   end
   local path = check.file("script", table.concat(script, "\n") .. "\n")
   local pipe = assert(io.popen("LC_ALL=C sh " .. path, "r"))
   local found = pipe:read("a")
   check.is(pipe:close(), "the shell failed")
   check.equal(found, table.concat(expected))
end

function tests.names_of_packages()
   for _, name in ipairs { "smol", "Llama-3.2-1B", "a", "_x", "7b", "a.b_c-d", ("x"):rep(100) } do
      check.equal(escape.is_name(name), true, name)
   end
   for _, name in ipairs { "", ".", "..", ".hidden", "-x", "a b", "a/b", "a\nb", "a\0b", "caf\xc3\xa9", "a\"", "a\\", "$x", "src",
                           "MANIFEST.json", "lathe.h", "weights.bin", ("x"):rep(101), "a;b", "a*", "a\n" } do
      check.equal(escape.is_name(name), false, string.format("%q", name))
   end
end

-- What a folder's name and options turn into on the second line of every source.
function tests.the_command_in_a_header()
   local recipe = require "recipe"
   local emit_line = function(values)
      return "// " .. escape.comment(recipe.command(recipe.complete(values, "test"), "generate"))
   end
   for _, text in ipairs(hostile) do
      if text ~= "" and not text:find("\0") then
         local line = emit_line { model = "models/" .. text, ignore_config_keys = { text } }
         check.is(not line:find("[\n\r\\]") and not line:find("*/", 1, true), "%q", line)
      end
   end
   check.equal(emit_line { model = "/home/me/my model/", dtype = "f32", max_rows = 8, thin = true, templates = "/x/y/tpl/" },
               "// lathe generate 'my model' --dtype f32 --max-rows 8 --thin --templates tpl")
end

return tests
