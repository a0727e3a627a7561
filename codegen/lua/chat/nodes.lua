-- The nodes of a template's tree: { kind = ..., line = ..., children = {...}, further fields }. `depth` bounds how deep the
-- tree nests, so that whatever walks it may recurse; `impure` marks expressions whose order matters (calls of macros).

local fail = require "fail"

local nodes = {}

nodes.DEEPEST = 120

-- make(name, kind, line, fields, children): children, a list of nodes, in the order in which they are evaluated.
function nodes.make(name, kind, line, fields, children)
   local node = fields or {}
   node.kind, node.line, node.children = kind, line, children or {}
   local depth, impure = 0, node.impure or false
   for _, child in ipairs(node.children) do
      depth = math.max(depth, child.depth)
      impure = impure or child.impure
   end
   node.depth, node.impure = depth + 1, impure
   if node.depth > nodes.DEEPEST then
      fail("%s: line %d: blocks and expressions nest more than %d deep", name, line, nodes.DEEPEST)
   end
   return node
end

-- Calls visit(node) for the node and everything below, in order; what is below is left out where visit returns false.
function nodes.walk(node, visit)
   if visit(node) == false then return end
   for _, child in ipairs(node.children) do nodes.walk(child, visit) end
end

return nodes
