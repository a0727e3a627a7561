/* Matrix products: tiles of 16 weight rows against the rows of a step, in the sum tree of docs/cuda.md.
 *
 *     K:  |<-- span: as many units as the plan says ----------------------------------------------- ...
 *         |<-- unit of 512 columns (256 where K is small) -------->|<-- unit --> ...
 *         | slice | slice | slice | slice | slice | slice | slice | slice | ...        slice: 64 columns, 2 KB of weights
 *
 *     unit = mma(... mma(mma(0, k0), k1) ..., k31)     span = ((unit + unit) + unit) ...     sum = ((span + span) ...
 *
 * Three ways to walk through it, which give the same bits:
 *
 *     streamed   up to 8 rows: a block has a few tiles, each of its warps whole units of them. Every thread copies just
 *                the bytes that it will multiply, so warps never wait for each other before the end.
 *     blocked    more rows: a block has more tiles and rows and walks along K with all of its warps, which share what
 *                was copied.
 *     wide       the same on 9.0a, whose tensor cores and copy engine do more by themselves (product_wide.cuh).
 *
 * All start with weights alone (prefetch), before the previous kernel has ended; `multiply` is called after the wait. A block
 * that is `absent` has nothing to do and calls neither.
 */
#ifndef PRODUCT_CUH
#define PRODUCT_CUH

#include "prelude.cuh"

enum {
    SLICE_WEIGHTS = 128,  /* 16-byte pieces of a tile's weights in a slice: 4 fragments */
    NORM_BATCH = 4,       /* rows whose norms a warp works out side by side */
    SUM_STRIDE = TILE + 4 /* floats between the sums of two rows in shared memory: no two lanes hit one bank */
};

INLINE int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* sum += one slice: 4 steps of K for 16 weight rows and 8 rows of the step; b: the lane's 32 bytes of the input. */
INLINE void add_slice_of(float4 &sum, const uint4 weight[4], uint4 b0, uint4 b1)
{
    multiply_add(sum, weight[0], b0.x, b0.y);
    multiply_add(sum, weight[1], b0.z, b0.w);
    multiply_add(sum, weight[2], b1.x, b1.y);
    multiply_add(sum, weight[3], b1.z, b1.w);
}

/* The same; b: the lane's elements of 8 columns each. */
INLINE void add_slice_of(float4 &sum, const uint4 weight[4], const uint32_t b[8])
{
#pragma unroll
    for (int i = 0; i < 4; i++)
        multiply_add(sum, weight[i], b[2 * i], b[2 * i + 1]);
}

/* Writes the lane's four sums of a tile and `rows` <= 8 rows to sums[row][SUM_STRIDE]. */
template <int rows> INLINE void put_sums(float *sums, float4 sum)
{
    int lane = (int)threadIdx.x % LANES, row = 2 * (lane % 4), weight = lane / 4;
    if (row < rows) {
        sums[row * SUM_STRIDE + weight] = sum.x;
        sums[row * SUM_STRIDE + weight + 8] = sum.z;
    }
    if (row + 1 < rows) {
        sums[(row + 1) * SUM_STRIDE + weight] = sum.y;
        sums[(row + 1) * SUM_STRIDE + weight + 8] = sum.w;
    }
}

/* One of a block's outputs: thread t has the outputs t, t + threads, ... Tile by tile, row by row, so that 16 neighbouring
   lanes have the 16 weight rows of a tile. */
template <typename product> struct output {
    int tile, row, place; /* of the block, of the block, of the tile */

    INLINE_METHOD output(int i) : output(i, (int)threadIdx.x)
    {
    }
    /* That of another thread. */
    INLINE_METHOD output(int i, int thread)
    {
        int number = i * product::threads + thread;
        tile = number / (product::rows * TILE);
        row = number / TILE % product::rows;
        place = number % TILE;
    }
    INLINE_METHOD bool exists() const
    {
        return tile < product::tiles;
    }
};

/* ---- Streamed -------------------------------------------------------------------------------------------------------
 *
 * The items of a block are the units of its tiles: unit 0 of all tiles, then unit 1, ... Warp w takes whole units, w,
 * w + warps, ..., so that the input of a unit is loaded once for all tiles. Each lane has a ring in shared memory that it
 * alone fills and reads: lane l's bytes of a fragment are those that its registers need. A place of the ring holds two
 * slices.
 */
template <int rows_, int tiles_, int total_tiles, int slices, int unit_slices, int spans, int warps_, int depth>
struct streamed {
    enum {
        rows = rows_,   /* of the step: at most 8 */
        tiles = tiles_, /* of the block */
        tile_groups = (total_tiles + tiles - 1) / tiles,
        grid_splits = 1,
        spare_warp = 1, /* `meanwhile` is a warp's that does nothing else */
        warps = warps_,
        threads = (warps + 1) * LANES,   /* one more warp for what else there is to do */
        blocks = threads <= 256 ? 2 : 1, /* of a processor */
        units = (slices + unit_slices - 1) / unit_slices,
        pair_bytes = 2 * SLICE_WEIGHTS * 16,
        ring_bytes = depth * pair_bytes, /* of a warp */
        unit_sums = rows * SUM_STRIDE,   /* floats */
        shared_bytes = warps * ring_bytes + tiles * units * unit_sums * 4,
        outputs = tiles * rows * TILE,
        thread_outputs = (outputs + threads - 1) / threads,
        unroll = thread_outputs < 4 ? thread_outputs : 4
    };
    static_assert(rows <= 8, "the rows of one mma");

    uint32_t own;         /* this lane's part of the ring */
    uint32_t place;       /* bytes from there: where the next pair is copied to, and the next one multiplied lies */
    float *sums;          /* [tiles][units][rows][SUM_STRIDE] */
    const uint4 *weights; /* of the block's first tile, this lane's first piece */
    uint64_t policy;
    int first_tile, block_tiles;
    int next_tile, next_unit, next_slice; /* what is copied next */

    INLINE int slices_of(int unit)
    {
        return slices % unit_slices == 0 || unit + 1 < units ? (int)unit_slices : slices % unit_slices;
    }

    INLINE bool absent(const int32_t *row_count)
    {
        int first = (int)blockIdx.x * rows;
        return first > 0 && first >= *row_count;
    }

    INLINE_METHOD void copy_next()
    {
        if (next_unit < units) {
            const uint4 *from =
                weights + (size_t)(next_tile * slices + next_unit * unit_slices + next_slice) * SLICE_WEIGHTS;
            int count = slices_of(next_unit);
#pragma unroll
            for (int i = 0; i < 8; i++)
                if (i < 4 || slices % 2 == 0 || next_slice + 1 < count)
                    copy_async(own + place + i * LANES * 16, from + i * LANES, policy);
            next_slice += 2;
            if (next_slice >= count) {
                next_slice = 0;
                if (++next_tile == block_tiles) {
                    next_tile = 0;
                    next_unit += warps;
                }
            }
        }
        copies_commit();
        place = place + pair_bytes == ring_bytes ? 0 : place + pair_bytes;
    }

    /* Starts to read the weights. block: the number of its group of tiles. */
    INLINE_METHOD void prefetch(uint4 *shared, const uint4 *matrix, int block = (int)blockIdx.y)
    {
        int lane = (int)threadIdx.x % LANES, warp = (int)threadIdx.x / LANES;
        own = shared_address(shared) + (uint32_t)(warp * ring_bytes + lane * 16);
        sums = (float *)((char *)shared + warps * ring_bytes);
        policy = read_once();
        first_tile = block * tiles;
        block_tiles = smaller(tiles, total_tiles - first_tile);
        weights = matrix + (size_t)first_tile * (slices * SLICE_WEIGHTS) + lane;
        next_tile = next_slice = 0;
        next_unit = warp < warps ? warp : (int)units;
        place = 0;
#pragma unroll
        for (int i = 0; i < depth; i++)
            copy_next();
    }

    /* input: pieces of 8 x 8 elements. row_of(i): which row of the input is row i of this block. meanwhile(w, of): what else there
       is to do before the sums are used, the part of warp w of so many. The last parameter is of use to wide products.
       Afterwards sum() can be read. */
    template <typename row_of_type, typename meanwhile_type>
    INLINE_METHOD void multiply(const uint16_t *input, row_of_type row_of, meanwhile_type meanwhile, int = rows)
    {
        int lane = (int)threadIdx.x % LANES, warp = (int)threadIdx.x / LANES;
        if (warp == warps)
            meanwhile(0, 1);
        bool reads = lane / 4 < rows;
        int row = reads ? row_of(lane / 4) : 0;
        const uint32_t *own_row =
            (const uint32_t *)input + (size_t)(row / 8) * (slices * 8 * LANES) + row % 8 * 4 + lane % 4;
        for (int unit = warp < warps ? warp : (int)units; unit < units; unit += warps) {
            int count = slices_of(unit);
            uint32_t b[unit_slices][8]; /* of each 8 columns: the lane's two of its row */
#pragma unroll
            for (int slice = 0; slice < unit_slices; slice++) {
#pragma unroll
                for (int i = 0; i < 8; i++)
                    b[slice][i] = 0;
                if (reads && slice < count)
                    load_fresh_8(b[slice], own_row + (unit * unit_slices + slice) * 8 * LANES);
            }
#pragma unroll 1
            for (int tile = 0; tile < block_tiles; tile++) {
                float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
                for (int slice = 0; slice < unit_slices; slice += 2) {
                    if (slice < count) {
                        copies_wait<depth - 1>();
                        uint4 first[4], second[4];
#pragma unroll
                        for (int i = 0; i < 4; i++) {
                            first[i] = load_shared(own + place + i * LANES * 16);
                            second[i] = load_shared(own + place + (4 + i) * LANES * 16);
                        }
                        add_slice_of(sum, first, b[slice]);
                        if (slices % 2 == 0 || slice + 1 < count)
                            add_slice_of(sum, second, b[slice + 1]);
                        copy_next();
                    }
                }
                put_sums<rows>(sums + (tile * units + unit) * unit_sums, sum);
            }
        }
        __syncthreads();
    }

    /* The finished sum of row `row`, weight row `column` of the block's tile `tile`. */
    INLINE_METHOD float sum(int tile, int row, int column) const
    {
        const float *of_tile = sums + tile * units * unit_sums + row * SUM_STRIDE + column;
        float result = 0.0f;
#pragma unroll
        for (int span = 0; span < spans; span++) {
            float of_span = of_tile[units * span / spans * unit_sums];
#pragma unroll
            for (int unit = units * span / spans + 1; unit < units * (span + 1) / spans; unit++)
                of_span = __fadd_rn(of_span, of_tile[unit * unit_sums]);
            result = span == 0 ? of_span : __fadd_rn(result, of_span);
        }
        return result;
    }
};

/* ---- Blocked --------------------------------------------------------------------------------------------------------
 *
 *                   rows of the step (8 at a time: a group)
 *                  +----------------+----------------+
 *      tiles of    | warp 0         | warp 2         |      each warp: warp_tiles x warp_rows / 8 sums in registers.
 *      weights     +----------------+----------------+      A stage of the ring is one slice: the weights of all tiles as
 *                  | warp 1         | warp 3         |      fragments, then the input of all rows as pieces of 8 x 8.
 *                  +----------------+----------------+
 *
 * Where the tensor cores of 9.0 are (9.0a), four warps with 32 rows or more multiply together (`wide`): they read the input
 * from shared memory themselves and give the same bits.
 *
 * A matrix with few tiles is cut along K as well: the `splits` blocks of a cluster have the same tiles and rows and each a
 * range of units. They keep the sums of their units apart, and each adds, in order, all units of its share of the tiles.
 * Without clusters (before 9.0) the first of them does the work of all.
 */
template <int rows_, int tiles_, int total_tiles, int slices, int unit_slices, int spans, int warp_tiles, int warp_rows,
          int depth, int splits_>
struct blocked {
    enum {
        rows = rows_,
        grid_splits = splits_,
#if __CUDA_ARCH__ >= 900
        splits = splits_,
#else
        splits = 1,
#endif
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        has_wide = 1,
#else
        has_wide = 0,
#endif
        spare_warp = 0,
        multiplied_tiles = tiles_,
        tile_groups = (total_tiles + multiplied_tiles - 1) / multiplied_tiles,
        tiles = multiplied_tiles / splits, /* whose sums this block finishes */
        groups = rows / 8,
        across = rows / warp_rows,
        warps = multiplied_tiles / warp_tiles * across,
        threads = warps * LANES,
        units = (slices + unit_slices - 1) / unit_slices,
        own_units = (units + splits - 1) / splits, /* at most */
        parts = splits == 1 ? 1 : own_units,
        part_registers = parts * warp_tiles * warp_rows / 2,
        blocks = warp_rows > 64 || threads > 256 || part_registers >= 64 || (!has_wide && rows > 16) ||
                         (splits == 1 && spans > 1 && rows > 32)
                     ? 1
                     : 512 / threads,                     /* of a processor */
        stage_weights = multiplied_tiles * SLICE_WEIGHTS, /* pieces of 16 bytes */
        stage_input = groups * 64,                        /* rows of pieces: 8 pieces of 8 rows a group */
        stage = stage_weights + stage_input,
        input_rounds = (stage_input + threads - 1) / threads,
        part_pieces = multiplied_tiles * groups * LANES, /* sums of a unit, as they lie in registers */
        group_sums = 8 * SUM_STRIDE,                     /* floats */
        outputs = tiles * rows * TILE,
        thread_outputs = (outputs + threads - 1) / threads,
        unroll = thread_outputs < 4 ? thread_outputs : 4,
        own_groups = warp_rows / 8,
        wide = has_wide && warp_tiles == 1 && warp_rows % 32 == 0 && multiplied_tiles % 4 == 0
    };
    static_assert(stage_weights % threads == 0, "whole rounds of copies");
    static_assert(multiplied_tiles % splits == 0, "as many tiles for each block");

    uint4 *shared;
    uint32_t ring; /* its address */
    const uint4 *weights;
    const uint4 *input;
    uint32_t source[input_rounds]; /* where this thread's pieces of a slice of the input come from */
    uint64_t policy;
    int first_tile; /* whose sums this block finishes */
    int rank, block_tile, first_slice, end_slice;

    /* The units of block `rank` of a cluster: [first_unit(rank), first_unit(rank + 1)). */
    INLINE int first_unit(int rank)
    {
        return units * rank / splits;
    }

    /* Whether another block does this one's work, or there are no rows for it. */
    INLINE bool absent(const int32_t *row_count)
    {
        int first = (int)blockIdx.x / grid_splits * rows;
        return (splits < grid_splits && (int)blockIdx.x % grid_splits > 0) || (first > 0 && first >= *row_count);
    }

    INLINE_METHOD void copy_weights(int slice)
    {
        uint32_t to = ring + slice % depth * stage * 16;
#pragma unroll
        for (int i = 0; i < stage_weights / threads; i++) {
            int piece = i * threads + (int)threadIdx.x, tile = piece / SLICE_WEIGHTS;
            /* What is not there gives sums that nobody uses. */
            if (total_tiles % multiplied_tiles == 0 || block_tile + tile < total_tiles)
                copy_async(to + piece * 16,
                           weights + (size_t)(tile * slices + slice) * SLICE_WEIGHTS + piece % SLICE_WEIGHTS, policy);
        }
    }

    template <typename row_of_type> INLINE_METHOD void find_input(row_of_type row_of)
    {
#pragma unroll
        for (int i = 0; i < input_rounds; i++) {
            int number = i * threads + (int)threadIdx.x, piece = number / 8 % 8;
            int row = number < stage_input ? row_of(number / 64 * 8 + number % 8) : 0;
            source[i] = (uint32_t)((row / 8 * (slices * 8) + piece) * 8 + row % 8);
        }
    }

    INLINE_METHOD void copy_input(int slice)
    {
        uint32_t to = ring + (slice % depth * stage + stage_weights) * 16;
#pragma unroll
        for (int i = 0; i < input_rounds; i++) {
            int piece = i * threads + (int)threadIdx.x;
            if (stage_input % threads == 0 || piece < stage_input)
                copy_async(to + piece * 16, input + source[i] + slice * 64);
        }
    }

    INLINE_METHOD void prefetch(uint4 *shared_memory, const uint4 *matrix, int block = (int)blockIdx.y)
    {
        shared = shared_memory;
        ring = shared_address(shared);
        policy = read_once();
        rank = (int)blockIdx.x % grid_splits;
        block_tile = block * multiplied_tiles;
        first_tile = block_tile + (splits == 1 ? 0 : rank * tiles);
        weights = matrix + (size_t)block_tile * (slices * SLICE_WEIGHTS);
        first_slice = splits == 1 ? 0 : first_unit(rank) * unit_slices;
        end_slice = splits == 1 ? (int)slices : smaller(first_unit(rank + 1) * unit_slices, slices);
#pragma unroll
        for (int slice = 0; slice < depth - 1; slice++) {
            if (first_slice + slice < end_slice)
                copy_weights(first_slice + slice);
            copies_commit();
        }
    }

    /* partial += slice, of all tiles and rows of this warp; and the copies for the slice that is depth - 1 ahead. */
    INLINE_METHOD void add_slice(int slice, int tile, int group, float4 partial[warp_tiles][own_groups])
    {
        copies_wait<depth - 2>();
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        if (wide)
            copies_to_products();
#endif
        __syncthreads(); /* this slice has come, for all; the one before has been read, by all */
        if (slice + depth - 1 < end_slice) {
            copy_weights(slice + depth - 1);
            copy_input(slice + depth - 1);
        }
        copies_commit();

        uint32_t from = ring + (slice % depth * stage + (int)threadIdx.x % LANES) * 16;
        uint4 weight[warp_tiles][4];
#pragma unroll
        for (int t = 0; t < warp_tiles; t++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                weight[t][i] = load_shared(from + ((tile + t) * SLICE_WEIGHTS + i * LANES) * 16);
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        if constexpr (wide) {
#pragma unroll
            for (int g = 0; g < own_groups; g += 4) {
                uint32_t of_rows = ring + (slice % depth * stage + stage_weights + (group + g) * 64) * 16;
                products_begin();
#pragma unroll
                for (int i = 0; i < 4; i++)
                    multiply_add_32(&partial[0][g], weight[0][i], of_rows + i * 256);
                products_commit();
            }
            products_wait<0>();
        } else
#endif
        {
#pragma unroll
            for (int g = 0; g < own_groups; g++) {
                uint32_t of_group = from + (stage_weights + (group + g) * 64) * 16;
                uint4 b0 = load_pieces(of_group), b1 = load_pieces(of_group + LANES * 16);
#pragma unroll
                for (int t = 0; t < warp_tiles; t++)
                    add_slice_of(partial[t][g], weight[t], b0, b1);
            }
        }
    }

    template <typename row_of_type, typename meanwhile_type>
    INLINE_METHOD void multiply(const uint16_t *pieces, row_of_type row_of, meanwhile_type meanwhile, int = rows)
    {
        int lane = (int)threadIdx.x % LANES, warp = (int)threadIdx.x / LANES;
        int tile = warp % (warps / across) * warp_tiles, group = warp / (warps / across) * own_groups;
        input = (const uint4 *)pieces;
        find_input(row_of);
#pragma unroll
        for (int slice = 0; slice < depth - 1; slice++) {
            if (first_slice + slice < end_slice)
                copy_input(first_slice + slice);
            copies_commit();
        }
        meanwhile(warp, warps);

        float4 part[parts][warp_tiles][own_groups];
        int slice = first_slice;
        if (splits == 1) {
            for_each_sum([&](int t, int g) { part[0][t][g] = nothing(); });
#pragma unroll
            for (int span = 0; span < spans; span++) {
                float4 of_span[warp_tiles][own_groups];
                if (spans > 1)
                    for_each_sum([&](int t, int g) { of_span[t][g] = nothing(); });
#pragma unroll 1
                for (int unit = units * span / spans; unit < units * (span + 1) / spans; unit++) {
                    float4 partial[warp_tiles][own_groups];
                    clear(partial);
#pragma unroll 1
                    for (int i = 0; i < unit_slices && slice < end_slice; i++)
                        add_slice(slice++, tile, group, partial);
                    if (spans > 1)
                        for_each_sum([&](int t, int g) { of_span[t][g] = add(of_span[t][g], partial[t][g]); });
                    else
                        for_each_sum([&](int t, int g) { part[0][t][g] = add(part[0][t][g], partial[t][g]); });
                }
                if (spans > 1)
                    for_each_sum([&](int t, int g) { part[0][t][g] = add(part[0][t][g], of_span[t][g]); });
            }
        } else {
#pragma unroll
            for (int unit = 0; unit < parts; unit++) {
                clear(part[unit]);
#pragma unroll 1
                for (int i = 0; i < unit_slices && slice < end_slice; i++)
                    add_slice(slice++, tile, group, part[unit]);
            }
        }
        __syncthreads(); /* the ring is free: the sums take its place */
        if (splits == 1) {
            for_each_sum([&](int t, int g) {
                put_sums<8>((float *)shared + ((tile + t) * groups + group + g) * group_sums, part[0][t][g]);
            });
            __syncthreads();
        } else {
#pragma unroll
            for (int unit = 0; unit < parts; unit++)
                for_each_sum([&](int t, int g) {
                    ((float4 *)shared)[unit * part_pieces + ((tile + t) * groups + group + g) * LANES + lane] =
                        part[unit][t][g];
                });
            add_units();
        }
    }

    INLINE void clear(float4 sums[warp_tiles][own_groups])
    {
        for_each_sum([&](int t, int g) { sums[t][g] = make_float4(0.0f, 0.0f, 0.0f, 0.0f); });
    }

    template <typename action> INLINE void for_each_sum(action act)
    {
#pragma unroll
        for (int t = 0; t < warp_tiles; t++)
#pragma unroll
            for (int g = 0; g < own_groups; g++)
                act(t, g);
    }

    /* Adds the units of this block's share of the tiles, from all blocks of the cluster. */
    INLINE_METHOD void add_units()
    {
#if __CUDA_ARCH__ >= 900
        enum { pieces = tiles * groups * LANES, rounds = (pieces + threads - 1) / threads };
        float4 total[rounds];
        cluster_arrive();
        cluster_wait();
#pragma unroll
        for (int i = 0; i < rounds; i++) {
            int piece = i * threads + (int)threadIdx.x;
            total[i] = nothing();
            if (pieces % threads == 0 || piece < pieces) {
                uint32_t at = ring + (rank * pieces + piece) * 16;
#pragma unroll
                for (int span = 0; span < spans; span++) {
                    float4 of_span = nothing();
#pragma unroll
                    for (int unit = units * span / spans; unit < units * (span + 1) / spans; unit++) {
                        int of = (unit * splits + splits - 1) / units; /* the block that has it */
                        of_span = add(of_span, load_from_block(at + (unit - first_unit(of)) * part_pieces * 16, of));
                    }
                    total[i] = add(total[i], of_span);
                }
            }
        }
        cluster_arrive();
        cluster_wait(); /* all have read: the sums take the parts' place, and blocks may end */
#pragma unroll
        for (int i = 0; i < rounds; i++) {
            int piece = i * threads + (int)threadIdx.x;
            if (pieces % threads == 0 || piece < pieces)
                put_sums<8>((float *)shared + piece / LANES * group_sums, total[i]);
        }
        __syncthreads();
#endif
    }

    /* Where that lies: what is added to it is in sum(). */
    INLINE_METHOD float *place(int tile, int row, int column) const
    {
        return (float *)shared + (tile * groups + row / 8) * group_sums + row % 8 * SUM_STRIDE + column;
    }

    INLINE_METHOD float sum(int tile, int row, int column) const
    {
        return *place(tile, row, column);
    }
};

#include "product_wide.cuh"

#endif
