-- Expressions to C. Most become one C expression. What C cannot say in one, or must not reorder (calls of macros, the operands
-- of `and` and `or`), is put into temporary variables by statements before it.
--
-- A function being emitted (`fn`) has lines, an indent, and counters of its temporaries; see emitter.lua.

local escape = require "emit.escape"
local writer = require "chat.writer"

local expression = {}

local DEEPEST = 12 -- calls in calls in one C expression

local value, condition

-- The C text of a value moved into a temporary.
local function temporary(fn, text)
   fn.temporaries = fn.temporaries + 1
   local name = "t" .. fn.temporaries
   fn:line("struct chat_value %s = %s;", name, text)
   return name
end

local function temporary_condition(fn, text)
   fn.temporaries = fn.temporaries + 1
   local name = "is" .. fn.temporaries
   fn:line("bool %s = %s;", name, text)
   return name
end

-- Runs compile() with lines of its own: what it returns, and the lines.
local function aside(fn, compile)
   local lines = fn.lines
   fn.lines = {}
   fn.indent = fn.indent + 1
   local text, depth = compile()
   local own = fn.lines
   fn.lines, fn.indent = lines, fn.indent - 1
   return text, depth, own
end

local function add_lines(fn, lines)
   table.move(lines, 1, #lines, #fn.lines + 1, fn.lines)
end

-- The C texts of operands in order, and the deepest depth. An operand before one that calls a macro is kept in a temporary.
local function operands(fn, list)
   local texts, depth, last_impure = {}, 0, 0
   for i, node in ipairs(list) do
      if node.impure then last_impure = i end
   end
   for i, node in ipairs(list) do
      local text, own = value(fn, node)
      if i < last_impure and node.kind ~= "constant" then text, own = temporary(fn, text), 0 end
      texts[i], depth = text, math.max(depth, own)
   end
   return texts, depth
end

local function values_text(texts)
   return #texts == 0 and "NULL" or "VALUES(" .. table.concat(texts, ", ") .. ")"
end

-- ARGS(...) of a call's arguments, after those in `before` (texts).
local function arguments_text(fn, arguments, extra_named)
   local list = {}
   for _, node in ipairs(arguments.positional) do list[#list + 1] = node end
   for _, named in ipairs(arguments.named) do list[#list + 1] = named.value end
   list[#list + 1] = arguments.list
   list[#list + 1] = arguments.dict
   local texts, depth = operands(fn, list)
   local count, named = #arguments.positional, {}
   for i, argument in ipairs(arguments.named) do
      named[i] = string.format("{%s, %s}", escape.c_string(argument.name), texts[count + i])
   end
   if extra_named then named[#named + 1] = extra_named end
   local positional = table.move(texts, 1, count, 1, {})
   local text = "NO_ARGS"
   if #named > 0 then
      text = string.format("NAMED_ARGS(%d, %s, %d, %s)", count, values_text(positional), #named, table.concat(named, ", "))
   elseif count > 0 then
      text = string.format("ARGS(%d, %s)", count, table.concat(positional, ", "))
   end
   if arguments.list or arguments.dict then
      text = string.format("chat_spread(r, %s, %s, %s)", text, arguments.list and texts[count + #arguments.named + 1]
                           or "chat_missing()", arguments.dict and texts[#texts] or "chat_missing()")
   end
   return text, depth
end

-- ---- conditions: C expressions of type bool

local is_condition = { compare = true, test = true, ["not"] = true }

local function holds(fn, node)
   local text, depth = value(fn, node)
   return "chat_true(" .. text .. ")", depth + 1
end

local COMPARISONS = { ["=="] = "chat_equal(r, %s, %s)", ["!="] = "!chat_equal(r, %s, %s)", ["<"] = "chat_less(r, %s, %s)",
                      ["<="] = "chat_less_equal(r, %s, %s)", ["in"] = "chat_in(r, %s, %s)", ["not in"] = "!chat_in(r, %s, %s)" }

local function compared(operator, left, right)
   if operator == ">" then return string.format(COMPARISONS["<"], right, left) end
   if operator == ">=" then return string.format(COMPARISONS["<="], right, left) end
   return string.format(COMPARISONS[operator], left, right)
end

-- is1 = text; then, only while it holds (or does not), what comes next.
local function next_condition(fn, name, wanted, compile)
   local text, _, lines = aside(fn, compile)
   fn:line("if (%s%s) {", wanted and "" or "!", name)
   add_lines(fn, lines)
   fn:line("    %s = %s;", name, text)
   fn:line("}")
end

local function compare(fn, node)
   if #node.steps == 1 then
      local texts, depth = operands(fn, { node.first, node.steps[1].value })
      return compared(node.steps[1].operator, texts[1], texts[2]), depth + 1
   end
   -- a < b < c: b is computed once, and c only if the first holds.
   local left = temporary(fn, (value(fn, node.first)))
   local name
   for _, step in ipairs(node.steps) do
      if not name then
         local right = temporary(fn, (value(fn, step.value)))
         name = temporary_condition(fn, compared(step.operator, left, right))
         left = right
      else
         fn.temporaries = fn.temporaries + 1
         local right = "t" .. fn.temporaries
         fn:line("struct chat_value %s = chat_none();", right)
         next_condition(fn, name, true, function()
            local text = value(fn, step.value)
            fn:line("%s = %s;", right, text)
            return compared(step.operator, left, right)
         end)
         left = right
      end
   end
   return name, 0
end

local function test(fn, node)
   if node.name == "defined" or node.name == "undefined" then
      local text, depth = value(fn, node.value)
      return (node.name == "undefined" and "!" or "") .. "chat_is_defined(" .. text .. ")", depth + 1
   end
   local list = { node.value }
   for _, argument in ipairs(node.arguments.positional) do list[#list + 1] = argument end
   local impure = false
   for i = 2, #list do impure = impure or list[i].impure end
   local text, depth = value(fn, node.value)
   if impure then text, depth = temporary(fn, text), 0 end
   local arguments, own = arguments_text(fn, node.arguments)
   return string.format("chat_test(r, %s, %s, %s)", escape.c_string(node.name), text, arguments), math.max(depth, own) + 1
end

-- a and b and c as a condition: C's && where nothing has to be computed in between.
local function connected(fn, node)
   local operator, wanted = node.kind == "and" and " && " or " || ", node.kind == "and"
   local texts, depth, name = {}, 0, nil
   for i, item in ipairs(node.items) do
      if name then
         next_condition(fn, name, wanted, function() return condition(fn, item) end)
      else
         local text, own, lines = aside(fn, function() return condition(fn, item) end)
         if (item.kind == "and" or item.kind == "or") and item.kind ~= node.kind and text:find("[&|][&|]") then
            text = "(" .. text .. ")"
         end
         if i == 1 or #lines == 0 then
            if i == 1 then
               for j, line in ipairs(lines) do lines[j] = line:gsub("^    ", "", 1) end
               add_lines(fn, lines)
            end
            texts[#texts + 1], depth = text, math.max(depth, own)
         else
            name = temporary_condition(fn, table.concat(texts, operator))
            fn:line("if (%s%s) {", wanted and "" or "!", name)
            add_lines(fn, lines)
            fn:line("    %s = %s;", name, text)
            fn:line("}")
         end
      end
   end
   if name then return name, 0 end
   return table.concat(texts, operator), depth + 1
end

-- condition(fn, node) -> C expression of type bool, its depth
function condition(fn, node)
   local text, depth
   if node.kind == "compare" then
      text, depth = compare(fn, node)
   elseif node.kind == "test" then
      text, depth = test(fn, node)
   elseif node.kind == "not" then
      text, depth = condition(fn, node.value)
      local inner = node.value.kind
      text = (inner == "and" or inner == "or") and "!(" .. text .. ")" or "!" .. text
      text = text:gsub("^!!", "")
      depth = depth + 1
   elseif node.kind == "and" or node.kind == "or" then
      text, depth = connected(fn, node)
   elseif node.kind == "constant" and type(node.value) == "boolean" then
      return tostring(node.value), 0
   else
      text, depth = holds(fn, node)
   end
   if depth > DEEPEST then return temporary_condition(fn, text), 0 end
   return text, depth
end

-- ---- values

local of = {}

-- Whether the value of this expression is its truth: then `and` and `or` of such are conditions too.
local function is_truth(node)
   if is_condition[node.kind] then return true end
   if node.kind == "constant" then return type(node.value) == "boolean" end
   if node.kind ~= "and" and node.kind ~= "or" then return false end
   for _, item in ipairs(node.items) do
      if not is_truth(item) then return false end
   end
   return true
end

local function truth(fn, node)
   local text, depth = condition(fn, node)
   return "chat_bool(" .. text .. ")", depth + 1
end
of.compare, of.test, of["not"] = truth, truth, truth

-- a or b: the first that holds; the others are not computed.
local function first_that(fn, node)
   if is_truth(node) then return truth(fn, node) end
   local name = temporary(fn, (value(fn, node.items[1])))
   for i = 2, #node.items do
      local text, depth, lines = aside(fn, function() return value(fn, node.items[i]) end)
      local wanted = node.kind == "and" and "" or "!"
      if i == #node.items and #lines == 0 then
         local yes, no = text, name
         if node.kind == "or" then yes, no = name, text end
         return string.format("(chat_true(%s) ? %s : %s)", name, yes, no), depth + 1
      end
      fn:line("if (%schat_true(%s)) {", wanted, name)
      add_lines(fn, lines)
      fn:line("    %s = %s;", name, text)
      fn:line("}")
   end
   return name, 0
end
of["and"], of["or"] = first_that, first_that

function of.condition(fn, node)
   local test_text, depth = condition(fn, node.condition)
   local yes, yes_depth, yes_lines = aside(fn, function() return value(fn, node.yes) end)
   local no, no_depth, no_lines = "chat_no_else()", 0, {}
   if node.no then
      no, no_depth, no_lines = aside(fn, function() return value(fn, node.no) end)
   end
   if #yes_lines == 0 and #no_lines == 0 then
      return string.format("(%s ? %s : %s)", test_text, yes, no), math.max(depth, yes_depth, no_depth) + 1
   end
   fn.temporaries = fn.temporaries + 1
   local name = "t" .. fn.temporaries
   fn:line("struct chat_value %s;", name)
   fn:line("if (%s) {", test_text)
   add_lines(fn, yes_lines)
   fn:line("    %s = %s;", name, yes)
   fn:line("} else {")
   add_lines(fn, no_lines)
   fn:line("    %s = %s;", name, no)
   fn:line("}")
   return name, 0
end

function of.constant(_, node)
   local constant = node.value
   if node.none then return "chat_none()", 0 end
   if type(constant) == "boolean" then return "chat_bool(" .. tostring(constant) .. ")", 0 end
   if not node.number then
      local pieces = writer.pieces(constant)
      for i, piece in ipairs(pieces) do pieces[i] = "CHAT_TEXT(" .. escape.c_string(piece) .. ")" end
      if #pieces == 1 then return pieces[1], 0 end
      return string.format("chat_concat(r, %d, VALUES(%s))", #pieces, table.concat(pieces, ", ")), 1
   end
   if math.type(constant) == "integer" then return "chat_int(" .. constant .. ")", 0 end
   if type(constant) == "string" then return "chat_big(" .. escape.c_string(constant) .. ")", 0 end
   if constant == math.huge then return "chat_float(1e308 * 10)", 0 end
   local text = string.format("%.17g", constant)
   return "chat_float(" .. (text:find("[%.e]") and text or text .. ".0") .. ")", 0
end

function of.name(fn, node) return fn:variable(fn.symbols:find(node.name)), 0 end

local function listed(call)
   return function(fn, node)
      local texts, depth = operands(fn, node.items)
      local count = call == "chat_dict" and #texts // 2 or #texts
      return string.format("%s(r, %d, %s)", call, count, values_text(texts)), depth + 1
   end
end
of.list, of.tuple, of.dict = listed "chat_list", listed "chat_tuple", listed "chat_dict"
of.sum, of.concat = listed "chat_sum", listed "chat_concat"

for _, name in ipairs { "subtract", "multiply", "divide", "floor_divide", "modulo", "power" } do
   of[name] = function(fn, node)
      local texts, depth = operands(fn, node.items)
      return string.format("chat_%s(r, %s, %s)", name, texts[1], texts[2]), depth + 1
   end
end

for _, name in ipairs { "negative", "positive" } do
   of[name] = function(fn, node)
      local text, depth = value(fn, node.value)
      return string.format("chat_%s(r, %s)", name, text), depth + 1
   end
end

function of.attribute(fn, node)
   local text, depth = value(fn, node.object)
   return string.format("chat_attribute(r, %s, %s)", text, escape.c_string(node.name)), depth + 1
end

function of.item(fn, node)
   local texts, depth = operands(fn, { node.object, node.key })
   return string.format("chat_item(r, %s, %s)", texts[1], texts[2]), depth + 1
end

function of.slice(fn, node)
   local list = { node.object }
   local places = {}
   for i, key in ipairs { "start", "stop", "step" } do
      if node.bounds[key] then
         list[#list + 1] = node.bounds[key]
         places[i] = #list
      end
   end
   local texts, depth = operands(fn, list)
   local function bound(i) return places[i] and texts[places[i]] or "chat_none()" end
   return string.format("chat_slice(r, %s, %s, %s, %s)", texts[1], bound(1), bound(2), bound(3)), depth + 1
end

-- A filter; `input` is the C text of its value where that is not an expression.
function expression.filter(fn, node, input)
   local text, depth = input, 0
   if node.value then text, depth = value(fn, node.value) end
   for i, argument in ipairs(node.children) do
      if argument.impure and (i > 1 or not node.value) then
         text, depth = temporary(fn, text), 0
         break
      end
   end
   local arguments, own = arguments_text(fn, node.arguments)
   return string.format("chat_filter(r, %s, %s, %s)", escape.c_string(node.name), text, arguments), math.max(depth, own) + 1
end
function of.filter(fn, node) return expression.filter(fn, node) end

-- caller: a named argument more, as C text.
function expression.call(fn, node, caller)
   local callee = node.callee
   local object = callee.kind == "attribute" and callee.object or callee
   local text, depth = value(fn, object)
   for i = 2, #node.children do
      if node.children[i].impure then
         text, depth = temporary(fn, text), 0
         break
      end
   end
   local arguments, own = arguments_text(fn, node.arguments, caller)
   depth = math.max(depth, own) + 1
   if callee.kind == "attribute" then
      text = string.format("chat_call_method(r, %s, %s, %s)", text, escape.c_string(callee.name), arguments)
   else
      text = string.format("chat_call(r, %s, %s)", text, arguments)
   end
   if callee.kind == "attribute" and callee.name ~= "changed" then return text, depth end
   return temporary(fn, text), 0
end
function of.call(fn, node) return expression.call(fn, node) end

-- value(fn, node) -> C expression of type struct chat_value, its depth
function value(fn, node)
   local text, depth = of[node.kind](fn, node)
   if depth > DEEPEST then return temporary(fn, text), 0 end
   return text, depth
end

expression.value, expression.condition, expression.aside, expression.add_lines = value, condition, aside, add_lines

return expression
