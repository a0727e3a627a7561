-- From a checkpoint to a description: the model as primitives, with the name of each tensor and the shape that it must
-- have. The families (models/*.lua) say what an architecture is made of; this file finds the family and checks the
-- tensors against what it says.

local fail = require "fail"
local config = require "describe.config"
local families = require "describe.families"

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
local function each_tensor(node, visit)
   if type(node) ~= "table" then return end
   if node.tensor then visit(node) end
   local keys = {}
   for key, value in pairs(node) do
      if type(value) == "table" then keys[#keys + 1] = key end
   end
   table.sort(keys, function(a, b) return (type(a) == type(b)) and a < b or type(a) == "number" and type(b) == "string" end)
   for _, key in ipairs(keys) do each_tensor(node[key], visit) end
end

local function check_tensors(checkpoint, description)
   local used = {}
   each_tensor(description, function(node)
      local found = checkpoint.tensors[node.tensor]
      used[node.tensor] = true
      if not found then
         fail("%s: %s: expected a tensor %s, found none; the checkpoint is incomplete or config.json is another model's",
              checkpoint.path, node.tensor, shape_text(node.shape))
      end
      if not same_shape(found.shape, node.shape) then
         fail("%s: %s: expected shape %s by the config, found %s; config and tensors disagree", found.file:path(),
              node.tensor, shape_text(node.shape), shape_text(found.shape))
      end
   end)
   return used
end

-- A tensor that nothing uses would be a silent change of the maths: a bias, a norm, an adapter that was left in.
local function check_unused(checkpoint, description, used)
   local unused = {}
   for name in pairs(checkpoint.tensors) do
      if not used[name] and not description.ignored_tensor(name) then unused[#unused + 1] = name end
   end
   table.sort(unused)
   if #unused > 0 then
      fail("%s: %s: this tensor (and %d more) is not part of the architecture %s as the config describes it; lathe would "
           .. "ignore it, so it refuses", checkpoint.path, unused[1], #unused - 1, checkpoint.architecture)
   end
end

-- describe(checkpoint, recipe) -> description. With random weights a checkpoint needs no tensors.
local function describe(checkpoint, recipe)
   local family = families.find(checkpoint.architecture, checkpoint.config_file, recipe.models)
   local ignored = {}
   for _, key in ipairs(recipe.ignore_config_keys) do ignored[key] = true end
   local values = config.read(checkpoint.config_file, checkpoint.config, family.config, ignored)
   local description = families.guard(family.path, family.describe, values, checkpoint.config_file)
   if type(description) ~= "table" or type(description.layers) ~= "table" or #description.layers == 0 then
      fail("%s: describe: expected a description with layers, found %s; see docs/families.md", family.path,
           type(description) == "table" and "none" or type(description))
   end
   description.architecture = checkpoint.architecture
   description.family = family.name
   description.ignored_tensor = family.ignored_tensor or function(name)
      return name:find("rotary_emb%.inv_freq$") ~= nil -- old checkpoints stored what the config says anyway
   end
   if not recipe.random_weights then
      local used = check_tensors(checkpoint, description)
      if description.head.tied then used[description.head.untied] = true end
      check_unused(checkpoint, description, used)
   end
   return description
end

return describe
