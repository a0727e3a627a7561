-- The chat template of a Hugging Face folder: chat_template.jinja, or the key of tokenizer_config.json, which is a
-- string or a list of named ones. Source: transformers' tokenization_utils_base.py (the file comes first).

local host = require "host"
local expect = require "read.expect"

local FILE = "chat_template.jinja"
local LARGEST = 4 << 20 -- bytes

-- read(folder, open, tokenizer_config) -> string or nil. `open.file(name)` opens a file of the folder.
return function(folder, open, tokenizer_config)
   if host.exists(folder .. "/" .. FILE) then
      local file = open.file(FILE)
      if file:size() > LARGEST then
         expect.fail(folder .. "/" .. FILE, "size", ("at most %d bytes"):format(LARGEST), ("%d"):format(file:size()))
      end
      local text = file:read(0, file:size())
      if not utf8.len(text) then expect.fail(folder .. "/" .. FILE, "text", "UTF-8", "other bytes", "save it as UTF-8") end
      return text
   end
   local template = tokenizer_config.chat_template
   if template == nil or template == host.null or type(template) == "string" then
      return type(template) == "string" and template or nil
   end
   local path = folder .. "/tokenizer_config.json"
   expect.array(path, "chat_template", template)
   for i, item in ipairs(template) do
      local field = ("chat_template[%d]"):format(i - 1)
      expect.object(path, field, item)
      expect.string(path, field .. ".name", item.name)
      expect.string(path, field .. ".template", item.template)
      if item.name == "default" then return item.template end
   end
   return nil
end
