/* Attention of a bulk chunk: BULK_ROWS consecutive rows of one sequence, from a position that is a multiple of
 * BULK_ROWS, over the pages of all positions before it$window_text$. Flash attention (T. Dao, "FlashAttention-2", 2023):
 * a block takes BLOCK_ROWS rows of one query head, each warp 16 of them, and walks the leaves of 64 positions in order
 * with a running maximum. The sums are in another order than the exact class's (docs/cuda.md, "Two classes").
 *
 *     scores   [16 rows][64 keys]     = query (registers, A)        x  keys^T (shared, B)
 *     out      [16 rows][HEAD_DIM]   += probability (registers, A)  x  values (shared, B)
 *
 * The sums of the first product lie as the A operand of the second, so probabilities never leave the registers.
 */
#include "attention.cuh"

enum {
    THREADS = $threads$,
    BLOCK_ROWS = THREADS / 32 * 16,
    LEAF = 64,
    STEPS = HEAD_DIM / 16,
    PITCH = HEAD_DIM + 8,  /* elements from key to key in shared memory: no bank conflicts for ldmatrix */
    CHUNKS = HEAD_DIM / 8, /* of 16 bytes in a key */
    LEAF_ELEMENTS = LEAF * PITCH,
};

/* Shared memory: two leaves, one being read while the other comes. */
struct leaf {
    element key[LEAF_ELEMENTS], value[LEAF_ELEMENTS];
};

/* Starts the copy of one leaf of keys and values. */
INLINE void fetch(const struct cuda_step &step, int sequence, int leaf, int layer, int head, struct leaf *to)
{
    const int32_t *pages = step.pages + sequence * step.table;
//% if page >= 64 then
    /* a leaf lies in one page */
    int first = leaf * LEAF;
    const element *keys = state_slot(step, pages[first / PAGE] * PAGE + first % PAGE, layer, head);
//% end
#pragma unroll 2
    for (int i = 0; i < LEAF * CHUNKS / THREADS; i++) {
        int piece = i * THREADS + (int)threadIdx.x, place = piece / CHUNKS, chunk = piece % CHUNKS * 8;
//% if page >= 64 then
        const element *key = keys + place * HEAD_DIM + chunk;
//% else
        int position = leaf * LEAF + place;
        const element *key = state_slot(step, pages[position / PAGE] * PAGE + position % PAGE, layer, head) + chunk;
//% end
        copy_async(shared_address(&to->key[place * PITCH + chunk]), key);
        copy_async(shared_address(&to->value[place * PITCH + chunk]), key + VALUE_OFFSET);
    }
    copies_commit();
}

/* 2^x; relative error below 2^-22. */
INLINE float power_of_two(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#define TO_LOG_2 ($scale$ * 1.44269504088896341f) /* from a score to a power of two */

/* What a warp knows of its 16 rows: lane l of rows l / 4 and l / 4 + 8. */
struct rows_state {
    float maximum[2], sum[2];
    float4 out[HEAD_DIM / 8];
};

/* One leaf for the warp's rows, the first of which has the position `first`. */
INLINE void attend(struct rows_state &state, const uint4 query[STEPS], const struct leaf *leaf, int begin, int first)
{
    int lane = (int)threadIdx.x % 32;
    /* What no row of the warp may see is masked, below: only in the leaves at the ends of their range. */
    float score[LEAF / 8][4] = {};
#pragma unroll
    for (int k = 0; k < STEPS; k++)
#pragma unroll
        for (int n = 0; n < LEAF / 16; n++) {
            /* matrices: keys 0-7 of dimensions 0-7, then 8-15; keys 8-15 likewise */
            uint4 b =
                load_matrices(&leaf->key[(n * 16 + lane % 8 + lane / 16 * 8) * PITCH + k * 16 + lane / 8 % 2 * 8]);
            multiply_add(score[2 * n], query[k], make_uint2(b.x, b.y));
            multiply_add(score[2 * n + 1], query[k], make_uint2(b.z, b.w));
        }
//% if window > 0 then
    if (begin + LEAF - 1 > first || begin <= first + 15 - $window$) {
//% else
    if (begin + LEAF - 1 > first) {
//% end
#pragma unroll
        for (int n = 0; n < LEAF / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int position = begin + n * 8 + lane % 4 * 2 + i % 2, row = first + lane / 4 + i / 2 * 8;
//% if window > 0 then
                if (position > row || position <= row - $window$)
//% else
                if (position > row)
//% end
                    score[n][i] = NOTHING;
            }
    }

    float top[2] = {state.maximum[0], state.maximum[1]};
#pragma unroll
    for (int n = 0; n < LEAF / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            top[i / 2] = fmaxf(top[i / 2], score[n][i]);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        top[h] = fmaxf(top[h], __shfl_xor_sync(0xffffffffu, top[h], 1));
        top[h] = fmaxf(top[h], __shfl_xor_sync(0xffffffffu, top[h], 2));
    }
    /* Sums are relative to the maximum: when it grows, they shrink. */
    if (__any_sync(0xffffffffu, top[0] > state.maximum[0] || top[1] > state.maximum[1])) {
        float factor[2];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            factor[h] = top[h] == NOTHING ? 1.0f : power_of_two((state.maximum[h] - top[h]) * TO_LOG_2);
            state.maximum[h] = top[h];
            state.sum[h] *= factor[h];
        }
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++) {
            state.out[n].x *= factor[0];
            state.out[n].y *= factor[0];
            state.out[n].z *= factor[1];
            state.out[n].w *= factor[1];
        }
    }
    /* A row that has seen no key yet, its window begins in a later leaf, keeps the maximum -infinity and sums of 0. */
    float base[2] = {top[0] == NOTHING ? 0.0f : top[0] * TO_LOG_2, top[1] == NOTHING ? 0.0f : top[1] * TO_LOG_2};
#pragma unroll
    for (int n = 0; n < LEAF / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            score[n][i] = power_of_two(__fmaf_rn(score[n][i], TO_LOG_2, -base[i / 2]));
            state.sum[i / 2] += score[n][i];
        }
#pragma unroll
    for (int k = 0; k < LEAF / 16; k++) {
        uint4 probability =
            make_uint4(two_elements(score[2 * k][0], score[2 * k][1]), two_elements(score[2 * k][2], score[2 * k][3]),
                       two_elements(score[2 * k + 1][0], score[2 * k + 1][1]),
                       two_elements(score[2 * k + 1][2], score[2 * k + 1][3]));
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 16; n++) {
            /* matrices, turned: keys 0-7 of dimensions 0-7, keys 8-15; then dimensions 8-15 likewise */
            uint4 b = load_turned_matrices(
                &leaf->value[(k * 16 + lane % 8 + lane / 8 % 2 * 8) * PITCH + n * 16 + lane / 16 * 8]);
            multiply_add(state.out[2 * n], probability, b.x, b.y);
            multiply_add(state.out[2 * n + 1], probability, b.z, b.w);
        }
    }
}

/* Grid: BULK_ROWS / BLOCK_ROWS, HEADS. */
extern "C" __global__ void __launch_bounds__(THREADS, $blocks$)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int index)
{
    extern __shared__ __align__(16) unsigned char memory[];
    struct leaf *leaves = (struct leaf *)memory;
    struct activations *a = activations(step);
    int lane = (int)threadIdx.x % 32, head = (int)blockIdx.y;
    int block = (int)(gridDim.x - 1 - blockIdx.x) * BLOCK_ROWS; /* those with the most leaves begin first */
    int row = block + (int)threadIdx.x / 32 * 16 + lane / 4;
    (void)layer;
    let_next_start();
    wait_for_previous();

    int sequence = step.row[0].sequence, begin = step.row[0].position + block;
    /* position of the warp's first row */
    int first = begin + (int)threadIdx.x / 32 * 16;
//% if window > 0 then
    int leaf = maximum(0, begin - $window$ + 1) / LEAF;
//% else
    int leaf = 0;
//% end
    int last = (begin + BLOCK_ROWS - 1) / LEAF, kv_head = head / (HEADS / KV_HEADS);
    fetch(step, sequence, leaf, index, kv_head, &leaves[leaf % 2]);

    uint4 query[STEPS];
#pragma unroll
    for (int k = 0; k < STEPS; k++) {
        const element *low = &a->query[row][head * HEAD_DIM + k * 16 + lane % 4 * 2], *high = low + 8 * QUERY;
        query[k] = make_uint4(*(const uint32_t *)low, *(const uint32_t *)high, *(const uint32_t *)(low + 8),
                              *(const uint32_t *)(high + 8));
    }
    struct rows_state state;
    state.maximum[0] = state.maximum[1] = NOTHING;
    state.sum[0] = state.sum[1] = 0.0f;
#pragma unroll
    for (int n = 0; n < HEAD_DIM / 8; n++)
        state.out[n] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);

    for (; leaf <= last; leaf++) {
        if (leaf < last) {
            fetch(step, sequence, leaf + 1, index, kv_head, &leaves[(leaf + 1) % 2]);
            copies_wait<1>();
        } else {
            copies_wait<0>();
        }
        __syncthreads();
        attend(state, query, &leaves[leaf % 2], leaf * LEAF, first);
        __syncthreads(); /* all have read: the next round fills it */
    }

#pragma unroll
    for (int h = 0; h < 2; h++)
        state.sum[h] = 1.0f / sum_lanes<4>(state.sum[h]);
    element *low = &a->bulk_attention[row][head * HEAD_DIM + lane % 4 * 2], *high = low + 8 * QUERY;
#pragma unroll
    for (int n = 0; n < HEAD_DIM / 8; n++) {
        *(uint32_t *)(low + n * 8) = two_elements(state.out[n].x * state.sum[0], state.out[n].y * state.sum[0]);
        *(uint32_t *)(high + n * 8) = two_elements(state.out[n].z * state.sum[1], state.out[n].w * state.sum[1]);
    }
}
