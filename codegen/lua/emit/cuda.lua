-- The sources of the GPU side, src/cuda/: one kernel a file, model.c that launches them, and what the package says about
-- them.

local host = require "host"
local source = require "emit.source"

local cuda = {}

cuda.runtime_headers = { "cuda_draw.h", "cuda_model.h", "cuda_step.h" }

-- The headers that kernels share: all that there are, but for those of adapters where a package has none.
local function headers(gpu)
   local names = {}
   for _, path in ipairs(host.embedded_list "templates/cuda/") do
      local name = path:match("([^/]+%.cuh)$")
      if name ~= "adapter.cuh" or gpu.adapted then names[#names + 1] = name end
   end
   return names
end

-- KERNEL_QKV_8 for qkv_8
local function constant(name) return "KERNEL_" .. name:upper() end

-- The table of a stage's launches, in columns.
local function launch_lines(launches)
   local rows, widths, lines = {}, { 0, 0, 0, 0, 0 }, {}
   for i, launch in ipairs(launches) do
      rows[i] = { launch.rows, constant(launch.kernel.name), launch.x, launch.y, launch.z }
      for j, value in ipairs(rows[i]) do widths[j] = math.max(widths[j], #tostring(value)) end
   end
   for i, row in ipairs(rows) do
      for j, value in ipairs(row) do
         row[j] = string.format("%" .. (j == 2 and -widths[j] - 1 or widths[j]) .. "s",
                                j == 2 and value .. "," or value)
      end
      lines[i] = string.format("{%s, %s %s, %s, %s},", table.unpack(row))
   end
   return lines
end

local function stage_values(stage)
   return { name = stage.name, trace = stage.trace, constant = "LAUNCH_" .. stage.name:upper(),
            lines = launch_lines(stage.launches) }
end

local function image_tables(targets)
   return source.map(targets, function(target)
      return { name = target.name, major = target.major, minor = target.minor, exact = target.exact, ptx = target.ptx,
               images = "CUDA_IMAGES_" .. target.name:upper() }
   end)
end

local function section_lines(sections)
   return source.map(sections, function(section)
      return string.format("{%d, CUDA_PACKING_%s, %d, %d},", section.tensor, section.packing, section.offset, section.bytes)
   end)
end

local function kernel_lines(kernels)
   return source.map(kernels, function(kernel)
      return string.format('[%s] = {"%s", %d, %d, %s},', constant(kernel.name), kernel.name, kernel.threads,
                           kernel.shared_bytes, kernel.only and '"' .. kernel.only .. '"' or "NULL")
   end)
end

local function trace_lines(traces)
   return source.map(traces, function(trace)
      return string.format('{"%s", "%s", DTYPE_%s, CUDA_ORDER_%s, %s, offsetof(struct activations, %s)},', trace.name,
                           trace.stage, trace.dtype, trace.order, trace.columns, trace.buffer)
   end)
end

local function cost_lines(costs)
   return source.map(costs, function(cost)
      return string.format('{"%s", %d, %d},', cost.stage, cost.weight_bytes, cost.flops_per_row)
   end)
end

-- The arguments of cuda_launch from the kernel to the grid.
local function launch_text(launch, trace)
   local grid = launch.grid
   return string.format('%s, "%s", %d, %d, %d', constant(launch.kernel.name), trace, grid[1], grid[2] or 1, grid[3] or 1)
end

local function bulk_values(bulk)
   local names = { "attention_norm", "rope", "attention", "mlp_norm", "activate" }
   return {
      copy_fields = source.map(bulk.fields, function(name) return "uint64_t " .. name .. ";" end),
      copy_lines = source.layer_lines(source.map(bulk.fields, function(name) return { name = name } end), bulk.layers),
      embed = launch_text(bulk.embed, "embed"), finish = launch_text(bulk.finish, "bulk_finish"),
      tap = bulk.tap and launch_text(bulk.tap, "bulk_tap") or false,
      ends = source.map(bulk.ends, function(stage) return launch_text(stage.launch, stage.trace) end),
      runs = source.map(bulk.runs, function(run)
         local values = { first = run.first, last = run.last }
         for _, name in ipairs(names) do
            values[name] = launch_text(run.stages[name], name == "attention" and "attention" or "bulk_" .. name)
         end
         return values
      end),
   }
end

-- What each template is expanded with, besides a kernel's own values. part: the GPU's plan or its draft head's.
local function common_values(plan, part, rotaries, names)
   return source.merged({
      dtype = plan.dtype, rotaries = rotaries, constant_lines = source.constant_lines(part.constants),
      buffer_lines = source.buffer_lines(part.buffers, " ALIGNED"), field_lines = source.field_lines(part.layer_fields),
      offsets = part.offsets, stages = source.map(part.stages, stage_values), adapters = plan.cuda.adapted ~= nil,
      page_stride = plan.draft and "PAGE_STRIDE" or "PAGE_ELEMENTS", taps = plan.cuda.taps, has_draft = plan.draft ~= nil,
   }, names)
end

-- A way through the stages for model.c: `begin`, then runs of layers, then `finish`.
local function step_values(part, values, name, begin, runs, finish)
   local by_stage = {}
   for i, stage in ipairs(part.stages) do by_stage[stage] = values.stages[i] end
   local function of(stages) return source.map(stages, function(stage) return by_stage[stage] end) end
   return { name = name, begin = of(begin), finish = of(finish),
            runs = source.map(runs, function(run) return { first = run.first, last = run.last, stages = of(run.stages) } end) }
end

-- The draft head's sources, beside the model's: kernels called draft_..., headers and tables called ..._draft.
local function add_draft(add, plan, draft)
   for _, rotary in ipairs(draft.rotaries) do rotary.lines = source.float_lines(rotary.frequencies, 6) end
   local common = common_values(plan, draft, draft.rotaries,
                                { subject = "The draft head", shapes = "shapes_draft.cuh", layers = "layers_draft.h",
                                  adapters = false, taps = false })
   common.steps = { step_values(draft, common, "cuda_step_draft", draft.before,
                                { { first = 0, last = 1, stages = draft.layer } }, draft.after) }
   add("shapes_draft.cuh", "shapes.cuh", common)
   add("layers_draft.h", "layers.h",
       source.merged(common, { layer_lines = source.layer_lines(draft.layer_fields, draft.layers) }))
   for _, kernel in ipairs(draft.kernels) do
      kernel.source = "src/cuda/" .. kernel.name .. ".cu"
      add(kernel.name .. ".cu", kernel.template, source.merged(common, kernel.values), kernel)
   end
   add("model_draft.c", "model.c", common)
   add("package_draft.c", "package_draft.c", source.merged(common, { pack = constant(draft.pack.name) }))
end

-- add(files, plan, recipe): the sources of plan.cuda
function cuda.add(files, plan, recipe)
   local gpu = plan.cuda
   local common = common_values(plan, gpu, plan.rotaries,
                                { subject = "The model", shapes = "shapes.cuh", layers = "layers.h" })
   common.steps = {
      step_values(gpu, common, "cuda_step_model", { gpu.begin }, gpu.runs, gpu.finish),
      gpu.adapted and step_values(gpu, common, "cuda_step_adapters", { gpu.adapted.begin }, gpu.adapted.runs, gpu.adapted.finish),
   }
   common.kernels = source.map(gpu.kernels, function(kernel)
      return { name = kernel.name, constant = constant(kernel.name) }
   end)
   local of_draft = {}
   for _, kernel in ipairs(gpu.draft and gpu.draft.kernels or {}) do of_draft[kernel] = true end
   local function add(name, template, values, kernel)
      files[#files + 1] = { path = "src/cuda/" .. name, text = source.expand(plan, recipe, "cuda/" .. template, values, kernel),
                            variants = false, cuda_kernel = kernel }
   end
   for _, name in ipairs(headers(gpu)) do add(name, name, common) end
   add("kernels.h", "kernels.h", common)
   add("layers.h", "layers.h",
       source.merged(common, { layer_lines = source.layer_lines(gpu.layer_fields, gpu.layers) }))
   for _, kernel in ipairs(gpu.kernels) do
      if not of_draft[kernel] then
         kernel.source = "src/cuda/" .. kernel.name .. ".cu"
         add(kernel.name .. ".cu", kernel.template, source.merged(common, kernel.values), kernel)
      end
   end
   if gpu.draft then add_draft(add, plan, gpu.draft) end
   add("model.c", "model.c", common)
   if gpu.bulk then add("bulk.c", "bulk.c", source.merged(common, bulk_values(gpu.bulk))) end
   add("package.c", "package.c", source.merged(common, {
      targets = image_tables(gpu.targets), kernel_lines = kernel_lines(gpu.kernels),
      section_lines = section_lines(gpu.sections), trace_lines = trace_lines(gpu.traces),
      cost_lines = cost_lines(gpu.costs), own_heads = gpu.adapted ~= nil and gpu.adapted.own_head,
      weights_bytes = gpu.weights_bytes, bulk = gpu.bulk or false, buckets = gpu.buckets,
      others = source.map(gpu.others, function(other)
         return { role = other.role, constant = constant(other.kernel.name) }
      end),
   }))
end

return cuda
