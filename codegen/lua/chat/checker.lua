-- Refuses what is outside the subset: filters, tests, functions and methods that the runtime does not know, wrong numbers of
-- arguments, `break` outside a loop.

local escape = require "emit.escape"
local fail = require "fail"
local nodes = require "chat.nodes"
local subset = require "chat.subset"

local MOST_PARAMETERS = 60

local function words(text)
   local list = {}
   for word in text:gmatch("%S+") do list[#list + 1] = word end
   return list
end

return function(root, name)
   local function refuse(node, format, ...)
      fail("%s: line %d: %s", name, node.line, string.format(format, ...))
   end

   -- Every name that something in the template sets: it may be called.
   local set = { caller = true, loop = true }
   local function target(node)
      if node.kind == "name" then set[node.name] = true end
      for _, item in ipairs(node.items or {}) do target(item) end
   end

   local function check_filter(node, filter_name, arguments)
      local parameters = subset.filters[filter_name]
      if parameters == nil then refuse(node, "the filter '%s' is outside the subset", filter_name) end
      if not parameters then return end
      local known = words(parameters)
      if #arguments.positional > #known then
         refuse(node, "the filter '%s' takes at most %d arguments, found %d", filter_name, #known, #arguments.positional)
      end
      for _, argument in ipairs(arguments.named) do
         if not (" " .. parameters .. " "):find(" " .. argument.name .. " ", 1, true) then
            refuse(node, "the filter '%s' has no argument called '%s'", filter_name, argument.name)
         end
      end
   end

   local function check_test(node, test_name, count)
      local expected = subset.tests[test_name]
      if not expected then refuse(node, "the test '%s' is outside the subset", escape.comment(test_name)) end
      if count and count ~= expected then
         refuse(node, "the test '%s' takes %d arguments, found %d", escape.comment(test_name), expected, count)
      end
   end

   -- map('upper'), select('equalto', 1), selectattr('role', 'equalto', 'user'): the name is checked where it is written out.
   local function check_inner(node)
      local place = ({ map = 1, select = 1, reject = 1, selectattr = 2, rejectattr = 2 })[node.name]
      local inner = place and node.arguments.positional[place]
      if not inner or inner.kind ~= "constant" or type(inner.value) ~= "string" then return end
      if node.name == "map" then
         if subset.filters[inner.value] == nil then
            refuse(node, "the filter '%s' is outside the subset", escape.comment(inner.value))
         end
      else
         check_test(node, inner.value)
      end
   end

   local function check_call(node)
      local callee = node.callee
      if callee.kind == "attribute" and not subset.methods[callee.name] then
         refuse(node, "the method '%s' is outside the subset", callee.name)
      elseif callee.kind == "name" and not set[callee.name] and not subset.functions[callee.name] then
         refuse(node, "the function '%s' is not known", callee.name)
      end
   end

   local function check_parameters(node)
      if #node.parameters > MOST_PARAMETERS then refuse(node, "a macro takes at most %d parameters", MOST_PARAMETERS) end
      local seen = {}
      for _, parameter in ipairs(node.parameters) do
         if seen[parameter] then refuse(node, "the parameter '%s' is there twice", parameter) end
         if parameter == "caller" or parameter == "kwargs" or parameter == "varargs" or parameter == "loop" then
            refuse(node, "a parameter called '%s' is outside the subset", parameter)
         end
         seen[parameter] = true
      end
   end

   nodes.walk(root, function(node)
      if node.kind == "for" or node.kind == "set" or node.kind == "set_block" then
         target(node.target)
      elseif node.kind == "with" then
         for _, item in ipairs(node.targets) do target(item) end
      elseif node.kind == "macro" then
         set[node.name] = true
      end
      for _, parameter in ipairs(node.parameters or {}) do set[parameter] = true end
   end)

   nodes.walk(root, function(node)
      if node.kind == "filter" then
         check_filter(node, node.name, node.arguments)
         check_inner(node)
      elseif node.kind == "test" then
         local spread = node.arguments.list or node.arguments.dict
         check_test(node, node.name, not spread and #node.arguments.positional + #node.arguments.named or nil)
      elseif node.kind == "call" then
         check_call(node)
      elseif node.kind == "macro" or node.kind == "call_block" then
         check_parameters(node)
      end
   end)

   -- A loop that is left from inside a captured text (a macro, {% set %} block) is none that this statement is in.
   local CAPTURES = { macro = true, call_block = true, set_block = true, filter_block = true }
   local function check_breaks(list, inside)
      for _, node in ipairs(list) do
         if (node.kind == "break" or node.kind == "continue") and not inside then
            refuse(node, "'%s' is outside a loop", node.kind)
         end
         for _, branch in ipairs(node.branches or {}) do check_breaks(branch.body, inside) end
         check_breaks(node.body or {}, node.kind == "for" or inside and not CAPTURES[node.kind])
         check_breaks(node.otherwise or {}, inside)
      end
   end
   check_breaks(root.body, false)
end
