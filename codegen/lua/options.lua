-- The command line: words to recipe values. The options are those of the recipe's schema, plus a command's own.

local recipe = require "recipe"

local options = {}

local function usage(format, ...)
   error({ message = string.format(format, ...), status = 2 }, 0)
end

local function number_of(word, text)
   local value = math.tointeger(tonumber(text))
   if not value then usage("%s: expected a whole number, found '%s'", word, text) end
   return value
end

-- NAME=DIR, added to the names and folders of a field.
local function add_path(word, paths, text)
   local name, path = text:match("^([^=]*)=(.+)$")
   if not name then usage("%s: expected NAME=DIR, found '%s'", word, text) end
   if paths[name] then usage("%s: expected each name once, found '%s' twice", word, name) end
   paths[name] = path
   return name
end

-- parse(words, command, own) -> values of the recipe, own values, positional words. own: { ["--json"] = "flag",
-- ["--kernel"] = "text" }.
function options.parse(words, command, own)
   local by_option, values, extra, positional = {}, {}, {}, {}
   for _, field in ipairs(recipe.schema) do
      if field.option then by_option[field.option] = field end
   end
   local i = 1
   local function argument(word)
      i = i + 1
      if not words[i] then usage("%s: expected a value after it; see lathe %s --help", word, command) end
      return words[i]
   end
   while words[i] do
      local word = words[i]
      local name, attached = word:match("^(%-%-[^=]+)=(.*)$")
      if attached then
         words[i] = name
         table.insert(words, i + 1, attached)
         word = name
      end
      local field = by_option[word]
      if attached and (own[word] == "flag" or field and field.kind == "flag") then
         usage("%s: takes no value, found '%s'; see lathe %s --help", word, attached, command)
      end
      if own[word] then
         extra[word] = own[word] == "flag" or argument(word)
      elseif field and field.kind == "flag" then
         values[field.name] = true
      elseif field and field.kind == "list" then
         values[field.name] = values[field.name] or {}
         table.insert(values[field.name], argument(word))
      elseif field and field.kind == "paths" then
         values[field.name] = values[field.name] or {}
         add_path(word, values[field.name], argument(word))
      elseif field and field.name == "merge_lora" and (words[i + 1] or ""):find("=", 1, true) then
         values.lora = values.lora or {}
         values.merge_lora = add_path(word, values.lora, argument(word))
      elseif field then
         local text = argument(word)
         values[field.name] = field.kind == "number" and number_of(word, text) or text
      elseif word:sub(1, 1) == "-" and #word > 1 then
         usage("%s: this option is not known; see lathe %s --help", word, command)
      else
         positional[#positional + 1] = word
      end
      i = i + 1
   end
   return values, extra, positional
end

-- one_argument(positional, command, what) -> it; exactly one is expected
function options.one_argument(positional, command, what)
   if #positional ~= 1 then
      usage("expected %s, found %d; see lathe %s --help", what, #positional, command)
   end
   return positional[1]
end

-- The lines of --help for the recipe's options.
function options.help()
   local lines = {}
   for _, field in ipairs(recipe.schema) do
      if field.option then
         local left = "  " .. field.option .. (field.argument and " " .. field.argument or "")
         lines[#lines + 1] = string.format("%-28s %s", left, field.doc)
         if field.default ~= nil and type(field.default) ~= "table" and field.kind ~= "flag" then
            lines[#lines] = lines[#lines] .. string.format(" (default: %s)", field.default)
         end
      end
   end
   return table.concat(lines, "\n")
end

return options
