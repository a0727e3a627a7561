/* Matrix products: tiles of 16 weight rows against the rows of a step, in the sum tree of docs/cuda.md.
 *
 *     K:  |<-- unit of 512 columns ------------------------------->|<-- unit --> ...
 *         | slice | slice | slice | slice | slice | slice | slice | slice | ...        slice: 64 columns, 2 KB of weights
 *
 *     slice = mma(mma(mma(mma(0, k0), k1), k2), k3)     unit = ((slice + slice) + slice) ...     sum = ((unit + unit) ...
 *
 * Two ways to walk through it, which give the same bits:
 *
 *     streamed   up to 8 rows: a block has a few tiles, each of its warps whole units of them. Every thread copies just
 *                the bytes that it will multiply, so warps never wait for each other before the end.
 *     blocked    more rows: a block has more tiles and rows and walks along K with all of its warps, which share what
 *                was copied.
 *
 * Both start with weights alone (prefetch), before the previous kernel has ended; `multiply` is called after the wait.
 */
#ifndef PRODUCT_CUH
#define PRODUCT_CUH

#include "prelude.cuh"

enum {
    SLICE_WEIGHTS = 128,  /* 16-byte pieces of a tile's weights in a slice: 4 fragments */
    SLICES_OF_UNIT = 8,   /* the last unit may have fewer */
    SUM_STRIDE = TILE + 4 /* floats between the sums of two rows in shared memory: no two lanes hit one bank */
};

INLINE int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* One slice: 4 steps of K for 16 weight rows and 8 rows of the step; b: the lane's 32 bytes of the input. */
INLINE float4 slice_of(const uint4 weight[4], uint4 b0, uint4 b1)
{
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    multiply_add(sum, weight[0], b0.x, b0.y);
    multiply_add(sum, weight[1], b0.z, b0.w);
    multiply_add(sum, weight[2], b1.x, b1.y);
    multiply_add(sum, weight[3], b1.z, b1.w);
    return sum;
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

/* ---- Streamed -------------------------------------------------------------------------------------------------------
 *
 * The items of a block are the units of its tiles, tile by tile; warp w takes the items w, w + warps, ... Each lane has a
 * ring of `depth` slices in shared memory that it alone fills and reads: lane l's bytes of a fragment are those that its
 * registers need.
 */
template <int rows_, int tiles_, int total_tiles, int slices, int warps_, int depth> struct streamed {
    enum {
        rows = rows_,   /* of the step: at most 8 */
        tiles = tiles_, /* of the block */
        warps = warps_,
        threads = (warps + 1) * LANES, /* one more warp for what else there is to do */
        blocks = 512 / threads,        /* of a processor; asks the compiler for at most 128 registers */
        units = (slices + SLICES_OF_UNIT - 1) / SLICES_OF_UNIT,
        ring = warps * depth * SLICE_WEIGHTS, /* pieces of 16 bytes */
        unit_sums = rows * SUM_STRIDE,        /* floats */
        shared_bytes = ring * 16 + tiles * units * unit_sums * 4,
        outputs = tiles * rows * TILE
    };
    static_assert(rows <= 8, "the rows of one mma");

    uint32_t own;         /* this lane's part of the ring */
    uint32_t slot;        /* bytes from there: where the next slice is copied to, and the next one multiplied lies */
    float *sums;          /* [tiles * units][rows][SUM_STRIDE] */
    const uint4 *weights; /* of the block's first tile, this lane's first piece */
    const uint4 *next;    /* what is copied next: */
    int next_item, left;  /* of this item, which has so many slices left */
    uint64_t policy;
    int first_tile, items;

    INLINE int slices_of(int unit)
    {
        return slices % SLICES_OF_UNIT == 0 || unit + 1 < units ? (int)SLICES_OF_UNIT : slices % SLICES_OF_UNIT;
    }

    INLINE_METHOD void next_is(int item)
    {
        next_item = item;
        next = weights + (size_t)(item / units * slices + item % units * SLICES_OF_UNIT) * SLICE_WEIGHTS;
        left = slices_of(item % units);
    }

    INLINE_METHOD void copy_next()
    {
        if (next_item < items) {
#pragma unroll
            for (int i = 0; i < 4; i++)
                copy_async(own + slot + i * LANES * 16, next + i * LANES, policy);
            next += SLICE_WEIGHTS;
            if (--left == 0)
                next_is(next_item + warps);
        }
        copies_commit();
        slot = slot + SLICE_WEIGHTS * 16 == depth * SLICE_WEIGHTS * 16 ? 0 : slot + SLICE_WEIGHTS * 16;
    }

    /* Starts to read the weights. */
    INLINE_METHOD void prefetch(uint4 *shared, const uint4 *matrix)
    {
        int lane = (int)threadIdx.x % LANES, warp = (int)threadIdx.x / LANES;
        own = shared_address(shared + warp * depth * SLICE_WEIGHTS + lane);
        sums = (float *)(shared + ring);
        policy = read_once();
        first_tile = (int)blockIdx.y * tiles;
        items = warp < warps ? smaller(tiles, total_tiles - first_tile) * units : 0; /* the last warp has none */
        weights = matrix + (size_t)first_tile * (slices * SLICE_WEIGHTS) + lane;
        next_is(warp);
        slot = 0;
#pragma unroll
        for (int i = 0; i < depth; i++)
            copy_next();
    }

    /* input: B fragments. row_of(i): which row of the input is row i of this block. meanwhile(w, of): what else there
       is to do before the sums are used, the part of warp w of so many. Afterwards sum() can be read. */
    template <typename row_of_type, typename meanwhile_type>
    INLINE_METHOD void multiply(const uint16_t *input, row_of_type row_of, meanwhile_type meanwhile)
    {
        int lane = (int)threadIdx.x % LANES, warp = (int)threadIdx.x / LANES;
        int row = lane / 4 < rows ? row_of(lane / 4) : -1;
        const uint4 *fragments =
            (const uint4 *)input + (size_t)(row / 8) * (slices * 2 * LANES) + row % 8 * 4 + lane % 4;
        for (int item = warp; item < items; item += warps) {
            int unit = item % units, count = slices_of(unit);
            uint4 b[2 * SLICES_OF_UNIT];
#pragma unroll
            for (int i = 0; i < 2 * SLICES_OF_UNIT; i++)
                b[i] = row >= 0 && i < 2 * count ? load_fresh(fragments + (unit * 2 * SLICES_OF_UNIT + i) * LANES)
                                                 : make_uint4(0, 0, 0, 0);
            float4 sum = nothing();
#pragma unroll
            for (int slice = 0; slice < SLICES_OF_UNIT; slice++) {
                if (slice < count) {
                    copies_wait<depth - 1>();
                    uint4 weight[4];
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        weight[i] = load_shared(own + slot + i * LANES * 16);
                    sum = add(sum, slice_of(weight, b[2 * slice], b[2 * slice + 1]));
                    copy_next();
                }
            }
            put_sums<rows>(sums + item * unit_sums, sum);
        }
        if (warp == warps)
            meanwhile(0, 1);
        __syncthreads();
    }

    /* The finished sum of row `row`, weight row `column` of the block's tile `tile`. */
    INLINE_METHOD float sum(int tile, int row, int column) const
    {
        const float *of_tile = sums + tile * units * unit_sums + row * SUM_STRIDE + column;
        float result = of_tile[0];
#pragma unroll
        for (int unit = 1; unit < units; unit++)
            result = __fadd_rn(result, of_tile[unit * unit_sums]);
        return result;
    }
};

/* ---- Blocked --------------------------------------------------------------------------------------------------------
 *
 *                   rows of the step (8 at a time: n)
 *                  +----------------+----------------+
 *      tiles of    | warp 0         | warp 1         |      each warp: warp_tiles x warp_rows / 8 sums in registers.
 *      weights     +----------------+----------------+      A stage of the ring is one slice: the weights of all tiles,
 *                  | warp 2         | warp 3         |      then the input of all rows, both as fragments.
 *                  +----------------+----------------+
 */
template <int rows_, int tiles_, int total_tiles, int padded_rows, int slices, int warp_tiles, int warp_rows, int depth>
struct blocked {
    enum {
        rows = rows_,
        tiles = tiles_,
        groups = rows / 8, /* of 8 rows */
        across = rows / warp_rows,
        warps = tiles / warp_tiles * across,
        threads = warps * LANES,
        blocks = rows > 32 ? 1 : 512 / threads,
        units = (slices + SLICES_OF_UNIT - 1) / SLICES_OF_UNIT,
        stage_weights = tiles * SLICE_WEIGHTS, /* pieces of 16 bytes */
        stage_input = groups * 2 * LANES,
        stage = stage_weights + stage_input,
        input_rounds = (stage_input + threads - 1) / threads,
        group_sums = 8 * SUM_STRIDE,                  /* floats */
        sums_bytes = tiles * groups * group_sums * 4, /* where the ring was, at the end */
        shared_bytes = depth * stage * 16 > sums_bytes ? depth *stage * 16 : sums_bytes,
        outputs = tiles * rows * TILE,
        own_groups = warp_rows / 8
    };
    static_assert(stage_weights % threads == 0, "whole rounds of copies");

    uint4 *shared;
    uint32_t ring; /* its address */
    const uint4 *weights;
    const uint4 *input;
    uint32_t source[input_rounds]; /* where this thread's pieces of a slice of the input come from */
    uint64_t policy;
    int first_tile;

    INLINE_METHOD void copy_weights(int slice)
    {
        uint32_t to = ring + slice % depth * stage * 16;
#pragma unroll
        for (int i = 0; i < stage_weights / threads; i++) {
            int piece = i * threads + (int)threadIdx.x, tile = piece / SLICE_WEIGHTS;
            if (total_tiles % tiles == 0 ||
                first_tile + tile < total_tiles) /* what is not there gives sums that nobody uses */
                copy_async(to + piece * 16,
                           weights + (size_t)(tile * slices + slice) * SLICE_WEIGHTS + piece % SLICE_WEIGHTS, policy);
        }
    }

    template <typename row_of_type> INLINE_METHOD void find_input(row_of_type row_of)
    {
#pragma unroll
        for (int i = 0; i < input_rounds; i++) {
            int piece = i * threads + (int)threadIdx.x, lane = piece % LANES, half = piece / LANES % 2;
            int row = piece < stage_input ? row_of(piece / (2 * LANES) * 8 + lane / 4) : 0;
            source[i] = (uint32_t)((row / 8 * (slices * 2) + half) * LANES + row % 8 * 4 + lane % 4);
        }
    }

    INLINE_METHOD void copy_input(int slice)
    {
        uint32_t to = ring + (slice % depth * stage + stage_weights) * 16;
#pragma unroll
        for (int i = 0; i < input_rounds; i++) {
            int piece = i * threads + (int)threadIdx.x;
            if (stage_input % threads == 0 || piece < stage_input)
                copy_async(to + piece * 16, input + source[i] + slice * 2 * LANES);
        }
    }

    INLINE_METHOD void prefetch(uint4 *shared_memory, const uint4 *matrix)
    {
        shared = shared_memory;
        ring = shared_address(shared);
        policy = read_once();
        first_tile = (int)blockIdx.y * tiles;
        weights = matrix + (size_t)first_tile * (slices * SLICE_WEIGHTS);
#pragma unroll
        for (int slice = 0; slice < depth - 1; slice++) {
            if (slice < slices)
                copy_weights(slice);
            copies_commit();
        }
    }

    template <typename row_of_type, typename meanwhile_type>
    INLINE_METHOD void multiply(const uint16_t *fragments, row_of_type row_of, meanwhile_type meanwhile)
    {
        int lane = (int)threadIdx.x % LANES, warp = (int)threadIdx.x / LANES;
        int tile = warp / across * warp_tiles, group = warp % across * own_groups;
        input = (const uint4 *)fragments;
        find_input(row_of);
#pragma unroll
        for (int slice = 0; slice < depth - 1; slice++) {
            if (slice < slices)
                copy_input(slice);
            copies_commit();
        }
        meanwhile(warp, warps);

        float4 total[warp_tiles][own_groups], partial[warp_tiles][own_groups];
#pragma unroll
        for (int t = 0; t < warp_tiles; t++)
#pragma unroll
            for (int g = 0; g < own_groups; g++)
                total[t][g] = partial[t][g] = nothing();

#pragma unroll 1
        for (int slice = 0; slice < slices; slice++) {
            copies_wait<depth - 2>();
            __syncthreads(); /* this slice has come, for all; the one before has been read, by all */
            if (slice + depth - 1 < slices) {
                copy_weights(slice + depth - 1);
                copy_input(slice + depth - 1);
            }
            copies_commit();

            uint32_t from = ring + (slice % depth * stage + lane) * 16;
            uint4 weight[warp_tiles][4];
#pragma unroll
            for (int t = 0; t < warp_tiles; t++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    weight[t][i] = load_shared(from + ((tile + t) * SLICE_WEIGHTS + i * LANES) * 16);
#pragma unroll
            for (int g = 0; g < own_groups; g++) {
                uint32_t of_group = from + (stage_weights + (group + g) * 2 * LANES) * 16;
                uint4 b0 = load_shared(of_group), b1 = load_shared(of_group + LANES * 16);
#pragma unroll
                for (int t = 0; t < warp_tiles; t++)
                    partial[t][g] = add(partial[t][g], slice_of(weight[t], b0, b1));
            }
            if (slice % SLICES_OF_UNIT == SLICES_OF_UNIT - 1 || slice == slices - 1) {
#pragma unroll
                for (int t = 0; t < warp_tiles; t++)
#pragma unroll
                    for (int g = 0; g < own_groups; g++) {
                        total[t][g] = add(total[t][g], partial[t][g]);
                        partial[t][g] = nothing();
                    }
            }
        }
        __syncthreads(); /* the ring is free: the sums take its place */
#pragma unroll
        for (int t = 0; t < warp_tiles; t++)
#pragma unroll
            for (int g = 0; g < own_groups; g++)
                put_sums<8>((float *)shared + ((tile + t) * groups + group + g) * group_sums, total[t][g]);
        __syncthreads();
    }

    INLINE_METHOD float sum(int tile, int row, int column) const
    {
        return ((const float *)shared)[(tile * groups + row / 8) * group_sums + row % 8 * SUM_STRIDE + column];
    }
};

#endif
