-- Bulk steps (docs/cuda.md, "Two classes"): a whole chunk of a prompt, its products by cuBLASLt on row-major copies of the
-- weights, the rest by kernels of its own. Decides whether a package has them, their kernels, copies and buffers.

local parameters = require "plan.parameters"

local cuda_bulk = {}

local ALIGNMENT = 512
local LEAST, MOST, UNIT = 256, 4096, 64 -- rows: fewer are not worth a second copy; the attention takes 64 at a time

local function round_up(value, multiple) return (value + multiple - 1) // multiple * multiple end

-- cuBLASLt wants rows of 16 bytes; biases of what is added to the residual stream would need a kernel of their own.
local function possible(d, description)
   if d.max_rows < LEAST or d.max_rows > MOST or d.max_rows % UNIT ~= 0 then return false end
   for _, size in ipairs { d.hidden, d.query, d.qkv, d.intermediate } do
      if size % 8 ~= 0 then return false end
   end
   if d.head_dim > 128 then return false end -- the attention's sums would not fit into registers
   for _, layer in ipairs(description.layers) do
      if layer.mixer.o.bias or layer.ffn.down.bias then return false end
   end
   return true
end

local matrices = { "qkv", "attention_output", "gate_up", "down" }

-- The copies, behind the sections of the exact class; their offsets by layer and name.
local function copies_of(payload, weights)
   local sections, layers, bytes = {}, {}, 0
   for i, section in ipairs(payload.sections) do
      local layer, name = section.name:match("^layer%.(%d+)%.(.+)$")
      for _, matrix in ipairs(matrices) do
         if name == matrix then
            local offset = weights.bytes + bytes
            sections[#sections + 1] = { tensor = i - 1, name = section.name, packing = "COPY", offset = offset,
                                        bytes = section.bytes }
            layers[layer + 1] = layers[layer + 1] or {}
            layers[layer + 1][name] = offset
            bytes = bytes + round_up(section.bytes, ALIGNMENT)
         end
      end
   end
   return sections, layers, bytes
end

local function buffer(type, name, columns, comment)
   return { type = type, name = "bulk_" .. name, shape = "[BULK_ROWS][" .. columns .. "]", comment = comment }
end

local buffers = {
   buffer("element", "normed", "HIDDEN", "a bulk step's rows behind a norm"),
   buffer("float", "qkv", "QKV", "before rope"),
   buffer("element", "attention", "QUERY", "what the heads gathered"),
   buffer("element", "gate_up", "2 * INTERMEDIATE", "gates, then ups"),
   buffer("element", "gated", "INTERMEDIATE", "activation(gate) * up"),
}

-- The kernels of a layer's stages, by name.
local function layer_kernels(layer, d, shared, page)
   local mixer, ffn = layer.mixer, layer.ffn
   local elementwise = { flops_per_row = 8 * d.hidden, weight_bytes = 0 }
   return {
      attention_norm = { name = "bulk_attention_norm", template = "bulk_norm.cu", threads = 256,
         values = { gain = "attention_norm", epsilon = layer.mixer_norm.eps + 0.0 }, grid = { d.max_rows },
         summary = "norm, of a bulk step", cost = elementwise },
      rope = { name = "bulk_rope", template = "bulk_rope.cu", threads = 256,
         values = { bias = mixer.q.bias ~= nil, qk_norm = mixer.q_norm ~= nil,
                    epsilon = (mixer.q_norm and mixer.q_norm.eps or 0) + 0.0, rotary = shared.rotary_suffix(mixer.rope) },
         grid = { d.max_rows, (d.heads + 2 * d.kv_heads + 7) // 8 },
         summary = "rope, keys and values to the pages, of a bulk step", cost = elementwise },
      attention = { name = "bulk_attention", template = "attention_bulk.cu", threads = 128,
         shared = 2 * 2 * 64 * (d.head_dim + 8) * 2,
         values = { page = page, window = mixer.window, scale = mixer.scale + 0.0, blocks = 2,
                    window_text = mixer.window > 0 and string.format(", the last %d positions", mixer.window) or "" },
         grid = { d.max_rows // 64, d.heads }, summary = "flash attention over pages, of a bulk step",
         cost = { flops_per_row_and_position = 4 * d.query, weight_bytes = 0, state_bytes_per_position = 4 * d.key } },
      mlp_norm = { name = "bulk_mlp_norm", template = "bulk_norm.cu", threads = 256,
         values = { gain = "mlp_norm", epsilon = layer.ffn_norm.eps + 0.0 }, grid = { d.max_rows },
         summary = "norm, of a bulk step", cost = elementwise },
      activate = { name = "bulk_activate", template = "bulk_activate.cu", threads = 256,
         values = { activation = ffn.activation, bias = ffn.gate.bias ~= nil },
         grid = { (d.intermediate // 8 + 255) // 256, d.max_rows }, summary = "gated activation, of a bulk step",
         cost = { flops_per_row = 8 * d.intermediate, weight_bytes = 0 } },
   }
end

local stage_names = { "attention_norm", "rope", "attention", "mlp_norm", "activate" }

-- Consecutive layers with the same kernels become one loop.
local function runs_of(layers)
   local runs = {}
   for i, stages in ipairs(layers) do
      local same = #runs > 0
      for _, name in ipairs(stage_names) do same = same and runs[#runs].stages[name].kernel == stages[name].kernel end
      if same then
         runs[#runs].last = i
      else
         runs[#runs + 1] = { first = i - 1, last = i, stages = stages }
      end
   end
   return runs
end

-- Where a stage of the exact class stands in the tables for a full step: { kernel, grid }
local function full_launch(stage)
   local launch = stage.launches[#stage.launches]
   return { kernel = launch.kernel, grid = { launch.x, launch.y, launch.z } }
end

-- plan(d, description, plan so far, shared, weights, add_kernel, begin, finish, taps) -> what the emitter needs, or nil. begin,
-- finish: stages of the exact class before and after the layers, the latter a list. taps: layers leave some for a draft head.
function cuda_bulk.plan(d, description, plan, shared, weights, add_kernel, begin, finish, taps)
   if not possible(d, description) then return nil end
   local known, layers = {}, {}
   local function launch(stage)
      local key = stage.name .. ";" .. parameters(stage.values)
      if not known[key] then
         known[stage.name] = (known[stage.name] or 0) + 1
         local name = known[stage.name] == 1 and stage.name or stage.name .. "_" .. known[stage.name]
         known[key] = add_kernel(stage, name)
         known[key].layers = 0
      end
      known[key].layers = known[key].layers + 1
      return { kernel = known[key], grid = stage.grid }
   end
   for i, layer in ipairs(description.layers) do
      layers[i] = {}
      local stages = layer_kernels(layer, d, shared, d.page)
      for _, name in ipairs(stage_names) do layers[i][name] = launch(stages[name]) end
   end
   local last = launch { name = "bulk_finish", template = "bulk_finish.cu", threads = 256, values = {}, grid = { d.max_rows },
                         summary = "what the head reads, of a bulk step",
                         cost = { flops_per_row = 3 * d.hidden, weight_bytes = 0 } }
   local tap = taps and launch { name = "bulk_tap", template = "bulk_tap.cu", threads = 256, values = {}, grid = { d.max_rows },
                                 summary = "taps of the draft head, of a bulk step",
                                 cost = { flops_per_row = 0, weight_bytes = 0 } }
   local sections, offsets, bytes = copies_of(plan.payload, weights)
   local ends = {}
   for i, stage in ipairs(finish) do ends[i] = { trace = stage.trace, launch = full_launch(stage) } end
   return { rows = d.max_rows, sections = sections, layers = offsets, bytes = bytes, runs = runs_of(layers),
            embed = full_launch(begin), finish = last, ends = ends, tap = tap, fields = matrices }
end

cuda_bulk.buffers = buffers
cuda_bulk.possible = possible

return cuda_bulk
