/* The likeliest tokens of each output of a draft step, best first, the lowest ids first among equals, and their log-probabilities.
 * A block an output.
 *
 * Each thread keeps the best few of its ids; a warp takes the best of its lanes' again and again, and so does the first warp with
 * what the warps found.
 */
#include "$shapes$"

#include "prelude.cuh"

enum { THREADS = 1024, WARPS = THREADS / LANES, KEPT = 4, BATCH = 16, NONE = 0x7fffffff };

/* A logit as a number in the same order; 0 is below all of them. */
INLINE uint32_t order_of(float logit)
{
    uint32_t bits = __float_as_uint(__fadd_rn(logit, 0.0f)); /* -0 is 0 */
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

INLINE float logit_of(uint32_t order)
{
    return __uint_as_float(order >> 31 ? order & 0x7fffffffu : ~order);
}

/* Some logits, best first. */
struct few {
    uint32_t order[KEPT];
    int id[KEPT]; /* NONE: no more */

    /* To be called with ascending ids. */
    INLINE_METHOD void add(uint32_t other_order, int other_id)
    {
        bool placed = false; /* the others move on, equal ones too */
#pragma unroll
        for (int i = 0; i < KEPT; i++) {
            placed = placed || other_order > order[i];
            if (placed) {
                uint32_t was_order = order[i];
                int was_id = id[i];
                order[i] = other_order;
                id[i] = other_id;
                other_order = was_order;
                other_id = was_id;
            }
        }
    }
    INLINE_METHOD void clear()
    {
#pragma unroll
        for (int i = 0; i < KEPT; i++) {
            order[i] = 0;
            id[i] = NONE;
        }
    }
    INLINE_METHOD void drop_first()
    {
#pragma unroll
        for (int i = 0; i + 1 < KEPT; i++) {
            order[i] = order[i + 1];
            id[i] = id[i + 1];
        }
        order[KEPT - 1] = 0;
        id[KEPT - 1] = NONE;
    }
};

/* What the thread's own ids give below (order, id). */
INLINE void look_again(struct few &own, const float *logits, uint32_t order, int id)
{
    own.clear();
    for (int i = (int)threadIdx.x; i < VOCAB; i += THREADS) {
        uint32_t other = order_of(load_fresh(logits + i));
        if (other < order || (other == order && i > id))
            own.add(other, i);
    }
}

/* The best that the lanes of a warp have; true for the lane that has it. */
INLINE bool take_best(uint32_t order, int id, uint32_t *best, int *best_id)
{
    *best = __reduce_max_sync(0xffffffffu, order);
    *best_id = __reduce_min_sync(0xffffffffu, order == *best ? id : (int)NONE);
    return order == *best && id == *best_id;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer, int)
{
    __shared__ uint32_t found_order[WARPS][CUDA_GUESSES];
    __shared__ int found_id[WARPS][CUDA_GUESSES];
    __shared__ uint32_t of_warp[WARPS];
    __shared__ float sum_of_warp[WARPS];
    __shared__ int bad_of_warp[WARPS];
    int output = (int)blockIdx.x, lane = (int)threadIdx.x % LANES, warp = (int)threadIdx.x / LANES;
    let_next_start();
    wait_for_previous();
    int count = step.counts->guesses;
    if (output >= step.counts->outputs || count == 0)
        return;
    const float *logits = step.logits + (size_t)output * VOCAB;

    struct few own;
    int bad = NONE;
    own.clear();
    for (int base = 0; base < VOCAB; base += BATCH * THREADS) {
        float logit[BATCH];
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            int id = base + i * THREADS + (int)threadIdx.x;
            logit[i] = id < VOCAB ? load_fresh(logits + id) : 0.0f;
        }
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            int id = base + i * THREADS + (int)threadIdx.x;
            if (id < VOCAB) {
                if (!(logit[i] < __int_as_float(0x7f800000)))
                    bad = min(bad, id);
                own.add(order_of(logit[i]), id);
            }
        }
    }

    /* The maximum, and the sum of e^(logit - maximum). */
    uint32_t most = __reduce_max_sync(0xffffffffu, own.order[0]);
    bad = __reduce_min_sync(0xffffffffu, bad);
    if (lane == 0) {
        of_warp[warp] = most;
        bad_of_warp[warp] = bad;
    }
    __syncthreads();
    float maximum = logit_of(__reduce_max_sync(0xffffffffu, of_warp[lane]));
    bad = __reduce_min_sync(0xffffffffu, bad_of_warp[lane]);
    float sum = 0.0f;
    for (int base = 0; base < VOCAB; base += BATCH * THREADS) {
        float logit[BATCH];
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            int id = base + i * THREADS + (int)threadIdx.x;
            logit[i] = id < VOCAB ? load_fresh(logits + id) : __int_as_float((int)0xff800000);
        }
#pragma unroll
        for (int i = 0; i < BATCH; i++)
            sum = __fadd_rn(sum, exponential(__fsub_rn(logit[i], maximum)));
    }
    sum = sum_lanes<LANES>(sum);
    if (lane == 0)
        sum_of_warp[warp] = sum;

    for (int i = 0; i < count; i++) {
        uint32_t best;
        int id;
        if (take_best(own.order[0], own.id[0], &best, &id) && id != NONE) {
            own.drop_first();
            if (own.id[0] == NONE)
                look_again(own, logits, best, id);
        }
        if (lane == 0) {
            found_order[warp][i] = best;
            found_id[warp][i] = id;
        }
    }
    __syncthreads();
    if (warp > 0)
        return;
    float log_sum = logf(sum_lanes<LANES>(sum_of_warp[lane]));
    int next = 0; /* of what warp `lane` found */
    for (int i = 0; i < count; i++) {
        uint32_t best;
        int id;
        uint32_t order = next < count ? found_order[lane][next] : 0;
        if (take_best(order, next < count ? found_id[lane][next] : (int)NONE, &best, &id))
            next++;
        if (lane == 0)
            step.guesses[(size_t)output * CUDA_GUESSES + (size_t)i] =
                cuda_guess{bad != NONE ? ~bad : id, __fsub_rn(__fsub_rn(logit_of(best), maximum), log_sum)};
    }
}
