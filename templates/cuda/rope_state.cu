/* Norms queries and keys head by head, turns them by their positions' angles, and writes keys and values to the sequence's
 * pages. A block a row, a warp a head.
 */
#include "prelude.cuh"
#include "shapes.cuh"

enum { HALF = HEAD_DIM / 2, PAIRS = (HALF + LANES - 1) / LANES, THREADS = 256, WARPS = THREADS / LANES };

/* RMS norm over a head, then pairs (i, i + HALF) are turned. */
INLINE void normalise_and_turn(const float *x, const float *gain, const float *cosine, const float *sine, element *out)
{
    int lane = (int)threadIdx.x % LANES;
    float first[PAIRS], second[PAIRS], squares = 0.0f;
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        int i = lane + LANES * j;
        first[j] = i < HALF ? load_fresh(x + i) : 0.0f;
        second[j] = i < HALF ? load_fresh(x + i + HALF) : 0.0f;
        squares = __fmaf_rn(second[j], second[j], __fmaf_rn(first[j], first[j], squares));
    }
    squares = sum_lanes<LANES>(squares);
    float scale = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(squares, (float)HEAD_DIM), $epsilon$)));
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        int i = lane + LANES * j;
        if (i >= HALF)
            break;
        float a = __fmul_rn(__fmul_rn(first[j], scale), gain[i]),
              b = __fmul_rn(__fmul_rn(second[j], scale), gain[i + HALF]);
        out[i] = to_element(__fsub_rn(__fmul_rn(a, cosine[i]), __fmul_rn(b, sine[i])));
        out[i + HALF] = to_element(__fadd_rn(__fmul_rn(b, cosine[i]), __fmul_rn(a, sine[i])));
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int index)
{
    struct activations *a = activations(step);
    int r = (int)blockIdx.x, lane = (int)threadIdx.x % LANES;
    let_next_start();
    wait_for_previous();
    if (r >= step.counts->rows)
        return;
    struct cuda_row row = step.row[r];
    const float *cosine = a->cosine$rotary$[r], *sine = a->sine$rotary$[r];

    for (int head = (int)threadIdx.x / LANES; head < HEADS + KV_HEADS; head += WARPS) {
        const float *x = a->qkv[r] + head * HEAD_DIM;
        if (head < HEADS) {
            normalise_and_turn(x, vector(step, layer.query_norm), cosine, sine, a->query[r] + head * HEAD_DIM);
            continue;
        }
        element *key = state_slot(step, own_slot(step, row), index, head - HEADS);
        normalise_and_turn(x, vector(step, layer.key_norm), cosine, sine, key);
        const float *value = x + KEY;
        for (int i = lane; i < HEAD_DIM; i += LANES)
            key[VALUE_OFFSET + i] = to_element(load_fresh(value + i));
    }
}
