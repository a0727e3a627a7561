-- lathe inspect PACKAGE: what is in a package: kernels and their cost, sections, whether the sources were edited.

local fail = require "fail"
local host = require "host"
local json = require "json"
local manifest = require "pack.manifest"
local options = require "options"
local quantity = require "quantity"

-- A kernel by its name; cuda/NAME where the CPU has one of the same.
local function find_kernel(values, name)
   local names = {}
   for _, kernel in ipairs(values.kernels) do
      if kernel.name == name then return kernel end
      names[#names + 1] = kernel.name
   end
   for _, kernel in ipairs(values.draft and values.draft.kernels or {}) do
      if kernel.name == name then return kernel end
      names[#names + 1] = kernel.name
   end
   for _, kernel in ipairs(values.cuda and values.cuda.kernels or {}) do
      if kernel.name == name or "cuda/" .. kernel.name == name then return kernel end
      names[#names + 1] = kernel.name
   end
   fail("--kernel: expected one of %s, found %s", table.concat(names, ", "), name)
end

-- A path out of a manifest stays inside the package.
local function source_text(folder, path)
   if type(path) ~= "string" or not (path:match("^src/[%w_]+%.c$") or path:match("^src/draft/[%w_]+%.c$")
                                     or path:match("^src/cuda/[%w_]+%.cu$")) then
      fail("%s/MANIFEST.json: kernels: expected a source like src/NAME.c or src/cuda/NAME.cu, found %s", folder,
           tostring(path))
   end
   local file <close> = host.open(folder .. "/" .. path)
   return file:read(0, file:size())
end

-- values: the manifest, or its `draft`.
local function print_kernels(folder, values)
   local total = values.weight_bytes_read
   print(string.format("\n%-20s %6s %14s %14s %7s  %s", "kernel", "layers", "per row", "weights", "share", "source"))
   for _, kernel in ipairs(values.kernels) do
      local cost = kernel.cost
      print(string.format("%-20s %6d %14s %14s %6.1f%%  %s", kernel.name, kernel.layers,
                          cost.flops_per_row and quantity(cost.flops_per_row, "FLOP") or "by position",
                          quantity(cost.weight_bytes, "B"), 100 * cost.weight_bytes * kernel.layers / total,
                          folder .. "/" .. kernel.source))
   end
end

local function print_draft(folder, draft)
   print(string.format("\ndraft head %s: %s, %s parameters; trees of %d levels, %d children, %d rows", draft.name, draft.kind,
                       quantity(draft.parameters, ""), draft.depth, draft.top_k, draft.tokens))
   print_kernels(folder, draft)
end

-- Which adapters there are, and what one of the largest rank adds to each kernel.
local function print_adapters(adapters, kernels)
   print(string.format("\nadapters: %d built in, %d slots for others up to rank %d", #adapters.built_in, adapters.slots,
                       adapters.max_rank))
   for _, adapter in ipairs(adapters.built_in) do
      print(string.format("%-20s rank %d (padded), %d sites, %s", adapter.name, adapter.rank, adapter.sites,
                          quantity(adapter.bytes, "B")))
   end
   for _, kernel in ipairs(kernels) do
      local cost = kernel.cost.adapter
      if cost then
         print(string.format("%-20s rank %d adds %s a row and %s, in each of %d layers", kernel.name, cost.rank,
                             quantity(cost.flops_per_row, "FLOP"), quantity(cost.weight_bytes, "B"), kernel.layers))
      end
   end
end

-- "90 regs, 66816 shared, 0 spilled, 24.1 KB" of one target
local function image_text(kernel, image)
   if not image then return "-" end -- a kernel of another target
   if not image.registers then return quantity(image.bytes, "B") end
   return string.format("%3d %7d %5d %5d %9s", image.registers, image.shared_bytes + kernel.dynamic_shared_bytes,
                        image.spill_bytes, image.stack_bytes, quantity(image.bytes, "B"))
end

-- The GPU's kernels: what they cost, then, for each target, registers, shared memory of a block (static and dynamic), bytes
-- of spilled registers, bytes of stack, and the size of the image.
local function print_cuda(gpu, total)
   local compiled = gpu.compiler ~= nil
   print(string.format("\nGPU: weights take %s; steps of up to %s rows", quantity(gpu.weights_bytes, "B"),
                       table.concat(gpu.buckets, ", ")))
   if compiled then print("GPU compiler: " .. gpu.compiler.version) end
   local title = string.format("%-22s %6s %7s %14s %11s %6s", "kernel", "layers", "threads", "per row", "weights", "share")
   for _, target in ipairs(compiled and gpu.targets or {}) do
      title = title .. string.format("   %-33s", target:find("^ptx") and target
                                                 or string.format("%4s: regs shared spill stack", target))
   end
   print((title:gsub(" +$", "")))
   for _, kernel in ipairs(gpu.kernels) do
      local cost, flops, weights, share = kernel.cost, "", "", ""
      if cost then
         flops = cost.flops_per_row and quantity(cost.flops_per_row, "FLOP") or "by position"
         weights = quantity(cost.weight_bytes, "B")
         share = string.format("%.1f%%", 100 * cost.weight_bytes * kernel.layers / total)
      end
      local line = string.format("%-22s %6d %7d %14s %11s %6s", kernel.name, kernel.layers, kernel.threads, flops, weights,
                                 share)
      for _, target in ipairs(compiled and gpu.targets or {}) do
         line = line .. string.format("   %-33s", image_text(kernel, kernel.images[target]))
      end
      print((line:gsub(" +$", "")))
   end
end

local function print_package(folder, values)
   print(string.format("%s: %s, %s parameters, made by %s", values.name, values.architecture,
                       quantity(values.parameters, ""), values.generator))
   print(values.command)
   print(string.format("sources edited: %s", values.sources_edited and "yes" or "no"))
   if values.compiler then print(string.format("compiler: %s (%s)", values.compiler.version, values.compiler.command)) end
   for _, input in ipairs(values.inputs) do
      print(string.format("input: %s, %d bytes, xxh3 %s", input.name, input.bytes, input.hash))
   end
   if #values.kernels > 0 then print_kernels(folder, values) end
   if values.adapters then print_adapters(values.adapters, values.kernels) end
   if values.draft then print_draft(folder, values.draft) end
   if values.cuda then print_cuda(values.cuda, values.weight_bytes_read) end
end

local function inspect(...)
   local _, own, positional = options.parse({ ... }, "inspect", { ["--json"] = "flag", ["--kernel"] = "text" })
   local folder = options.one_argument(positional, "inspect", "a package"):gsub("(.)/+$", "%1")
   if not manifest.is_package(folder) then
      fail("%s: expected a package of lathe (a folder with MANIFEST.json), found none", folder)
   end
   local values = manifest.read(folder)
   if own["--kernel"] then
      local kernel = find_kernel(values, own["--kernel"])
      kernel.text = source_text(folder, kernel.source)
      io.write(own["--json"] and json.encode(kernel, true) .. "\n" or kernel.text)
   elseif own["--json"] then
      print(json.encode(values, true))
   else
      print_package(folder, values)
   end
   return 0
end

return { inspect = inspect }
