-- How a matrix product is cut for the GPU: for each row class, the way through the sum tree (templates/cuda/product.cuh),
-- how many tiles a block takes, its warps and its shared memory. Nothing here changes a bit of the result.

local products = {}

local SLICE, SLICES_OF_UNIT, SLICE_BYTES = 64, 8, 2048
local SUM_STRIDE = 20

-- Two blocks fit on a processor, with a kernel's static shared memory and what the system takes of each, also where a
-- processor has 164 KB (8.0) and a block at most 163 KB.
local HALF_OF_90, HALF_OF_80 = 110 * 1024, 80 * 1024

local function ceil_div(a, b) return (a + b - 1) // b end

-- Warps for `items` units of work: as many as eight, with as few idle in the last round as possible.
local function warps_for(items)
   local best, waste
   for warps = math.min(8, items), math.min(4, items), -1 do
      local idle = ceil_div(items, warps) * warps - items
      if not best or idle < waste then best, waste = warps, idle end
   end
   return best
end

-- Up to 8 rows: blocks of one tile, or of as many as give four warps something to do.
local function streamed(rows, product)
   local units = ceil_div(product.slices, SLICES_OF_UNIT)
   local tiles = ceil_div(4, units)
   if units >= 3 then tiles = 1 end
   local warps = units == 8 and 4 or warps_for(tiles * units)
   local sums = tiles * units * rows * SUM_STRIDE * 4
   local depth = math.min(8, (HALF_OF_90 - sums) // (warps * SLICE_BYTES))
   return { way = "streamed", rows = rows, tiles = tiles, threads = 32 * (warps + 1),
            shared = warps * depth * SLICE_BYTES + sums,
            text = string.format("streamed<%d, %d, %s, SLICES, %d, %d>", rows, tiles, product.tiles_name, warps, depth) }
end

-- More rows: { tiles, tiles a warp, rows a warp, stages } of a block.
local function blocked(rows, product)
   local wide = product.tiles >= 1024
   local shape = ({ [16] = wide and { 8, 1, 16, 5 } or { 2, 1, 16, 8 }, [32] = wide and { 8, 1, 32, 5 } or { 2, 1, 32, 8 },
                    [64] = wide and { 8, 2, 32, 4 } or { 4, 1, 32, 5 }, [128] = { 8, 2, 64, 4 } })[rows]
   local tiles, warp_tiles, warp_rows, depth = table.unpack(shape)
   local stage, sums = tiles * SLICE_BYTES + rows * SLICE * 2, tiles * rows * SUM_STRIDE * 4
   return { way = "blocked", rows = rows, tiles = tiles, threads = 32 * (tiles // warp_tiles) * (rows // warp_rows),
            shared = math.max(depth * stage, sums),
            text = string.format("blocked<%d, %d, %s, PADDED_ROWS, SLICES, %d, %d, %d>", rows, tiles, product.tiles_name,
                                 warp_tiles, warp_rows, depth) }
end

-- class(product, rows) -> { way, rows, tiles, threads, shared, text }
local function class_of(product, rows)
   local cut = { tiles = product.tiles, tiles_name = product.tiles_name, slices = product.columns // SLICE }
   return rows <= 8 and streamed(rows, cut) or blocked(rows, cut)
end

-- How a stage that is a product is launched (the fields of cuda_stages.lua), and what its template is given besides.
--    product: tiles, tiles_name (its constant in shapes.cuh), columns (padded to 64), most (rows of the largest class)
-- -> { classes, threads(class), shared(class), grid(rows, class), product(class): the template's `product` }
function products.stage(product)
   local stage, cuts = { classes = {} }, {}
   for _, rows in ipairs { 1, 8, 16, 32, 64, 128 } do
      if rows <= (product.most or 128) then
         stage.classes[#stage.classes + 1] = rows
         cuts[rows] = class_of(product, rows)
      end
   end
   function stage.threads(class) return cuts[class].threads end
   function stage.shared(class) return cuts[class].shared end
   function stage.product(class) return cuts[class].text end
   -- passes over the rows (blocks that share weights are neighbours), groups of tiles
   function stage.grid(rows, class) return ceil_div(rows, class), ceil_div(product.tiles, cuts[class].tiles) end
   return stage
end

return products
