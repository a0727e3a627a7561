/* LoRA adapters beside a product (docs/cuda.md, "Adapters"). For the rows of a step that have one, the product's sum gets
 *
 *     sum + scale (B t),    t = A x, rounded to bf16
 *
 *     grid:  | makers of t | blocks of the product ....................................... |
 *                  |                    |
 *                  t, arrived --------> waits for it where the sums are finished
 *
 * t is made by the first blocks of the product's own grid, from the same input, in the same sum tree: an item is a tile of
 * 16 rows of A for a group of up to 8 rows with the same adapter. Blocks of the product wait only for blocks that come
 * before them in the grid, which the GPU starts in that order, so nobody waits for a block that has no place to run.
 */
#ifndef ADAPTER_CUH
#define ADAPTER_CUH

#include "product.cuh"
#include "shapes.cuh"

enum {
    MOST_POLLS = 1 << 24, /* seconds: only an error of ours takes so long */
    SLICES_OF_UNIT = 8    /* of t's sums */
};

INLINE const struct cuda_adapter_site *site_of(const struct cuda_step &step, int slot, int site)
{
    return step.adapters + (size_t)slot * ADAPTER_SITES + site;
}

/* ---- One after the other, across blocks ----------------------------------------------------------------------------- */

/* What this thread wrote, and what it has seen of others behind a barrier, can be seen by who sees the count. */
INLINE void arrive(uint32_t *count)
{
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(count) : "memory");
}

INLINE uint32_t load_acquire(const uint32_t *from)
{
    uint32_t value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
    return value;
}

INLINE void wait_for(const uint32_t *count, uint32_t expected)
{
    for (int polls = 0; load_acquire(count) < expected; polls++)
        if (polls == MOST_POLLS)
            asm volatile("trap;");
}

INLINE void prefetch_to_l2(const void *from)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
}

/* ---- t = A x --------------------------------------------------------------------------------------------------------
 *
 * Each warp has whole units, and each lane its own ring in shared memory, as in `streamed` (product.cuh); only one tile at
 * a time, and the input a pair of slices ahead.
 */
template <int slices, int warps, int depth> struct shrink {
    enum {
        units = (slices + SLICES_OF_UNIT - 1) / SLICES_OF_UNIT,
        pair_bytes = 2 * SLICE_WEIGHTS * 16,
        ring_bytes = depth * pair_bytes, /* of a warp */
        unit_sums = CUDA_GROUP_ROWS * SUM_STRIDE,
        tile_pieces = slices * SLICE_WEIGHTS
    };

    uint32_t own, place;  /* this lane's part of the ring; bytes from there to the next pair */
    float *sums;          /* [units][CUDA_GROUP_ROWS][SUM_STRIDE] */
    const uint4 *weights; /* of the tile, this lane's first piece */
    int next_unit, next_slice;

    INLINE int slices_of(int unit)
    {
        return smaller(slices - unit * SLICES_OF_UNIT, SLICES_OF_UNIT);
    }

    INLINE_METHOD void copy_next()
    {
        if (next_unit < units) {
            const uint4 *from = weights + (size_t)(next_unit * SLICES_OF_UNIT + next_slice) * SLICE_WEIGHTS;
            int count = slices_of(next_unit);
#pragma unroll
            for (int i = 0; i < 8; i++)
                if (i < 4 || next_slice + 1 < count)
                    copy_async(own + place + i * LANES * 16, from + i * LANES);
            next_slice += 2;
            if (next_slice >= count) {
                next_slice = 0;
                next_unit += warps;
            }
        }
        copies_commit();
        place = place + pair_bytes == ring_bytes ? 0 : place + pair_bytes;
    }

    INLINE_METHOD void start(uint4 *shared, const uint4 *tile)
    {
        int lane = (int)threadIdx.x % LANES, warp = (int)threadIdx.x / LANES;
        own = shared_address(shared) + (uint32_t)(warp * ring_bytes + lane * 16);
        sums = (float *)((char *)shared + warps * ring_bytes);
        weights = tile + lane;
        next_unit = warp < warps ? warp : (int)units;
        next_slice = 0;
        place = 0;
#pragma unroll 1
        for (int i = 0; i < depth; i++)
            copy_next();
    }

    /* The lane's elements of two slices; row: its row of the input, NULL: none. */
    INLINE_METHOD void load_pair(uint32_t b[16], const uint32_t *row, int unit, int slice)
    {
        const uint32_t *from = row + (unit * SLICES_OF_UNIT + slice) * 8 * LANES;
#pragma unroll
        for (int i = 0; i < 16; i++)
            b[i] = 0;
        if (row && unit < units) {
            load_fresh_8(b, from);
            if (slice + 1 < slices_of(unit))
                load_fresh_8(b + 8, from + 8 * LANES);
        }
    }

    /* row: of the input, that this lane reads (lane / 4 of the group's), -1: none. Afterwards, behind a barrier, total(). */
    INLINE_METHOD void multiply(const uint16_t *input, int row)
    {
        int lane = (int)threadIdx.x % LANES, warp = (int)threadIdx.x / LANES;
        const uint32_t *own_row =
            row < 0 ? NULL
                    : (const uint32_t *)input + (size_t)(row / 8) * (slices * 8 * LANES) + row % 8 * 4 + lane % 4;
        uint32_t ahead[16];
        int unit = warp < warps ? warp : (int)units;
        load_pair(ahead, own_row, unit, 0);
        for (; unit < units; unit += warps) {
            int count = slices_of(unit);
            float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 1
            for (int slice = 0; slice < count; slice += 2) {
                uint32_t b[16];
#pragma unroll
                for (int i = 0; i < 16; i++)
                    b[i] = ahead[i];
                bool last = slice + 2 >= count;
                load_pair(ahead, own_row, last ? unit + warps : unit, last ? 0 : slice + 2);
                copies_wait<depth - 1>();
                uint4 first[4], second[4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    first[i] = load_shared(own + place + i * LANES * 16);
                    second[i] = load_shared(own + place + (4 + i) * LANES * 16);
                }
                add_slice_of(sum, first, b);
                if (slices % 2 == 0 || slice + 1 < count)
                    add_slice_of(sum, second, b + 8);
                copy_next();
            }
            put_sums<CUDA_GROUP_ROWS>(sums + unit * unit_sums, sum);
        }
    }

    INLINE_METHOD float total(int row, int column) const
    {
        const float *of_row = sums + row * SUM_STRIDE + column;
        float result = of_row[0];
#pragma unroll 1
        for (int unit = 1; unit < units; unit++)
            result = __fadd_rn(result, of_row[unit * unit_sums]);
        return result;
    }
};

/* ---- Beside a product ----------------------------------------------------------------------------------------------- */

/* Where an output lies: which of the stage's sites, and the weight row there. */
struct spot {
    int site, row;
};

/* What the adapters of a step do at the `sites` sites of a stage. `of_outputs`: the stage's rows are the step's outputs.
   shared_bytes: of the kernel's dynamic memory; its end is ours where the product has a warp to spare, which finishes B t
   while the others multiply. */
template <typename product, typename maker, int sites, bool of_outputs, int shared_bytes> struct adapted {
    enum { kept = product::spare_warp ? (int)product::outputs : 0 };

    const struct cuda_step &step;
    int first_site, first_row; /* of the stage's; of the block's rows */
    uint32_t *arrived;
    int *slot; /* [product::rows] the adapter of each row of the block, -1: none */
    uint4 *shared;
    bool there; /* this thread has seen all of t */

    INLINE_METHOD adapted(const struct cuda_step &step_, int first_site_, int stage, int first_row_, int *slot_,
                          uint4 *shared_)
        : step(step_), first_site(first_site_), first_row(first_row_), arrived(activations(step_)->arrived + stage),
          slot(slot_), shared(shared_), there(false)
    {
    }

    /* Blocks in y before those of the product, and the number of this one's group of tiles. */
    INLINE int before()
    {
        return (int)gridDim.y - product::tile_groups;
    }
    INLINE int block()
    {
        return (int)blockIdx.y - before();
    }

    /* What there is to make, and by how many blocks at most. */
    INLINE_METHOD int items() const
    {
        return (of_outputs ? step.counts->output_groups : step.counts->groups) * sites * step.counts->adapter_tiles;
    }
    INLINE int makers()
    {
        return before() * (int)gridDim.x;
    }

    /* The step's row that is row `row` of the stage. */
    INLINE_METHOD int input_row(int row) const
    {
        return of_outputs ? step.output_row[row] : row;
    }

    INLINE_METHOD int adapter_of(int row) const
    {
        int count = of_outputs ? step.counts->outputs : step.counts->rows;
        return first_row + row < count ? step.row[input_row(first_row + row)].adapter : -1;
    }

    /* Whether this block is one of those that make t; then it is done. */
    INLINE_METHOD bool made(const uint16_t *input) const
    {
        int first = (int)(blockIdx.y * gridDim.x + blockIdx.x), count = items(), tiles = step.counts->adapter_tiles;
        if (block() >= 0)
            return false;
        maker t;
        for (int item = first; item < count; item += makers()) {
            const struct cuda_group *group = (of_outputs ? step.output_group : step.group) + item / (sites * tiles);
            int site = item / tiles % sites, tile = item % tiles;
            const struct cuda_adapter_site *at = site_of(step, group->adapter, first_site + site);
            bool exists = tile * TILE < at->rank;
            if (exists)
                t.start(shared, (const uint4 *)at->a + (size_t)tile * maker::tile_pieces);
            if (item == first) {
                let_next_start();
                wait_for_previous();
            }
            if (!exists)
                continue;
            int of_lane = (int)threadIdx.x % LANES / 4;
            t.multiply(input, of_lane < group->rows ? input_row(group->row[of_lane]) : -1);
            __syncthreads();
            for (int i = (int)threadIdx.x; i < group->rows * TILE; i += (int)blockDim.x)
                activations(step)->low_rank[site][group->row[i / TILE]][tile * TILE + i % TILE] =
                    to_element(t.total(i / TILE, i % TILE));
            __syncthreads();
        }
        if (first < count && threadIdx.x == 0)
            arrive(arrived);
        return true;
    }

    /* B on its way, before the wait for the kernel before. spot_of(output): where it lies; row -1: nowhere. */
    template <typename spot_type> INLINE_METHOD void prefetch(spot_type spot_of) const
    {
        if constexpr (!product::spare_warp) { /* which has time enough */
#pragma unroll 1
            for (int i = 0; i < product::thread_outputs; i++) {
                output<product> out(i);
                struct spot spot = spot_of(out);
                int of_row = spot.row >= 0 ? adapter_of(out.row) : -1;
                if (of_row < 0)
                    continue;
                const struct cuda_adapter_site *at = site_of(step, of_row, first_site + spot.site);
                for (int k = 0; k < at->rank; k += 64)
                    prefetch_to_l2((const uint16_t *)at->b + (size_t)spot.row * (size_t)at->rank + k);
            }
        }
    }

    /* scale (B t) for one output of a row with an adapter, over the rank in order. */
    INLINE_METHOD float low_rank(int row, struct spot spot)
    {
        const struct cuda_adapter_site *at = site_of(step, slot[row], first_site + spot.site);
        int pieces = at->rank / 8;
        if (pieces == 0)
            return -0.0f; /* x + -0 is x */
        const uint4 *b = (const uint4 *)at->b + (size_t)spot.row * (size_t)pieces;
        const uint4 *t = (const uint4 *)activations(step)->low_rank[spot.site][first_row + row];
        if (!there)
            wait_for(arrived, (uint32_t)smaller(items(), makers()));
        there = true;
        float sum = 0.0f;
#pragma unroll 2
        for (int i = 0; i < pieces; i++) {
            uint4 x = load_fresh(t + i), w = __ldg(b + i);
            uint32_t xs[4] = {x.x, x.y, x.z, x.w}, ws[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
            for (int j = 0; j < 4; j++) {
                sum = __fmaf_rn(to_float((uint16_t)ws[j]), to_float((uint16_t)xs[j]), sum);
                sum = __fmaf_rn(to_float((uint16_t)(ws[j] >> 16)), to_float((uint16_t)(xs[j] >> 16)), sum);
            }
        }
        return __fmul_rn(at->scale, sum);
    }

    /* What the outputs of all threads get, where a warp can be spared for it. */
    INLINE_METHOD float *sums_kept() const
    {
        return (float *)((char *)shared + shared_bytes - kept * 4);
    }

    /* In the product's `meanwhile`. */
    template <typename spot_type> INLINE_METHOD void meanwhile(int warp, int warps, spot_type spot_of)
    {
        int lane = (int)threadIdx.x % LANES;
        for (int row = warp * LANES + lane; row < product::rows; row += warps * LANES)
            slot[row] = adapter_of(row);
        if constexpr (product::spare_warp) {
            __syncwarp();
#pragma unroll 1
            for (int number = lane; number < product::outputs; number += LANES) {
                output<product> out(0, number);
                struct spot spot = spot_of(out);
                if (spot.row >= 0 && slot[out.row] >= 0)
                    sums_kept()[number] = low_rank(out.row, spot);
            }
        }
    }

    /* Output i of this thread, which exists: its sum with what the row's adapter adds. */
    INLINE_METHOD float add(float sum, int i, const output<product> &out, struct spot spot)
    {
        if (slot[out.row] < 0)
            return sum;
        return __fadd_rn(sum, product::spare_warp ? sums_kept()[i * product::threads + (int)threadIdx.x]
                                                  : low_rank(out.row, spot));
    }

    /* Behind the norm's scale: DoRA's of the weight row. */
    INLINE_METHOD float scaled(float value, const output<product> &out, struct spot spot) const
    {
        if (slot[out.row] < 0)
            return value;
        const float *scale = (const float *)site_of(step, slot[out.row], first_site + spot.site)->row_scale;
        return scale ? __fmul_rn(value, scale[spot.row]) : value;
    }

    /* Behind the base's bias: the adapter's own. */
    INLINE_METHOD float biased(float value, const output<product> &out, struct spot spot) const
    {
        if (slot[out.row] < 0)
            return value;
        const float *bias = (const float *)site_of(step, slot[out.row], first_site + spot.site)->bias;
        return bias ? __fadd_rn(value, bias[spot.row]) : value;
    }
};

#endif
