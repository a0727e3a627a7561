/* Matrix products of many rows on 9.0a, in the same sum tree: a block multiplies 8 tiles (128 weight rows) by up to 128 rows
 * of the step with `wgmma`, a warp a tile. Two more warps keep a ring of slices full with bulk copies:
 *
 *     stage:  weights of 8 tiles, 2 KB each, as fragments | input, 1 KB for each 8 rows, as pieces of 8 x 8
 *
 * Each stage has two barriers: `full` (its bytes have come) and `empty` (all who read it are done).
 *
 * What bounds a step of hundreds of rows is neither memory nor the tensor cores but the way from the L2 cache to the
 * processors, so the blocks of a cluster share what they copy:
 *
 *     row_blocks    blocks with the same weights, whose rows follow each other: each copies a part of the weights to all
 *     tile_blocks   blocks with the same rows, whose weights follow each other: each copies a part of the input to all
 *     splits        blocks with the same weights and rows, each for a span of K; they add their sums in order in the end
 *
 * Rank of a block: ((tile block) * row_blocks + row block) * splits + split.
 */
#ifndef PRODUCT_WIDE_CUH
#define PRODUCT_WIDE_CUH

#include "product.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/* ---- Barriers in shared memory, by address -------------------------------------------------------------------------- */

INLINE void barrier_make(uint32_t barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

/* Makes the barriers of this thread known to the copy engine and to the other blocks of the cluster. */
INLINE void barriers_made()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    copies_to_products();
}

/* Arrives; so many bytes more will come. */
INLINE void barrier_expect(uint32_t barrier, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

INLINE void barrier_arrive(uint32_t barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/* At the same barrier of another block of the cluster, or this one. */
INLINE void barrier_arrive_at(uint32_t barrier, int rank)
{
    uint32_t there;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(barrier), "r"(rank));
    asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(there) : "memory");
}

/* Until the phase of this parity is over. */
INLINE void barrier_wait(uint32_t barrier, int parity)
{
    uint32_t over;
    do
        asm volatile("{\n\t.reg .pred over;\n\t"
                     "mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\n\t"
                     "selp.u32 %0, 1, 0, over;\n\t}"
                     : "=r"(over)
                     : "r"(barrier), "r"(parity)
                     : "memory");
    while (!over);
}

/* Copies to shared memory and tells the barrier; with `blocks` (a bit a rank) to the same place in each of these. */
template <bool shared_by_blocks>
INLINE void copy_bulk(uint32_t to, const void *from, int bytes, uint32_t barrier, uint32_t blocks, uint64_t policy)
{
    if (shared_by_blocks)
        asm volatile(
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint "
            "[%0], [%1], %2, [%3], %4, %5;" ::"r"(to),
            "l"(from), "r"(bytes), "r"(barrier), "h"((uint16_t)blocks), "l"(policy)
            : "memory");
    else
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
                     "[%0], [%1], %2, [%3], %4;" ::"r"(to),
                     "l"(from), "r"(bytes), "r"(barrier), "l"(policy)
                     : "memory");
}

/* One thread of a warp whose lanes are all there. Unlike with lane == 0 the compiler knows that it is one, and starts copies
   without asking for each whose turn it is. */
INLINE bool elected()
{
    uint32_t one;
    asm volatile("{\n\t.reg .pred one;\n\telect.sync _|one, 0xffffffff;\n\tselp.u32 %0, 1, 0, one;\n\t}" : "=r"(one));
    return one;
}

INLINE uint64_t read_often()
{
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

/* ---- Products -------------------------------------------------------------------------------------------------------
 *
 * sum[i] += what multiply_add gives for rows 8i .. 8i + 7, bit for bit, of four warps with 16 weight rows each. matrix: of the
 * input in a stage. Starts only.
 */
// clang-format off
//% for _, n in ipairs { 16, 32, 64, 128 } do
//%    local sums, operands, last = {}, {}, n // 2
//%    for i = 0, n // 2 - 1 do sums[#sums + 1] = "%" .. i end
//%    for i = 0, n // 8 - 1 do
//%       for _, part in ipairs { "x", "y", "z", "w" } do operands[#operands + 1] = '"+f"(sum[' .. i .. "]." .. part .. ")" end
//%    end
INLINE void multiply_add_rows(float4 (&sum)[$n // 8$], uint4 weight, uint64_t matrix)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n$n$k16.f32.bf16.bf16 {$table.concat(sums, ", ")$}, "
                 "{%$last$, %$last + 1$, %$last + 2$, %$last + 3$}, %$last + 4$, 1, 1, 1, 0;"
                 : $table.concat(operands, ", ")$
                 : "r"(weight.x), "r"(weight.y), "r"(weight.z), "r"(weight.w), "l"(matrix));
}

//% end
// clang-format on

/* rows_: of the step, of a block; tiles_: that a block multiplies; spans: of K, as many as splits. */
template <int rows_, int tiles_, int total_tiles, int slices, int unit_slices, int depth, int splits, int row_blocks,
          int tile_blocks>
struct wide {
    enum {
        rows = rows_,
        grid_splits = splits,
        multiplied_tiles = tiles_,
        tiles = multiplied_tiles / splits, /* whose sums this block finishes */
        groups = rows / 8,
        consumers = multiplied_tiles, /* warps */
        producers = 2,                /* one for the weights, one for the input */
        helpers = rows > 64 ? 2 : 0,  /* warps for what else there is to do */
        warps = consumers + producers + helpers,
        threads = warps * LANES,
        blocks = rows * multiplied_tiles > 256 ? 1 : 2, /* of a processor */
        units = (slices + unit_slices - 1) / unit_slices,
        tile_bytes = SLICE_WEIGHTS * 16, /* of a slice */
        group_bytes = 1024,
        stage_weights = multiplied_tiles * tile_bytes,
        stage_bytes = stage_weights + groups * group_bytes,
        cluster_splits = splits * row_blocks,
        cluster = cluster_splits * tile_blocks,
        own_tiles = multiplied_tiles / row_blocks, /* that this block copies */
        own_groups = groups / tile_blocks,
        writers = row_blocks + tile_blocks - 1, /* blocks that copy into this one's ring, and read what it copies */
        part_pieces = multiplied_tiles * groups * LANES,
        group_sums = 8 * SUM_STRIDE, /* floats */
        outputs = tiles * rows * TILE,
        thread_outputs = (outputs + threads - 1) / threads,
        unroll = thread_outputs < 4 ? thread_outputs : 4
    };
    static_assert(multiplied_tiles % 4 == 0, "warps multiply by fours");
    static_assert(multiplied_tiles % (splits * row_blocks) == 0 && groups % tile_blocks == 0, "equal shares");

    uint4 *shared;
    uint32_t ring, full, empty; /* addresses */
    const uint4 *weights;       /* of the tiles that this block copies */
    uint64_t once, often;
    int first_tile; /* whose sums this block finishes */
    int block_tile, split, row_block, tile_block, first_slice, count;

    /* Whether there are no rows for this block, nor for the others of its cluster. */
    INLINE bool absent(const int32_t *row_count)
    {
        int first = (int)blockIdx.x / cluster_splits * row_blocks * rows;
        return first > 0 && first >= *row_count;
    }

    INLINE int first_unit(int span)
    {
        return units * span / splits;
    }

    /* Blocks with the same weights; with the same rows; a bit a rank. */
    INLINE_METHOD uint32_t same_weights() const
    {
        uint32_t bits = 0;
#pragma unroll
        for (int i = 0; i < row_blocks; i++)
            bits |= 1u << ((tile_block * row_blocks + i) * splits + split);
        return bits;
    }

    INLINE_METHOD uint32_t same_rows() const
    {
        uint32_t bits = 0;
#pragma unroll
        for (int i = 0; i < tile_blocks; i++)
            bits |= 1u << ((i * row_blocks + row_block) * splits + split);
        return bits;
    }

    /* Of the block's tiles, those that the matrix has. */
    INLINE_METHOD int existing_tiles() const
    {
        return total_tiles % multiplied_tiles == 0 ? (int)multiplied_tiles
                                                   : max(0, smaller(multiplied_tiles, total_tiles - block_tile));
    }

    /* Of the first producer's elected thread: starts the copies of this block's share of a slice's weights. */
    INLINE_METHOD void copy_weights(int slice, int stage)
    {
        barrier_expect(full + stage * 8, existing_tiles() * tile_bytes);
#pragma unroll
        for (int i = 0; i < own_tiles; i++) {
            int tile = row_block * own_tiles + i;
            if (tile < existing_tiles())
                copy_bulk<(row_blocks > 1)>(ring + stage * stage_bytes + tile * tile_bytes,
                                            weights + ((size_t)i * slices + (size_t)slice) * SLICE_WEIGHTS, tile_bytes,
                                            full + stage * 8, same_weights(), once);
        }
    }

    INLINE_METHOD void prefetch(uint4 *shared_memory, const uint4 *matrix)
    {
        __shared__ uint64_t barriers[2 * depth];
        int warp = (int)threadIdx.x / LANES;
        shared = shared_memory;
        ring = shared_address(shared);
        full = shared_address(barriers);
        empty = full + depth * 8;
        once = read_once();
        often = read_often();
        split = (int)blockIdx.x % splits;
        row_block = (int)blockIdx.x / splits % row_blocks;
        tile_block = (int)blockIdx.y % tile_blocks;
        block_tile = (int)blockIdx.y * multiplied_tiles;
        first_tile = block_tile + split * tiles;
        first_slice = first_unit(split) * unit_slices;
        count = smaller(first_unit(split + 1) * unit_slices, slices) - first_slice;
        weights = matrix + ((size_t)(block_tile + row_block * own_tiles) * slices + first_slice) * SLICE_WEIGHTS;
        if (threadIdx.x < depth) {
            barrier_make(full + threadIdx.x * 8, producers);
            barrier_make(empty + threadIdx.x * 8, consumers * writers);
            barriers_made();
        }
        block_or_cluster_meets();
        if (warp == consumers && elected()) {
#pragma unroll 1
            for (int i = 0; i < depth && i < count; i++)
                copy_weights(i, i);
        }
        __syncwarp();
    }

    /* As of the other ways; existing: rows of this block that are there, others are neither read nor give sums that anybody
       uses. */
    template <typename row_of_type, typename meanwhile_type>
    INLINE_METHOD void multiply(const uint16_t *input, row_of_type row_of, meanwhile_type meanwhile,
                                int existing = rows)
    {
        int lane = (int)threadIdx.x % LANES, warp = (int)threadIdx.x / LANES;
        float4 total[groups];
        if (helpers == 0 && warp < consumers)
            meanwhile(warp, consumers);
        if (warp < consumers)
            consume(total);
        else if (warp == consumers)
            produce_weights();
        else if (warp == consumers + 1)
            produce_input((const unsigned char *)input, row_of, existing);
        else
            meanwhile(warp - consumers - producers, helpers);
        /* The rings are free, nobody tells others that it has read: the sums take their place, and blocks may end. */
        block_or_cluster_meets();
        if (splits == 1) {
            if (warp < consumers)
#pragma unroll
                for (int g = 0; g < groups; g++)
                    put_sums<8>((float *)shared + (warp * groups + g) * group_sums, total[g]);
            __syncthreads();
        } else {
            if (warp < consumers)
#pragma unroll
                for (int g = 0; g < groups; g++)
                    ((float4 *)shared)[(warp * groups + g) * LANES + lane] = total[g];
            add_splits();
        }
    }

    INLINE void block_or_cluster_meets()
    {
        if (cluster > 1) {
            cluster_arrive();
            cluster_wait();
        }
        __syncthreads();
    }

    INLINE_METHOD void produce_weights()
    {
        if (elected()) {
            int stage = 0, parity = 0;
#pragma unroll 1
            for (int i = depth; i < count; i++) {
                barrier_wait(empty + stage * 8, parity);
                copy_weights(i, stage);
                if (++stage == depth) {
                    stage = 0;
                    parity ^= 1;
                }
            }
        }
        __syncwarp();
    }

    template <typename row_of_type>
    INLINE_METHOD void produce_input(const unsigned char *input, row_of_type row_of, int existing)
    {
        int lane = (int)threadIdx.x % LANES, here = max(0, smaller(existing, rows));
        int first = here > 0 ? row_of(0) : 0;
        bool together = first % 8 == 0; /* all rows, in the order of the input */
        for (int i = lane; i < here; i += LANES)
            together = together && row_of(i) == first + i;
        if (__all_sync(0xffffffffu, together)) {
            if (elected())
                copy_groups(input + ((size_t)(first / 8) * slices + first_slice) * group_bytes, (here + 7) / 8);
            __syncwarp();
        } else {
            copy_rows(input, row_of, here);
        }
    }

    /* 8 rows a copy. */
    INLINE_METHOD void copy_groups(const unsigned char *from, int existing)
    {
        int stage = 0, parity = 1;
#pragma unroll 1
        for (int i = 0; i < count; i++) {
            if (i >= depth)
                barrier_wait(empty + stage * 8, parity);
            barrier_expect(full + stage * 8, existing * group_bytes);
#pragma unroll
            for (int j = 0; j < own_groups; j++) {
                int group = tile_block * own_groups + j;
                if (group < existing)
                    copy_bulk<(tile_blocks > 1)>(ring + stage * stage_bytes + stage_weights + group * group_bytes,
                                                 from + ((size_t)group * slices + (size_t)i) * group_bytes, group_bytes,
                                                 full + stage * 8, same_rows(), often);
            }
            if (++stage == depth) {
                stage = 0;
                parity ^= 1;
            }
        }
    }

    /* Rows from anywhere: a copy for each 8 columns, a lane a row at a time. */
    template <typename row_of_type>
    INLINE_METHOD void copy_rows(const unsigned char *input, row_of_type row_of, int existing)
    {
        int lane = (int)threadIdx.x % LANES, own_rows = own_groups * 8, begin = tile_block * own_rows;
        int stage = 0, parity = 1;
#pragma unroll 1
        for (int i = 0; i < count; i++) {
            if (i >= depth)
                barrier_wait(empty + stage * 8, parity);
            if (lane == 0)
                barrier_expect(full + stage * 8, existing * 128);
            __syncwarp();
#pragma unroll 1
            for (int r = begin + lane; r < smaller(existing, begin + own_rows); r += LANES) {
                int row = row_of(r);
                uint32_t to = ring + stage * stage_bytes + stage_weights + r / 8 * group_bytes + r % 8 * 16;
                const unsigned char *from =
                    input + ((size_t)(row / 8) * slices + first_slice + i) * group_bytes + row % 8 * 16;
#pragma unroll 1
                for (int piece = 0; piece < 8; piece++)
                    copy_bulk<(tile_blocks > 1)>(to + piece * 128, from + piece * 128, 16, full + stage * 8,
                                                 same_rows(), often);
            }
            if (++stage == depth) {
                stage = 0;
                parity ^= 1;
            }
        }
    }

    /* Of a consumer: tells all that copy into this stage that this warp has read it. */
    INLINE_METHOD void release(int stage)
    {
        int lane = (int)threadIdx.x % LANES;
        if (cluster == 1) {
            if (lane == 0)
                barrier_arrive(empty + stage * 8);
        } else if (lane < writers) {
            int rank =
                lane < row_blocks
                    ? (tile_block * row_blocks + lane) * splits + split
                    : ((tile_block + 1 + lane - row_blocks) % tile_blocks * row_blocks + row_block) * splits + split;
            barrier_arrive_at(empty + stage * 8, rank);
        }
    }

    /* total: of the block's span, this warp's tile, all rows. */
    INLINE_METHOD void consume(float4 (&total)[groups])
    {
        int lane = (int)threadIdx.x % LANES, warp = (int)threadIdx.x / LANES;
        int stage = 0, parity = 0, before = 0;
#pragma unroll
        for (int g = 0; g < groups; g++)
            total[g] = nothing();
#pragma unroll 1
        for (int slice = 0; slice < count; slice += unit_slices) {
            float4 sum[groups];
            uint4 weight[2][2]; /* of each half of a slice; the other half may still be multiplied */
#pragma unroll
            for (int g = 0; g < groups; g++)
                sum[g] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
            for (int i = 0; i < unit_slices; i++) {
                if (slices % unit_slices != 0 && slice + i >= count)
                    break;
                barrier_wait(full + stage * 8, parity);
                uint32_t at = ring + stage * stage_bytes;
                /* Bytes / 16: the address; 128 from a piece to the next along K; 1024 to the next 8 rows. */
                uint64_t matrix = (uint64_t)((at + stage_weights) >> 4 & 0x3fff) | (uint64_t)(128 >> 4) << 16 |
                                  (uint64_t)(1024 >> 4) << 32;
#pragma unroll
                for (int half = 0; half < 2; half++) {
#pragma unroll
                    for (int k = 0; k < 2; k++)
                        weight[half][k] = load_shared(at + warp * tile_bytes + ((2 * half + k) * LANES + lane) * 16);
                    products_begin();
#pragma unroll
                    for (int k = 0; k < 2; k++)
                        multiply_add_rows(sum, weight[half][k], matrix + (2 * half + k) * (256 >> 4));
                    products_commit();
                    if (half == 1 || i > 0)
                        products_wait<1>();
                    if (half == 0 && i > 0)
                        release(before);
                }
                before = stage;
                if (++stage == depth) {
                    stage = 0;
                    parity ^= 1;
                }
            }
            products_wait<0>();
            release(before);
#pragma unroll
            for (int g = 0; g < groups; g++)
                total[g] = add(total[g], sum[g]);
        }
    }

    /* Adds the spans of this block's share of the tiles, from all blocks that have one. */
    INLINE_METHOD void add_splits()
    {
        enum { pieces = tiles * groups * LANES, rounds = (pieces + threads - 1) / threads };
        float4 sum[rounds];
        cluster_arrive();
        cluster_wait();
#pragma unroll
        for (int i = 0; i < rounds; i++) {
            int piece = i * threads + (int)threadIdx.x;
            sum[i] = nothing();
            if (pieces % threads == 0 || piece < pieces) {
                uint32_t at = ring + (split * pieces + piece) * 16;
#pragma unroll
                for (int span = 0; span < splits; span++)
                    sum[i] = add(sum[i], load_from_block(at, (tile_block * row_blocks + row_block) * splits + span));
            }
        }
        cluster_arrive();
        cluster_wait(); /* all have read: the sums take the parts' place, and blocks may end */
#pragma unroll
        for (int i = 0; i < rounds; i++) {
            int piece = i * threads + (int)threadIdx.x;
            if (pieces % threads == 0 || piece < pieces)
                put_sums<8>((float *)shared + piece / LANES * group_sums, sum[i]);
        }
        __syncthreads();
    }

    INLINE_METHOD float sum(int tile, int row, int column) const
    {
        return ((const float *)shared)[(tile * groups + row / 8) * group_sums + row % 8 * SUM_STRIDE + column];
    }
};

#endif
#endif
