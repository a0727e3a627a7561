-- How a matrix product is cut for the GPU: for each row class, the way through the sum tree (templates/cuda/product.cuh),
-- how many tiles a block takes, its warps and its shared memory. Nothing here changes a bit of the result.

local products = {}

local SLICE, SLICE_BYTES = 64, 2048
local SUM_STRIDE, TILE, MAX_PARTS = 20, 16, 64 * 1024

-- What every processor since 8.0 gives a block (8.6: 99 KB), less a kernel's own variables. Two such blocks fit on one of
-- 9.0, three with a third. Where there are two large blocks for each processor they take more than a third even if they do
-- not need it: otherwise some processors get three and some one.
local MOST_SHARED, THIRD, MORE_THAN_THIRD = 98 * 1024, 72 * 1024, 76 * 1024

-- Bytes of a matrix from which the class of 8 rows is measured to be faster for one row too (H200: 5 to 12 %).
local LARGE = 40 * 1000 * 1000

-- Slices of a matrix up to which a unit has four of them instead of eight, part of the sum tree too: there a chain of 32 mma,
-- 0.6 us, is a good part of a step of one row.
local SHORT = 48

-- What blocks are dealt to: of an H100 or H200. More or fewer cost speed, never bits.
local PROCESSORS = 132

local function ceil_div(a, b) return (a + b - 1) // b end

-- Warps for so many units: up to eight, with as few idle in the last round as possible; 8 units keep four warps busy
-- with two each, so that three blocks fit.
local function warps_for(units, unit_slices)
   if units <= 4 or units == 8 and unit_slices == 8 then return math.min(4, units) end
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

-- Spans of K whose sums are added last, part of the sum tree (docs/cuda.md): so many blocks share a matrix of few tiles in wide
-- steps, so that most processors have work.
local function spans_of(tiles, units)
   local spans = 1
   while 4 * spans * ceil_div(tiles, 8) <= PROCESSORS and 2 * spans <= math.min(8, units) do spans = 2 * spans end
   return spans
end

-- Up to 8 rows.
local function streamed(rows, product)
   local units = ceil_div(product.slices, product.unit_slices)
   local tune = product.tune or {}
   local tiles, warps = tune.tiles or tiles_of_block(product.tiles), tune.warps or warps_for(units, product.unit_slices)
   local sums = tiles * units * rows * SUM_STRIDE * 4 + (product.adapters and tiles * rows * TILE * 4 or 0)
   local pairs_of_warp = ceil_div(units, warps) * tiles * product.unit_slices // 2
   local rounds = ceil_div(ceil_div(product.tiles, tiles), PROCESSORS)
   local room = math.min(MOST_SHARED - sums, rounds == 3 and THIRD or MOST_SHARED)
   local depth = tune.depth or math.max(2, math.min(pairs_of_warp, room // (warps * 2 * SLICE_BYTES)))
   local shared = warps * depth * 2 * SLICE_BYTES + sums
   if rounds == 2 and shared > MORE_THAN_THIRD // 2 then shared = math.max(shared, MORE_THAN_THIRD) end
   return { way = "streamed", rows = rows, tiles = tiles, threads = 32 * (warps + 1), shared = shared,
            text = string.format("streamed<%d, %d, %s, SLICES, %d, %d, %d, %d>", rows, tiles, product.tiles_name,
                                 product.unit_slices, product.spans, warps, depth) }
end

-- More rows. Blocks of 8 tiles read the input least often; a matrix with few of them is split along K until the processors
-- have something to do, at most so far that the sums of a block's units fit into registers and shared memory.
local function blocked(rows, product)
   local tune = product.tune and product.tune[rows] or {}
   local units = ceil_div(product.slices, product.unit_slices)
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
            text = string.format("blocked<%d, %d, %s, SLICES, %d, %d, %d, %d, %d, %d>", rows, tiles, product.tiles_name,
                                 product.unit_slices, product.spans, warp_tiles, warp_rows, depth, splits) }
end

-- Bytes of shared memory that a wide block may take, where one or two run on a processor of 9.0 (product_wide.cuh: `blocks`),
-- less a kernel's own variables.
local WIDE_SHARED = { 223 * 1024, 110 * 1024 }

-- Whether blocks of 8 tiles leave processors without work.
local function has_few(tiles, splits) return ceil_div(tiles, 8) * splits < 0.9 * PROCESSORS end

-- Many rows, on 9.0a. rows: of a step; a block has up to 128 of them.
local function wide(rows, product)
   local tune = product.tune and product.tune["wide_" .. rows] or {}
   local block_rows, splits = math.min(rows, 128), product.spans
   local tiles = block_rows <= 64 and splits <= 4 and has_few(product.tiles, splits) and 4 or 8
   -- Clusters that share what they copy pay where they need not share spans too (H100, 256 rows: gate_up 202 instead of 247 us,
   -- but down 135 instead of 86; 64 rows: qkv 33 instead of 43; with 32, and with more tiles for 64, all are alike).
   local row_blocks, tile_blocks = 1, 1
   if splits == 1 then
      local four = block_rows == 64 and tiles == 4 and product.tiles % 16 == 0 -- whole clusters
      row_blocks, tile_blocks = rows // block_rows, block_rows == 128 and 2 or four and 4 or 1
   end
   tiles, tile_blocks, row_blocks = tune.tiles or tiles, tune.tile_blocks or tile_blocks, tune.row_blocks or row_blocks
   local stage, sums = tiles * SLICE_BYTES + block_rows * SLICE * 2, tiles // splits * block_rows * SUM_STRIDE * 4
   local parts = splits > 1 and tiles * block_rows * TILE * 4 or 0
   local depth = tune.depth or math.min(8, WIDE_SHARED[block_rows * tiles > 256 and 1 or 2] // stage)
   return { way = "wide", rows = block_rows, tiles = tiles, threads = 32 * (tiles + (block_rows > 64 and 4 or 2)),
            shared = math.max(depth * stage, sums, parts), splits = splits, row_blocks = row_blocks,
            tile_blocks = tile_blocks,
            text = string.format("wide<%d, %d, %s, SLICES, %d, %d, %d, %d, %d>", block_rows, tiles, product.tiles_name,
                                 product.unit_slices, depth, splits, row_blocks, tile_blocks) }
end

-- How a stage that is a product is launched (the fields of cuda_stages.lua), and what its template is given besides.
--    product: tiles, tiles_name (its constant in shapes.cuh), columns (padded to 64),
--    adapters: whether there is to be room for what adapters add to a block's outputs (cuda_adapters.lua)
--    tune: nil, or { tiles, warps, depth } of a block, for trying; by class above 8 rows
-- -> { classes, threads(class), shared(class), grid(rows, class), values(class): the template's `product` and `cluster` }
function products.stage(product)
   local stage, cuts = { classes = {}, wide_classes = { "wide_64", "wide_128" } }, {}
   local slices = product.columns // SLICE
   local unit_slices = slices <= SHORT and 4 or 8
   local cut = { tiles = product.tiles, tiles_name = product.tiles_name, slices = slices, tune = product.tune,
                 adapters = product.adapters, unit_slices = unit_slices, spans = spans_of(product.tiles, ceil_div(slices, unit_slices)) }
   for _, rows in ipairs { 1, 8, 16, 32, 64 } do
      local streams_best_with_8 = product.tiles * product.columns * TILE * 2 > LARGE
      if not (rows == 1 and streams_best_with_8) then
         stage.classes[#stage.classes + 1] = rows
         cuts[rows] = rows <= 8 and streamed(rows, cut) or blocked(rows, cut)
      end
   end
   -- 32 rows of a large matrix are faster blocked (H100: gate_up 91 instead of 124 us).
   if has_few(cut.tiles, cut.spans) then table.insert(stage.wide_classes, 1, "wide_32") end
   if cut.spans == 1 then table.insert(stage.wide_classes, "wide_256") end
   for _, class in ipairs(stage.wide_classes) do cuts[class] = wide(math.tointeger(class:match("%d+")), cut) end
   function stage.cut(class) return cuts[class] end
   function stage.threads(class) return cuts[class].threads end
   function stage.shared(class) return cuts[class].shared end
   function stage.values(class)
      local x, y = (cuts[class].splits or 1) * (cuts[class].row_blocks or 1), cuts[class].tile_blocks or 1
      return { product = cuts[class].text, cluster = x * y > 1 and string.format("CLUSTER(%d, %d)", x, y) or "" }
   end
   -- the splits of a cluster, passes over the rows (blocks that share weights are neighbours); groups of tiles
   function stage.grid(rows, class)
      local this = cuts[class]
      local row_blocks, tile_blocks = this.row_blocks or 1, this.tile_blocks or 1
      return ceil_div(rows, this.rows * row_blocks) * row_blocks * (this.splits or 1),
             ceil_div(product.tiles, this.tiles * tile_blocks) * tile_blocks
   end
   return stage
end

return products
