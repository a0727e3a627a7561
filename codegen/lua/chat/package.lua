-- The chat templates of a package: which there are, their C sources, and the special tokens that they may name.

local escape = require "emit.escape"
local fail = require "fail"
local host = require "host"
local translate = require "chat.translate"

local package = {}

local MOST = 16 -- templates

local function advised(call, ...)
   local done, problem = pcall(call, ...)
   if done then return problem end
   if type(problem) ~= "table" or not problem.message then error(problem, 0) end
   fail("%s; give another template with --chat-template FILE, or build without one: --chat-template none", problem.message)
end

-- of(checkpoint, recipe) -> list of { name, text, where }, the default one first
function package.of(checkpoint, recipe)
   local given = recipe.chat_template
   if given == "none" then return {} end
   if given then
      local file <close> = host.open(given)
      return { { name = "default", text = file:read(0, file:size()), where = given } }
   end
   local templates = table.move(checkpoint.chat_templates, 1, #checkpoint.chat_templates, 1, {})
   if #templates > MOST then
      fail("%s: expected at most %d chat templates, found %d", templates[MOST + 1].where, MOST, #templates)
   end
   table.sort(templates, function(a, b)
      if (a.name == "default") ~= (b.name == "default") then return a.name == "default" end
      return a.name < b.name
   end)
   return templates
end

-- The default template's text, or nil.
function package.default_text(templates)
   return templates[1] and templates[1].name == "default" and templates[1].text or nil
end

-- sources(templates) -> list of { file, function_name, name, text }: one C file a template
function package.sources(templates)
   local sources = {}
   for i, template in ipairs(templates) do
      local stem = i == 1 and "chat_template" or "chat_template_" .. i
      local text = advised(translate, template.text, template.where, stem)
      sources[i] = { file = stem .. ".c", function_name = stem, name = template.name, text = text }
   end
   return sources
end

local function content(value)
   if type(value) == "table" then value = value.content end
   return type(value) == "string" and value or nil
end

-- tokens(checkpoint) -> list of { name, text }: "bos_token" and the like, where the checkpoint has them. Source:
-- transformers, which gives templates its special_tokens_map.
function package.tokens(checkpoint)
   local names, tokens = {}, {}
   for _, map in ipairs { checkpoint.special_tokens or {}, checkpoint.tokenizer_config or {} } do
      for name, value in pairs(map) do
         if type(name) == "string" and name:match("^[a-z][a-z0-9_]*_token$") and #name <= 40 then
            local text = content(value)
            if text and not text:find("\0", 1, true) then
               if not tokens[name] then names[#names + 1] = name end
               tokens[name] = text
            end
         end
      end
   end
   table.sort(names)
   local list = {}
   for i, name in ipairs(names) do list[i] = { name = name, text = tokens[name] } end
   return list
end

-- Lines of C for the table of templates and that of tokens.
function package.template_lines(sources)
   local lines = {}
   for i, source in ipairs(sources) do
      lines[i] = string.format("{%s, %s},", escape.c_string(source.name), source.function_name)
   end
   return lines
end

function package.token_lines(tokens)
   local lines = {}
   for i, token in ipairs(tokens) do
      lines[i] = string.format("{%s, %s},", escape.c_string(token.name), escape.c_string(token.text))
   end
   return lines
end

return package
