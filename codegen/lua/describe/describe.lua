-- From a checkpoint to a description: the model as primitives, with the name of each tensor and the shape that it must
-- have. The families (models/*.lua) say what an architecture is made of; this file finds the family and checks the
-- tensors against what it says.

local fail = require "fail"
local config = require "describe.config"
local families = require "describe.families"
local tensors = require "describe.tensors"

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
      local where = { path = checkpoint.path, part = "the architecture " .. checkpoint.architecture, reason = "the config",
                      missing = "the checkpoint is incomplete or config.json is another model's",
                      disagree = "config and tensors disagree" }
      local used = tensors.check(checkpoint.tensors, description, where)
      if description.head.tied then used[description.head.untied] = true end
      tensors.check_unused(checkpoint.tensors, used, where, description.ignored_tensor)
   end
   return description
end

return describe
