-- For test_templates.c: writes the C of a set of chat templates and the table of them, to be compiled with cases_main.c.

local host = require "host"
local json = require "json"
local translate = require "chat.translate"

local function read(path)
   local file <close> = host.open(path)
   return file:read(0, file:size())
end

local function write(path, text)
   local file = assert(io.open(path, "wb"))
   file:write(text)
   file:close()
end

-- One file a template, or all in one, in which their structs get different names; and the table.
local function program(folder, templates, together)
   local rows, declarations, all = {}, {}, {}
   for i, template in ipairs(templates) do
      local text = translate(template.text, template.name, "render_" .. i)
      text = text:gsub('#include "runtime/chat_value.h"', '#include "chat_value.h"')
      if together then
         all[i] = string.format("#undef variables\n#define variables variables_%d\n%s", i, text)
      else
         write(string.format("%s/template_%d.c", folder, i), text)
      end
      declarations[i] = string.format("void render_%d(struct chat_render *r);\n", i)
      rows[i] = string.format('    {"%s", render_%d},\n', template.name, i)
   end
   if together then write(folder .. "/templates.c", table.concat(all)) end
   write(folder .. "/table.c", '#include "model.h"\n' .. table.concat(declarations)
         .. "static const struct chat_template items[] = {\n" .. table.concat(rows) .. "};\n"
         .. "extern const struct chat_templates test_templates;\n"
         .. "const struct chat_templates test_templates = {items, " .. #rows .. ", 0, 0};\n")
end

-- A line for cases_main.c.
local function case(template, input, text)
   local expected = type(text) == "string" and '"text": ' .. json.encode(text) or '"error": true'
   return string.format('{"template": "%s", "input": %s, %s}\n', template, input, expected)
end

local sets = {}

-- The .jinja files of templates/.
local function published(source)
   local templates = {}
   for _, name in ipairs(host.list(source .. "/templates")) do
      templates[#templates + 1] = { name = name:match("^(.*)%.jinja$"), text = read(source .. "/templates/" .. name) }
   end
   return templates
end

-- What published() gives on what conversations.jsonl has; cases.jsonl: [template, number of a conversation, text].
function sets.templates(source, folder)
   local conversations, cases = {}, {}
   for line in read(source .. "/conversations.jsonl"):gmatch("[^\n]+") do conversations[#conversations + 1] = line end
   for line in read(source .. "/cases.jsonl"):gmatch("[^\n]+") do
      local entry = host.json_decode(line, "cases.jsonl")
      cases[#cases + 1] = case(entry[1], conversations[entry[2] + 1], entry[3])
   end
   program(folder, published(source), false)
   write(folder .. "/cases.jsonl", table.concat(cases))
end

-- expressions.jsonl: the first line is the input of all, then { "source", "text" or "error" }.
function sets.expressions(source, folder)
   local templates, cases, input = {}, {}, nil
   for line in read(source .. "/expressions.jsonl"):gmatch("[^\n]+") do
      local entry = host.json_decode(line, "expressions.jsonl")
      if not input then
         input = line
      else
         templates[#templates + 1] = { name = "e" .. #templates + 1, text = entry.source }
         cases[#cases + 1] = case("e" .. #templates, input, entry.text)
      end
   end
   program(folder, templates, true)
   write(folder .. "/cases.jsonl", table.concat(cases))
end

-- Variables and macros of inner scopes that nothing reads, which a compiler must not complain about.
function sets.unread(_, folder)
   local text = "{% for m in messages %}{% set x = m %}{% macro f(a) %}{% set y %}{{ a }}{% endset %}{% endmacro %}b{% endfor %}"
   program(folder, { { name = "unread", text = text } }, false)
   write(folder .. "/cases.jsonl", case("unread", '{"messages": [{"role": "user", "content": "x"}]}', "b"))
end

-- The templates of both, without cases: for tests/fuzz/fuzz_conversation.c.
function sets.all(source, folder)
   local templates, number = published(source), -1 -- the first line is the input
   for line in read(source .. "/expressions.jsonl"):gmatch("[^\n]+") do
      number = number + 1
      if number > 0 then
         local text = host.json_decode(line, "expressions.jsonl").source
         templates[#templates + 1] = { name = "e" .. number, text = text }
      end
   end
   program(folder, templates, true)
end

return function(set, source, folder) sets[set](source, folder) end
