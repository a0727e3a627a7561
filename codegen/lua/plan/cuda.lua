-- The GPU side of a plan: targets, weights as they lie on the device, buffers, kernels, and how each stage of a step is
-- launched for each number of rows. What the kernels themselves need is in cuda_stages.lua.

local fail = require "fail"
local cuda_adapters = require "plan.cuda_adapters"
local cuda_bulk = require "plan.cuda_bulk"
local cuda_stages = require "plan.cuda_stages"
local cuda_targets = require "plan.cuda_targets"
local cuda_weights = require "plan.cuda_weights"
local parameters = require "plan.parameters"

local cuda = {}

local TILE, SLICE, ROWS = 16, 64, 8

local function ceil_div(a, b) return (a + b - 1) // b end
local function round_up(value, multiple) return ceil_div(value, multiple) * multiple end

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

local function dimensions_of(d)
   local result = {}
   for name, value in pairs(d) do result[name] = value end
   result.key = d.kv_heads * d.head_dim
   result.padded_rows = round_up(d.max_rows, ROWS)
   result.hidden_padded, result.query_padded = round_up(d.hidden, SLICE), round_up(d.query, SLICE)
   result.intermediate_padded = round_up(d.intermediate, SLICE)
   result.qkv_tiles, result.hidden_tiles = ceil_div(d.qkv, TILE), ceil_div(d.hidden, TILE)
   result.gate_up_tiles, result.vocab_tiles = ceil_div(d.intermediate, TILE // 2), ceil_div(d.vocab, TILE)
   return result
end

local function constants_of(d)
   return {
      { name = "VOCAB", value = d.vocab, comment = "token ids" },
      { name = "HIDDEN", value = d.hidden, comment = "width of the residual stream" },
      { name = "LAYERS", value = d.layers, comment = "decoder layers" },
      { name = "HEADS", value = d.heads, comment = "query heads" },
      { name = "KV_HEADS", value = d.kv_heads, comment = "key/value heads; HEADS / KV_HEADS queries share one" },
      { name = "HEAD_DIM", value = d.head_dim, comment = "width of one head, a multiple of 16" },
      { name = "QUERY", value = d.query, comment = "HEADS * HEAD_DIM" },
      { name = "KEY", value = d.key, comment = "KV_HEADS * HEAD_DIM" },
      { name = "QKV", value = d.qkv, comment = "queries, keys and values of one row" },
      { name = "INTERMEDIATE", value = d.intermediate, comment = "width of the MLP" },
      { name = "MAX_ROWS", value = d.max_rows, comment = "rows of one step" },
      { name = "PADDED_ROWS", value = d.padded_rows, comment = "the same, a multiple of 8" },
      { name = "PAGE", value = d.page, comment = "positions of one state page" },
      { name = "HEAD_ELEMENTS", value = 2 * d.page * d.head_dim, comment = "keys and values of one head in a page" },
      { name = "VALUE_OFFSET", value = d.page * d.head_dim, comment = "from a key to its value" },
      { name = "PAGE_ELEMENTS", value = 2 * d.page * d.key * d.layers, comment = "of one page, all layers" },
      { name = "HIDDEN_PADDED", value = d.hidden_padded, comment = "columns of a product's input, a multiple of 64" },
      { name = "QUERY_PADDED", value = d.query_padded, comment = "the same" },
      { name = "INTERMEDIATE_PADDED", value = d.intermediate_padded, comment = "the same" },
      { name = "QKV_TILES", value = d.qkv_tiles, comment = "tiles of 16 weight rows: of queries, keys and values" },
      { name = "HIDDEN_TILES", value = d.hidden_tiles, comment = "of the products that end in the residual stream" },
      { name = "GATE_UP_TILES", value = d.gate_up_tiles, comment = "8 gate rows and 8 up rows each" },
      { name = "VOCAB_TILES", value = d.vocab_tiles, comment = "of the head" },
   }
end

-- Buffers that all models have; stages add their own.
local function common_buffers(rotaries)
   local buffers = {
      { type = "float", name = "residual", shape = "[PADDED_ROWS][HIDDEN]", comment = "the residual stream" },
      { type = "element", name = "input", shape = "[PADDED_ROWS * HIDDEN_PADDED]", order = "PIECES",
        comment = "residual * gain of the next norm, pieces" },
      { type = "float", name = "squares", shape = "[PADDED_ROWS][HIDDEN_TILES]",
        comment = "of the residual, summed by 16 columns" },
      { type = "element", name = "query", shape = "[PADDED_ROWS][QUERY]", comment = "after rope" },
      { type = "element", name = "attention", shape = "[PADDED_ROWS * QUERY_PADDED]", order = "PIECES",
        comment = "what the heads gathered, pieces" },
      { type = "element", name = "gated", shape = "[PADDED_ROWS * INTERMEDIATE_PADDED]", order = "PIECES",
        comment = "activation(gate) * up, pieces" },
   }
   for _, rotary in ipairs(rotaries) do
      for _, name in ipairs { "cosine", "sine" } do
         buffers[#buffers + 1] = { type = "float", name = name .. rotary.suffix, shape = "[PADDED_ROWS][HEAD_DIM / 2]",
                                   comment = "of each row's position" }
      end
   end
   return buffers
end

local function add_buffers(buffers, stage)
   for _, buffer in ipairs(stage.buffers or {}) do
      local known
      for _, other in ipairs(buffers) do known = known or other.name == buffer.name and other end
      if not known then
         buffers[#buffers + 1] = buffer
      else
         assert(known.shape == buffer.shape and known.type == buffer.type, stage.name .. ": another buffer " .. buffer.name)
      end
   end
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

local layer_fields = {
   { "attention_norm", "[HIDDEN] f32" }, { "qkv", "[QKV, HIDDEN]" }, { "qkv_bias", "[QKV] f32" },
   { "query_norm", "[HEAD_DIM] f32" }, { "key_norm", "[HEAD_DIM] f32" }, { "attention_output", "[HIDDEN, QUERY]" },
   { "attention_output_bias", "[HIDDEN] f32" }, { "mlp_norm", "[HIDDEN] f32" },
   { "gate_up", "[2 * INTERMEDIATE, HIDDEN]: tiles of 8 gate rows and 8 up rows" },
   { "gate_up_bias", "[2 * INTERMEDIATE] f32: gate, then up" }, { "down", "[HIDDEN, INTERMEDIATE]" },
   { "down_bias", "[HIDDEN] f32" }, { "next_norm", "[HIDDEN] f32: of the next layer, or the last norm" },
}

-- The table of struct layer: which fields there are, and each layer's offsets.
local function layer_table(count, weights)
   local fields, layers = {}, {}
   for i = 1, count do layers[i] = {} end
   for _, field in ipairs(layer_fields) do
      local used = false
      for i = 1, count do
         local name = string.format("layer.%d.%s", i - 1, field[1])
         if field[1] == "next_norm" then
            name = i < count and string.format("layer.%d.attention_norm", i) or "final_norm"
         end
         layers[i][field[1]] = weights.offset_of[name]
         used = used or weights.offset_of[name] ~= nil
      end
      if used then fields[#fields + 1] = { name = field[1], comment = field[2] } end
   end
   return fields, layers
end

local function of_class(value, class) return type(value) == "function" and value(class) or value or 0 end

local function rows_of(class) return type(class) == "string" and math.tointeger(class:match("%d+")) or class end

-- The smallest class that holds so many rows, or else the largest.
local function class_for(classes, rows)
   local class
   for _, candidate in ipairs(classes or {}) do
      if not class or rows_of(class) < rows then class = candidate end
   end
   return class
end

-- The kernels of a stage: one for each row class that a bucket takes. -> launches, one for each run of buckets that are
-- launched alike: { rows, kernel, x, y, z }. Of several for the same rows, a step takes the first that its target has.
local function launches_of(stage, name, buckets, add_kernel)
   local launches, by_class = {}, {}
   local function add(rows, class, only)
      local kernel = by_class[class or 0]
      if not kernel then
         kernel = add_kernel(stage, class and name .. "_" .. class or name, class)
         kernel.only = only
         by_class[class or 0] = kernel
      end
      local x, y, z = stage.grid(rows, class)
      local launch = { rows = rows, kernel = kernel, x = x, y = y or 1, z = z or 1 }
      local last = launches[#launches]
      if last and last.kernel == kernel and last.x == launch.x and last.y == launch.y and last.z == launch.z then
         last.rows = rows
      else
         launches[#launches + 1] = launch
      end
   end
   local wide = stage.wide_classes or {}
   for _, rows in ipairs(buckets) do
      if #wide > 0 and 2 * rows > rows_of(wide[1]) then add(rows, class_for(wide, rows), "90a") end
      add(rows, class_for(stage.classes, rows))
   end
   return launches
end

-- Collects stages: those of equal parameters are one, others get names of their own.
local function collection(buckets, buffers)
   local result = { stages = {}, kernels = {}, by_signature = {}, taken = {} }

   local function add_kernel(stage, name, class)
      local kernel = {
         name = name, template = stage.template, rows = rows_of(class), values = { name = name, rows = rows_of(class) },
         layers = 1,
         threads = of_class(stage.threads, class), shared_bytes = of_class(stage.shared, class), summary = stage.summary,
         cost = stage.cost,
      }
      kernel.values.threads = kernel.threads
      for _, values in ipairs { stage.values, stage.class_values and stage.class_values(class) or {} } do
         for field, value in pairs(values) do kernel.values[field] = value end
      end
      result.kernels[#result.kernels + 1] = kernel
      return kernel
   end

   function result.add(stage)
      local key = stage.name .. "|" .. stage.template .. "|" .. parameters(stage.values)
      local known = result.by_signature[key]
      if not known then
         local name, number = stage.name, 2
         if result.taken[name] then name = stage.name .. "_" .. (stage.suffix or "other") end
         while result.taken[name] do
            name = stage.name .. "_" .. (stage.suffix or "other") .. "_" .. number
            number = number + 1
         end
         result.taken[name] = true
         add_buffers(buffers, stage)
         known = { name = name, trace = stage.name, traces = stage.traces or {}, cost = stage.cost, layers = 0 }
         known.launches = launches_of(stage, name, buckets, add_kernel)
         result.by_signature[key] = known
         result.stages[#result.stages + 1] = known
      end
      known.layers = known.layers + 1
      return known
   end

   function result.add_other(stage) return add_kernel(stage, stage.name) end
   result.add_kernel = add_kernel
   return result
end

-- Consecutive layers with the same stages become one loop.
local function runs_of(layer_stages)
   local runs = {}
   for i, stages in ipairs(layer_stages) do
      local same = #runs > 0 and #runs[#runs].stages == #stages
      for j, stage in ipairs(stages) do same = same and runs[#runs].stages[j] == stage end
      if same then
         runs[#runs].last = i
      else
         runs[#runs + 1] = { first = i - 1, last = i, stages = stages }
      end
   end
   return runs
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
   local steps = { begin = begin, runs = runs_of(layers), finish = { last.values.adapters and all.add(last) or finish } }
   if cuda_adapters.has_own_head(d, lora) then
      steps.finish[2] = all.add(cuda_adapters.own_head(d, description.final_norm.eps))
   end
   return steps
end

-- plan(description, plan so far, recipe, shared) -> plan.cuda, or nil when no target is a GPU
function cuda.plan(description, plan, recipe, shared)
   local targets = cuda_targets.expand(recipe.targets)
   if #targets == 0 then return nil end
   if recipe.dtype ~= "bf16" then
      fail("--dtype: expected bf16 for a CUDA target, whose products run on tensor cores, found %s; build with --target c",
           recipe.dtype)
   end
   local d = dimensions_of(plan.dimensions)
   if d.head_dim % TILE ~= 0 then
      fail("head_dim: expected a multiple of %d for a CUDA target, found %d; build with --target c", TILE, d.head_dim)
   end

   local buckets, buffers = buckets_of(d.max_rows), common_buffers(shared.rotaries)
   local all, layer_stages, qk_norms = collection(buckets, buffers), {}, {}
   local begin = all.add(cuda_stages.begin(d, description, shared))
   for i, layer in ipairs(description.layers) do
      layer_stages[i] = {}
      qk_norms[i] = layer.mixer.q_norm ~= nil
      for j, stage in ipairs(cuda_stages.layer(d, layer, i - 1, shared)) do layer_stages[i][j] = all.add(stage) end
   end
   local finish = all.add(cuda_stages.finish(d, description, shared))
   local lora = plan.adapters
   local adapted = lora and adapted_steps(d, description, shared, lora, all, layer_stages, finish)
   if lora then
      cuda_adapters.check(lora)
      add_buffers(buffers, { name = "adapters", buffers = cuda_adapters.buffers })
   end
   local others = {}
   for i, stage in ipairs(cuda_stages.others()) do others[i] = { role = stage.role, kernel = all.add_other(stage) } end
   for _, stage in ipairs(all.stages) do
      for _, launch in ipairs(stage.launches) do launch.kernel.layers = stage.layers end
   end

   local weights = cuda_weights.lay_out(plan.payload, qk_norms, description.head.tied)
   local bulk = cuda_bulk.plan(d, description, plan, shared, weights, all.add_kernel, begin, finish)
   local constants, sections = constants_of(d), weights.sections
   if lora then
      local more = cuda_adapters.constants(d, lora)
      table.move(more, 1, #more, #constants + 1, constants)
   end
   if bulk then
      constants[#constants + 1] = { name = "BULK_ROWS", value = bulk.rows, comment = "rows of a bulk step" }
      add_buffers(buffers, { name = "bulk", buffers = cuda_bulk.buffers })
      sections = table.move(bulk.sections, 1, #bulk.sections, #sections + 1, table.move(sections, 1, #sections, 1, {}))
   end
   local fields, layers = layer_table(#description.layers, weights)
   return {
      targets = targets, dimensions = d, constants = constants, buffers = buffers, buckets = buckets,
      traces = traces_of(all.stages, buffers), costs = costs_of(all.stages), kernels = all.kernels, stages = all.stages,
      others = others, begin = begin, finish = finish, adapted = adapted,
      runs = runs_of(layer_stages), sections = sections, bulk = bulk, weights_bytes = weights.bytes,
      layer_fields = fields, layers = layers,
      offsets = {
         { name = "EMBEDDING_OFFSET", value = weights.offset_of.embedding },
         { name = "FINAL_NORM_OFFSET", value = weights.offset_of.final_norm },
         { name = "HEAD_OFFSET", value = weights.offset_of[description.head.tied and "embedding" or "head"] },
      },
   }
end

return cuda
