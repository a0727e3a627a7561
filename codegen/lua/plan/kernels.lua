-- The stages of a layer as kernels: one instance of a template for each distinct set of parameters. Layers that are
-- alike share their kernels; a kernel whose parameters differ between layers gets a name of its own.

local parameters = require "plan.parameters"

local kernels = {}

local TILE = 16

-- How a kernel says the rows of its last tile: a constant when all tiles are whole.
local function outputs_of(size, constant)
   if size % TILE == 0 then return "TILE" end
   return string.format("minimum(TILE, %s - start)", constant)
end

-- A collection of kernels by name; `instance` returns the name to call.
function kernels.collection()
   local collection = { list = {}, by_signature = {}, taken = {} }

   function collection.instance(base, template, values, suffix, details)
      local key = template .. "|" .. base .. "|" .. parameters(values)
      local kernel = collection.by_signature[key]
      if not kernel then
         local name = base
         if collection.taken[name] then name = base .. "_" .. suffix end
         local number = 2
         while collection.taken[name] do
            name = base .. "_" .. suffix .. "_" .. number
            number = number + 1
         end
         collection.taken[name] = true
         kernel = { name = name, template = template, values = values, layers = 0 }
         for field, value in pairs(details) do kernel[field] = value end
         collection.by_signature[key] = kernel
         collection.list[#collection.list + 1] = kernel
      end
      kernel.layers = kernel.layers + 1
      return kernel
   end
   return collection
end

-- Cost of a product per row, and the bytes of its weights per step.
local function product(rows, columns, element_bytes)
   return { flops_per_row = 2 * rows * columns, weight_bytes = rows * columns * element_bytes }
end

local LAYER = "const struct step *step, const struct layer *layer, int thread"
local INDEXED = "const struct step *step, const struct layer *layer, int index, int thread"
local STATE_ONLY = "const struct step *step, int index, int thread"

-- layer(collection, layer's description, shared) -> the layer's stages in order: { kernel, call, output, columns, dtype }
function kernels.layer(collection, layer, shared)
   local mixer, ffn, hidden = layer.mixer, layer.ffn, shared.hidden
   local query, key = mixer.heads * mixer.head_dim, mixer.kv_heads * mixer.head_dim
   local stages = {}

   local function stage(trace, base, template, values, suffix, details, arguments, output)
      details.parameters = details.parameters or LAYER
      local kernel = collection.instance(base, template, values, suffix, details)
      stages[#stages + 1] = { kernel = kernel, trace = trace, call = kernel.name .. "(" .. arguments .. ")",
                              output = output[1], columns = output[2], dtype = output[3] }
   end
   local function cost(rows, columns) return product(rows, columns, shared.element_bytes) end
   local element = shared.dtype == "bf16" and "DTYPE_BF16" or "DTYPE_F32"

   stage("qkv", "qkv", "qkv.c", {
      bias = mixer.q.bias ~= nil, epsilon = layer.mixer_norm.eps + 0.0, outputs = outputs_of(query + 2 * key, "QKV"),
   }, "other", { summary = "norm, query/key/value projections", cost = cost(query + 2 * key, hidden) },
      "step, weights, thread", { "qkv", "QKV", "DTYPE_F32" })

   stage("query", "rope_state", "rope_state.c", {
      qk_norm = mixer.q_norm ~= nil, epsilon = (mixer.q_norm and mixer.q_norm.eps or 0) + 0.0,
      rotary = shared.rotary_suffix(mixer.rope),
   }, "other", {
      parameters = INDEXED, summary = "rope, keys and values to the pages",
      cost = { flops_per_row = 3 * (query + key), weight_bytes = 0 },
   }, "step, weights, layer, thread", { "query", "QUERY", element })

   stage("attention", "attention", "attention.c", {
      window = mixer.window, scale = mixer.scale + 0.0, head_dim = mixer.head_dim,
      window_text = mixer.window > 0 and string.format(", the last %d positions", mixer.window) or "",
   }, mixer.window > 0 and "window" or "full", {
      parameters = STATE_ONLY, summary = "attention over pages",
      cost = { flops_per_row_and_position = 4 * query, weight_bytes = 0,
               state_bytes_per_position = 2 * key * shared.element_bytes },
   }, "step, layer, thread", { "attention", "QUERY", element })

   stage("attention_output", "attention_output", "project_residual.c", {
      title = "Output projection of the attention", weight = "attention_output", bias = mixer.o.bias ~= nil,
      depth = "QUERY", input = "attention", outputs = outputs_of(hidden, "HIDDEN"),
   }, "other", { summary = "output projection, residual", cost = cost(hidden, query) },
      "step, weights, thread", { "residual", "HIDDEN", "DTYPE_F32" })

   stage("gate_up", "gate_up", "gate_up.c", {
      activation = ffn.activation, bias = ffn.gate.bias ~= nil, epsilon = layer.ffn_norm.eps + 0.0,
      outputs = outputs_of(ffn.intermediate, "INTERMEDIATE"),
   }, "other", { summary = "norm, gate and up projections, activation", cost = cost(2 * ffn.intermediate, hidden) },
      "step, weights, thread", { "gated", "INTERMEDIATE", element })

   stage("down", "down", "project_residual.c", {
      title = "Down projection of the MLP", weight = "down", bias = ffn.down.bias ~= nil, depth = "INTERMEDIATE",
      input = "gated", outputs = outputs_of(hidden, "HIDDEN"),
   }, "other", { summary = "down projection, residual", cost = cost(hidden, ffn.intermediate) },
      "step, weights, thread", { "residual", "HIDDEN", "DTYPE_F32" })
   return stages
end

-- The stages outside the layers.
function kernels.ends(description, shared)
   return {
      { name = "embed", template = "embed.c", layers = 1, parameters = "const struct step *step, int thread",
        values = { rotaries = shared.rotaries }, summary = "embedding, angles of the positions",
        cost = { flops_per_row = description.hidden, weight_bytes = 0 } },
      { name = "head", template = "head.c", layers = 1, parameters = "const struct step *step, int thread",
        values = { epsilon = description.final_norm.eps + 0.0, outputs = outputs_of(description.vocab, "VOCAB") },
        summary = "last norm, logits", cost = product(description.vocab, description.hidden, shared.element_bytes) },
   }
end

return kernels
