-- Whether the tensors of a checkpoint are those of its description: each that is named is there with its shape, and each
-- that is there is named.

local fail = require "fail"

local tensors = {}

local function shape_text(shape)
   return "[" .. table.concat(shape, ", ") .. "]"
end

local function same_shape(a, b)
   if #a ~= #b then return false end
   for i = 1, #a do
      if a[i] ~= b[i] then return false end
   end
   return true
end

-- Every { tensor = name, shape = ... } of the description, in a fixed order: by walking lists in order and keys sorted.
function tensors.each(node, visit)
   if type(node) ~= "table" then return end
   if node.tensor then visit(node) end
   local keys = {}
   for key, value in pairs(node) do
      if type(value) == "table" then keys[#keys + 1] = key end
   end
   table.sort(keys, function(a, b) return (type(a) == type(b)) and a < b or type(a) == "number" and type(b) == "string" end)
   for _, key in ipairs(keys) do tensors.each(node[key], visit) end
end

-- check(found, description, where) -> the set of used names. where: { path, reason = what says the shapes, missing = what it
-- means when one is not there, disagree = when a shape is another }.
function tensors.check(found, description, where)
   local used = {}
   tensors.each(description, function(node)
      local tensor = found[node.tensor]
      used[node.tensor] = true
      if not tensor then
         fail("%s: %s: expected a tensor %s, found none; %s", where.path, node.tensor, shape_text(node.shape), where.missing)
      end
      if not same_shape(tensor.shape, node.shape) then
         fail("%s: %s: expected shape %s by %s, found %s; %s", tensor.file:path(), node.tensor, shape_text(node.shape),
              where.reason, shape_text(tensor.shape), where.disagree)
      end
   end)
   return used
end

-- check_unused(found, used, where, ignored): a tensor that nothing uses would be a silent change of the maths: a bias, a norm,
-- an adapter that was left in. where: { path, part = what it is no part of }.
function tensors.check_unused(found, used, where, ignored)
   local unused = {}
   for name in pairs(found) do
      if not used[name] and not ignored(name) then unused[#unused + 1] = name end
   end
   table.sort(unused)
   if #unused > 0 then
      fail("%s: %s: this tensor (and %d more) is not part of %s as the config describes it; lathe would "
           .. "ignore it, so it refuses", where.path, unused[1], #unused - 1, where.part)
   end
end

return tensors
