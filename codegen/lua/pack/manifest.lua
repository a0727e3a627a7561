-- MANIFEST.json: what went into a package and what came out, for people and for `lathe inspect` and rebuilding. No dates,
-- hosts or absolute paths.

local fail = require "fail"
local host = require "host"
local cuda_targets = require "plan.cuda_targets"
local escape = require "emit.escape"
local json = require "json"
local recipe_module = require "recipe"

local manifest = {}

manifest.FORMAT = "lathe-package"

local function base(path) return path:gsub("/+$", ""):match("([^/]+)$") or path end

-- The recipe without what is only of this machine: paths shortened to their last part.
local function portable_recipe(recipe)
   local result = {}
   for _, field in ipairs(recipe_module.schema) do
      local value = recipe[field.name]
      if value ~= nil and field.name ~= "output" then
         if field.kind == "list" then value = host.array { table.unpack(value) } end
         if field.kind == "paths" then
            local names = {}
            for key, path in pairs(value) do names[key] = base(path) end
            value = next(names) and names or nil
         end
         result[field.name] = field.kind == "path" and base(value) or value
      end
   end
   return result
end

local function kernels_of(plan) -- the model's or its draft head's
   local list = host.array {}
   for i, kernel in ipairs(plan.kernels) do
      list[i] = { name = kernel.name, source = kernel.source, template = "templates/c/" .. kernel.template,
                  summary = kernel.summary, layers = kernel.layers, cost = kernel.cost }
   end
   return list
end

-- The draft head: what it is, and its kernels.
local function draft_of(draft)
   if not draft then return nil end
   return { kind = draft.kind, name = draft.name, depth = draft.depth, top_k = draft.top_k, tokens = draft.tokens,
            gap = draft.gap, taps = draft.taps and host.array { table.unpack(draft.taps) }, dimensions = draft.dimensions,
            parameters = draft.totals.parameters, flops_per_row = draft.totals.flops_per_row,
            weight_bytes_read = draft.totals.weight_bytes_read, kernels = kernels_of(draft) }
end

-- The GPU side: targets, and each kernel; add_images says what became of it.
local function cuda_of(gpu)
   if not gpu then return nil end
   local kernels, targets = host.array {}, host.array {}
   for i, kernel in ipairs(gpu.kernels) do
      kernels[i] = { name = kernel.name, source = kernel.source, template = "templates/cuda/" .. kernel.template,
                     only = kernel.only, rows = kernel.rows, threads = kernel.threads,
                     dynamic_shared_bytes = kernel.shared_bytes, summary = kernel.summary, layers = kernel.layers,
                     cost = kernel.cost }
   end
   for i, target in ipairs(gpu.targets) do targets[i] = target.name end
   return { targets = targets, kernels = kernels, weights_bytes = gpu.weights_bytes,
            buckets = host.array { table.unpack(gpu.buckets) } }
end

-- add_images(manifest, tool, images): what compile.cuda.build returned
function manifest.add_images(values, tool, images)
   values.cuda.compiler = { name = tool.name, version = tool.version, flags = tool.flags }
   for i, kernel in ipairs(values.cuda.kernels) do
      kernel.images = {}
      for target, list in pairs(images) do kernel.images[target] = list[i] end
   end
end

-- The adapters; nil: the package was built without.
local function adapters_of(lora)
   if not lora then return nil end
   local list = host.array {}
   for i, adapter in ipairs(lora.list) do
      list[i] = { name = adapter.name, bytes = adapter.bytes, sites = adapter.site_count, rank = adapter.rank }
   end
   return { built_in = list, slots = lora.slots, max_rank = lora.max_rank, sites = #lora.sites }
end

local function sections_of(plan)
   local list = host.array {}
   for i, section in ipairs(plan.payload.sections) do
      list[i] = { name = section.name, dtype = section.dtype, shape = host.array { section.rows, section.columns },
                  offset = section.offset, bytes = section.bytes }
   end
   return list
end

function manifest.variants_of(plan)
   local list = host.array {}
   for i, variant in ipairs(plan.variants) do
      list[i] = { name = variant.name, flags = host.array { table.unpack(variant.flags) } }
   end
   return list
end

-- The hash of each source, by path, so that an edit is noticed.
function manifest.source_hashes(files)
   local hashes = {}
   for _, file in ipairs(files) do hashes[file.path] = host.hash(file.text) end
   return hashes
end

-- make(plan, recipe, inputs, files) -> table. inputs: { { name, bytes, hash } }
function manifest.make(plan, recipe, inputs, files)
   local compiled_per_variant = host.array {}
   for _, file in ipairs(files) do
      if file.variants then compiled_per_variant[#compiled_per_variant + 1] = file.path end
   end
   return {
      format = manifest.FORMAT, version = 1, generator = plan.generator, name = plan.name, command = plan.command,
      recipe = portable_recipe(recipe), inputs = host.array(inputs), architecture = plan.architecture,
      family = plan.family, dimensions = plan.dimensions, parameters = plan.totals.parameters,
      flops_per_row = plan.totals.flops_per_row, weight_bytes_read = plan.totals.weight_bytes_read,
      kernels = kernels_of(plan), draft = draft_of(plan.draft), cuda = cuda_of(plan.cuda), adapters = adapters_of(plan.adapters),
      variants = manifest.variants_of(plan), state = host.array(plan.state),
      payload = { layout = plan.layout, bytes = plan.payload.bytes, sections = sections_of(plan),
                  random_seed = plan.random_seed },
      sources = manifest.source_hashes(files), compiled_per_variant = compiled_per_variant, sources_edited = false,
   }
end

function manifest.write(folder, values)
   local writer = host.writer(folder .. "/MANIFEST.json")
   writer:write(json.encode(values, true) .. "\n")
   writer:close()
end

-- What is read from a manifest is checked here: a package may come from anywhere, and its flags reach a compiler.
local function check_fields(path, values)
   local function expect(good, field, expected)
      if not good then fail("%s: %s: expected %s; the file is damaged", path, field, expected) end
   end
   local function list(field, check)
      local value = values[field]
      expect(type(value) == "table" and host.is_array(value), field, "a list")
      for i, item in ipairs(value) do
         expect(check(item), string.format("%s[%d]", field, i - 1), "an entry as lathe writes it")
      end
      return value
   end
   local function is_text(value) return type(value) == "string" end
   local function has(item, texts, numbers)
      if type(item) ~= "table" then return false end
      for _, name in ipairs(texts) do
         if not is_text(item[name]) then return false end
      end
      for _, name in ipairs(numbers) do
         if math.type(item[name]) ~= "integer" then return false end
      end
      return true
   end
   expect(has(values, { "name", "generator", "architecture", "command" }, { "parameters", "weight_bytes_read" }),
          "name, generator, architecture, command, parameters, weight_bytes_read", "texts and integers")
   expect(escape.is_name(values.name), "name", "letters, digits, '.', '_' and '-'")
   expect(type(values.recipe) == "table", "recipe", "an object")
   expect(type(values.sources) == "table", "sources", "an object")
   expect(values.compiler == nil or has(values.compiler, { "command", "version" }, {}), "compiler", "command and version")
   list("compiled_per_variant", is_text)
   list("inputs", function(item) return has(item, { "name", "hash" }, { "bytes" }) end)
   local function is_kernel(item)
      return has(item, { "name", "source", "template", "summary" }, { "layers" }) and item.name:find("^[%w_]+$")
         and has(item.cost, {}, { "weight_bytes" })
         and (item.cost.flops_per_row == nil or type(item.cost.flops_per_row) == "number")
         and (item.cost.adapter == nil or has(item.cost.adapter, {}, { "rank", "flops_per_row", "weight_bytes" }))
   end
   list("kernels", is_kernel)
   local draft = values.draft
   if draft ~= nil then
      expect(has(draft, { "kind", "name" }, { "depth", "top_k", "tokens", "parameters", "weight_bytes_read" })
             and type(draft.kernels) == "table" and host.is_array(draft.kernels), "draft", "an object as lathe writes it")
      for i, kernel in ipairs(draft.kernels) do
         expect(is_kernel(kernel), string.format("draft.kernels[%d]", i - 1), "an entry as lathe writes it")
      end
   end
   local adapters = values.adapters
   if adapters ~= nil then
      expect(has(adapters, {}, { "slots", "max_rank", "sites" }) and type(adapters.built_in) == "table"
             and host.is_array(adapters.built_in), "adapters", "an object as lathe writes it")
      for i, item in ipairs(adapters.built_in) do
         expect(has(item, { "name" }, { "bytes", "sites", "rank" }), string.format("adapters.built_in[%d]", i - 1),
                "an entry as lathe writes it")
      end
   end
   list("variants", function(item)
      if not has(item, { "name" }, {}) or not item.name:find("^[%w_]+$") or type(item.flags) ~= "table" then return false end
      for _, flag in ipairs(item.flags) do
         if not is_text(flag) or not flag:find("^%-m[%w.]+$") then return false end -- nothing but an instruction set
      end
      return true
   end)
end

-- The GPU side likewise: names become files, targets options of a compiler.
local function check_cuda(path, gpu)
   if gpu == nil then return end
   local function expect(good, field)
      if not good then fail("%s: cuda.%s: expected what lathe writes there; the file is damaged", path, field) end
   end
   local function is_list(value) return type(value) == "table" and host.is_array(value) end
   local function count(value) return math.type(value) == "integer" and value >= 0 end
   expect(type(gpu) == "table" and count(gpu.weights_bytes), "weights_bytes")
   expect(is_list(gpu.targets) and #gpu.targets > 0, "targets")
   for _, target in ipairs(gpu.targets) do expect(type(target) == "string" and cuda_targets.is_known(target), "targets") end
   expect(is_list(gpu.buckets) and #gpu.buckets > 0, "buckets")
   for _, rows in ipairs(gpu.buckets) do expect(count(rows), "buckets") end
   local compiler = gpu.compiler
   expect(compiler == nil or type(compiler) == "table" and type(compiler.version) == "string", "compiler")
   expect(is_list(gpu.kernels) and #gpu.kernels > 0, "kernels")
   for i, kernel in ipairs(gpu.kernels) do
      local field = string.format("kernels[%d]", i - 1)
      expect(type(kernel) == "table" and type(kernel.name) == "string" and kernel.name:find("^[%w_]+$"), field .. ".name")
      expect(kernel.source == "src/cuda/" .. kernel.name .. ".cu", field .. ".source")
      expect(count(kernel.layers) and count(kernel.threads) and count(kernel.dynamic_shared_bytes), field)
      local cost = kernel.cost
      expect(cost == nil or type(cost) == "table" and count(cost.weight_bytes)
             and (cost.flops_per_row == nil or type(cost.flops_per_row) == "number"), field .. ".cost")
      local only = kernel.only
      expect(only == nil or type(only) == "string" and cuda_targets.is_known(only), field .. ".only")
      for _, target in ipairs(compiler and gpu.targets or {}) do
         local image = type(kernel.images) == "table" and kernel.images[target]
         if image or not only or only == target then
            expect(type(image) == "table" and count(image.bytes), field .. ".images")
            expect(image.registers == nil or count(image.registers) and count(image.shared_bytes)
                   and count(image.spill_bytes) and count(image.stack_bytes), field .. ".images")
         end
      end
   end
end

-- read(folder) -> the manifest of a package, or a user error
function manifest.read(folder)
   local path = folder .. "/MANIFEST.json"
   local file <close> = host.open(path)
   local values = host.json_decode(file:read(0, file:size()), path)
   if type(values) ~= "table" or values.format ~= manifest.FORMAT then
      fail('%s: format: expected "%s"; the folder is not a package of lathe', path, manifest.FORMAT)
   end
   if values.version ~= 1 then
      fail("%s: version: expected 1, found %s; build the package again with this lathe", path, tostring(values.version))
   end
   check_fields(path, values)
   check_cuda(path, values.cuda)
   return values
end

-- Whether the folder is a package (or at least says so).
function manifest.is_package(folder)
   return host.is_directory(folder) and host.exists(folder .. "/MANIFEST.json")
end

return manifest
