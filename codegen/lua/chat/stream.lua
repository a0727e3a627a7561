-- The tokens of a template, one at a time, for the parser's two halves; and their messages.

local fail = require "fail"
local nodes = require "chat.nodes"

local Stream = {}
Stream.__index = Stream

function Stream.new(tokens, name)
   return setmetatable({ tokens = tokens, name = name, at = 1, current = tokens[1], nesting = 0 }, Stream)
end

function Stream:fail(format, ...)
   fail("%s: line %d: %s", self.name, self.current.line, string.format(format, ...))
end

-- "'for'", "the end of the block" ...
function Stream:found()
   local token = self.current
   local names = { variable_end = "'}}'", block_end = "'%}'", variable = "'{{'", block = "'{%'", data = "text",
                   ["end"] = "the end of the template", string = "a string", integer = "a number", float = "a number" }
   return names[token.kind] or "'" .. tostring(token.value) .. "'"
end

function Stream:next()
   local token = self.current
   self.at = math.min(self.at + 1, #self.tokens)
   self.current = self.tokens[self.at]
   return token
end

function Stream:look() return self.tokens[math.min(self.at + 1, #self.tokens)] end

function Stream:is(kind, value) return self.current.kind == kind and (value == nil or self.current.value == value) end
function Stream:is_operator(value) return self:is("operator", value) end
function Stream:is_name(value) return self:is("name", value) end

function Stream:skip(kind, value)
   if not self:is(kind, value) then return nil end
   return self:next()
end

function Stream:expect(kind, value)
   local token = self:skip(kind, value)
   if not token then
      self:fail("expected %s, found %s", value and "'" .. value .. "'" or kind == "name" and "a name"
                or kind == "block_end" and "'%}'" or kind == "variable_end" and "'}}'" or kind, self:found())
   end
   return token
end

-- Runs parse(), counting how deep the parser nests.
function Stream:deeper(parse, ...)
   self.nesting = self.nesting + 1
   if self.nesting > nodes.DEEPEST then self:fail("blocks and expressions nest more than %d deep", nodes.DEEPEST) end
   local result = parse(self, ...)
   self.nesting = self.nesting - 1
   return result
end

function Stream:node(kind, line, fields, children) return nodes.make(self.name, kind, line, fields, children) end

-- Another operand for a node that takes any number; `items` are its children.
function Stream:extend(node, items, operand)
   items[#items + 1] = operand
   node.depth = math.max(node.depth, operand.depth + 1)
   node.impure = node.impure or operand.impure
   if node.depth > nodes.DEEPEST then self:fail("blocks and expressions nest more than %d deep", nodes.DEEPEST) end
end

return Stream
