-- LoRA on the GPU (docs/cuda.md, "Adapters"): which stages of a step have a second set of kernels, for steps with rows that
-- have an adapter, and how these differ: blocks that make t = A x come first in the grid, and the kernel's shared memory
-- holds what they need.

local fail = require "fail"
local sorted_keys = require "read.sorted_keys"

local cuda_adapters = {}

local TILE, SLICE, SLICES_OF_UNIT, SLICE_BYTES, SUM_STRIDE = 16, 64, 8, 2048, 20
local GROUP_ROWS = 8 -- of struct cuda_group: a group's adapter is one
local MOST_MAKERS = 264 -- blocks that make t: two for each processor; each takes several items where there are more

local function ceil_div(a, b) return (a + b - 1) // b end

-- Sites of a layer that a stage has, from a number on (runtime/adapter.h), and its number among the stages that count.
local stages = {
   qkv = { first = 0, sites = 3, stage = 0 },
   attention_output = { first = 3, sites = 1, stage = 1 },
   gate_up = { first = 4, sites = 2, stage = 2 },
   down = { first = 6, sites = 1, stage = 3 },
}
local LAYER_SITES, LAYER_STAGES = 7, 4

-- The numbers of the sites of a layer's stage.
function cuda_adapters.sites_of(stage, layer)
   local list = {}
   for i = 1, stages[stage].sites do list[i] = layer * LAYER_SITES + stages[stage].first + i - 1 end
   return list
end

function cuda_adapters.head_site(d) return LAYER_SITES * d.layers end

-- Constants of shapes.cuh.
function cuda_adapters.constants(d, lora)
   return {
      { name = "ADAPTER_SITES", value = LAYER_SITES * d.layers + 2, comment = "where adapters can change the model" },
      { name = "LAYER_SITES", value = LAYER_SITES, comment = "of a layer: q, k, v, o, gate, up, down" },
      { name = "OUTPUT_SITE", value = stages.attention_output.first, comment = "o among them" },
      { name = "GATE_SITE", value = stages.gate_up.first, comment = "gate; up follows" },
      { name = "DOWN_SITE", value = stages.down.first, comment = "down" },
      { name = "HEAD_SITE", value = LAYER_SITES * d.layers, comment = "behind those of the layers" },
      { name = "EMBEDDING_SITE", value = LAYER_SITES * d.layers + 1, comment = "the last" },
      { name = "ADAPTER_STAGES", value = LAYER_STAGES, comment = "of a layer, each with a count of blocks that made t" },
      { name = "OUTPUT_STAGE", value = stages.attention_output.stage, comment = "the attention's output among them" },
      { name = "GATE_UP_STAGE", value = stages.gate_up.stage, comment = "gate_up" },
      { name = "DOWN_STAGE", value = stages.down.stage, comment = "down" },
      { name = "ADAPTER_RANK", value = math.max(TILE, lora.rank), comment = "the largest rank" },
   }
end

cuda_adapters.buffers = {
   { type = "element", name = "low_rank", shape = "[3][PADDED_ROWS][ADAPTER_RANK]",
     comment = "t = A x of a stage's sites" },
   { type = "uint32_t", name = "arrived", shape = "[LAYERS * ADAPTER_STAGES + 1]",
     comment = "blocks that have made theirs, of each stage of this step" },
}

-- Groups of rows that a step of so many rows can have: each adapter's rows go in eights.
local function most_groups(lora, rows)
   return math.min(rows, #lora.list + lora.slots + rows // GROUP_ROWS)
end

-- How the blocks that make t go through a tile: as many warps as there are units and threads for, and the rest of the
-- shared memory as rings. -> text, bytes of shared memory
local function maker(columns, threads, shared)
   local slices = columns // SLICE
   local units = ceil_div(slices, SLICES_OF_UNIT)
   local warps = math.min(8, threads // 32, units)
   local sums = units * GROUP_ROWS * SUM_STRIDE * 4
   local pairs_of_warp = ceil_div(units, warps) * ceil_div(math.min(slices, SLICES_OF_UNIT), 2)
   local depth = math.max(2, math.min(pairs_of_warp, (shared - sums) // (warps * 2 * SLICE_BYTES)))
   return string.format("shrink<SLICES, %d, %d>", warps, depth), warps * depth * 2 * SLICE_BYTES + sums
end

-- adapt(stage, columns, lora, sites): makes a stage that is a product (cuda_stages.lua) the one for steps with adapters.
-- sites: how many the stage has.
function cuda_adapters.adapt(stage, columns, lora, sites)
   local shared, values, grid = stage.shared, stage.class_values, stage.grid
   local rank_tiles = ceil_div(lora.rank, TILE)
   local function made(class)
      local text, bytes = maker(columns, stage.threads(class), shared(class))
      return text, math.max(bytes, shared(class))
   end
   stage.suffix, stage.wide_classes = "lora", nil -- whose clusters have no room for other blocks
   stage.summary = stage.summary .. ", with adapters"
   stage.shared = function(class)
      local _, bytes = made(class)
      return bytes
   end
   stage.class_values = function(class)
      local result, text, bytes = values(class), made(class)
      result.maker, result.shared = text, bytes
      return result
   end
   stage.grid = function(rows, class)
      local x, y = grid(rows, class)
      local items = most_groups(lora, rows) * sites * rank_tiles
      return x, y + ceil_div(math.min(items, MOST_MAKERS), x)
   end
   return stage
end

-- Whether a built-in adapter has a head of its own.
function cuda_adapters.has_own_head(d, lora)
   for _, adapter in ipairs(lora.list) do
      if adapter.full[cuda_adapters.head_site(d)] then return true end
   end
   return false
end

-- own_head(d, epsilon) -> the stage behind the head that makes the logits of such adapters' rows
function cuda_adapters.own_head(d, epsilon)
   local text, bytes = maker(d.hidden_padded, 256, 96 * 1024)
   return {
      name = "head_full", template = "head_full.cu", threads = 256, shared = bytes,
      values = { maker = text, epsilon = epsilon + 0.0 }, grid = function() return MOST_MAKERS end,
      summary = "logits of rows whose adapter has its own head",
      cost = { flops_per_row = 2 * d.vocab * d.hidden, weight_bytes = 2 * d.vocab * d.hidden },
   }
end

-- check(lora): what no kernel can do yet is refused by its name.
function cuda_adapters.check(lora)
   for _, adapter in ipairs(lora.list) do
      for _, number in ipairs(sorted_keys(adapter.full)) do
         local site = lora.sites[number + 1]
         if site.name ~= "head" and site.name ~= "embedding" then
            fail("--lora %s: %s: a whole matrix (modules_to_save) has no CUDA kernel except lm_head and embed_tokens; build with "
                 .. "--target c", adapter.name, site.module)
         end
      end
   end
end

return cuda_adapters
