-- The parser's half for expressions, with Jinja's precedence: if else, or, and, not, comparisons, + -, ~, * / // %, **,
-- unary + -, then attributes, items, calls, filters and tests.

local expressions = {}

local COMPARISONS = { ["=="] = true, ["!="] = true, ["<"] = true, [">"] = true, ["<="] = true, [">="] = true }
local CONSTANTS = { ["true"] = { value = true }, ["True"] = { value = true }, ["false"] = { value = false },
                    ["False"] = { value = false }, none = { none = true }, None = { none = true } }

-- ---- arguments

-- "(" arguments ")" -> { positional, named = { { name, value } }, list, dict }, all of them in order
local function call_arguments(stream)
   stream:expect("operator", "(")
   local result, all = { positional = {}, named = {} }, {}
   local first = true
   while not stream:is_operator(")") do
      if not first then
         stream:expect("operator", ",")
         if stream:is_operator(")") then break end
      end
      first = false
      local value
      if stream:skip("operator", "*") then
         if result.list or result.dict then stream:fail("only one *list can be passed, and before **dict") end
         value = stream:deeper(expressions.expression)
         result.list = value
      elseif stream:skip("operator", "**") then
         if result.dict then stream:fail("only one **dict can be passed") end
         value = stream:deeper(expressions.expression)
         result.dict = value
      elseif stream:is("name") and stream:look().kind == "operator" and stream:look().value == "=" then
         if result.dict then stream:fail("**dict comes after the named arguments") end
         local name = stream:next().value
         stream:next()
         value = stream:deeper(expressions.expression)
         result.named[#result.named + 1] = { name = name, value = value }
      else
         if result.list or result.dict or #result.named > 0 then stream:fail("positional arguments come first") end
         value = stream:deeper(expressions.expression)
         result.positional[#result.positional + 1] = value
      end
      all[#all + 1] = value
   end
   stream:expect("operator", ")")
   return result, all
end

local NO_ARGUMENTS = { positional = {}, named = {} }

-- ---- primaries

-- A tuple, or one expression where there is no comma. simplified: names and literals only (targets of for and set).
function expressions.tuple(stream, options)
   options = options or {}
   local line, items, is_tuple = stream.current.line, {}, false
   while true do
      if #items > 0 then stream:expect("operator", ",") end
      if stream:is("variable_end") or stream:is("block_end") or stream:is_operator(")")
         or options.stop and stream:is_name(options.stop) then
         break
      end
      items[#items + 1] = stream:deeper(options.simplified and expressions.primary or expressions.expression,
                                        options.simplified and options.members or options.no_condition)
      if not stream:is_operator(",") then break end
      is_tuple = true
   end
   if not is_tuple then
      if #items == 1 then return items[1] end
      if not options.parentheses then stream:fail("expected an expression, found %s", stream:found()) end
   end
   return stream:node("tuple", line, { items = items }, items)
end

local function list(stream)
   local line, items = stream:expect("operator", "[").line, {}
   while not stream:is_operator("]") do
      if #items > 0 then stream:expect("operator", ",") end
      if stream:is_operator("]") then break end
      items[#items + 1] = stream:deeper(expressions.expression)
   end
   stream:expect("operator", "]")
   return stream:node("list", line, { items = items }, items)
end

local function dict(stream)
   local line, items = stream:expect("operator", "{").line, {}
   while not stream:is_operator("}") do
      if #items > 0 then stream:expect("operator", ",") end
      if stream:is_operator("}") then break end
      items[#items + 1] = stream:deeper(expressions.expression)
      stream:expect("operator", ":")
      items[#items + 1] = stream:deeper(expressions.expression)
   end
   stream:expect("operator", "}")
   return stream:node("dict", line, { items = items }, items)
end

-- members: name.attribute is a target here.
function expressions.primary(stream, members)
   local token = stream.current
   if token.kind == "name" then
      stream:next()
      local constant = CONSTANTS[token.value]
      if constant then return stream:node("constant", token.line, { value = constant.value, none = constant.none }) end
      if members and stream:skip("operator", ".") then
         return stream:node("member", token.line, { name = token.value, attribute = stream:expect("name").value })
      end
      return stream:node("name", token.line, { name = token.value })
   elseif token.kind == "string" then
      local parts = {}
      while stream:is("string") do parts[#parts + 1] = stream:next().value end
      return stream:node("constant", token.line, { value = table.concat(parts) })
   elseif token.kind == "integer" or token.kind == "float" then
      stream:next()
      return stream:node("constant", token.line, { value = token.value, number = true })
   elseif token.kind == "operator" and token.value == "(" then
      stream:next()
      local inner = stream:deeper(expressions.tuple, { parentheses = true })
      stream:expect("operator", ")")
      return inner
   elseif token.kind == "operator" and token.value == "[" then
      return list(stream)
   elseif token.kind == "operator" and token.value == "{" then
      return dict(stream)
   end
   stream:fail("expected an expression, found %s", stream:found())
end

-- ---- what follows a primary

local function subscript_part(stream)
   if stream:is_operator(":") or stream:is_operator("]") or stream:is_operator(",") then return nil end
   return stream:deeper(expressions.expression)
end

local function subscribed(stream)
   local line = stream.current.line
   local start = subscript_part(stream)
   if not stream:skip("operator", ":") then
      if not start then stream:fail("expected an expression, found %s", stream:found()) end
      return start
   end
   local stop, step = subscript_part(stream), nil
   if stream:skip("operator", ":") then step = subscript_part(stream) end
   local children = { start }
   children[#children + 1] = stop
   children[#children + 1] = step
   return stream:node("bounds", line, { start = start, stop = stop, step = step }, children)
end

local function item(stream, object)
   local line, parts = stream:next().line, {}
   while not stream:is_operator("]") do
      if #parts > 0 then stream:expect("operator", ",") end
      parts[#parts + 1] = subscribed(stream)
   end
   stream:expect("operator", "]")
   local key = parts[1]
   if #parts ~= 1 then
      for _, part in ipairs(parts) do
         if part.kind == "bounds" then stream:fail("slices of several dimensions are outside the subset") end
      end
      key = stream:node("tuple", line, { items = parts }, parts)
   end
   if key.kind == "bounds" then
      return stream:node("slice", line, { object = object, bounds = key }, { object, key })
   end
   return stream:node("item", line, { object = object, key = key }, { object, key })
end

local function attribute(stream, object)
   local line = stream:next().line
   local token = stream:next()
   if token.kind == "integer" then
      local key = stream:node("constant", line, { value = token.value, number = true })
      return stream:node("item", line, { object = object, key = key }, { object, key })
   end
   if token.kind ~= "name" then stream:fail("expected a name after '.'") end
   return stream:node("attribute", line, { object = object, name = token.value }, { object })
end

local function call(stream, callee)
   local line = stream.current.line
   local arguments, all = call_arguments(stream)
   table.insert(all, 1, callee)
   -- What macros do may change what other parts of an expression see; methods change nothing.
   local impure = not (callee.kind == "attribute" and callee.name ~= "changed")
   return stream:node("call", line, { callee = callee, arguments = arguments, impure = impure }, all)
end

local function postfix(stream, node)
   while true do
      if stream:is_operator(".") then
         node = attribute(stream, node)
      elseif stream:is_operator("[") then
         node = item(stream, node)
      elseif stream:is_operator("(") then
         node = call(stream, node)
      else
         return node
      end
   end
end

-- A filter after `value` (nil: in {% filter %} and {% set %} blocks).
function expressions.filter(stream, value)
   local line, name = stream.current.line, stream:expect("name").value
   local arguments, all = NO_ARGUMENTS, {}
   if stream:is_operator("(") then arguments, all = call_arguments(stream) end
   if value then table.insert(all, 1, value) end
   return stream:node("filter", line, { value = value, name = name, arguments = arguments }, all)
end

local ARGUMENT_KINDS = { name = true, string = true, integer = true, float = true }

local function test(stream, value)
   local line = stream:next().line
   local negated = stream:skip("name", "not") ~= nil
   local name = stream:expect("name").value
   local arguments, all = NO_ARGUMENTS, {}
   local keyword = stream:is_name("else") or stream:is_name("or") or stream:is_name("and")
   if stream:is_operator("(") then
      arguments, all = call_arguments(stream)
   elseif (ARGUMENT_KINDS[stream.current.kind] or stream:is_operator("[") or stream:is_operator("{")) and not keyword then
      if stream:is_name("is") then stream:fail("tests cannot be chained with is") end
      local argument = stream:deeper(expressions.primary)
      argument = postfix(stream, argument)
      arguments, all = { positional = { argument }, named = {} }, { argument }
   end
   table.insert(all, 1, value)
   local node = stream:node("test", line, { value = value, name = name, arguments = arguments }, all)
   return negated and stream:node("not", line, { value = node }, { node }) or node
end

local function unary(stream, no_filter)
   local node
   local line = stream.current.line
   if stream:is_operator("-") or stream:is_operator("+") then
      local operator = stream:next().value
      local value = stream:deeper(unary, true)
      if value.kind == "constant" and math.type(value.value) and operator == "-" then
         value.value = -value.value
         node = value
      end
      node = node or stream:node(operator == "-" and "negative" or "positive", line, { value = value }, { value })
   else
      node = expressions.primary(stream)
   end
   node = postfix(stream, node)
   while not no_filter do
      if stream:is_operator("|") then
         stream:next()
         node = expressions.filter(stream, node)
      elseif stream:is_name("is") then
         node = test(stream, node)
      elseif stream:is_operator("(") then
         node = call(stream, node)
      else
         break
      end
   end
   return node
end

-- ---- operators

local function binary(stream, operators, operand)
   local node = operand(stream)
   while stream.current.kind == "operator" and operators[stream.current.value] do
      local token = stream:next()
      local right = operand(stream)
      if token.value == "+" and node.kind == "sum" and node.open then
         stream:extend(node, node.items, right)
      else
         local items = { node, right }
         node = stream:node(operators[token.value], token.line, { items = items, open = true }, items)
      end
   end
   node.open = nil -- an inner sum in parentheses is a node of its own
   return node
end

local function power(stream) return binary(stream, { ["**"] = "power" }, unary) end

local function product(stream)
   return binary(stream, { ["*"] = "multiply", ["/"] = "divide", ["//"] = "floor_divide", ["%"] = "modulo" }, power)
end

local function concat(stream)
   local line, items = stream.current.line, { product(stream) }
   while stream:skip("operator", "~") do items[#items + 1] = product(stream) end
   if #items == 1 then return items[1] end
   return stream:node("concat", line, { items = items }, items)
end

local function sum(stream) return binary(stream, { ["+"] = "sum", ["-"] = "subtract" }, concat) end

local function comparison(stream)
   local line, first, steps, children = stream.current.line, sum(stream), {}, nil
   while true do
      local operator
      if stream.current.kind == "operator" and COMPARISONS[stream.current.value] then
         operator = stream:next().value
      elseif stream:skip("name", "in") then
         operator = "in"
      elseif stream:is_name("not") and stream:look().kind == "name" and stream:look().value == "in" then
         stream:next()
         stream:next()
         operator = "not in"
      else
         break
      end
      local value = sum(stream)
      children = children or { first }
      children[#children + 1] = value
      steps[#steps + 1] = { operator = operator, value = value }
   end
   if #steps == 0 then return first end
   return stream:node("compare", line, { first = first, steps = steps }, children)
end

local function negation(stream)
   if not stream:is_name("not") then return comparison(stream) end
   local line = stream:next().line
   local value = stream:deeper(negation)
   return stream:node("not", line, { value = value }, { value })
end

local function several(stream, word, operand)
   local line, items = stream.current.line, { operand(stream) }
   while stream:skip("name", word) do items[#items + 1] = operand(stream) end
   if #items == 1 then return items[1] end
   return stream:node(word, line, { items = items }, items)
end

local function conjunction(stream) return several(stream, "and", negation) end
local function disjunction(stream) return several(stream, "or", conjunction) end

-- expression(stream [, no_condition]) -> node
function expressions.expression(stream, no_condition)
   local node = disjunction(stream)
   while not no_condition and stream:is_name("if") do
      local line = stream:next().line
      local condition, otherwise = disjunction(stream), nil
      if stream:skip("name", "else") then otherwise = stream:deeper(expressions.expression) end
      local children = { condition, node, otherwise }
      node = stream:node("condition", line, { condition = condition, yes = node, no = otherwise }, children)
   end
   return node
end

return expressions
