/* What queries, keys and values of a draft step are made of: the token's embedding and the feature, each after a norm of its
 * own; and the angles of each row's position. A block a row.
 */
#include "$shapes$"

#include "angles.cuh"
#include "embedding.cuh"

enum { THREADS = 256, WARPS = THREADS / LANES, EACH = (HIDDEN + THREADS - 1) / THREADS };

//% for i, rotary in ipairs(rotaries) do
/* Angle per position of each pair of dimensions (RoPE, theta $rotary.theta$, $rotary.scaling$). */
static __constant__ float FREQUENCY$rotary.suffix$[HEAD_DIM / 2] = {
//%    for _, line in ipairs(rotary.lines) do
    $line$
//%    end
};

//% end
/* 1 / sqrt(mean + epsilon), from the sums of squares of the block's warps. */
INLINE float inverse_of(const float *of_warp, float epsilon)
{
    float sum = sum_lanes<WARPS>(of_warp[threadIdx.x % WARPS]);
    return __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(sum, (float)HIDDEN), epsilon)));
}

extern "C" __global__ void __launch_bounds__(THREADS)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int)
{
    __shared__ float of_warp[2][WARPS];
    struct activations *a = activations(step);
    const float *embedding_gain = vector(step, layer.embedding_norm), *hidden_gain = vector(step, layer.hidden_norm);
    int r = (int)blockIdx.x, warp = (int)threadIdx.x / LANES;
    let_next_start();
    wait_for_previous();
    if (r >= step.counts->rows)
        return;
    struct cuda_row row = step.row[r];
    int from = step.feature[r];
    const float *feature = from >= 0 ? a->residual[r] : step.features + (size_t)~from * HIDDEN;

    float embedded[EACH], hidden[EACH], squares[2] = {0.0f, 0.0f};
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int column = i * THREADS + (int)threadIdx.x;
        embedded[i] = hidden[i] = 0.0f;
        if (column < HIDDEN) {
            uint32_t both = two_of<$fragments$>(step.weights + EMBEDDING_OFFSET, row.token, column / 2 * 2);
            embedded[i] = to_float((element)(column % 2 ? both >> 16 : both));
            hidden[i] = load_fresh(feature + column);
        }
    }
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        squares[0] = __fmaf_rn(embedded[i], embedded[i], squares[0]);
        squares[1] = __fmaf_rn(hidden[i], hidden[i], squares[1]);
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float sum = sum_lanes<LANES>(squares[i]);
        if (threadIdx.x % LANES == 0)
            of_warp[i][warp] = sum;
    }
    __syncthreads();
    float of_embedding = inverse_of(of_warp[0], $embedding_epsilon$);
    float of_hidden = inverse_of(of_warp[1], $hidden_epsilon$);
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int column = i * THREADS + (int)threadIdx.x;
        if (column < HIDDEN) {
            float normed = __fmul_rn(__fmul_rn(hidden[i], of_hidden), hidden_gain[column]);
            a->pair[input_place(r, column, INPUT_PADDED)] =
                to_element(__fmul_rn(__fmul_rn(embedded[i], of_embedding), embedding_gain[column]));
            a->pair[input_place(r, HIDDEN + column, INPUT_PADDED)] = to_element(normed);
//% if norm_before_residual then
            a->residual[r][column] = normed;
//% else
            if (from < 0)
                a->residual[r][column] = hidden[i];
//% end
        }
    }

//% if gap > 0 then
    /* What is only a guess lies behind a gap, as in this head's training. */
    float position = (float)(row.position + (row.scratch < 0 ? 0 : $gap$));
//% else
    float position = (float)row.position;
//% end
    for (int i = (int)threadIdx.x; i < HEAD_DIM / 2; i += THREADS) {
//% for i, rotary in ipairs(rotaries) do
        turn_of(__fmul_rn(position, FREQUENCY$rotary.suffix$[i]), &a->sine$rotary.suffix$[r][i],
                &a->cosine$rotary.suffix$[r][i]);
//% end
    }
}
