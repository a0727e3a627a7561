-- The draft head on the GPU: a step of its own beside the target's, with its own dimensions, buffers and kernels, from the same
-- templates where these do. What the target leaves for it (taps) and what it leaves itself (features) lie outside of both arenas.

local fail = require "fail"
local cuda_collection = require "plan.cuda_collection"
local cuda_shapes = require "plan.cuda_shapes"
local cuda_stages = require "plan.cuda_stages"

local cuda_draft = {}

local TILE, SLICE = 16, 64

local function round_up(value, multiple) return (value + multiple - 1) // multiple * multiple end

-- taps(plan's draft) -> { [layer of the target, from 1] = its column among the taps }, or nil: it takes what the last norm leaves
function cuda_draft.taps(draft, hidden)
   if not draft or not draft.taps then return nil end
   local columns = {}
   for i, entered in ipairs(draft.taps) do columns[entered] = (i - 1) * hidden end
   return columns
end

-- What the sources of the target and of the head have in common: constants of shapes.cuh.
function cuda_draft.constants(draft, d, hidden)
   local taps = (draft.taps and #draft.taps or 1) * hidden
   local of_draft = 2 * d.page * draft.dimensions.kv_heads * draft.dimensions.head_dim
   return {
      { name = "TAPS_PADDED", value = round_up(taps, SLICE), comment = "columns of what a row leaves for the draft head" },
      { name = "PAGE_STRIDE", value = 2 * d.page * d.kv_heads * d.head_dim * d.layers + of_draft,
        comment = "elements from a page to the next, the draft head's included" },
   }
end

-- The target's stage that leaves what an EAGLE-1 head takes.
function cuda_draft.feature_stage(d, epsilon)
   return {
      name = "feature", template = "feature.cu", threads = 256, values = { epsilon = epsilon + 0.0 },
      grid = function(rows) return rows end, summary = "last norm of all rows: what the draft head takes",
      cost = { flops_per_row = 4 * d.hidden, weight_bytes = 0 },
   }
end

local function fc_stage(d, description, eagle3)
   return cuda_stages.product({
      name = "fc", template = "draft_fc.cu",
      values = { bias = description.fc.bias ~= nil, eagle3 = eagle3 },
      summary = "features taken in", cost = { flops_per_row = 2 * d.hidden * d.entering, weight_bytes = 2 * d.hidden * d.entering },
   }, d.hidden_tiles, "HIDDEN_TILES", d.entering_padded)
end

-- The stages before the layer, in order.
local function stages_before(d, description, shared)
   local own = description.embedding ~= nil -- else the target's, which lies in fragments where it is the head's matrix too
   local function norm_epsilon(norm) return (norm and norm.eps or 0) + 0.0 end
   local function rows_of(rows) return rows end -- a block a row
   local function gathers(stage)
      stage.threads, stage.grid = 256, rows_of
      stage.values.fragments, stage.values.gap = shared.tied and not own, description.gap
      stage.buffers = { { type = "element", name = "pair", shape = "[PADDED_ROWS * INPUT_PADDED]", order = "PIECES",
                          comment = "of the queries, keys and values, pieces" } }
      return stage
   end
   if description.kind == "eagle3" then
      return {
         fc_stage(d, description, true),
         gathers {
            name = "pair", template = "draft_pair.cu", values = {
               embedding_epsilon = norm_epsilon(description.embedding_norm), hidden_epsilon = norm_epsilon(description.hidden_norm),
               norm_before_residual = description.norm_before_residual,
            },
            summary = "norms of token and feature, angles of the positions", cost = { flops_per_row = 8 * d.hidden, weight_bytes = 0 },
         },
      }
   end
   local enter = gathers { name = "enter", template = "draft_enter.cu", values = {},
                           summary = "features gathered, angles of the positions",
                           cost = { flops_per_row = d.hidden, weight_bytes = 0 } }
   table.insert(enter.buffers, { type = "element", name = "entering", shape = "[PADDED_ROWS * ENTERING_PADDED]", order = "PIECES",
                                 comment = "tokens' embeddings and features, pieces" })
   return { enter, fc_stage(d, description, false) }
end

local function stages_after(d, description)
   local head = cuda_stages.finish(d, description, {})
   return {
      head,
      { name = "best", template = "draft_best.cu", threads = 1024, values = {}, grid = function(rows) return rows end,
        summary = "the likeliest tokens of each output", cost = { flops_per_row = 4 * d.vocab, weight_bytes = 0 } },
   }
end

local function check(d, description)
   local parts = { { "head_dim", d.head_dim } }
   for _, part in ipairs(parts) do
      if part[2] % TILE ~= 0 then
         fail("--eagle %s: %s: expected a multiple of %d for a CUDA target, found %d; build with --target c", description.name,
              part[1], TILE, part[2])
      end
   end
end

-- plan(head's description, plan so far, the target's d, weights, buckets, tied) -> what the emitter needs. tied: the target's
-- embedding is its head's matrix too.
function cuda_draft.plan(description, plan, target, weights, buckets, tied)
   local draft = plan.draft
   local d = cuda_shapes.dimensions(draft.dimensions)
   check(d, description)
   local shared = { rotary_suffix = draft.rotary_suffix, leaves = "feature", tied = tied,
                    last_norm = description.final_norm ~= nil }
   local buffers = cuda_shapes.common_buffers(draft.rotaries)
   local all, lists = cuda_collection.new(buckets, buffers), {}
   for i, stages in ipairs { stages_before(d, description, shared), cuda_stages.layer(d, description.layer, 0, shared),
                             stages_after(d, description) } do
      lists[i] = {}
      for j, stage in ipairs(stages) do
         stage.name, stage.traces = "draft_" .. stage.name, {}
         lists[i][j] = all.add(stage)
      end
   end
   local pack = all.add_other { name = "draft_pack", template = "pack.cu", values = {}, threads = 256,
                                summary = "the draft head's weights to fragment order, at load" }
   local constants = cuda_shapes.constants(d)
   for _, constant in ipairs(cuda_draft.constants(draft, target, d.hidden)) do constants[#constants + 1] = constant end
   for _, constant in ipairs {
      { name = "ENTERING", value = d.entering, comment = "columns of the product that takes features in" },
      { name = "ENTERING_PADDED", value = d.entering_padded, comment = "the same, a multiple of 64" },
      { name = "INPUT", value = d.input, comment = "columns of the queries', keys' and values' matrix" },
      { name = "INPUT_PADDED", value = d.input_padded, comment = "the same, a multiple of 64" },
      { name = "PLACES", value = draft.places, comment = "of the head's own features" },
   } do
      constants[#constants + 1] = constant
   end
   local fields, layers = cuda_shapes.draft_layers(weights)
   local function offset_of(name, otherwise) return weights.offset_of["draft." .. name] or weights.offset_of[otherwise] end
   return {
      dimensions = d, constants = constants, buffers = buffers, kernels = all.kernels, stages = all.stages, pack = pack,
      before = lists[1], layer = lists[2], after = lists[3], rotaries = draft.rotaries, layer_fields = fields, layers = layers,
      offsets = {
         { name = "EMBEDDING_OFFSET", value = offset_of("embedding", "embedding") },
         { name = "HEAD_OFFSET", value = offset_of("head", tied and "embedding" or "head") },
      },
   }
end

return cuda_draft
