-- How a matrix product is cut for the GPU: for each row class, the way through the sum tree (templates/cuda/product.cuh),
-- how many tiles a block takes, its warps and its shared memory. Nothing here changes a bit of the result.

local products = {}

local SLICE, SLICES_OF_UNIT, SLICE_BYTES = 64, 8, 2048
local SUM_STRIDE, TILE, MAX_PARTS = 20, 16, 64 * 1024

-- What every processor since 8.0 gives a block (8.6: 99 KB), less a kernel's own variables. Two such blocks fit on one of
-- 9.0, three with a third. Where there are two large blocks for each processor they take more than a third even if they do
-- not need it: otherwise some processors get three and some one.
local MOST_SHARED, THIRD, MORE_THAN_THIRD = 98 * 1024, 72 * 1024, 76 * 1024

-- Bytes of a matrix from which the class of 8 rows is measured to be faster for one row too (H200: 5 to 12 %).
local LARGE = 40 * 1000 * 1000

-- What blocks are dealt to: of an H100 or H200. More or fewer cost speed, never bits.
local PROCESSORS = 132

local function ceil_div(a, b) return (a + b - 1) // b end

-- Warps for so many units: up to eight, with as few idle in the last round as possible; 8 units keep four warps busy
-- with two each, so that three blocks fit.
local function warps_for(units)
   if units <= 4 or units == 8 then return math.min(4, units) end
   local best, waste
   for warps = math.min(8, units), 4, -1 do
      local idle = ceil_div(units, warps) * warps - units
      if not best or idle < waste then best, waste = warps, idle end
   end
   return best
end

-- Tiles of a block: two blocks run on a processor at once, so no processor should have much more than another, and one
-- should read while the other ends. Large matrices take more than one round, in the order in which processors get free.
local function tiles_of_block(tiles)
   local best, score = 8, 0
   if tiles <= PROCESSORS then return 1 end
   for count = 8, 1, -1 do
      local rounds = ceil_div(ceil_div(tiles, count), PROCESSORS)
      local now = ceil_div(tiles, count) / rounds / PROCESSORS - (rounds == 1 and 0.05 or 0)
      if rounds <= 3 and now > score + 0.01 then best, score = count, now end
   end
   return best
end

-- Up to 8 rows.
local function streamed(rows, product)
   local units = ceil_div(product.slices, SLICES_OF_UNIT)
   local tune = product.tune or {}
   local tiles, warps = tune.tiles or tiles_of_block(product.tiles), tune.warps or warps_for(units)
   local sums = tiles * units * rows * SUM_STRIDE * 4 + (product.adapters and tiles * rows * TILE * 4 or 0)
   local pairs_of_warp = ceil_div(units, warps) * tiles * SLICES_OF_UNIT // 2
   local rounds = ceil_div(ceil_div(product.tiles, tiles), PROCESSORS)
   local room = math.min(MOST_SHARED - sums, rounds == 3 and THIRD or MOST_SHARED)
   local depth = tune.depth or math.max(2, math.min(pairs_of_warp, room // (warps * 2 * SLICE_BYTES)))
   local shared = warps * depth * 2 * SLICE_BYTES + sums
   if rounds == 2 and shared > MORE_THAN_THIRD // 2 then shared = math.max(shared, MORE_THAN_THIRD) end
   return { way = "streamed", rows = rows, tiles = tiles, threads = 32 * (warps + 1), shared = shared,
            text = string.format("streamed<%d, %d, %s, SLICES, %d, %d>", rows, tiles, product.tiles_name, warps, depth) }
end

-- More rows. Blocks of 8 tiles read the input least often; a matrix with few of them is split along K until the processors
-- have something to do, at most so far that the sums of a block's units fit into registers and shared memory.
local function blocked(rows, product)
   local tune = product.tune and product.tune[rows] or {}
   local units = ceil_div(product.slices, SLICES_OF_UNIT)
   local groups = ceil_div(product.tiles, 8)
   local tiles, splits = 8, 1
   local function part_bytes(count) return ceil_div(units, count) * tiles * rows * TILE * 4 end
   local function blocks() return ceil_div(product.tiles, tiles) * splits end
   while blocks() < 0.9 * PROCESSORS and 2 * splits <= math.min(8, units) do splits = 2 * splits end
   while splits > 1 and splits < 8 and 2 * splits <= units and part_bytes(splits) > MAX_PARTS do splits = 2 * splits end
   if splits > 1 and part_bytes(splits) > MAX_PARTS or blocks() < 0.6 * PROCESSORS then
      tiles, splits = 4, math.min(splits, 4)
   end
   if splits > 1 and part_bytes(splits) > MAX_PARTS then splits = 1 end
   tiles, splits = tune.tiles or tiles, tune.splits or splits
   local warp_tiles, warp_rows = 1, rows
   warp_tiles, warp_rows = tune.warp_tiles or warp_tiles, tune.warp_rows or warp_rows
   local stage, sums = tiles * SLICE_BYTES + rows * SLICE * 2, tiles * rows * SUM_STRIDE * 4
   local depth = tune.depth or math.min(8, MOST_SHARED // stage)
   return { way = "blocked", rows = rows, tiles = tiles, threads = 32 * (tiles // warp_tiles) * (rows // warp_rows),
            shared = math.max(depth * stage, sums, splits > 1 and part_bytes(splits) or 0), splits = splits,
            text = string.format("blocked<%d, %d, %s, SLICES, %d, %d, %d, %d>", rows, tiles, product.tiles_name,
                                 warp_tiles, warp_rows, depth, splits) }
end

-- class(product, rows) -> { way, rows, tiles, threads, shared, text }
local function class_of(product, rows)
   local cut = { tiles = product.tiles, tiles_name = product.tiles_name, slices = product.columns // SLICE,
                 tune = product.tune, adapters = product.adapters }
   return rows <= 8 and streamed(rows, cut) or blocked(rows, cut)
end

-- How a stage that is a product is launched (the fields of cuda_stages.lua), and what its template is given besides.
--    product: tiles, tiles_name (its constant in shapes.cuh), columns (padded to 64),
--    adapters: whether there is to be room for what adapters add to a block's outputs (cuda_adapters.lua)
--    tune: nil, or { tiles, warps, depth } of a block, for trying; by class above 8 rows
-- -> { classes, threads(class), shared(class), grid(rows, class), values(class): the template's `product` and `cluster` }
function products.stage(product)
   local stage, cuts = { classes = {} }, {}
   for _, rows in ipairs { 1, 8, 16, 32, 64 } do
      local streams_best_with_8 = product.tiles * product.columns * TILE * 2 > LARGE
      if not (rows == 1 and streams_best_with_8) then
         stage.classes[#stage.classes + 1] = rows
         cuts[rows] = class_of(product, rows)
      end
   end
   function stage.threads(class) return cuts[class].threads end
   function stage.shared(class) return cuts[class].shared end
   function stage.values(class)
      local splits = cuts[class].splits or 1
      return { product = cuts[class].text, cluster = splits > 1 and string.format("CLUSTER(%d)", splits) or "" }
   end
   -- the splits of a cluster, passes over the rows (blocks that share weights are neighbours); groups of tiles
   function stage.grid(rows, class)
      return ceil_div(rows, class) * (cuts[class].splits or 1), ceil_div(product.tiles, cuts[class].tiles)
   end
   return stage
end

return products
