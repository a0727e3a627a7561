/* LoRA adapters beside a product (docs/cuda.md, "Adapters"). For the rows of a step that have one, the product's sum gets
 *
 *     sum + scale (B t),    t = A x, rounded to bf16
 *
 *     grid:  | makers of t | blocks of the product ....................................... |
 *                  |                    |
 *                  t, arrived --------> waits for it where the sums are finished
 *
 * t is made by the first blocks of the product's own grid, from the same input, in the same sum tree: an item is a tile of
 * 16 rows of A for a group of up to 8 rows with the same adapter. Few items are cut along K: each block takes some units,
 * and who comes last adds all units in order. Blocks of the product wait only for blocks that come before them in the grid,
 * which the GPU starts in that order, so nobody waits for a block that has no place to run.
 */
#ifndef ADAPTER_CUH
#define ADAPTER_CUH

#include "product.cuh"
#include "shapes.cuh"

enum {
    MOST_POLLS = 1 << 24, /* seconds: only an error of ours takes so long */
    EXTRAS = 1 << 30,     /* beside an adapter's slot: it has a row scale or a bias at the stage */
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

/* The same, and sees what those before wrote; how many there were. */
INLINE uint32_t arrive_in_turn(uint32_t *count)
{
    uint32_t before;
    asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;" : "=r"(before) : "l"(count) : "memory");
    return before;
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

/* Part of t, behind wait_for: nothing that the compiler may move before it. */
INLINE uint4 load_made(const uint4 *from)
{
    uint4 value;
    asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                 : "l"(from));
    return value;
}

INLINE float load_made(const float *from)
{
    float value;
    asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(value) : "l"(from));
    return value;
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

    uint32_t own, place;      /* this lane's part of the ring; bytes from there to the next pair */
    float *sums;              /* [units][CUDA_GROUP_ROWS][SUM_STRIDE] */
    const uint4 *weights;     /* of the tile, this lane's first piece */
    int first_unit, end_unit; /* of this block */
    int next_unit, next_slice;

    INLINE int slices_of(int unit)
    {
        return smaller(slices - unit * SLICES_OF_UNIT, SLICES_OF_UNIT);
    }

    INLINE_METHOD void copy_next()
    {
        if (next_unit < end_unit) {
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

    /* Units first .. end - 1 of a tile. */
    INLINE_METHOD void start(uint4 *shared, const uint4 *tile, int first, int end)
    {
        int lane = (int)threadIdx.x % LANES, warp = (int)threadIdx.x / LANES;
        own = shared_address(shared) + (uint32_t)(warp * ring_bytes + lane * 16);
        sums = (float *)((char *)shared + warps * ring_bytes);
        weights = tile + lane;
        first_unit = first;
        end_unit = end;
        next_unit = warp < warps ? first + warp : end;
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
        if (row && unit < end_unit) {
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
        int unit = warp < warps ? first_unit + warp : end_unit;
        load_pair(ahead, own_row, unit, 0);
        for (; unit < end_unit; unit += warps) {
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
            put_sums<CUDA_GROUP_ROWS>(part(unit), sum);
        }
    }

    /* The partials of a unit: [CUDA_GROUP_ROWS][SUM_STRIDE] */
    INLINE_METHOD float *part(int unit) const
    {
        return sums + (unit - first_unit) * unit_sums;
    }

    /* Of all units. */
    INLINE_METHOD float total(int row, int column) const
    {
        float result = part(0)[row * SUM_STRIDE + column];
#pragma unroll 1
        for (int unit = 1; unit < units; unit++)
            result = __fadd_rn(result, part(unit)[row * SUM_STRIDE + column]);
        return result;
    }
};

/* sum + the products of 8 elements, in order. */
INLINE float add_products(float sum, uint4 x, uint4 w)
{
    uint32_t xs[4] = {x.x, x.y, x.z, x.w}, ws[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int j = 0; j < 4; j++) {
        sum = __fmaf_rn(to_float((uint16_t)ws[j]), to_float((uint16_t)xs[j]), sum);
        sum = __fmaf_rn(to_float((uint16_t)(ws[j] >> 16)), to_float((uint16_t)(xs[j] >> 16)), sum);
    }
    return sum;
}

/* ---- Beside a product ----------------------------------------------------------------------------------------------- */

/* Where an output lies: which of the stage's sites, and the weight row there. */
struct spot {
    int site, row;
};

/* What the adapters of a step do at the `sites` sites of a stage. `of_outputs`: the stage's rows are the step's outputs.
   shared_bytes: of the kernel's dynamic memory; its end is ours where the product has a warp to spare, which finishes B t
   while the others multiply. spare: blocks that run beside those of the product; few: items that these make in half the
   product's time. */
template <typename product, typename maker, int sites, bool of_outputs, int shared_bytes, int spare, int few>
struct adapted {
    enum {
        kept = product::spare_warp ? (int)product::outputs : 0,
        /* of a processor: these classes have no registers to spare for more */
        blocks = product::rows == 16 || product::rows > 32 ? 1 : (int)product::blocks
    };

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

    /* What there is to make. */
    INLINE_METHOD int items() const
    {
        return (of_outputs ? step.counts->output_groups : step.counts->groups) * sites * step.counts->adapter_tiles;
    }
    /* By how many blocks, at most, and in how many parts each. */
    INLINE int makers(int count)
    {
        int all = before() * (int)gridDim.x;
        return count <= few ? smaller(all, spare) : all;
    }
    INLINE int parts_of(int count)
    {
        int parts = count > 0 && count <= ADAPTER_ITEMS ? makers(count) / count : 1;
        return parts < 1 ? 1 : smaller(parts, maker::units);
    }

    /* The step's row that is row `row` of the stage. */
    INLINE_METHOD int input_row(int row) const
    {
        return of_outputs ? step.output_row[row] : row;
    }

    INLINE_METHOD int adapter_of(int row) const
    {
        int count = of_outputs ? step.counts->outputs : step.counts->rows;
        if (of_outputs && step.counts->output_groups == 0)
            return -1; /* none does anything here */
        return first_row + row < count ? step.row[input_row(first_row + row)].adapter : -1;
    }

    /* The slot, and whether the adapter does more than B t. */
    INLINE_METHOD int slot_of(int row) const
    {
        int adapter = adapter_of(row);
        bool extras = false;
        for (int site = 0; site < sites && adapter >= 0; site++) {
            const struct cuda_adapter_site *at = site_of(step, adapter, first_site + site);
            extras = extras || at->row_scale || at->bias;
        }
        return extras ? adapter | EXTRAS : adapter;
    }

    /* What the adapter of a row of the block does at a spot. */
    INLINE_METHOD const struct cuda_adapter_site *at_spot(int row, struct spot spot) const
    {
        return site_of(step, slot[row] & ~EXTRAS, first_site + spot.site);
    }

    /* The units of this block are in the maker's sums; who comes last has them all. Returns whether t is complete. */
    INLINE_METHOD bool join(const maker &t, int item, int parts, const struct cuda_group *group,
                            uint16_t (*to)[ADAPTER_RANK], int column) const
    {
        struct activations *a = activations(step);
        if (parts == 1) {
            for (int i = (int)threadIdx.x; i < group->rows * TILE; i += (int)blockDim.x)
                to[group->row[i / TILE]][column + i % TILE] = to_element(t.total(i / TILE, i % TILE));
            __syncthreads();
            return true;
        }
        enum { SUMS = CUDA_GROUP_ROWS * TILE };
        __shared__ bool last;
        float *partials = a->adapter_sums[item];
        for (int i = (int)threadIdx.x; i < (t.end_unit - t.first_unit) * SUMS; i += (int)blockDim.x)
            partials[t.first_unit * SUMS + i] =
                t.part(t.first_unit + i / SUMS)[i % SUMS / TILE * SUM_STRIDE + i % TILE];
        __syncthreads();
        if (threadIdx.x == 0)
            last = arrive_in_turn(&a->adapter_parts[item]) == (uint32_t)parts - 1;
        __syncthreads();
        if (!last)
            return false;
        for (int i = (int)threadIdx.x; i < group->rows * TILE; i += (int)blockDim.x) {
            float sum = load_made(partials + i);
#pragma unroll 8
            for (int unit = 1; unit < maker::units; unit++)
                sum = __fadd_rn(sum, load_made(partials + unit * SUMS + i));
            to[group->row[i / TILE]][column + i % TILE] = to_element(sum);
        }
        if (threadIdx.x == 0)
            a->adapter_parts[item] = 0; /* for the next stage */
        __syncthreads();
        return true;
    }

    /* Whether this block is one of those that make t; then it is done. */
    INLINE_METHOD bool made(const uint16_t *input) const
    {
        if (block() >= 0)
            return false;
        int first = (int)(blockIdx.y * gridDim.x + blockIdx.x), count = items(), tiles = step.counts->adapter_tiles;
        int parts = parts_of(count), stride = makers(count);
        maker t;
        for (int work = first; first < stride && work < count * parts; work += stride) {
            int item = work / parts, part = work % parts, site = item / tiles % sites, tile = item % tiles;
            const struct cuda_group *group = (of_outputs ? step.output_group : step.group) + item / (sites * tiles);
            const struct cuda_adapter_site *at = site_of(step, group->adapter, first_site + site);
            bool exists = tile * TILE < at->rank, complete = part == 0;
            if (exists)
                t.start(shared, (const uint4 *)at->a + (size_t)tile * maker::tile_pieces, maker::units * part / parts,
                        maker::units * (part + 1) / parts);
            if (work == first) {
                let_next_start();
                wait_for_previous();
            }
            if (exists) {
                int of_lane = (int)threadIdx.x % LANES / 4;
                t.multiply(input, of_lane < group->rows ? input_row(group->row[of_lane]) : -1);
                __syncthreads();
                complete = join(t, item, parts, group, activations(step)->low_rank[site], tile * TILE);
            }
            if (complete && threadIdx.x == 0)
                arrive(arrived);
        }
        return true;
    }

    /* Who has which adapter, and B on its way, before the wait for the kernel before. spot_of(output): where it lies; row
       -1: nowhere. */
    template <typename spot_type> INLINE_METHOD void prefetch(spot_type spot_of) const
    {
        if constexpr (!product::spare_warp) { /* which has time enough */
            for (int row = (int)threadIdx.x; row < product::rows; row += product::threads)
                slot[row] = slot_of(row);
            __syncthreads();
#pragma unroll 1
            for (int i = 0; i < product::thread_outputs; i++)
                prefetch_output(output<product>(i), spot_of);
        }
    }

    template <typename spot_type>
    INLINE_METHOD void prefetch_output(const output<product> &out, spot_type spot_of) const
    {
        struct spot spot = spot_of(out);
        if (spot.row < 0 || slot[out.row] < 0)
            return;
        const struct cuda_adapter_site *at = at_spot(out.row, spot);
        for (int k = 0; k < at->rank; k += 64)
            prefetch_to_l2((const uint16_t *)at->b + (size_t)spot.row * (size_t)at->rank + k);
    }

    INLINE_METHOD void await()
    {
        if (!there)
            wait_for(arrived, (uint32_t)items());
        there = true;
    }

    INLINE_METHOD const uint4 *made_for(int row, struct spot spot) const
    {
        return (const uint4 *)activations(step)->low_rank[spot.site][first_row + row];
    }

    /* What the outputs of all threads get, where a warp can be spared for it. */
    INLINE_METHOD float *sums_kept() const
    {
        return (float *)((char *)shared + shared_bytes - kept * 4);
    }

    /* In the product's `meanwhile`. */
    template <typename spot_type> INLINE_METHOD void meanwhile(spot_type spot_of)
    {
        if constexpr (product::spare_warp) {
            int lane = (int)threadIdx.x % LANES;
            if (lane < product::rows)
                slot[lane] = slot_of(lane);
            __syncwarp();
#pragma unroll 1
            for (int number = lane; number < product::outputs; number += LANES)
                prefetch_output(output<product>(0, number), spot_of);
#pragma unroll 1
            for (int number = lane; number < product::outputs; number += LANES) {
                output<product> out(0, number);
                struct spot spot = spot_of(out);
                if (spot.row < 0 || slot[out.row] < 0)
                    continue;
                const struct cuda_adapter_site *at = at_spot(out.row, spot);
                int pieces = at->rank / 8;
                float sum = 0.0f;
                if (pieces > 0) {
                    const uint4 *b = (const uint4 *)at->b + (size_t)spot.row * (size_t)pieces;
                    await();
                    const uint4 *t = made_for(out.row, spot);
#pragma unroll 2
                    for (int i = 0; i < pieces; i++)
                        sum = add_products(sum, load_made(t + i), __ldg(b + i));
                }
                sums_kept()[number] = pieces > 0 ? __fmul_rn(at->scale, sum) : -0.0f; /* x + -0 is x */
            }
        }
    }

    /* Behind the product, where no warp can be spared: B t is added to the sums, by each thread to those of its outputs. */
    template <typename spot_type> INLINE_METHOD void finish(product &sums, spot_type spot_of)
    {
        if constexpr (!product::spare_warp) {
            enum { AT_ONCE = product::thread_outputs < 4 ? (int)product::thread_outputs : 4 };
#pragma unroll 1
            for (int first = 0; first < product::thread_outputs; first += AT_ONCE) {
                const uint4 *b[AT_ONCE], *t[AT_ONCE];
                float *to[AT_ONCE], scale[AT_ONCE], sum[AT_ONCE];
                int pieces[AT_ONCE], most = 0;
#pragma unroll
                for (int j = 0; j < AT_ONCE; j++) {
                    output<product> out(first + j);
                    struct spot spot = spot_of(out);
                    pieces[j] = 0;
                    sum[j] = 0.0f;
                    if (spot.row >= 0 && slot[out.row] >= 0) {
                        const struct cuda_adapter_site *at = at_spot(out.row, spot);
                        pieces[j] = at->rank / 8;
                        scale[j] = at->scale;
                        b[j] = (const uint4 *)at->b + (size_t)spot.row * (size_t)pieces[j];
                        t[j] = made_for(out.row, spot);
                        to[j] = sums.place(out.tile, out.row, out.place);
                    }
                    most = most > pieces[j] ? most : pieces[j];
                }
                if (most > 0)
                    await();
#pragma unroll 1
                for (int i = 0; i < most; i++) {
                    uint4 x[AT_ONCE], w[AT_ONCE];
#pragma unroll
                    for (int j = 0; j < AT_ONCE; j++)
                        if (i < pieces[j]) {
                            x[j] = load_made(t[j] + i);
                            w[j] = __ldg(b[j] + i);
                        }
#pragma unroll
                    for (int j = 0; j < AT_ONCE; j++)
                        if (i < pieces[j])
                            sum[j] = add_products(sum[j], x[j], w[j]);
                }
#pragma unroll
                for (int j = 0; j < AT_ONCE; j++)
                    if (pieces[j] > 0)
                        *to[j] = __fadd_rn(*to[j], __fmul_rn(scale[j], sum[j]));
            }
        }
    }

    /* Output i of this thread, which exists: its sum with what the row's adapter adds. */
    INLINE_METHOD float add(float sum, int i, const output<product> &out) const
    {
        if (!product::spare_warp || slot[out.row] < 0)
            return sum;
        return __fadd_rn(sum, sums_kept()[i * product::threads + (int)threadIdx.x]);
    }

    INLINE_METHOD bool has_extras(const output<product> &out) const
    {
        return slot[out.row] >= EXTRAS;
    }

    /* Behind the norm's scale: DoRA's of the weight row. */
    INLINE_METHOD float scaled(float value, const output<product> &out, struct spot spot) const
    {
        const float *scale = has_extras(out) ? (const float *)at_spot(out.row, spot)->row_scale : NULL;
        return scale ? __fmul_rn(value, scale[spot.row]) : value;
    }

    /* Behind the base's bias: the adapter's own. */
    INLINE_METHOD float biased(float value, const output<product> &out, struct spot spot) const
    {
        const float *bias = has_extras(out) ? (const float *)at_spot(out.row, spot)->bias : NULL;
        return bias ? __fadd_rn(value, bias[spot.row]) : value;
    }
};

#endif
