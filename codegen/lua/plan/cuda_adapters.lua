-- LoRA on the GPU (docs/cuda.md, "Adapters"): which stages of a step have a second set of kernels, for steps with rows that
-- have an adapter, and how these differ: blocks that make t = A x come first in the grid, and the kernel's shared memory
-- holds what they need.

local fail = require "fail"
local sorted_keys = require "read.sorted_keys"

local cuda_adapters = {}

local TILE, SLICE, SLICES_OF_UNIT, SLICE_BYTES, SUM_STRIDE = 16, 64, 8, 2048, 20
local GROUP_ROWS = 8 -- of struct cuda_group: a group's adapter is one
local PROCESSORS, PROCESSOR_SHARED = 132, 227 * 1024 -- as in cuda_products.lua: more or fewer cost speed
local SPLIT_ITEMS = PROCESSORS -- items that may be cut along K

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
      { name = "ADAPTER_STAGES", value = LAYER_STAGES, comment = "of a layer, each with a count of what is made of t" },
      { name = "OUTPUT_STAGE", value = stages.attention_output.stage, comment = "the attention's output among them" },
      { name = "GATE_UP_STAGE", value = stages.gate_up.stage, comment = "gate_up" },
      { name = "DOWN_STAGE", value = stages.down.stage, comment = "down" },
      { name = "ADAPTER_ITEMS", value = SPLIT_ITEMS, comment = "tiles of A for a group of rows, that may be cut along K" },
      { name = "ADAPTER_UNITS", value = ceil_div(ceil_div(math.max(d.hidden, d.query, d.intermediate), SLICE), SLICES_OF_UNIT),
        comment = "of the longest" },
      { name = "ADAPTER_RANK", value = math.max(TILE, lora.rank), comment = "the largest rank" },
   }
end

cuda_adapters.buffers = {
   { type = "element", name = "low_rank", shape = "[3][PADDED_ROWS][ADAPTER_RANK]",
     comment = "t = A x of a stage's sites" },
   { type = "uint32_t", name = "arrived", shape = "[LAYERS * ADAPTER_STAGES + 1]",
     comment = "items that are made, of each stage of this step" },
   { type = "float", name = "adapter_sums", shape = "[ADAPTER_ITEMS][ADAPTER_UNITS * 128]",
     comment = "units of items that are cut along K" },
   { type = "uint32_t", name = "adapter_parts", shape = "[ADAPTER_ITEMS]", comment = "parts that are there; 0 between stages" },
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

-- Blocks of a class that run on a processor at once (`blocks` of product.cuh).
local function resident(cut, shared, units)
   local most = 3
   if cut.way ~= "streamed" then
      local parts = cut.splits > 1 and ceil_div(units, cut.splits) or 1
      local few = cut.rows ~= 32 or parts * cut.rows // 2 >= 64 -- registers (`blocks` of adapter.cuh, too)
      most = few and 1 or math.max(1, 512 // cut.threads)
   end
   return math.min(most, PROCESSOR_SHARED // (shared + 2048))
end

-- adapt(stage, cut_of, columns, lora, sites): makes a stage that is a product (cuda_stages.lua) the one for steps with
-- adapters. cut_of(class): how it is cut (cuda_products.lua); sites: how many the stage has.
function cuda_adapters.adapt(stage, cut_of, columns, lora, sites)
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
   local units = ceil_div(columns, SLICE * SLICES_OF_UNIT)
   -- Blocks that run beside those of the product, and the items that they make in half its time: as many as it has tiles.
   local function spare(class)
      local x, y = grid(class, class)
      local cut, _, bytes = cut_of(class), made(class)
      local count = math.max(0, resident(cut, bytes, units) * PROCESSORS - x * y)
      return count, count * cut.tiles // (2 * (cut.splits or 1))
   end
   stage.class_values = function(class)
      local result, text, bytes = values(class), made(class)
      result.maker, result.shared = text, bytes
      result.spare, result.few = spare(class)
      return result
   end
   stage.grid = function(rows, class)
      local x, y = grid(rows, class)
      local items = most_groups(lora, rows) * sites * rank_tiles
      local beside, few = spare(class)
      local makers = items <= few and beside or math.max(beside, PROCESSORS)
      return x, y + ceil_div(math.min(items * units, makers), x)
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
      values = { maker = text, epsilon = epsilon + 0.0 }, grid = function() return 2 * PROCESSORS end,
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
