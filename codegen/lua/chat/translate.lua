-- A chat template to C: text -> tokens -> tree -> checked -> C. All names and texts of the template reach the C through
-- emit/escape.lua and chat/writer.lua. Bad input is a user error (fail); nothing here recurses deeper than nodes.DEEPEST.

local check = require "chat.checker"
local emit = require "chat.emitter"
local fail = require "fail"
local parse = require "chat.parser"

local LARGEST = 1 << 20

-- translate(text, name [, function_name]) -> C source text. name: where the template comes from, for messages.
return function(text, name, function_name)
   if #text > LARGEST then fail("%s: expected at most %d bytes of chat template, found %d", name, LARGEST, #text) end
   local root = parse(text, name)
   check(root, name)
   return emit(root, function_name or "chat_template_default")
end
