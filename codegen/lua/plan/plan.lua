-- From a description and a recipe to a plan: every decision that the sources need. A plan is a plain table, printed by
-- `lathe plan`; templates only spell it out.

local fail = require "fail"
local host = require "host"
local adapters = require "plan.adapters"
local cuda = require "plan.cuda"
local kernels = require "plan.kernels"
local weights = require "plan.weights"

local element_bytes = { bf16 = 2, f32 = 4 }
local TILE, ROW_BLOCK, FEW_ROWS, LEAF = 16, 96, 8, 64

local function ceil_div(a, b) return (a + b - 1) // b end

-- The instruction sets that each kernel is compiled for, best first. The sources are the same; only flags differ. `bf16`
-- multiplies pairs of bfloat16, which packages of other dtypes do not have.
local function variants_of(dtype)
   local avx512 = { "avx512f", "avx512bw", "avx512dq", "avx512vl" }
   local function x86(name, features, implied)
      local flags = {}
      for _, list in ipairs { features, implied } do
         for _, feature in ipairs(list) do flags[#flags + 1] = "-m" .. feature end
      end
      return { name = name, guard = "defined(__x86_64__)", flags = flags, features = features }
   end
   local list = {
      x86("avx512", avx512, { "avx2", "fma" }),
      x86("avx2", { "avx2", "fma" }, {}),
      { name = "scalar", flags = {}, features = {} },
   }
   if dtype == "bf16" then
      local features = table.move(avx512, 1, #avx512, 1, {})
      features[#features + 1] = "avx512bf16"
      table.insert(list, 1, x86("bf16", features, { "avx2", "fma" }))
   end
   return list
end

-- All layers must agree in the dimensions that the buffers and pages are made of.
local function common_dimensions(description)
   local first = description.layers[1]
   for i, layer in ipairs(description.layers) do
      for _, key in ipairs { "heads", "kv_heads", "head_dim" } do
         if layer.mixer[key] ~= first.mixer[key] then
            fail("layer %d: %s: expected %d as in layer 0, found %d; layers of different shapes are not handled yet", i - 1,
                 key, first.mixer[key], layer.mixer[key])
         end
      end
   end
   return first.mixer, first.ffn
end

-- Distinct rotary embeddings, each with the suffix of its tables' names.
local function rotary_tables(description)
   local list, by_key = {}, {}
   for _, layer in ipairs(description.layers) do
      local rope = layer.mixer.rope
      local key = string.format("%s %s %s %s", rope.theta, rope.scaling, rope.dim, table.concat(rope.frequencies, " "))
      if not by_key[key] then
         local suffix = #list == 0 and "" or "_" .. (#list + 1)
         by_key[key] = { suffix = suffix, theta = tostring(rope.theta),
                         scaling = rope.scaling == "default" and "unscaled" or rope.scaling .. " scaling",
                         frequencies = rope.frequencies }
         list[#list + 1] = by_key[key]
      end
      rope.key = key
   end
   return list, function(rope) return by_key[rope.key].suffix end
end

local function constants_of(d)
   return {
      { name = "VOCAB", value = d.vocab, comment = "token ids" },
      { name = "HIDDEN", value = d.hidden, comment = "width of the residual stream" },
      { name = "LAYERS", value = d.layers, comment = "decoder layers" },
      { name = "HEADS", value = d.heads, comment = "query heads" },
      { name = "KV_HEADS", value = d.kv_heads, comment = "key/value heads; HEADS / KV_HEADS queries share one" },
      { name = "HEAD_DIM", value = d.head_dim, comment = "width of one head" },
      { name = "QUERY", value = d.query, comment = "HEADS * HEAD_DIM" },
      { name = "QKV", value = d.qkv, comment = "queries, keys and values of one row" },
      { name = "INTERMEDIATE", value = d.intermediate, comment = "width of the MLP" },
      { name = "MAX_ROWS", value = d.max_rows, comment = "rows of one step" },
      { name = "ROW_BLOCK", value = d.row_block, comment = "rows that go through a product together" },
      { name = "FEW_ROWS", value = FEW_ROWS, comment = "rows that are too few to be shared out among threads" },
      { name = "DEEPEST", value = math.max(d.hidden, d.query, d.intermediate), comment = "columns of the widest matrix" },
      { name = "PAGE", value = d.page, comment = "positions of one state page" },
      { name = "HEAD_ELEMENTS", value = 2 * d.page * d.head_dim, comment = "keys and values of one head in a page" },
      { name = "VALUE_OFFSET", value = d.page * d.head_dim, comment = "from a key to its value" },
      { name = "LEAF", value = LEAF, comment = "positions that the attention takes together" },
      { name = "PARTIALS", value = d.kv_heads * math.max(256, ceil_div(d.max_seq, LEAF)),
        comment = "leaves of few rows, all heads, that can be kept" },
      { name = "QKV_TILES", value = ceil_div(d.qkv, TILE), comment = "tiles of 16 weight rows: of queries, keys and values" },
      { name = "HIDDEN_TILES", value = ceil_div(d.hidden, TILE), comment = "of the products that end in the residual stream" },
      { name = "INTERMEDIATE_TILES", value = ceil_div(d.intermediate, TILE), comment = "of gate and up, each" },
      { name = "VOCAB_TILES", value = ceil_div(d.vocab, TILE), comment = "of the head" },
   }
end

local function buffers_of(rotaries, lora)
   local buffers = {
      { type = "float", name = "residual", shape = "[MAX_ROWS][HIDDEN]", comment = "the residual stream" },
      { type = "element", name = "normed", shape = "[MAX_ROWS][HIDDEN]", comment = "normalised, before a product" },
      { type = "float", name = "scale", shape = "[MAX_ROWS]", comment = "the factors of their norms" },
      { type = "float", name = "qkv", shape = "[MAX_ROWS][QKV]", comment = "before rope" },
      { type = "element", name = "query", shape = "[MAX_ROWS][QUERY]", comment = "after rope" },
      { type = "element", name = "attention", shape = "[MAX_ROWS][QUERY]", comment = "what the heads gathered" },
      { type = "struct partial", name = "partials", shape = "[PARTIALS]", comment = "of few rows' leaves" },
      { type = "atomic_int", name = "finished", shape = "[FEW_ROWS * KV_HEADS]", comment = "leaves of each row and head" },
      { type = "element", name = "gated", shape = "[MAX_ROWS][INTERMEDIATE]", comment = "activation(gate) * up" },
   }
   if lora then
      buffers[#buffers + 1] = { type = "element", name = "shrunk", shape = "[3][MAX_ROWS][ADAPTER_RANK]",
                                comment = "A x of the adapters at a stage's sites" }
   end
   for _, rotary in ipairs(rotaries) do
      for _, name in ipairs { "cosine", "sine" } do
         buffers[#buffers + 1] = { type = "float", name = name .. rotary.suffix, shape = "[MAX_ROWS][HEAD_DIM / 2]",
                                   comment = "of each row's position" }
      end
   end
   return buffers
end

-- Consecutive layers with the same stages become one loop.
local function runs_of(layer_stages)
   local runs = {}
   for i, stages in ipairs(layer_stages) do
      local calls = {}
      for j, stage in ipairs(stages) do calls[j] = stage.call end
      local key = table.concat(calls, ";")
      if #runs > 0 and runs[#runs].key == key then
         runs[#runs].last = i
      else
         runs[#runs + 1] = { key = key, first = i - 1, last = i, stages = stages }
      end
   end
   for _, run in ipairs(runs) do run.key = nil end
   return runs
end

local layer_fields = {
   { "attention_norm", "[HIDDEN] f32" }, { "qkv", "[QKV, HIDDEN]" }, { "qkv_bias", "[QKV] f32" },
   { "query_norm", "[HEAD_DIM] f32" }, { "key_norm", "[HEAD_DIM] f32" }, { "attention_output", "[HIDDEN, QUERY]" },
   { "attention_output_bias", "[HIDDEN] f32" }, { "mlp_norm", "[HIDDEN] f32" },
   { "gate_up", "[2 * INTERMEDIATE, HIDDEN]: gate rows, then up rows" }, { "gate_up_bias", "[2 * INTERMEDIATE] f32" },
   { "down", "[HIDDEN, INTERMEDIATE]" }, { "down_bias", "[HIDDEN] f32" },
}

local function used_fields(layers)
   local used = {}
   for _, field in ipairs(layer_fields) do
      for _, layer in ipairs(layers) do
         if layer[field[1]] then
            used[#used + 1] = { name = field[1], comment = field[2] }
            break
         end
      end
   end
   return used
end

local function totals(plan)
   local flops, bytes = 0, 0
   for _, kernel in ipairs(plan.kernels) do
      flops = flops + (kernel.cost.flops_per_row or 0) * kernel.layers
      bytes = bytes + kernel.cost.weight_bytes * kernel.layers
   end
   local parameters = 0
   for _, section in ipairs(plan.payload.sections) do
      if section.dtype ~= "bytes" then parameters = parameters + section.rows * section.columns end
   end
   return { flops_per_row = flops, weight_bytes_read = bytes, parameters = parameters }
end

local function max_seq_of(description, recipe)
   local max_seq = recipe.max_seq or description.max_position
   if max_seq > description.max_position then
      fail("--max-seq: expected at most %d (max_position_embeddings of the config), found %d; the model was not made for more",
           description.max_position, max_seq)
   end
   return max_seq
end

-- plan(description, recipe, name, tokenizer_bytes, built_in) -> plan. built_in: the adapters (plan/adapters.lua).
local function make_plan(description, recipe, name, tokenizer_bytes, built_in)
   local mixer, ffn = common_dimensions(description)
   local rotaries, rotary_suffix = rotary_tables(description)
   local shared = { hidden = description.hidden, dtype = recipe.dtype, element_bytes = element_bytes[recipe.dtype],
                    rotaries = rotaries, rotary_suffix = rotary_suffix }
   local query, key = mixer.heads * mixer.head_dim, mixer.kv_heads * mixer.head_dim
   local max_seq = max_seq_of(description, recipe)
   local dimensions = {
      vocab = description.vocab, hidden = description.hidden, layers = #description.layers, heads = mixer.heads,
      kv_heads = mixer.kv_heads, head_dim = mixer.head_dim, query = query, qkv = query + 2 * key,
      intermediate = ffn.intermediate, max_rows = recipe.max_rows, row_block = math.min(ROW_BLOCK, recipe.max_rows),
      page = recipe.page, max_seq = max_seq,
   }

   local lora = adapters.plan(description, recipe, built_in)
   shared.adapters = lora
   local collection, layer_stages = kernels.collection(), {}
   for i, layer in ipairs(description.layers) do layer_stages[i] = kernels.layer(collection, layer, shared, i - 1) end
   local ends = kernels.ends(description, shared)
   local all = { ends[1] }
   for _, kernel in ipairs(collection.list) do all[#all + 1] = kernel end
   all[#all + 1] = ends[2]

   local payload = weights.lay_out(description, recipe.dtype, tokenizer_bytes, lora and lora.list or {})
   if lora then adapters.place(lora, payload) end
   local traces = { "embed" }
   for _, stage in ipairs(layer_stages[1]) do traces[#traces + 1] = "layer.*." .. stage.trace end
   traces[#traces + 1] = "logits"

   local window = 0 -- the state needs all positions unless every layer looks back no further
   for _, layer in ipairs(description.layers) do
      if layer.mixer.window == 0 then window = math.huge end
      window = math.max(window, layer.mixer.window)
   end
   local token_bytes = #description.layers * 2 * key * shared.element_bytes
   local plan = {
      name = name, architecture = description.architecture, family = description.family, dtype = recipe.dtype,
      dimensions = dimensions, constants = constants_of(dimensions), buffers = buffers_of(rotaries, lora), rotaries = rotaries,
      kernels = all, runs = runs_of(layer_stages), payload = payload, layer_fields = used_fields(payload.layers),
      traces = traces, variants = variants_of(recipe.dtype), adapters = lora,
      state = { { name = "attention", kind = "paged", bytes_per_token = token_bytes, page = recipe.page,
                  page_bytes = token_bytes * recipe.page, window = window == math.huge and 0 or window } },
      random_seed = recipe.random_weights,
   }
   if lora then
      table.insert(plan.constants, { name = "KEY", value = key, comment = "KV_HEADS * HEAD_DIM" })
      table.insert(plan.constants, { name = "ADAPTER_RANK", value = lora.rank, comment = "the largest rank of an adapter" })
   end
   plan.totals = totals(plan)
   plan.constants[#plan.constants + 1] = { name = "PAGE_ELEMENTS", value = 2 * recipe.page * key * #description.layers,
                                           comment = "of one page, all layers" }
   plan.layout = host.hash(require("plan.signature")(plan))
   plan.cuda = cuda.plan(description, plan, recipe, shared)
   plan.has_c = false
   for _, target in ipairs(recipe.targets) do plan.has_c = plan.has_c or target == "c" end
   if not plan.has_c then plan.kernels, plan.variants = {}, {} end -- no instruction set of a CPU is wanted
   return plan
end

return make_plan
