/* Norms queries and keys head by head, turns them by their positions' angles, and writes keys and values to the sequence's
 * pages. A warp a head: a step of one row waits for nothing but this.
 */
#include "$shapes$"

#include "prelude.cuh"

enum { HALF = HEAD_DIM / 2, PAIRS = (HALF + LANES - 1) / LANES, THREADS = $threads$, WARPS = THREADS / LANES };

/* What a lane has of a head: pairs (i, i + HALF). */
struct pairs {
    float first[PAIRS], second[PAIRS];
};

INLINE struct pairs load_pairs(const float *head)
{
    int lane = (int)threadIdx.x % LANES;
    struct pairs pairs;
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        int i = lane + LANES * j;
        pairs.first[j] = i < HALF ? load_fresh(head + i) : 0.0f;
        pairs.second[j] = i < HALF ? load_fresh(head + i + HALF) : 0.0f;
    }
    return pairs;
}

/* RMS norm over a head, then its pairs are turned by their angles. */
INLINE void normalise_and_turn(const struct pairs &x, const struct pairs &gain, const float *cosine, const float *sine,
                               element *out)
{
    int lane = (int)threadIdx.x % LANES;
    float squares = 0.0f;
#pragma unroll
    for (int j = 0; j < PAIRS; j++)
        squares = __fmaf_rn(x.second[j], x.second[j], __fmaf_rn(x.first[j], x.first[j], squares));
    squares = sum_lanes<LANES>(squares);
    float scale = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(squares, (float)HEAD_DIM), $epsilon$)));
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        int i = lane + LANES * j;
        if (i >= HALF)
            break;
        float a = __fmul_rn(__fmul_rn(x.first[j], scale), gain.first[j]),
              b = __fmul_rn(__fmul_rn(x.second[j], scale), gain.second[j]);
        out[i] = to_element(__fsub_rn(__fmul_rn(a, cosine[i]), __fmul_rn(b, sine[i])));
        out[i + HALF] = to_element(__fadd_rn(__fmul_rn(b, cosine[i]), __fmul_rn(a, sine[i])));
    }
}

/* Grid: rows; heads of queries and keys / WARPS. */
extern "C" __global__ void __launch_bounds__(THREADS)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int index)
{
    struct activations *a = activations(step);
    int r = (int)blockIdx.x, head = (int)blockIdx.y * WARPS + (int)threadIdx.x / LANES, lane = (int)threadIdx.x % LANES;
    let_next_start();
    if (r >= step.counts->rows || head >= HEADS + KV_HEADS) {
        wait_for_previous();
        return;
    }
    struct cuda_row row = step.row[r];
    struct pairs gain = load_pairs(vector(step, head < HEADS ? layer.query_norm : layer.key_norm));
    wait_for_previous();
    const float *cosine = a->cosine$rotary$[r], *sine = a->sine$rotary$[r];
    struct pairs x = load_pairs(a->qkv[r] + head * HEAD_DIM);
    if (head < HEADS) {
        normalise_and_turn(x, gain, cosine, sine, a->query[r] + head * HEAD_DIM);
        return;
    }
    struct pairs value = load_pairs(a->qkv[r] + head * HEAD_DIM + KEY);
    element *key = state_slot(step, own_slot(step, row), index, head - HEADS);
    normalise_and_turn(x, gain, cosine, sine, key);
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        int i = lane + LANES * j;
        if (i < HALF) {
            key[VALUE_OFFSET + i] = to_element(value.first[j]);
            key[VALUE_OFFSET + i + HALF] = to_element(value.second[j]);
        }
    }
}
