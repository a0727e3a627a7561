-- lathe build MODEL|RECIPE|PACKAGE: everything, or, for a package, its executable again from its own sources.

local fail = require "fail"
local host = require "host"
local cc = require "compile.cc"
local cuda = require "compile.cuda"
local cuda_targets = require "plan.cuda_targets"
local cuda_tools = require "compile.cuda_tools"
local manifest = require "pack.manifest"
local new_progress = require "progress"
local options = require "options"
local payload = require "pack.payload"
local pipeline = require "pipeline"
local staging = require "pack.staging"

local function megabytes(bytes) return string.format("%.1f MB", bytes / 1e6) end

local function report(place, name, folder_bytes, started, quiet)
   if quiet then return end
   local own, children = host.peak_memory()
   print(string.format("%s/%s: %s in %.1f s; peak memory %s, of the compiler %s", place, name, megabytes(folder_bytes),
                       host.clock() - started, megabytes(own), megabytes(children)))
end

local function size_of(path)
   local file <close> = host.open(path)
   return file:size()
end

-- Where a package keeps its payload, and how to write it there.
local function payload_place(folder, name, thin)
   if thin then return folder .. "/weights.bin", "new" end
   return folder .. "/" .. name, "append"
end

-- What the sources are told by the compiler's options: which CUDA made the kernels.
local function defines_of(tool)
   return tool and { string.format("-DCUDA_VERSION=%d", tool.cuda_version) } or {}
end

local function build_model(recipe, nvrtc, quiet)
   local started = host.clock()
   local progress, finish = new_progress(quiet)
   local place, name = pipeline.place(recipe)
   local written
   staging.into(place, function(folder, work)
      local compiler = cc.version(work)
      local plan, checkpoint, blobs = pipeline.plan(recipe, name)
      local tool = plan.cuda and cuda_tools.open(recipe.compiler, nvrtc, work)
      local files = pipeline.sources(plan, recipe)
      staging.write_files(folder, files)
      local assembly, images
      if tool then
         assembly, images = cuda.build(folder, files, plan.cuda.kernels, plan.cuda.targets, tool, work, progress)
      end
      cc.build(folder, files, plan.variants, work, name, defines_of(tool), assembly, progress)
      local path, mode = payload_place(folder, name, recipe.thin)
      payload.write(path, mode, plan, checkpoint, blobs, progress)
      host.make_executable(folder .. "/" .. name)
      local values = manifest.make(plan, recipe, pipeline.inputs(checkpoint), files)
      values.compiler = { command = compiler.command, version = compiler.version, flags = cc.flags() }
      if tool then manifest.add_images(values, tool, images) end
      manifest.write(folder, values)
      written = size_of(path)
   end)
   finish()
   report(place, name, written, started, quiet)
end

-- The sources as they are now, and whether they differ from what was generated.
local function read_sources(folder, values)
   local files, edited = {}, false
   local per_variant = {}
   for _, path in ipairs(values.compiled_per_variant) do per_variant[path] = true end
   local function walk(path, depth)
      for _, entry in ipairs(host.list(folder .. "/" .. path)) do
         local inner = path .. "/" .. entry
         if depth > 4 or entry:find("^[-@]") then -- a link in circles; an option of the compiler
            fail("%s/%s: expected at most 4 folders of sources, and no name that begins with '-' or '@'; rename it", folder,
                 inner)
         end
         if host.is_directory(folder .. "/" .. inner) then
            walk(inner, depth + 1)
         else
            local file <close> = host.open(folder .. "/" .. inner)
            files[#files + 1] = { path = inner, text = file:read(0, file:size()), variants = per_variant[inner] or false }
         end
      end
   end
   walk("src", 1)
   files[#files + 1] = { path = "lathe.h", text = host.embedded("runtime/lathe.h") }
   local hashes = manifest.source_hashes(files)
   for path, hash in pairs(hashes) do edited = edited or values.sources[path] ~= hash end
   for path in pairs(values.sources) do
      if not hashes[path] then
         fail("%s/%s: expected this source of the package, found none; build from the model again", folder, path)
      end
   end
   return files, edited
end

local function rebuild_package(source, recipe, nvrtc, quiet)
   local started = host.clock()
   local progress, finish = new_progress(quiet)
   local values = manifest.read(source)
   if values.generator ~= host.generator then
      fail("%s/MANIFEST.json: generator: expected %s, found %s; a package is rebuilt by the lathe that made it", source,
           host.generator, tostring(values.generator))
   end
   recipe.output = recipe.output or source
   local gpu = values.cuda ~= nil
   recipe.model = source
   local place, name = pipeline.place(recipe)
   local old = values.recipe.thin and source .. "/weights.bin" or source .. "/" .. tostring(values.name)
   if not host.exists(old) then
      fail("%s: expected the package's weights in it, found no such file; build from the model instead", old)
   end
   local weights <close> = host.open(old)
   local where = payload.find(weights)
   if not where then fail("%s: expected a payload at its end, found none; build from the model instead", old) end

   local written
   staging.into(place, function(folder, work)
      local compiler = cc.version(work)
      local tool = gpu and cuda_tools.open(recipe.compiler or values.recipe.compiler, nvrtc, work)
      local files, edited = read_sources(source, values)
      staging.write_files(folder, files)
      local defines = defines_of(tool)
      if edited then defines[#defines + 1] = "-DSOURCES_EDITED" end
      if name ~= values.name then defines[#defines + 1] = string.format('-DPACKAGE_NAME="%s"', name) end
      local assembly, images
      if tool then
         local targets = cuda_targets.of(values.cuda.targets)
         assembly, images = cuda.build(folder, files, values.cuda.kernels, targets, tool, work, progress)
      end
      cc.build(folder, files, values.variants, work, name, defines, assembly, progress)
      local path, mode = payload_place(folder, name, values.recipe.thin)
      payload.copy(path, mode, weights, where)
      host.make_executable(folder .. "/" .. name)
      values.name, values.sources_edited = name, edited
      values.compiler = { command = compiler.command, version = compiler.version, flags = cc.flags() }
      if tool then manifest.add_images(values, tool, images) end
      manifest.write(folder, values)
      written = size_of(path)
   end)
   finish()
   report(place, name, written, started, quiet)
end

local function build(...)
   local values, own, positional = options.parse({ ... }, "build", { ["--quiet"] = "flag", ["--nvrtc"] = "text" })
   local argument = options.one_argument(positional, "build", "a model, a recipe or a package")
   if manifest.is_package(argument) then
      for name in pairs(values) do
         if name ~= "output" and name ~= "compiler" then
            fail("%s: is a package, whose recipe is fixed; only -o and --compiler can be given (found %s). Build from the "
                 .. "model to change it", argument, name)
         end
      end
      rebuild_package(argument, { output = values.output, compiler = values.compiler }, own["--nvrtc"], own["--quiet"])
   else
      build_model(pipeline.recipe(values, argument), own["--nvrtc"], own["--quiet"])
   end
   return 0
end

return { build = build }
