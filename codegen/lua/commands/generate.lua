-- lathe generate MODEL|RECIPE: the sources and the manifest, nothing compiled, no weights written.

local manifest = require "pack.manifest"
local options = require "options"
local pipeline = require "pipeline"
local staging = require "pack.staging"

local function generate(...)
   local values, own, positional = options.parse({ ... }, "generate", { ["--quiet"] = "flag" })
   local recipe = pipeline.recipe(values, options.one_argument(positional, "generate", "a model or a recipe"))
   local place, name = pipeline.place(recipe)
   staging.into(place, function(folder)
      local plan, checkpoint = pipeline.plan(recipe, name)
      local files = pipeline.sources(plan, recipe)
      staging.write_files(folder, files)
      manifest.write(folder, manifest.make(plan, recipe, pipeline.inputs(checkpoint), files))
   end)
   if not own["--quiet"] then print(place .. "/src") end
   return 0
end

return { generate = generate }
