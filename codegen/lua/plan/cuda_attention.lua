-- How the attention of a model is launched on a GPU (templates/cuda/attention.cu): for each row class its tiles, stages,
-- shared memory and partials. Nothing here shows in the bits of a result.

local fail = require "fail"

local cuda_attention = {}

local LEAF, WARPS, BATCH, LEAVES = 64, 4, 32, 8
local PROCESSORS = 132      -- that blocks are dealt to: of an H100 or H200; others take what they can
local SHARED = 99 * 1024    -- what every GPU from 8.0 up has
local PARTIALS = 48 << 20   -- bytes for partials that are worth having
local GROUPED_FROM = 3      -- leaves a block from which blocks take whole groups of them

local function ceil_div(a, b) return (a + b - 1) // b end

-- Row classes: few rows of one sequence at most share a block's loads in the smallest, more in the others.
function cuda_attention.classes(max_rows)
   local classes = {}
   for _, rows in ipairs { 8, 64, 512 } do
      if rows < max_rows then classes[#classes + 1] = rows end
   end
   classes[#classes + 1] = max_rows
   return classes
end

-- Shared memory of a block, as struct shared of the template has it.
local function shared_bytes(d, class, stages, tiles, slots)
   local columns, pitch = 8 * tiles, d.head_dim + 8
   local dim_tiles = ceil_div(d.head_dim // 16, WARPS)
   return stages * 2 * LEAF * pitch * 2                          -- keys and values
      + stages * columns * (pitch * 2 + 4)                       -- queries, positions
      + columns * (LEAF + 8) * 2 + 2 * WARPS * columns * 4       -- probabilities, maxima and sums
      + (stages + 1) * 40 + class * 4 + ceil_div(class, 32) * 4  -- places, the survey
      + 4 * tiles * 32 * WARPS * 4 + 4 * dim_tiles * tiles * 32 * WARPS * 4 -- complete groups
      + BATCH * (slots + 2) * 4 + 8                              -- the list of partials
end

-- One row class: column tiles of 8, leaves in flight, partials a block may publish for the (tile, head) it begins within. A
-- leaf takes a long chain of small steps, so with many sequences four blocks with one leaf each are faster than two that load
-- ahead, where the registers allow it (H100, 256 sequences: 127 instead of 161 us); a few long ones would have more partials.
function cuda_attention.class(d, class)
   local least = ceil_div(d.heads // d.kv_heads, 8) -- a row's query heads of one key/value head
   local most_leaves = ceil_div(d.max_seq, LEAF)
   local small = least == 1 and d.head_dim <= 128 and class > 8
   local blocks, loads = small and 4 or 2, small and 4 or 8
   local chosen
   for tiles = not small and class > 8 and math.max(least, 2) or least, least, -1 do
      for stages = small and 1 or 3, 1, -1 do
         local slot, all = 8 * tiles * (d.head_dim + 2) * 4, PROCESSORS * blocks
         local slots = math.max(LEAVES + 4, math.min(32, PARTIALS // (all * slot) - 2))
         slots = math.min(slots, LEAVES + 2 + most_leaves // LEAVES) -- what the longest sequence can need
         chosen = { tiles = tiles, slots = slots, stages = stages, most_leaves = most_leaves, blocks = blocks, loads = loads,
                    shared = shared_bytes(d, class, stages, tiles, slots), partials = all * (slots + 2) * slot // 4 }
         if chosen.shared <= SHARED then return chosen end
      end
   end
   fail("head_dim %d: the attention of %d query heads for a key/value head needs %d bytes of shared memory on a GPU, and %d "
        .. "are there; build with --target c", d.head_dim, d.heads // d.kv_heads, chosen.shared, SHARED)
end

-- stage(d, mixer) -> the stage's fields but name and cost (cuda_stages.lua). d: the plan's dimensions.
function cuda_attention.stage(d, mixer)
   local classes = cuda_attention.classes(d.max_rows)
   local values = {
      window = mixer.window, scale = mixer.scale + 0.0, grouped_from = GROUPED_FROM,
      window_text = mixer.window > 0 and string.format(", the last %d positions", mixer.window) or "",
   }
   local partials, by_class = 0, {}
   for _, class in ipairs(classes) do
      local chosen = cuda_attention.class(d, class)
      by_class[class] = chosen
      partials = math.max(partials, chosen.partials)
   end
   return {
      suffix = mixer.window > 0 and "window" or "full", template = "attention.cu", values = values, classes = classes,
      class_values = function(class)
         local chosen = by_class[class]
         return { tiles = chosen.tiles, slots = chosen.slots, stages = chosen.stages, most_leaves = chosen.most_leaves,
                  shared = chosen.shared, blocks = chosen.blocks, loads = chosen.loads }
      end,
      threads = 32 * WARPS,
      shared = function(class) return by_class[class].shared end,
      grid = function(_, class) return PROCESSORS * by_class[class].blocks end,
      buffers = {
         { type = "int", name = "attention_arrivals", shape = "[PADDED_ROWS * KV_HEADS]",
           comment = "passes done of a (tile, head); zero between stages" },
         { type = "float", name = "attention_partials", shape = string.format("[%d]", partials),
           comment = "of (tile, head)s that several blocks share" },
      },
   }
end

return cuda_attention
