/* Queries, keys and values of a bulk chunk: bias, norm of the heads if the model has it, rope; keys and values to the pages.
 * A warp takes one head of one row; lane l the dimensions l, l + 32, ... of the first half and their partners.
 */
#include "prelude.cuh"
#include "shapes.cuh"

enum { THREADS = 256, HALF = HEAD_DIM / 2, ROUNDS = (HALF + LANES - 1) / LANES };

/* Grid: BULK_ROWS, (HEADS + 2 * KV_HEADS) * LANES / THREADS, rounded up. */
extern "C" __global__ void __launch_bounds__(THREADS)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int index)
{
    struct activations *a = activations(step);
    int row = (int)blockIdx.x, lane = (int)threadIdx.x % LANES;
    int head = (int)(blockIdx.y * (THREADS / LANES) + threadIdx.x / LANES);
//% if bias then
    const float *bias = vector(step, layer.qkv_bias);
//% end
    let_next_start();
    wait_for_previous();
    if (head >= HEADS + 2 * KV_HEADS)
        return;

    float first[ROUNDS], second[ROUNDS];
#pragma unroll
    for (int i = 0; i < ROUNDS; i++) {
        int dim = i * LANES + lane, column = head * HEAD_DIM + dim;
        bool exists = dim < HALF;
        first[i] = exists ? a->bulk_qkv[row][column] : 0.0f;
        second[i] = exists ? a->bulk_qkv[row][column + HALF] : 0.0f;
//% if bias then
        if (exists) {
            first[i] += bias[column];
            second[i] += bias[column + HALF];
        }
//% end
    }
//% if qk_norm then
    if (head < HEADS + KV_HEADS) {
        const float *gain = vector(step, head < HEADS ? layer.query_norm : layer.key_norm);
        float squares = 0.0f;
#pragma unroll
        for (int i = 0; i < ROUNDS; i++)
            squares += first[i] * first[i] + second[i] * second[i];
        float scale = __fdiv_rn(1.0f, __fsqrt_rn(sum_lanes<LANES>(squares) / HEAD_DIM + $epsilon$));
#pragma unroll
        for (int i = 0; i < ROUNDS; i++) {
            int dim = i * LANES + lane;
            first[i] *= dim < HALF ? scale * gain[dim] : 0.0f;
            second[i] *= dim < HALF ? scale * gain[dim + HALF] : 0.0f;
        }
    }
//% end
    element *key = state_slot(step, own_slot(step, step.row[row]), index, (head - HEADS) % KV_HEADS);
    element *out = head < HEADS ? &a->query[row][head * HEAD_DIM] : head < HEADS + KV_HEADS ? key : key + VALUE_OFFSET;
#pragma unroll
    for (int i = 0; i < ROUNDS; i++) {
        int dim = i * LANES + lane;
        if (dim >= HALF)
            continue;
        float cosine = a->cosine$rotary$[row][dim], sine = a->sine$rotary$[row][dim];
        bool turned = head < HEADS + KV_HEADS;
        out[dim] = to_element(turned ? first[i] * cosine - second[i] * sine : first[i]);
        out[dim + HALF] = to_element(turned ? second[i] * cosine + first[i] * sine : second[i]);
    }
}
