-- Which variable a name means, by Jinja's rules of scope: loops, macros and blocks begin a scope, `if` does not; what is set
-- in a scope is not seen outside it, and begins with what the outer variable holds. A name that is read before it is set
-- comes from the conversation.
--
-- A variable is { name, level, owner, load }: level 0 is the template's outermost; owner is the function (of the emitted C)
-- that holds it; load says what it begins with: "resolve" (the conversation), "alias" (the outer variable `from`),
-- "undefined", or "parameter" (something else sets it).

local fail = require "fail"

local Symbols = {}
Symbols.__index = Symbols

Symbols.MOST_VARIABLES = 500

function Symbols.new(parent, owner)
   return setmetatable({ parent = parent, level = parent and parent.level + 1 or 0, owner = owner, refs = {}, stores = {},
                         counter = parent and parent.counter or { count = 0 } }, Symbols)
end

-- For a branch of an `if`: the same scope, seen separately.
function Symbols:branch()
   local copy = setmetatable({ parent = self.parent, level = self.level, owner = self.owner, refs = {}, stores = {},
                               counter = self.counter }, Symbols)
   for name, variable in pairs(self.refs) do copy.refs[name] = variable end
   for name in pairs(self.stores) do copy.stores[name] = true end
   return copy
end

function Symbols:define(name, load, from)
   self.counter.count = self.counter.count + 1
   if self.counter.count > 20 * Symbols.MOST_VARIABLES then
      fail("the template has too many variables")
   end
   local variable = { name = name, level = self.level, owner = self.owner, load = load, from = from }
   self.refs[name] = variable
   return variable
end

-- The variable of this name in this scope or one around it, or nil.
function Symbols:find(name)
   local scope = self
   while scope do
      if scope.refs[name] then return scope.refs[name] end
      scope = scope.parent
   end
end

function Symbols:load(name)
   if not self:find(name) then self:define(name, "resolve") end
end

function Symbols:store(name)
   self.stores[name] = true
   if self.refs[name] then return end
   local outer = self.parent and self.parent:find(name)
   self:define(name, outer and "alias" or "undefined", outer)
end

function Symbols:parameter(name)
   self.stores[name] = true
   return self:define(name, "parameter")
end

-- After an `if`: what only some branches set begins as it was outside.
function Symbols:merge(branches)
   local stored = {}
   for _, branch in ipairs(branches) do
      for name in pairs(branch.stores) do stored[name] = not self.stores[name] or nil end
   end
   for _, branch in ipairs(branches) do
      for name, variable in pairs(branch.refs) do self.refs[name] = variable end
      for name in pairs(branch.stores) do self.stores[name] = true end
   end
   for name in pairs(stored) do
      local variable = self.refs[name]
      local outer = self.parent and self.parent:find(name)
      variable.load, variable.from = outer and "alias" or "resolve", outer
   end
end

-- ---- finding the names in statements

-- Names that an expression reads.
function Symbols:expression(node)
   if node.kind == "name" or node.kind == "member" then self:load(node.name) end
   for _, child in ipairs(node.children) do self:expression(child) end
end

-- Names that a target sets. store: "store" or "parameter".
function Symbols:target(node, store)
   if node.kind == "name" then
      self[store](self, node.name)
   elseif node.kind == "member" then
      self:load(node.name)
   else
      for _, item in ipairs(node.items) do self:target(item, store) end
   end
end

local visit = {}

function Symbols:statements(list)
   for _, node in ipairs(list) do visit[node.kind](self, node) end
end

visit["text"] = function() end
visit["break"] = visit.text
visit["continue"] = visit.text
function visit.print(self, node) self:expression(node.value) end
visit["for"] = function(self, node) self:expression(node.sequence) end
function visit.macro(self, node) self:store(node.name) end
function visit.call_block(self, node) self:expression(node.call) end
function visit.set_block(self, node) self:target(node.target, "store") end

function visit.set(self, node)
   self:expression(node.value)
   self:target(node.target, "store")
end

function visit.filter_block(self, node)
   for _, filter in ipairs(node.filters) do self:expression(filter) end
end

visit["with"] = function(self, node)
   for _, value in ipairs(node.values) do self:expression(value) end
end

-- An `elif` is an `if` in the branch that the first condition leaves.
visit["if"] = function(self, node)
   self:expression(node.branches[1].test)
   local body, elifs, otherwise = self:branch(), self:branch(), self:branch()
   body:statements(node.branches[1].body)
   for i = 2, #node.branches do
      local branch = node.branches[i]
      elifs:expression(branch.test)
      local inner = elifs:branch()
      inner:statements(branch.body)
      elifs:merge { inner, elifs:branch(), elifs:branch() }
   end
   otherwise:statements(node.otherwise or {})
   self:merge { body, elifs, otherwise }
end

-- The variables that this scope itself begins with, by name.
function Symbols:own()
   local names, result = {}, {}
   for name in pairs(self.refs) do names[#names + 1] = name end
   table.sort(names)
   for _, name in ipairs(names) do
      if self.refs[name].load ~= "parameter" then result[#result + 1] = self.refs[name] end
   end
   return result
end

return Symbols
