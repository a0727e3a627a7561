-- From a description and a recipe to a plan: every decision that the sources need. A plan is a plain table, printed by
-- `lathe plan`; templates only spell it out.

local fail = require "fail"
local host = require "host"
local adapters = require "plan.adapters"
local cpu_variants = require "plan.cpu_variants"
local cuda = require "plan.cuda"
local draft = require "plan.draft"
local kernels = require "plan.kernels"
local shapes = require "plan.shapes"
local weights = require "plan.weights"

local element_bytes = { bf16 = 2, f32 = 4 }
local ROW_BLOCK = 96

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

local function totals(plan)
   local flops, bytes = 0, 0
   for _, kernel in ipairs(plan.kernels) do
      flops = flops + (kernel.cost.flops_per_row or 0) * kernel.layers
      bytes = bytes + kernel.cost.weight_bytes * kernel.layers
   end
   local parameters = 0
   for _, section in ipairs(plan.payload.sections) do
      local counts = section.dtype ~= "bytes" and not section.name:find("^draft%.")
      if counts then parameters = parameters + section.rows * section.columns end
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
   local rotaries, rotary_suffix = shapes.rotaries(description.layers)
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
   local taps = draft.taps(description)
   for i, layer in ipairs(description.layers) do layer_stages[i] = kernels.layer(collection, layer, shared, i - 1, taps[i]) end
   local ends = kernels.ends(description, shared)
   local all = { ends[1] }
   for _, kernel in ipairs(collection.list) do all[#all + 1] = kernel end
   table.move(ends, 2, #ends, #all + 1, all)

   local payload = weights.lay_out(description, recipe.dtype, tokenizer_bytes, lora and lora.list or {})
   if lora then adapters.place(lora, payload) end
   local traces = { "embed" }
   for _, stage in ipairs(layer_stages[1]) do traces[#traces + 1] = "layer.*." .. stage.trace end
   if description.draft then traces[#traces + 1] = "taps" end
   traces[#traces + 1] = "logits"

   local window = 0 -- the state needs all positions unless every layer looks back no further
   for _, layer in ipairs(description.layers) do
      if layer.mixer.window == 0 then window = math.huge end
      window = math.max(window, layer.mixer.window)
   end
   local token_bytes = #description.layers * 2 * key * shared.element_bytes
   local with_draft = description.draft and shapes.shared_with_draft(description.draft, recipe.max_rows)
   local plan = {
      name = name, architecture = description.architecture, family = description.family, dtype = recipe.dtype,
      dimensions = dimensions, constants = shapes.constants(dimensions),
      buffers = shapes.buffers(rotaries, with_draft and with_draft.buffers or {}, lora), rotaries = rotaries,
      kernels = all, runs = runs_of(layer_stages), payload = payload, layer_fields = shapes.used_fields(payload.layers),
      traces = traces, variants = cpu_variants.of(recipe), adapters = lora,
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
   if with_draft then
      for _, constant in ipairs(with_draft.constants) do plan.constants[#plan.constants + 1] = constant end
      plan.draft = draft.plan(description.draft, plan, recipe)
      plan.state[2] = plan.draft.state
   end
   plan.layout = host.hash(require("plan.signature")(plan))
   plan.cuda = cuda.plan(description, plan, recipe, shared)
   plan.has_c = false
   for _, target in ipairs(recipe.targets) do plan.has_c = plan.has_c or target == "c" end
   if not plan.has_c and #recipe.cpus > 0 then
      fail("--cpu %s: expected --target c beside it, found a package for GPUs alone", recipe.cpus[1])
   end
   if not plan.has_c then -- no instruction set of a CPU is wanted
      plan.kernels, plan.variants = {}, {}
      if plan.draft then plan.draft.kernels = {} end
   end
   return plan
end

return make_plan
