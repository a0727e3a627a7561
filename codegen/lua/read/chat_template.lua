-- The chat templates of a Hugging Face folder, where transformers looks for them (tokenization_utils_base.py):
-- chat_template.jinja and additional_chat_templates/NAME.jinja; else the key of tokenizer_config.json, which is a string or a
-- list of named ones; else chat_template.json, which multimodal models have.

local host = require "host"
local expect = require "read.expect"

local FILE, FOLDER, OLD_FILE = "chat_template.jinja", "additional_chat_templates", "chat_template.json"
local LARGEST = 4 << 20 -- bytes

local function read_text(folder, open, name)
   local file = open.file(name)
   if file:size() > LARGEST then
      expect.fail(folder .. "/" .. name, "size", ("at most %d bytes"):format(LARGEST), ("%d"):format(file:size()))
   end
   local text = file:read(0, file:size())
   if not utf8.len(text) then expect.fail(folder .. "/" .. name, "text", "UTF-8", "other bytes", "save it as UTF-8") end
   return text
end

-- Those that are files of their own.
local function read_files(folder, open)
   local templates = {}
   local function add(name, file)
      templates[#templates + 1] = { name = name, text = read_text(folder, open, file), where = folder .. "/" .. file }
   end
   if host.exists(folder .. "/" .. FILE) then add("default", FILE) end
   if host.is_directory(folder .. "/" .. FOLDER) then
      for _, file in ipairs(host.list(folder .. "/" .. FOLDER)) do
         local name = file:match("^(.+)%.jinja$")
         if name then add(name, FOLDER .. "/" .. file) end
      end
   end
   return templates
end

-- A template as JSON has it: a string, or a list of { name, template }.
local function read_value(path, value)
   if value == nil or value == host.null then return {} end
   if type(value) == "string" then return { { name = "default", text = value, where = path .. ": chat_template" } } end
   expect.array(path, "chat_template", value)
   local templates = {}
   for i, item in ipairs(value) do
      local field = ("chat_template[%d]"):format(i - 1)
      expect.object(path, field, item)
      templates[i] = { name = expect.string(path, field .. ".name", item.name),
                       text = expect.string(path, field .. ".template", item.template),
                       where = ("%s: %s"):format(path, field) }
   end
   return templates
end

-- read(folder, open, tokenizer_config) -> list of { name, text, where }; where: for messages. `open.file(name)` opens a file
-- of the folder, `open.optional(name)` reads JSON.
return function(folder, open, tokenizer_config)
   local templates = read_files(folder, open)
   if #templates > 0 then return templates end
   templates = read_value(folder .. "/tokenizer_config.json", tokenizer_config.chat_template)
   if #templates > 0 then return templates end
   local old = open.optional(OLD_FILE)
   return old and read_value(folder .. "/" .. OLD_FILE, old.chat_template) or {}
end
