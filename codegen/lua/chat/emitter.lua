-- A template's tree to C: one function that prints the prompt, and one for each macro. The C follows the template line by
-- line; runtime/chat_value.h has what it calls.

local escape = require "emit.escape"
local expression = require "chat.emit_expression"
local nodes = require "chat.nodes"
local Symbols = require "chat.symbols"
local writer = require "chat.writer"

-- ---- a function being emitted

local Function = {}
Function.__index = Function

function Function.new(parent, unit)
   return setmetatable({ parent = parent, unit = unit, lines = {}, indent = 1, temporaries = 0, loops = 0, captures = {},
                         captured = {}, used = {} }, Function)
end

function Function:line(format, ...)
   local text = select("#", ...) > 0 and string.format(format, ...) or format
   self.lines[#self.lines + 1] = ("    "):rep(self.indent) .. text
end

-- The C name of a variable here: one of this function's, one that all share, or one captured from a function around it.
-- stored: it is set, which does not make it one that is used.
function Function:variable(variable, stored)
   if variable.level == 0 then
      self.shares = true
      return writer.variable(variable)
   end
   if variable.owner == self then
      self.used[variable] = self.used[variable] or not stored
      return writer.variable(variable)
   end
   if not self.captured[variable] then
      self.captures[#self.captures + 1] = variable
      self.captured[variable] = #self.captures - 1
   end
   return "captured[" .. self.captured[variable] .. "]"
end

-- What a scope's variables begin with.
function Function:enter(symbols)
   for _, variable in ipairs(symbols:own()) do
      local initial
      if variable.load == "resolve" then
         initial = string.format("chat_resolve(r, %s)", escape.c_string(variable.name))
      elseif variable.load == "alias" then
         initial = self:variable(variable.from)
      else
         initial = string.format("chat_undefined(%s)", escape.c_string(variable.name))
      end
      self:declare(variable, initial)
   end
end

function Function:declare(variable, initial)
   if variable.level == 0 then
      self:line("%s = %s;", self:variable(variable), initial)
   else
      self.lines[#self.lines + 1] = { variable = variable, indent = self.indent, text = string.format(
         "struct chat_value %s = %s;", writer.variable(variable), initial) }
   end
end

-- The body's text; a variable that nothing reads is said to be so.
function Function:text()
   local out = {}
   for _, line in ipairs(self.lines) do
      if type(line) == "table" then
         local indent = ("    "):rep(line.indent)
         out[#out + 1] = indent .. line.text
         if not self.used[line.variable] then out[#out + 1] = indent .. "(void)" .. writer.variable(line.variable) .. ";" end
      else
         out[#out + 1] = line
      end
   end
   return writer.wrap(table.concat(out, "\n"))
end

-- Emits with the names of another scope.
function Function:within(symbols, emit)
   local outer = self.symbols
   self.symbols = symbols
   local result = emit()
   self.symbols = outer
   return result
end

local function scope(fn) return Symbols.new(fn.symbols, fn) end

local statement = {}

local CANNOT_FAIL = { text = true, ["break"] = true, ["continue"] = true }
local HAS_BODY = { ["for"] = true, ["if"] = true, ["with"] = true, set_block = true, filter_block = true }

-- Statements, each with its line in the template where that has changed.
local function body(fn, list)
   for _, node in ipairs(list) do
      if not CANNOT_FAIL[node.kind] and fn.template_line ~= node.line then
         fn:line("chat_line(r, %d);", node.line)
         fn.template_line = node.line
      end
      statement[node.kind](fn, node)
      if HAS_BODY[node.kind] then fn.template_line = nil end
   end
end

-- ---- printing

local function print_text(fn, text)
   for _, piece in ipairs(writer.pieces(text)) do
      local indent = ("    "):rep(fn.indent)
      fn:line("CHAT_PRINT(" .. writer.literal(piece, indent .. "           ") .. ");")
   end
end

function statement.text(fn, node) print_text(fn, node.text) end

function statement.print(fn, node)
   local value = node.value
   if value.kind == "constant" and type(value.value) == "string" and not value.number then
      if value.value ~= "" then print_text(fn, value.value) end
      return
   end
   fn:line("chat_print(r, %s);", (expression.value(fn, value)))
end

-- ---- assigning

-- value: C text.
local function assign(fn, target, value)
   if target.kind == "name" then
      fn:line("%s = %s;", fn:variable(fn.symbols:find(target.name), true), value)
   elseif target.kind == "member" then
      fn:line("chat_set_member(r, %s, %s, %s);", fn:variable(fn.symbols:find(target.name)), escape.c_string(target.attribute),
              value)
   else
      -- Parts that are no plain variables pass through temporaries.
      local places, later = {}, {}
      for i, item in ipairs(target.items) do
         if item.kind == "name" then
            places[i] = "&" .. fn:variable(fn.symbols:find(item.name))
         else
            fn.temporaries = fn.temporaries + 1
            local name = "t" .. fn.temporaries
            fn:line("struct chat_value %s;", name)
            places[i] = "&" .. name
            later[#later + 1] = { item, name }
         end
      end
      local list = #places > 0 and string.format("(struct chat_value *[]){%s}", table.concat(places, ", ")) or "NULL"
      fn:line("chat_unpack(r, %s, %d, %s);", value, #places, list)
      for _, part in ipairs(later) do assign(fn, part[1], part[2]) end
   end
end

function statement.set(fn, node)
   assign(fn, node.target, (expression.value(fn, node.value)))
end

-- Statements whose output becomes a value: its C text.
local function captured_output(fn, list, symbols, filters)
   fn.loops = fn.loops + 1
   local begin, name = "begin" .. fn.loops, "text" .. fn.loops
   fn:line("struct chat_value %s;", name)
   fn:line("{")
   fn.indent = fn.indent + 1
   fn:within(symbols, function()
      fn:enter(symbols)
      fn:line("size_t %s = chat_capture_begin(r);", begin)
      body(fn, list)
      fn:line("%s = chat_capture_end(r, %s);", name, begin)
      for _, filter in ipairs(filters) do fn:line("%s = %s;", name, (expression.filter(fn, filter, name))) end
   end)
   fn.indent = fn.indent - 1
   fn:line("}")
   return name
end

function statement.set_block(fn, node)
   local symbols = scope(fn)
   for _, filter in ipairs(node.filters) do symbols:expression(filter) end
   symbols:statements(node.body)
   assign(fn, node.target, captured_output(fn, node.body, symbols, node.filters))
end

function statement.filter_block(fn, node)
   local symbols = scope(fn)
   symbols:statements(node.body)
   for _, filter in ipairs(node.filters) do symbols:expression(filter) end
   fn:line("chat_print(r, %s);", captured_output(fn, node.body, symbols, node.filters))
end

statement["with"] = function(fn, node)
   local symbols = scope(fn)
   for _, target in ipairs(node.targets) do symbols:target(target, "parameter") end
   symbols:statements(node.body)
   fn:line("{")
   fn.indent = fn.indent + 1
   local values = {}
   for i, value in ipairs(node.values) do values[i] = expression.value(fn, value) end
   fn:within(symbols, function()
      fn:enter(symbols)
      for i, target in ipairs(node.targets) do fn:bind(target, values[i]) end
      body(fn, node.body)
   end)
   fn.indent = fn.indent - 1
   fn:line("}")
end

-- Declares what a target of `for` or `with` sets, and sets it.
function Function:bind(target, value)
   if target.kind == "name" then return self:declare(self.symbols:find(target.name), value) end
   nodes.walk(target, function(node)
      if node.kind == "name" then self:declare(self.symbols:find(node.name), "chat_none()") end
   end)
   assign(self, target, value)
end

-- ---- if

statement["if"] = function(fn, node)
   local nested = 0
   for i, branch in ipairs(node.branches) do
      local test, _, lines = expression.aside(fn, function() return expression.condition(fn, branch.test) end)
      if i == 1 then
         for j, line in ipairs(lines) do
            if type(line) == "string" then lines[j] = line:gsub("^    ", "", 1) end
         end
         expression.add_lines(fn, lines)
         fn:line("if (%s) {", test)
      elseif #lines == 0 then
         fn:line("} else if (%s) {", test)
      else
         fn:line("} else {")
         nested = nested + 1
         fn.indent = fn.indent + 1
         for j, line in ipairs(lines) do fn.lines[#fn.lines + 1] = line end
         fn:line("if (%s) {", test)
      end
      fn.indent = fn.indent + 1
      body(fn, branch.body)
      fn.indent = fn.indent - 1
   end
   if node.otherwise and #node.otherwise > 0 then
      fn:line("} else {")
      fn.indent = fn.indent + 1
      body(fn, node.otherwise)
      fn.indent = fn.indent - 1
   end
   fn:line("}")
   for _ = 1, nested do
      fn.indent = fn.indent - 1
      fn:line("}")
   end
end

-- ---- for

-- Whether the statements read the loop's own `loop`: not one of a loop in them.
local function uses_loop(list)
   local found = false
   local function visit(node)
      if node.kind == "name" and node.name == "loop" then found = true end
      if node.kind == "for" then
         nodes.walk(node.sequence, visit)
         for _, inner in ipairs(node.otherwise or {}) do nodes.walk(inner, visit) end
         return false
      end
      return not found
   end
   for _, node in ipairs(list) do nodes.walk(node, visit) end
   return found
end

-- The condition of `for ... if`, in a scope of its own: C text.
local function loop_condition(fn, node)
   local symbols = scope(fn)
   symbols:target(node.target, "parameter")
   symbols:expression(node.condition)
   return symbols, function() return fn:within(symbols, function() return (expression.condition(fn, node.condition)) end) end
end

-- With `loop`, which counts what passes, the passing items are collected first.
local function filtered(fn, node, sequence)
   fn.loops = fn.loops + 1
   local all, passing, item = "all" .. fn.loops, "passing" .. fn.loops, "item" .. fn.loops
   local symbols, condition = loop_condition(fn, node)
   fn:line("struct chat_value %s = chat_new_list(r);", passing)
   fn:line("struct chat_loop *%s = chat_loop_begin(r, %s);", all, sequence)
   fn:line("for (struct chat_value %s; chat_next(r, %s, &%s);) {", item, all, item)
   fn.indent = fn.indent + 1
   fn:within(symbols, function()
      fn:enter(symbols)
      fn:bind(node.target, item)
   end)
   fn:line("if (%s)", condition())
   fn:line("    chat_append(r, %s, %s);", passing, item)
   fn.indent = fn.indent - 1
   fn:line("}")
   return passing
end

-- Without it, each item is tested when its turn comes.
local function skip_others(fn, node, item)
   local symbols, condition = loop_condition(fn, node)
   fn.loops = fn.loops + 1
   local passes = "passes" .. fn.loops
   fn:line("bool %s;", passes)
   fn:line("{")
   fn.indent = fn.indent + 1
   fn:within(symbols, function()
      fn:enter(symbols)
      fn:bind(node.target, item)
   end)
   fn:line("%s = %s;", passes, condition())
   fn.indent = fn.indent - 1
   fn:line("}")
   fn:line("if (!%s)", passes)
   fn:line("    continue;")
end

statement["for"] = function(fn, node)
   local extended = uses_loop(node.body)
   local symbols = scope(fn)
   if extended then symbols:parameter("loop") end
   symbols:target(node.target, "parameter")
   symbols:statements(node.body)
   local sequence = expression.value(fn, node.sequence)
   if node.condition and extended then sequence = filtered(fn, node, sequence) end
   fn.loops = fn.loops + 1
   local each, none = "each" .. fn.loops, "none" .. fn.loops
   -- One variable that is not tested beforehand needs no other name.
   local plain = node.target.kind == "name" and not (node.condition and not extended)
   local item = plain and writer.variable(symbols:find(node.target.name)) or "item" .. fn.loops
   fn:line("struct chat_loop *%s = chat_loop_begin(r, %s);", each, sequence)
   if node.otherwise then fn:line("bool %s = true;", none) end
   fn:line("for (struct chat_value %s; chat_next(r, %s, &%s);) {", item, each, item)
   fn.indent = fn.indent + 1
   if node.condition and not extended then skip_others(fn, node, item) end
   if node.otherwise then fn:line("%s = false;", none) end
   fn:within(symbols, function()
      fn:enter(symbols)
      if not plain then fn:bind(node.target, item) end
      if extended then fn:declare(symbols:find("loop"), "chat_loop_value(" .. each .. ")") end
      body(fn, node.body)
   end)
   fn.indent = fn.indent - 1
   fn:line("}")
   if not node.otherwise then return end
   local other = scope(fn)
   other:statements(node.otherwise)
   fn:line("if (%s) {", none)
   fn.indent = fn.indent + 1
   fn:within(other, function()
      fn:enter(other)
      body(fn, node.otherwise)
   end)
   fn.indent = fn.indent - 1
   fn:line("}")
end

statement["break"] = function(fn) fn:line("break;") end
statement["continue"] = function(fn) fn:line("continue;") end

-- ---- macros

local SPECIAL = { "caller", "kwargs", "varargs" }

-- Which of caller, kwargs and varargs the body reads.
local function specials(list)
   local found = {}
   for _, node in ipairs(list) do
      nodes.walk(node, function(inner)
         if inner.kind == "name" then found[inner.name] = true end
      end)
   end
   return found
end

-- Emits the function of a macro or call block: the C text of its value where it is defined.
local function macro(outer, node, name)
   local unit = outer.unit
   unit.macros = unit.macros + 1
   local number = unit.macros
   local fn = Function.new(outer, unit)
   local symbols = Symbols.new(outer.symbols, fn)
   fn.symbols = symbols
   local used = specials(node.body)
   for _, parameter in ipairs(node.parameters) do symbols:parameter(parameter) end
   local extra = {}
   for _, special in ipairs(SPECIAL) do
      if used[special] then
         symbols:parameter(special)
         extra[#extra + 1] = special
      end
   end
   for i = 1, #node.parameters do
      if node.defaults[i] then symbols:expression(node.defaults[i]) end
   end
   symbols:statements(node.body)
   fn:enter(symbols)
   for i, parameter in ipairs(node.parameters) do
      local variable = symbols:find(parameter)
      fn:declare(variable, string.format("parameters[%d]", i - 1))
      local own = fn:variable(variable)
      fn:line("if (%s.kind == CHAT_MISSING) {", own)
      fn.indent = fn.indent + 1
      local default = node.defaults[i] and expression.value(fn, node.defaults[i])
         or string.format("chat_not_given(%s)", escape.c_string(parameter))
      fn:line("%s = %s;", own, default)
      fn.indent = fn.indent - 1
      fn:line("}")
   end
   for i, special in ipairs(extra) do
      fn:declare(symbols:find(special), string.format("parameters[%d]", #node.parameters + i - 1))
   end
   body(fn, node.body)

   local label = string.format("%s_%d", writer.identifier(name), number)
   local out = unit.functions
   out[#out + 1] = string.format("/* %s %s */", node.kind == "macro" and "macro" or "call block of line",
                                 node.kind == "macro" and escape.comment(name) or tostring(node.line))
   out[#out + 1] = string.format("static void print_%s(struct chat_render *r, struct chat_value *parameters, "
                                 .. "const struct chat_value *captured)\n{", label)
   if fn.shares then out[#out + 1] = "    struct variables *v = chat_variables(r, sizeof *v);" end
   if #node.parameters + #extra == 0 then out[#out + 1] = "    (void)parameters;" end
   if #fn.captures == 0 then out[#out + 1] = "    (void)captured;" end
   if #fn.lines == 0 and not fn.shares then out[#out + 1] = "    (void)r;" end
   out[#out + 1] = fn:text()
   out[#out + 1] = "}\n"
   local names = {}
   for i, parameter in ipairs(node.parameters) do names[i] = escape.c_string(parameter) end
   if #names > 0 then
      out[#out + 1] = writer.wrap(string.format("static const char *const parameters_%s[] = {%s};", label, table.concat(names, ", ")))
   end
   out[#out + 1] = string.format(
      "static const struct chat_macro macro_%s = {\n    .name = %s,\n    .body = print_%s,\n    .parameters = %s,\n"
      .. "    .count = %d,\n    .caller = %s,\n    .kwargs = %s,\n    .varargs = %s,\n};\n", label, escape.c_string(name), label,
      #names > 0 and "parameters_" .. label or "NULL", #names, used.caller or false, used.kwargs or false, used.varargs or false)
   local values = {}
   for i, variable in ipairs(fn.captures) do values[i] = outer:variable(variable) end
   return string.format("chat_macro(r, &macro_%s, %d, %s)", label, #values,
                        #values > 0 and "VALUES(" .. table.concat(values, ", ") .. ")" or "NULL")
end

function statement.macro(fn, node)
   local text = macro(fn, node, node.name)
   fn:line("%s = %s;", fn:variable(fn.symbols:find(node.name), true), text)
end

function statement.call_block(fn, node)
   fn.temporaries = fn.temporaries + 1
   local caller = "caller" .. fn.temporaries
   fn:line("struct chat_value %s = %s;", caller, macro(fn, node, "caller"))
   fn:line("chat_print(r, %s);", (expression.call(fn, node.call, string.format("{\"caller\", %s}", caller))))
end

-- ---- the whole

-- emit(root, function_name) -> C source text
return function(root, function_name)
   local unit = { macros = 0, functions = {} }
   local fn = Function.new(nil, unit)
   local symbols = Symbols.new(nil, fn)
   fn.symbols = symbols
   symbols:statements(root.body)
   fn:enter(symbols)
   body(fn, root.body)

   local names = {}
   for name in pairs(symbols.refs) do names[#names + 1] = name end
   table.sort(names)
   local out = { '#include "runtime/chat_value.h"\n\n// clang-format off\n' }
   if #names > 0 then
      out[#out + 1] = "/* The variables of the template's outermost level. */\nstruct variables {"
      for _, name in ipairs(names) do out[#out + 1] = "    struct chat_value " .. writer.identifier(name) .. ";" end
      out[#out + 1] = "};\n"
   end
   for _, text in ipairs(unit.functions) do out[#out + 1] = text end
   out[#out + 1] = string.format("void %s(struct chat_render *r);\n", function_name)
   out[#out + 1] = string.format("void %s(struct chat_render *r)\n{", function_name)
   if fn.shares then out[#out + 1] = "    struct variables *v = chat_variables(r, sizeof *v);" end
   if #fn.lines == 0 then out[#out + 1] = "    (void)r;" end
   out[#out + 1] = fn:text()
   out[#out + 1] = "}\n"
   return table.concat(out, "\n")
end
