-- The stages of a layer as kernels: one instance of a template for each distinct set of parameters. Layers that are
-- alike share their kernels; a kernel whose parameters differ between layers gets a name of its own.

local adapters = require "plan.adapters"
local parameters = require "plan.parameters"

local kernels = {}

local TILE = 16

-- How a kernel says the rows of its last tile: a constant when all tiles are whole.
local function outputs_of(size, constant)
   if size % TILE == 0 then return "TILE" end
   return string.format("minimum(TILE, %s - start)", constant)
end

-- A collection of kernels by name; `instance` returns the name to call. prefix: of all names.
function kernels.collection(prefix)
   local collection = { list = {}, by_signature = {}, taken = {} }

   function collection.instance(base, template, values, suffix, details)
      base = (prefix or "") .. base
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

local STEP = "const struct step *step, int thread"
local LAYER = "const struct step *step, const struct layer *layer, int thread"
local TAPPED = "const struct step *step, const struct layer *layer, int tap, int thread"
local INDEXED_TAPPED = "const struct step *step, const struct layer *layer, int index, int tap, int thread"
local INDEXED = "const struct step *step, const struct layer *layer, int index, int thread"
local STATE_ONLY = "const struct step *step, int index, int thread"

-- Adds to a kernel's values which of its sites (plan/adapters.lua) adapters can touch: `sites`, an initialiser of them, or
-- false; and rows and columns of their A and B together. sites: { site's name, its first output, how many } each, as the
-- source says it; base: the number of the layer's first site.
local function with_sites(values, adapters, base, sites)
   local touched, sides = {}, 0
   for _, site in ipairs(sites) do
      local number = adapters and base + adapters.number_of[site[1]]
      if number and adapters.touches(number) then
         touched[#touched + 1] = string.format("{SITE_%s, %s, %s}", site[1]:upper(), site[2], site[3])
         sides = sides + adapters.sites[number + 1].rows + adapters.sites[number + 1].columns
      end
   end
   values.sites, values.site_count, values.adapter_sides = #touched > 0 and table.concat(touched, ", "), #touched, sides
   return values
end

-- What an adapter of the largest rank adds to the cost of a kernel; nil: it cannot.
local function adapter_cost(values, adapters, element_bytes)
   if not values.sites then return nil end
   return { rank = adapters.rank, flops_per_row = 2 * adapters.rank * values.adapter_sides,
            weight_bytes = adapters.rank * values.adapter_sides * element_bytes }
end

-- layer(collection, layer's description, shared, its number, tap) -> the layer's stages in order: { kernel, call, output,
-- columns, dtype }. tap: the place among the taps of a draft head that this layer leaves, from 0; nil: none.
function kernels.layer(collection, layer, shared, number, tap)
   local mixer, ffn, hidden = layer.mixer, layer.ffn, shared.hidden
   local query, key = mixer.heads * mixer.head_dim, mixer.kv_heads * mixer.head_dim
   local stages = {}

   local function stage(trace, base, template, values, suffix, details, arguments, output)
      local tapped = values.leaves == "tap"
      if tapped then details.parameters, arguments = TAPPED, string.format("step, weights, %d, thread", tap) end
      if values.sites then
         suffix = tapped and "adapters_tap" or "adapters"
         details.parameters = tapped and INDEXED_TAPPED or INDEXED
         arguments = arguments:gsub("^step, weights", "step, weights, layer")
         details.cost.adapter = adapter_cost(values, shared.adapters, shared.element_bytes)
      end
      details.parameters = details.parameters or LAYER
      local kernel = collection.instance(base, template, values, suffix, details)
      stages[#stages + 1] = { kernel = kernel, trace = trace, call = kernel.name .. "(" .. arguments .. ")",
                              output = output[1], columns = output[2], dtype = output[3] }
   end
   local function cost(rows, columns) return product(rows, columns, shared.element_bytes) end
   local function with(sites, values) return with_sites(values, shared.adapters, number * #adapters.layer_sites, sites) end
   local element = shared.dtype == "bf16" and "DTYPE_BF16" or "DTYPE_F32"

   if layer.mixer_norm then
      stage("qkv", "qkv", "qkv.c", with({
         { "q", "0", "QUERY" }, { "k", "QUERY", "KEY" }, { "v", "QUERY + KEY", "KEY" },
      }, {
         bias = mixer.q.bias ~= nil, epsilon = layer.mixer_norm.eps + 0.0, outputs = outputs_of(query + 2 * key, "QKV"),
      }), "other", { summary = "norm, query/key/value projections", cost = cost(query + 2 * key, hidden) },
         "step, weights, thread", { "qkv", "QKV", "DTYPE_F32" })
   else -- a draft head's, whose input is ready
      stage("qkv", "qkv", "draft_qkv.c", { bias = mixer.q.bias ~= nil, outputs = outputs_of(query + 2 * key, "QKV") }, "other",
            { summary = "query/key/value projections", cost = cost(query + 2 * key, mixer.q.weight.shape[2]) },
            "step, weights, thread", { "qkv", "QKV", "DTYPE_F32" })
   end

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

   stage("attention_output", "attention_output", "project_residual.c", with({ { "o", "0", "HIDDEN" } }, {
      title = "Output projection of the attention", weight = "attention_output", bias = mixer.o.bias ~= nil,
      depth = "QUERY", input = "attention", outputs = outputs_of(hidden, "HIDDEN"), leaves = "nothing",
   }), "other", { summary = "output projection, residual", cost = cost(hidden, query) },
      "step, weights, thread", { "residual", "HIDDEN", "DTYPE_F32" })

   stage("gate_up", "gate_up", "gate_up.c", with({
      { "gate", "0", "INTERMEDIATE" }, { "up", "INTERMEDIATE", "INTERMEDIATE" },
   }, {
      activation = ffn.activation, bias = ffn.gate.bias ~= nil, epsilon = layer.ffn_norm.eps + 0.0,
      outputs = outputs_of(ffn.intermediate, "INTERMEDIATE"),
   }), "other", { summary = "norm, gate and up projections, activation", cost = cost(2 * ffn.intermediate, hidden) },
      "step, weights, thread", { "gated", "INTERMEDIATE", element })

   stage("down", "down", "project_residual.c", with({ { "down", "0", "HIDDEN" } }, {
      title = "Down projection of the MLP", weight = "down", bias = ffn.down.bias ~= nil, depth = "INTERMEDIATE",
      input = "gated", outputs = outputs_of(hidden, "HIDDEN"), leaves = tap and "tap" or shared.leaves or "nothing",
   }), tap and "tap" or "other", {
      cost = cost(hidden, ffn.intermediate),
      summary = "down projection, residual" .. (tap and ", a tap of the draft head" or shared.leaves and ", the feature" or ""),
   }, "step, weights, thread", { "residual", "HIDDEN", "DTYPE_F32" })
   return stages
end

-- The stages outside the layers, in order. With an EAGLE-1 head the features that it takes are one.
function kernels.ends(description, shared)
   local adapters = shared.adapters
   local head = with_sites({ epsilon = description.final_norm.eps + 0.0, outputs = outputs_of(description.vocab, "VOCAB"),
                             norm = true }, adapters, 0, { { "head", "0", "VOCAB" } })
   local head_cost = product(description.vocab, description.hidden, shared.element_bytes)
   head_cost.adapter = adapter_cost(head, adapters, shared.element_bytes)
   local list = {
      { name = "embed", template = "embed.c", layers = 1, parameters = STEP,
        values = with_sites({ rotaries = shared.rotaries }, adapters, 0, { { "embedding", "0", "HIDDEN" } }),
        summary = "embedding, angles of the positions", cost = { flops_per_row = description.hidden, weight_bytes = 0 } },
      { name = "head", template = "head.c", layers = 1, parameters = STEP, values = head, summary = "last norm, logits",
        cost = head_cost },
   }
   if description.draft and description.draft.kind == "eagle1" then
      table.insert(list, 2, { name = "feature", template = "feature.c", layers = 1, parameters = STEP,
                              values = { epsilon = description.final_norm.eps + 0.0 },
                              summary = "last norm of all rows: what the draft head takes",
                              cost = { flops_per_row = 4 * description.hidden, weight_bytes = 0 } })
   end
   return list
end

-- The stages of a draft head before its layer and after it: { before = { ... }, after = ... }, as kernels. description: the
-- head's.
function kernels.draft_ends(description, shared)
   local hidden, columns = description.hidden, description.fc.weight.shape[2]
   local eagle3 = description.kind == "eagle3"
   local function norm_epsilon(norm) return (norm and norm.eps or 0) + 0.0 end
   local before = {
      { name = "draft_enter", template = "draft_enter.c", layers = 1, parameters = STEP,
        values = { rotaries = shared.rotaries, eagle3 = eagle3, gap = description.gap },
        summary = "features gathered, angles of the positions", cost = { flops_per_row = hidden, weight_bytes = 0 } },
      { name = "draft_fc", template = "draft_fc.c", layers = 1, parameters = STEP,
        values = { bias = description.fc.bias ~= nil, outputs = outputs_of(hidden, "HIDDEN"), eagle3 = eagle3 },
        summary = "features taken in", cost = product(hidden, columns, shared.element_bytes) },
   }
   if eagle3 then
      before[3] = { name = "draft_pair", template = "draft_pair.c", layers = 1, parameters = STEP,
                    values = { embedding_epsilon = norm_epsilon(description.embedding_norm),
                               hidden_epsilon = norm_epsilon(description.hidden_norm),
                               norm_before_residual = description.norm_before_residual },
                    summary = "norms of token and feature", cost = { flops_per_row = 8 * hidden, weight_bytes = 0 } }
   end
   local after = { name = "draft_head", template = "head.c", layers = 1, parameters = STEP,
                   values = { epsilon = norm_epsilon(description.final_norm), outputs = outputs_of(description.vocab, "VOCAB"),
                              norm = description.final_norm ~= nil, sites = false },
                   summary = (eagle3 and "last norm, " or "") .. "draft logits",
                   cost = product(description.vocab, hidden, shared.element_bytes) }
   return { before = before, after = after }
end

return kernels
