-- Jinja's parser: tokens to a tree of statements.

local expressions = require "chat.expressions"
local lexer = require "chat.lexer"
local Stream = require "chat.stream"

local statements = {}

-- Statements up to one of the words in `stops`, whose block has been opened; the word is returned with them.
local function body(stream, stops, opened)
   local list = {}
   while true do
      local token = stream.current
      if token.kind == "data" then
         stream:next()
         list[#list + 1] = stream:node("text", token.line, { text = token.value })
      elseif token.kind == "variable" then
         stream:next()
         local value = stream:deeper(expressions.tuple)
         stream:expect("variable_end")
         list[#list + 1] = stream:node("print", token.line, { value = value }, { value })
      elseif token.kind == "block" then
         stream:next()
         local word = stream.current.value
         for _, stop in ipairs(stops) do
            if stream:is_name(stop) then
               stream:next()
               return list, word
            end
         end
         local statement = stream:is("name") and statements[word]
         if not statement then
            stream:fail(#stops > 0 and "expected a statement or '%s', found %s" or "%sexpected a statement, found %s",
                        stops[#stops] or "", stream:found())
         end
         list[#list + 1] = stream:deeper(statement, stream:next().line)
         stream:expect("block_end")
      else
         if opened then stream:fail("the template ends before the '%s' of line %d", stops[#stops], opened) end
         return list
      end
   end
end

local function block(stream, stops, line)
   stream:expect("block_end")
   return body(stream, stops, line)
end

local function check_target(stream, target)
   if target.kind == "tuple" then
      for _, item in ipairs(target.items) do check_target(stream, item) end
   elseif target.kind ~= "name" and target.kind ~= "member" then
      stream:fail("expected a variable to assign to, found something else")
   elseif target.kind == "name" and target.name == "loop" then
      stream:fail("the variable loop cannot be assigned to")
   end
   return target
end

local function join(...)
   local all = {}
   for _, list in ipairs { ... } do table.move(list, 1, #list, #all + 1, all) end
   return all
end

statements["for"] = function(stream, line)
   local target = check_target(stream, expressions.tuple(stream, { simplified = true, stop = "in" }))
   stream:expect("name", "in")
   local sequence = expressions.tuple(stream, { no_condition = true, stop = "recursive" })
   local condition = stream:skip("name", "if") and expressions.expression(stream) or nil
   if stream:is_name("recursive") then stream:fail("recursive loops are outside the subset; use a macro") end
   local inner, word = block(stream, { "else", "endfor" }, line)
   local otherwise = word == "else" and block(stream, { "endfor" }, line) or nil
   local fields = { target = target, sequence = sequence, condition = condition, body = inner, otherwise = otherwise }
   return stream:node("for", line, fields, join({ target, sequence }, { condition }, inner, otherwise or {}))
end

statements["if"] = function(stream, line)
   local branches, children, otherwise = {}, {}, nil
   repeat
      local test = expressions.tuple(stream, { no_condition = true })
      local own_line = stream.current.line
      local inner, word = block(stream, { "elif", "else", "endif" }, line)
      branches[#branches + 1] = { test = test, body = inner, line = own_line }
      children[#children + 1] = test
      table.move(inner, 1, #inner, #children + 1, children)
      if word == "else" then
         otherwise = block(stream, { "endif" }, line)
         table.move(otherwise, 1, #otherwise, #children + 1, children)
      end
   until word ~= "elif"
   return stream:node("if", line, { branches = branches, otherwise = otherwise }, children)
end

function statements.set(stream, line)
   local target = check_target(stream, expressions.tuple(stream, { simplified = true, members = true }))
   if stream:skip("operator", "=") then
      local value = stream:deeper(expressions.tuple)
      return stream:node("set", line, { target = target, value = value }, { value, target })
   end
   local filters = {}
   while stream:skip("operator", "|") do filters[#filters + 1] = expressions.filter(stream) end
   local inner = block(stream, { "endset" }, line)
   return stream:node("set_block", line, { target = target, filters = filters, body = inner },
                      join({ target }, filters, inner))
end

-- "(" parameters ")" -> names, defaults by number
local function signature(stream)
   local names, defaults, values = {}, {}, {}
   stream:expect("operator", "(")
   while not stream:is_operator(")") do
      if #names > 0 then stream:expect("operator", ",") end
      names[#names + 1] = stream:expect("name").value
      if stream:skip("operator", "=") then
         local value = stream:deeper(expressions.expression)
         defaults[#names] = value
         values[#values + 1] = value
      elseif #values > 0 then
         stream:fail("a parameter without a default follows one with a default")
      end
   end
   stream:expect("operator", ")")
   return names, defaults, values
end

function statements.macro(stream, line)
   local name = stream:expect("name").value
   local parameters, defaults, values = signature(stream)
   local inner = block(stream, { "endmacro" }, line)
   return stream:node("macro", line, { name = name, parameters = parameters, defaults = defaults, body = inner },
                      join(values, inner))
end

function statements.call(stream, line)
   local parameters, defaults, values = {}, {}, {}
   if stream:is_operator("(") then parameters, defaults, values = signature(stream) end
   local call = expressions.expression(stream)
   if call.kind ~= "call" then stream:fail("expected a call of a macro after 'call'") end
   local inner = block(stream, { "endcall" }, line)
   return stream:node("call_block", line, { parameters = parameters, defaults = defaults, call = call, body = inner },
                      join({ call }, values, inner))
end

statements["filter"] = function(stream, line)
   local filters = { expressions.filter(stream) }
   while stream:skip("operator", "|") do filters[#filters + 1] = expressions.filter(stream) end
   local inner = block(stream, { "endfilter" }, line)
   return stream:node("filter_block", line, { filters = filters, body = inner }, join(filters, inner))
end

statements["with"] = function(stream, line)
   local targets, values = {}, {}
   while not stream:is("block_end") do
      if #targets > 0 then stream:expect("operator", ",") end
      targets[#targets + 1] = check_target(stream, expressions.tuple(stream, { simplified = true, stop = "=" }))
      stream:expect("operator", "=")
      values[#values + 1] = expressions.expression(stream)
   end
   local inner = block(stream, { "endwith" }, line)
   return stream:node("with", line, { targets = targets, values = values, body = inner }, join(values, targets, inner))
end

-- transformers' extension: marks what the model wrote. It prints what is in it.
function statements.generation(stream, line)
   local inner = block(stream, { "endgeneration" }, line)
   return stream:node("with", line, { targets = {}, values = {}, body = inner }, inner)
end

function statements.print(stream, line)
   local value = stream:deeper(expressions.expression)
   return stream:node("print", line, { value = value }, { value })
end

statements["break"] = function(stream, line) return stream:node("break", line) end
statements["continue"] = function(stream, line) return stream:node("continue", line) end

local function outside(word)
   statements[word] = function(stream, line)
      stream.current = { line = line, kind = "name", value = word }
      stream:fail("the statement '%s' is outside the subset", word)
   end
end
for _, word in ipairs { "block", "extends", "include", "import", "from", "autoescape", "do", "trans", "debug" } do
   outside(word)
end

-- parse(text, name) -> the tree's root: { kind = "template", body }
return function(text, name)
   local stream = Stream.new(lexer.lex(text, name), name)
   local list = body(stream, {})
   return stream:node("template", 1, { body = list }, list)
end
