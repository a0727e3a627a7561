-- plan/cuda*.lua: targets, how weights lie on the device, buckets, launches.

local check = require "check"
local cuda_targets = require "plan.cuda_targets"
local json = require "json"
local pipeline = require "pipeline"
local recipe = require "recipe"

local tests = {}

local fixtures = { "llama-576", "llama-text", "mistral-window", "qwen2-ratio7", "qwen2-window", "qwen3-ratio3" }

local function plan_of(fixture, values)
   values = check.copy({ model = check.fixture(fixture), targets = { "cuda" } }, values)
   return (pipeline.plan(recipe.complete(values, "test"), "package"))
end

local function names(list)
   local result = {}
   for i, item in ipairs(list) do result[i] = item.name end
   return table.concat(result, " ")
end

local function expanded(...) return names(cuda_targets.expand { ... }) end

function tests.targets()
   check.equal(expanded "c", "")
   check.equal(expanded "cuda", "90a 80 ptx80")
   check.equal(expanded("cuda:80", "c", "cuda:90a", "cuda:80"), "90a 80") -- in order of preference, each once
   check.equal(expanded("cuda:ptx80", "cuda:86", "cuda:100a", "cuda:ptx90"), "100a 86 ptx90 ptx80")
   local target = cuda_targets.of({ "90a" })[1]
   check.equal(target, { name = "90a", major = 9, minor = 0, exact = true, ptx = false, arch = "sm_90a" })
   target = cuda_targets.of({ "ptx80" })[1]
   check.equal(target, { name = "ptx80", major = 8, minor = 0, exact = false, ptx = true, arch = "compute_80" })
   target = cuda_targets.of({ "121" })[1]
   check.equal({ target.major, target.minor, target.exact }, { 12, 1, false })
end

function tests.targets_that_are_not_known()
   for _, name in ipairs { "cuda:", "cuda:75", "cuda:80a", "cuda:90 ", "cuda:ptx", "cuda:ptx90 a", "cuda80", "ptx80", "C", "",
                           "cuda:sm_80", "cuda:8.0" } do
      check.fails(function() cuda_targets.check(name, "test") end, "--target", "90a", "found " .. name)
   end
   for _, name in ipairs { "c", "cuda", "cuda:90", "cuda:ptx90" } do cuda_targets.check(name, "test") end
end

function tests.without_a_gpu_nothing_changes()
   local plan = plan_of("llama-text", { targets = { "c" } })
   check.equal(plan.cuda, nil)
   check.is(plan.has_c and #plan.kernels > 0 and #plan.variants > 0)
   local both = plan_of("llama-text", { targets = { "c", "cuda" } })
   check.equal(names(both.kernels), names(plan.kernels))
   local gpu = plan_of "llama-text"
   check.equal({ #gpu.kernels, #gpu.variants, gpu.has_c }, { 0, 0, false })
   check.equal(gpu.totals, plan.totals)
   check.equal(gpu.layout, plan.layout) -- the payload is the same
end

function tests.refused()
   check.fails(function() plan_of("llama-text", { dtype = "f32" }) end, "--dtype", "bf16", "f32", "--target c")
end

local function section_named(plan, name)
   for _, section in ipairs(plan.cuda.sections) do
      if section.name == name then return section end
   end
end

function tests.weights_on_the_device()
   for _, name in ipairs(fixtures) do
      local plan, next_offset = plan_of(name), 0
      for _, section in ipairs(plan.cuda.sections) do
         local payload = plan.payload.sections[section.tensor + 1]
         check.equal(payload.name, section.name, name)
         check.equal(section.offset, (next_offset + 511) // 512 * 512, name .. " " .. section.name)
         check.is(section.bytes >= payload.bytes, "%s: %s is too small", name, section.name)
         next_offset = section.offset + section.bytes
      end
      local bulk_bytes = plan.cuda.bulk and plan.cuda.bulk.bytes or 0
      check.is(plan.cuda.weights_bytes + bulk_bytes >= next_offset, "%s: the weights end behind their memory", name)
   end
end

function tests.packings()
   -- hidden 84, 6 heads of 64 over 2, MLP 88, vocabulary 259; q/k norm: rope_state turns, so qkv is plain
   local plan = plan_of "qwen3-ratio3"
   local function packed(name)
      local section = section_named(plan, name)
      return section.packing .. " " .. section.bytes
   end
   check.equal(packed "layer.0.qkv", "ROWS " .. 640 * 128 * 2)
   check.equal(packed "layer.0.gate_up", "PAIRS " .. 2 * 88 * 128 * 2)
   check.equal(packed "layer.0.down", "ROWS " .. 96 * 128 * 2)
   check.equal(packed "layer.0.query_norm", "COPY " .. 64 * 4)
   check.equal(section_named(plan_of "qwen2-window", "layer.1.qkv").packing, "ROTARY")
   -- 75 gate rows take ten tiles of eight
   check.equal(section_named(plan_of "llama-bias", "layer.0.gate_up").bytes, 160 * 256 * 2)
end

-- Bulk steps read copies of the layers' matrices, which lie behind everything that the exact kernels read.
function tests.copies_for_bulk_steps()
   local plan = plan_of "qwen2-window"
   local gpu = plan.cuda
   check.equal(gpu.bulk.rows, 512)
   for i = 1, 2 do
      for _, name in ipairs { "qkv", "attention_output", "gate_up", "down" } do
         local offset = gpu.bulk.layers[i][name]
         check.is(offset >= gpu.weights_bytes and offset < gpu.weights_bytes + gpu.bulk.bytes, "layer %d %s", i - 1, name)
         local found
         for _, section in ipairs(gpu.sections) do found = found or section.offset == offset and section end
         check.equal({ found.name, found.packing }, { string.format("layer.%d.%s", i - 1, name), "COPY" })
      end
   end
   -- too few rows, not a multiple of 64, biases on the residual stream
   check.equal(plan_of("qwen2-window", { max_rows = 128 }).cuda.bulk, nil)
   check.equal(plan_of("qwen2-window", { max_rows = 300 }).cuda.bulk, nil)
   check.equal(plan_of("llama-bias").cuda.bulk, nil)
end

function tests.tied_embeddings_lie_once()
   for _, name in ipairs(fixtures) do
      local plan = plan_of(name)
      local embedding, head = section_named(plan, "embedding"), section_named(plan, "head")
      check.equal(embedding.packing, head and "COPY" or "ROWS", name)
      local offsets = {}
      for _, offset in ipairs(plan.cuda.offsets) do offsets[offset.name] = offset.value end
      check.equal(offsets.EMBEDDING_OFFSET, embedding.offset, name)
      check.equal(offsets.HEAD_OFFSET, (head or embedding).offset, name)
   end
end

function tests.each_layer_knows_the_next_norm()
   local plan = plan_of "qwen2-window"
   local layers, final = plan.cuda.layers, section_named(plan, "final_norm").offset
   check.equal({ layers[1].next_norm, layers[2].next_norm }, { layers[2].attention_norm, final })
   check.equal(layers[2].qkv, section_named(plan, "layer.1.qkv").offset)
end

function tests.buckets()
   local cases = { [1] = "1", [2] = "1 2", [5] = "1 2 4 5", [64] = "1 2 4 8 16 32 64",
                   [512] = "1 2 4 8 16 32 64 128 256 512", [700] = "1 2 4 8 16 32 64 128 256 512 700" }
   for rows, expected in pairs(cases) do
      local plan = plan_of("llama-text", { max_rows = rows })
      check.equal(table.concat(plan.cuda.buckets, " "), expected)
      check.equal(plan.cuda.dimensions.padded_rows, (rows + 7) // 8 * 8)
   end
end

-- Every stage has a launch for every bucket, of a kernel that is in the list and in every target, whose grid is within the
-- hardware's. What only one target has goes before what it takes the place of.
function tests.launches()
   for _, name in ipairs(fixtures) do
      for _, max_rows in ipairs { 1, 7, 100, 512 } do
         local gpu = plan_of(name, { max_rows = max_rows }).cuda
         local used = {}
         for _, stage in ipairs(gpu.stages) do
            local rows, rows_of_one = 0, 0
            for _, launch in ipairs(stage.launches) do
               local before = launch.kernel.only and rows_of_one or rows
               check.is(launch.rows > before and launch.rows >= math.max(rows, rows_of_one),
                        "%s %s: the launches do not ascend", name, stage.name)
               if launch.kernel.only then
                  check.equal(launch.kernel.only, "90a")
                  check.is(launch.rows > rows, "%s %s: another launch comes first", name, stage.name)
                  rows_of_one = launch.rows
               else
                  rows = launch.rows
               end
               for _, axis in ipairs { "x", "y", "z" } do
                  check.is(math.type(launch[axis]) == "integer" and launch[axis] >= 1, "%s: an empty grid", stage.name)
               end
               check.is(launch.x < 1 << 31 and launch.y < 1 << 16 and launch.z < 1 << 16, "%s: a grid too large", stage.name)
               used[launch.kernel.name] = true
            end
            check.equal(rows, max_rows, stage.name)
         end
         for _, kernel in ipairs(gpu.kernels) do
            local other = false
            for _, item in ipairs(gpu.others) do other = other or item.kernel == kernel end
            other = other or gpu.bulk and kernel.name:find("^bulk_") ~= nil
            check.is(used[kernel.name] or other, "%s: kernel %s is never launched", name, kernel.name)
            check.is(kernel.threads % 32 == 0 and kernel.threads <= 1024, "%s: %d threads", kernel.name, kernel.threads)
            check.is(kernel.shared_bytes <= 227 << 10, "%s: %d bytes of shared memory", kernel.name, kernel.shared_bytes)
         end
      end
   end
end

function tests.a_bucket_takes_the_smallest_class_that_holds_it()
   local gpu = plan_of("llama-text").cuda
   for _, stage in ipairs(gpu.stages) do
      local largest = {}
      for _, launch in ipairs(stage.launches) do
         local only = launch.kernel.only or "all"
         largest[only] = math.max(largest[only] or 0, launch.kernel.rows or 0)
      end
      for _, launch in ipairs(stage.launches) do
         local class = launch.kernel.rows
         check.is(not class or class >= launch.rows or class == largest[launch.kernel.only or "all"],
                  "%s: class %s for %d rows", stage.name, class, launch.rows)
      end
   end
end

function tests.layers_share_what_they_can()
   local gpu = plan_of("qwen2-window").cuda -- layer 0 looks at everything, layer 1 has a window
   local stages = {}
   for i, stage in ipairs(gpu.stages) do stages[i] = stage.name .. " " .. stage.layers end
   check.equal(stages, { "embed 1", "qkv 2", "attention 1", "attention_output 2", "gate_up 2", "down 2",
                         "attention_window 1", "head 1" })
   check.equal(#gpu.runs, 2)
   check.equal(gpu.runs[2].stages[2].name, "attention_window")
   check.equal(gpu.runs[2].stages[2].trace, "attention")
end

function tests.traces_are_those_of_the_cpu()
   for _, name in ipairs(fixtures) do
      local plan = plan_of(name)
      local known = {}
      for _, trace in ipairs(plan.traces) do known[trace:gsub("^layer%.%*%.", "")] = true end
      for _, trace in ipairs(plan.cuda.traces) do
         check.is(known[trace.name], "%s: --dump does not know %s", name, trace.name)
         check.equal(trace.order == "PIECES", trace.name == "attention" or trace.name == "gate_up")
      end
      check.is(#plan.cuda.traces >= 6)
   end
end

function tests.two_plans_of_one_input_are_equal()
   local function text(name)
      local gpu = plan_of(name).cuda
      for _, kernel in ipairs(gpu.kernels) do kernel.values.rotaries = nil end
      return json.encode { gpu.kernels, gpu.buffers, gpu.sections, gpu.layers, gpu.constants }
   end
   for _, name in ipairs(fixtures) do check.is(text(name) == text(name), "%s: two plans differ", name) end
end

return tests
