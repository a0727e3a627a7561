-- The plan of a draft head: a step of its own beside the target's, with its own dimensions, buffers and kernels, in the same
-- payload, arena and pages.

local kernels = require "plan.kernels"
local shapes = require "plan.shapes"

local draft = {}

local element_bytes = { bf16 = 2, f32 = 4 }

-- taps(target's description) -> { [layer, from 1] = the place of what it leaves among the taps, from 0 }
function draft.taps(description)
   local places = {}
   for i, entered in ipairs(description.draft and description.draft.taps or {}) do places[entered] = i - 1 end
   return places
end

local function dimensions_of(description, target)
   local mixer = description.layer.mixer
   local query, key = mixer.heads * mixer.head_dim, mixer.kv_heads * mixer.head_dim
   return {
      vocab = description.vocab, hidden = description.hidden, layers = 1, heads = mixer.heads, kv_heads = mixer.kv_heads,
      head_dim = mixer.head_dim, query = query, qkv = query + 2 * key, intermediate = description.layer.ffn.intermediate,
      max_rows = target.max_rows, row_block = target.row_block, page = target.page, max_seq = target.max_seq,
      entering = description.fc.weight.shape[2], input = mixer.q.weight.shape[2],
   }
end

local function constants_of(d, description, max_rows)
   local constants = shapes.constants(d)
   local function add(name, value, comment) constants[#constants + 1] = { name = name, value = value, comment = comment } end
   add("PAGE_ELEMENTS", 2 * d.page * d.kv_heads * d.head_dim, "of one page")
   for _, constant in ipairs(shapes.shared_with_draft(description, max_rows).constants) do constants[#constants + 1] = constant end
   add("ENTERING", d.entering, "columns of the product that takes features in")
   add("INPUT", d.input, "columns of the queries', keys' and values' matrix")
   return constants
end

local function buffers_of(description, rotaries, max_rows)
   local first = shapes.shared_with_draft(description, max_rows).buffers
   for _, buffer in ipairs {
      { type = "element", name = "entering", shape = "[MAX_ROWS][ENTERING]", comment = "gathered features" },
      { type = "int", name = "entering_row", shape = "[MAX_ROWS]", comment = "whose they are" },
      { type = "int", name = "entered", shape = "", comment = "how many there are" },
      { type = "element", name = "input", shape = "[MAX_ROWS][INPUT]", comment = "of the queries, keys and values" },
   } do
      first[#first + 1] = buffer
   end
   return shapes.buffers(rotaries, first)
end

-- plan(head's description, target's plan, recipe) -> plan of the head
function draft.plan(description, target, recipe)
   local rotaries, rotary_suffix = shapes.rotaries { description.layer }
   local bytes = element_bytes[recipe.dtype]
   local shared = { hidden = description.hidden, dtype = recipe.dtype, element_bytes = bytes, rotaries = rotaries,
                    rotary_suffix = rotary_suffix, leaves = "feature" }
   local d = dimensions_of(description, target.dimensions)
   local collection = kernels.collection("draft_")
   local stages = kernels.layer(collection, description.layer, shared, 0)
   local ends = kernels.draft_ends(description, shared)
   local all = table.move(ends.before, 1, #ends.before, 1, {})
   table.move(collection.list, 1, #collection.list, #all + 1, all)
   all[#all + 1] = ends.after

   local totals = { flops_per_row = 0, weight_bytes_read = 0, parameters = 0 }
   for _, kernel in ipairs(all) do
      totals.flops_per_row = totals.flops_per_row + (kernel.cost.flops_per_row or 0)
      totals.weight_bytes_read = totals.weight_bytes_read + kernel.cost.weight_bytes
   end
   for _, section in ipairs(target.payload.sections) do
      if section.dtype ~= "bytes" and section.name:find("^draft%.") then
         totals.parameters = totals.parameters + section.rows * section.columns
      end
   end
   local token_bytes = 2 * d.kv_heads * d.head_dim * bytes
   return {
      kind = description.kind, name = description.name, taps = description.taps, gap = description.gap,
      depth = description.depth, top_k = description.top_k, tokens = description.tokens, places = 2 * recipe.max_rows,
      ids = description.ids ~= nil, dimensions = d, constants = constants_of(d, description, recipe.max_rows),
      buffers = buffers_of(description, rotaries, recipe.max_rows), rotaries = rotaries, rotary_suffix = rotary_suffix, kernels = all, before = ends.before,
      stages = stages, after = ends.after, payload = target.payload.draft,
      layer_fields = shapes.used_fields(target.payload.draft.layers, { qkv = "[QKV, INPUT]" }), totals = totals,
      state = { name = "draft", kind = "paged", bytes_per_token = token_bytes, page = recipe.page,
                page_bytes = token_bytes * recipe.page, window = 0 },
   }
end

return draft
