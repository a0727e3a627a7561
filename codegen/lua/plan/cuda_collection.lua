-- The stages of a step on the GPU, collected: which kernels they have, and how each is launched for each number of rows.

local cuda_shapes = require "plan.cuda_shapes"
local parameters = require "plan.parameters"

local cuda_collection = {}

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
-- new(buckets, buffers) -> { stages, kernels, add(stage), add_other(stage), add_kernel }
function cuda_collection.new(buckets, buffers)
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
         cuda_shapes.add_buffers(buffers, stage)
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
-- runs(layers' stages) -> { first, last, stages }
function cuda_collection.runs(layer_stages)
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

return cuda_collection
