-- The stages of a step on the GPU: for each its template, the values that the template is expanded with, its row classes,
-- and how it is launched. Whoever writes a kernel says here what it needs; nothing else of the generator knows kernels.
--
-- A stage:
--    name      the entry point; with row classes qkv_8, qkv_16 ...; layers that differ get names of their own
--    template  templates/cuda/<template>
--    values    for the template, besides those of every kernel: `name`, `rows` (its row class, with classes), `threads`,
--              `rotaries`; layers whose values differ get kernels of their own
--    class_values  function(class) -> more values
--    classes   row classes: one kernel for each; a bucket of rows takes the smallest class that holds it, or else the
--              largest one, several times over. nil: one kernel for any number of rows
--    wide_classes  "wide_32", ...: the same for kernels that only targets of 9.0a have; they go before `classes`
--    threads   of a block; a number or function(class)
--    shared    dynamic shared memory of a block in bytes; a number or function(class); nil: none
--    grid      function(rows, class) -> x, y, z blocks for a bucket of `rows` rows (y, z: 1 when left out)
--    buffers   of struct activations, besides those that all have: { { type, name, shape, comment } }; stages may name the
--              same one
--    traces    what --dump shows when the stage is done: { { name, buffer, columns } }, columns a constant of shapes.cuh
--    cost      FLOPs a row, bytes of weights a step; for people

local cuda_adapters = require "plan.cuda_adapters"
local cuda_attention = require "plan.cuda_attention"
local cuda_products = require "plan.cuda_products"

local cuda_stages = {}

-- Cost of a product: what a row computes, and the bytes of weights that a step reads.
local function product(rows, columns) return { flops_per_row = 2 * rows * columns, weight_bytes = 2 * rows * columns } end

-- A product: its tiles of weight rows, their constant, its padded columns. cuda_products decides how it is cut. lora: nil, or
-- the adapters that may change one of its `sites`, which are numbers.
local function product_stage(stage, tiles, constant, columns, lora, sites)
   local adapts = lora ~= nil and lora.touches(table.unpack(sites))
   local cut = cuda_products.stage { tiles = tiles, tiles_name = constant, columns = columns, adapters = adapts }
   stage.classes, stage.threads, stage.shared, stage.grid = cut.classes, cut.threads, cut.shared, cut.grid
   stage.wide_classes = cut.wide_classes
   stage.class_values = cut.values
   stage.values.adapters, stage.values.index = adapts, adapts and " index" or ""
   stage.values.blocks = (adapts and "adapted_product" or "product") .. "::blocks"
   -- What stands before it in shared memory would else leave copies of 32 bytes in two halves: a sixth slower (H100).
   stage.values.shared_type = adapts and "__align__(128) uint4" or "uint4"
   return adapts and cuda_adapters.adapt(stage, cut.cut, columns, lora, #sites) or stage
end

-- A product without adapters, for other plans.
function cuda_stages.product(stage, tiles, constant, columns)
   return product_stage(stage, tiles, constant, columns, nil, {})
end

-- begin(d, description, shared, lora) -> the stage before the layers. d: the dimensions; shared: dtype, rotaries ...;
-- lora: nil, or plan.adapters: for steps with rows that have an adapter
function cuda_stages.begin(d, description, shared, lora)
   return {
      name = "embed", template = "embed.cu", suffix = lora and "lora", threads = 256,
      values = { tied = description.head.tied, hidden = d.hidden, adapters = lora ~= nil },
      grid = function(rows) return rows end, -- a block a row
      traces = { { "embed", "residual", "HIDDEN" } }, summary = "embedding, the first norm, angles of the positions",
      cost = { flops_per_row = 3 * d.hidden, weight_bytes = 0 },
   }
end

local left_text = { tap = ", taps of the draft head", feature = ", the feature" }

-- layer(d, layer's description, number, shared, lora) -> the stages of layer `number` (0, 1, ...), in order. Those that an
-- adapter changes have values.adapters.
function cuda_stages.layer(d, layer, number, shared, lora)
   local mixer, ffn = layer.mixer, layer.ffn
   local key = d.kv_heads * d.head_dim
   local qk_norm = mixer.q_norm ~= nil
   local stages = {}
   local function add(stage) stages[#stages + 1] = stage end
   local function sites_of(stage) return cuda_adapters.sites_of(stage, number) end

   -- A draft head's input is ready: it comes from norms of its own.
   local ready = layer.mixer_norm == nil
   local columns = ready and "INPUT" or "HIDDEN"
   -- Without query/key norm the product turns queries and keys itself (its tiles are packed as ROTARY: pairs of RoPE
   -- meet in one thread) and writes the pages; with it, it writes `qkv` (packed as ROWS) and rope_state follows.
   add(product_stage({
      name = "qkv", template = "qkv.cu", values = {
         bias = mixer.q.bias ~= nil, epsilon = ready and 0.0 or layer.mixer_norm.eps + 0.0, qk_norm = qk_norm,
         rotary = shared.rotary_suffix(mixer.rope), ready = ready, columns = columns, input = ready and "pair" or "input",
      },
      buffers = qk_norm and { { type = "float", name = "qkv", shape = "[PADDED_ROWS][QKV]", comment = "before norm and rope" } },
      traces = { qk_norm and { "qkv", "qkv", "QKV" } or { "query", "query", "QUERY" } },
      summary = (ready and "" or "norm, ") .. "query/key/value projections" .. (qk_norm and "" or ", rope, keys and values to the pages"),
      cost = product(d.qkv, ready and d.input or d.hidden),
   }, d.qkv_tiles, "QKV_TILES", ready and d.input_padded or d.hidden_padded, lora, sites_of "qkv"))
   if qk_norm then
      add {
         name = "rope_state", template = "rope_state.cu", values = {
            epsilon = mixer.q_norm.eps + 0.0, rotary = shared.rotary_suffix(mixer.rope),
         },
         threads = 128, grid = function(rows) return rows, (d.heads + d.kv_heads + 3) // 4 end,
         traces = { { "query", "query", "QUERY" } }, summary = "query/key norm, rope, keys and values to the pages",
         cost = { flops_per_row = 3 * (d.query + key), weight_bytes = 0 },
      }
   end
   local attention = cuda_attention.stage(d, mixer)
   attention.name, attention.summary = "attention", "attention over pages"
   attention.traces = { { "attention", "attention", "QUERY" } }
   attention.cost = { flops_per_row_and_position = 4 * d.query, weight_bytes = 0, state_bytes_per_position = 4 * key }
   add(attention)
   add(product_stage({
      name = "attention_output", template = "project_residual.cu", values = {
         title = "Output projection of the attention", weight = "attention_output", bias = mixer.o.bias ~= nil,
         depth = "QUERY", input = "attention", gain = "mlp_norm", site = "OUTPUT_SITE", stage = "OUTPUT_STAGE",
         leaves = "nothing",
      },
      traces = { { "attention_output", "residual", "HIDDEN" } },
      summary = "output projection, residual, the norm's input", cost = product(d.hidden, d.query),
   }, d.hidden_tiles, "HIDDEN_TILES", d.query_padded, lora, sites_of "attention_output"))
   add(product_stage({
      name = "gate_up", template = "gate_up.cu", values = {
         activation = ffn.activation, bias = ffn.gate.bias ~= nil, epsilon = layer.ffn_norm.eps + 0.0,
      },
      traces = { { "gate_up", "gated", "INTERMEDIATE" } },
      summary = "norm, gate and up projections, activation", cost = product(2 * d.intermediate, d.hidden),
   }, d.gate_up_tiles, "GATE_UP_TILES", d.hidden_padded, lora, sites_of "gate_up"))
   add(product_stage({
      name = "down", template = "project_residual.cu", values = {
         title = "Down projection of the MLP", weight = "down", bias = ffn.down.bias ~= nil, depth = "INTERMEDIATE",
         input = "gated", gain = (not ready or shared.last_norm) and "next_norm", site = "DOWN_SITE", stage = "DOWN_STAGE",
         leaves = shared.leaves or "nothing",
      },
      traces = { { "down", "residual", "HIDDEN" } },
      summary = "down projection, residual, the next norm's input" .. (left_text[shared.leaves] or ""), cost = product(d.hidden, d.intermediate),
   }, d.hidden_tiles, "HIDDEN_TILES", d.intermediate_padded, lora, sites_of "down"))
   return stages
end

-- finish(d, description, shared, lora) -> the stage behind the layers
function cuda_stages.finish(d, description, shared, lora)
   return product_stage({
      name = "head", template = "head.cu",
      values = { epsilon = (description.final_norm and description.final_norm.eps or 0) + 0.0, norm = description.final_norm ~= nil },
      summary = description.final_norm and "last norm, logits" or "logits", cost = product(d.vocab, d.hidden),
   }, d.vocab_tiles, "VOCAB_TILES", d.hidden_padded, lora, { cuda_adapters.head_site(d) })
end

-- Kernels that are no stage of a step; the runtime launches them (cuda_model.h: role_kernel). Not all have the role's name:
-- nvcc knows libc's random() and read().
function cuda_stages.others()
   return {
      { role = "pack", name = "pack", template = "pack.cu", values = {}, threads = 256,
        summary = "weights to fragment order, at load" },
      { role = "random", name = "random_weights", template = "random.cu", values = {}, threads = 256,
        summary = "random weights, at load" },
      { role = "sample", name = "sample", template = "sample.cu", values = {}, threads = 1024,
        summary = "tokens from logits, behind a step" },
      { role = "read", name = "read_memory", template = "read.cu", values = {}, threads = 256,
        summary = "read bandwidth, for bench" },
   }
end

return cuda_stages
