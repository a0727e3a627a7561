-- The GPU side of a plan: targets, weights as they lie on the device, buffers, kernels, and how each stage of a step is
-- launched for each number of rows. What the kernels themselves need is in cuda_stages.lua.

local fail = require "fail"
local cuda_adapters = require "plan.cuda_adapters"
local cuda_bulk = require "plan.cuda_bulk"
local cuda_collection = require "plan.cuda_collection"
local cuda_draft = require "plan.cuda_draft"
local cuda_shapes = require "plan.cuda_shapes"
local cuda_stages = require "plan.cuda_stages"
local cuda_targets = require "plan.cuda_targets"
local cuda_weights = require "plan.cuda_weights"

local cuda = {}

local TILE = 16

-- Rows of the captured steps: powers of two, and the most rows that a step can have.
local function buckets_of(max_rows)
   local buckets, rows = {}, 1
   while rows < max_rows do
      buckets[#buckets + 1] = rows
      rows = 2 * rows
   end
   buckets[#buckets + 1] = max_rows
   return buckets
end

-- What --dump shows, by stage: buffers of pieces say so.
local function traces_of(stages, buffers)
   local traces, seen = {}, {}
   for _, stage in ipairs(stages) do
      for _, trace in ipairs(stage.traces) do
         local name, buffer_name, columns = table.unpack(trace)
         for _, buffer in ipairs(buffers) do
            if buffer.name == buffer_name and not seen[name] then
               seen[name] = true
               traces[#traces + 1] = {
                  name = name, stage = stage.trace, buffer = buffer_name, columns = columns,
                  dtype = buffer.type == "float" and "F32" or "BF16",
                  order = buffer.order or "ROWS",
               }
            end
         end
      end
   end
   return traces
end

local function costs_of(stages)
   local costs, seen = {}, {}
   for _, stage in ipairs(stages) do
      if not seen[stage.trace] then
         costs[#costs + 1] = { stage = stage.trace, weight_bytes = stage.cost.weight_bytes,
                               flops_per_row = stage.cost.flops_per_row or 0 }
      end
      seen[stage.trace] = true
   end
   return costs
end

-- What steps with adapters run: the stages that adapters change have kernels of their own, the others are the same.
-- -> { begin, runs, finish }
local function adapted_steps(d, description, shared, lora, all, layer_stages, finish)
   local layers = {}
   local begin = all.add(cuda_stages.begin(d, description, shared, lora))
   for i, layer in ipairs(description.layers) do
      layers[i] = {}
      for j, stage in ipairs(cuda_stages.layer(d, layer, i - 1, shared, lora)) do
         layers[i][j] = stage.values.adapters and all.add(stage) or layer_stages[i][j]
      end
   end
   local last = cuda_stages.finish(d, description, shared, lora)
   local steps = { begin = begin, runs = cuda_collection.runs(layers), finish = table.move(finish, 1, #finish, 1, {}) }
   if last.values.adapters then steps.finish[#finish] = all.add(last) end
   steps.own_head = cuda_adapters.has_own_head(d, lora)
   if steps.own_head then
      steps.finish[#finish + 1] = all.add(cuda_adapters.own_head(d, description.final_norm.eps))
   end
   return steps
end

-- A copy with one field more.
local function table_with(values, name, value)
   local copy = { [name] = value }
   for key, other in pairs(values) do copy[key] = other end
   return copy
end

-- plan(description, plan so far, recipe, shared) -> plan.cuda, or nil when no target is a GPU
function cuda.plan(description, plan, recipe, shared)
   local targets = cuda_targets.expand(recipe.targets)
   if #targets == 0 then return nil end
   if recipe.dtype ~= "bf16" then
      fail("--dtype: expected bf16 for a CUDA target, whose products run on tensor cores, found %s; build with --target c",
           recipe.dtype)
   end
   local d, taps = cuda_shapes.dimensions(plan.dimensions), cuda_draft.taps(plan.draft, plan.dimensions.hidden)
   shared = table_with(shared, "leaves", taps and "tap" or nil)
   if d.head_dim % TILE ~= 0 then
      fail("head_dim: expected a multiple of %d for a CUDA target, found %d; build with --target c", TILE, d.head_dim)
   end

   local buckets, buffers = buckets_of(d.max_rows), cuda_shapes.common_buffers(shared.rotaries)
   local all, layer_stages, qk_norms = cuda_collection.new(buckets, buffers), {}, {}
   local begin = all.add(cuda_stages.begin(d, description, shared))
   for i, layer in ipairs(description.layers) do
      layer_stages[i] = {}
      qk_norms[i] = layer.mixer.q_norm ~= nil
      for j, stage in ipairs(cuda_stages.layer(d, layer, i - 1, shared)) do layer_stages[i][j] = all.add(stage) end
   end
   local finish = { all.add(cuda_stages.finish(d, description, shared)) }
   if plan.draft and not taps then
      table.insert(finish, 1, all.add(cuda_draft.feature_stage(d, description.final_norm.eps)))
   end
   local lora = plan.adapters
   local adapted = lora and adapted_steps(d, description, shared, lora, all, layer_stages, finish)
   if lora then
      cuda_adapters.check(lora)
      cuda_shapes.add_buffers(buffers, { name = "adapters", buffers = cuda_adapters.buffers })
   end
   local others = {}
   for i, stage in ipairs(cuda_stages.others()) do others[i] = { role = stage.role, kernel = all.add_other(stage) } end
   for _, stage in ipairs(all.stages) do
      for _, launch in ipairs(stage.launches) do launch.kernel.layers = stage.layers end
   end

   local weights = cuda_weights.lay_out(plan.payload, qk_norms, description.head.tied,
                                               plan.draft and description.draft.layer.mixer.q_norm ~= nil)
   local head = plan.draft and cuda_draft.plan(description.draft, plan, d, weights, buckets, description.head.tied)
   local bulk = cuda_bulk.plan(d, description, plan, shared, weights, all.add_kernel, begin, finish, taps ~= nil)
   local constants, sections = cuda_shapes.constants(d), weights.sections
   if head then
      local more = cuda_draft.constants(plan.draft, d, d.hidden)
      table.move(more, 1, #more, #constants + 1, constants)
   end
   if lora then
      local more = cuda_adapters.constants(d, lora)
      table.move(more, 1, #more, #constants + 1, constants)
   end
   if bulk then
      constants[#constants + 1] = { name = "BULK_ROWS", value = bulk.rows, comment = "rows of a bulk step" }
      cuda_shapes.add_buffers(buffers, { name = "bulk", buffers = cuda_bulk.buffers })
      sections = table.move(bulk.sections, 1, #bulk.sections, #sections + 1, table.move(sections, 1, #sections, 1, {}))
   end
   local fields, layers = cuda_shapes.layers(#description.layers, weights, taps)
   local kernels, costs = all.kernels, costs_of(all.stages)
   if head then
      kernels = table.move(head.kernels, 1, #head.kernels, #kernels + 1, kernels)
      local more = costs_of(head.stages)
      table.move(more, 1, #more, #costs + 1, costs)
   end
   return {
      targets = targets, dimensions = d, constants = constants, buffers = buffers, buckets = buckets,
      traces = traces_of(all.stages, buffers), costs = costs, kernels = kernels, stages = all.stages,
      others = others, begin = begin, finish = finish, adapted = adapted, draft = head, taps = taps ~= nil,
      runs = cuda_collection.runs(layer_stages), sections = sections, bulk = bulk, weights_bytes = weights.bytes,
      layer_fields = fields, layers = layers,
      offsets = {
         { name = "EMBEDDING_OFFSET", value = weights.offset_of.embedding },
         { name = "FINAL_NORM_OFFSET", value = weights.offset_of.final_norm },
         { name = "HEAD_OFFSET", value = weights.offset_of[description.head.tied and "embedding" or "head"] },
      },
   }
end

return cuda
