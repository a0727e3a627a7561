/* The start of a step: each row's embedding, what the first norm makes of it, and the angles of its position. A block a
 * row.
 */
#include "angles.cuh"
#include "embedding.cuh"

//% for i, rotary in ipairs(rotaries) do
/* Angle per position of each pair of dimensions (RoPE, theta $rotary.theta$, $rotary.scaling$). */
static __constant__ float FREQUENCY$rotary.suffix$[HEAD_DIM / 2] = {
//%    for _, line in ipairs(rotary.lines) do
    $line$
//%    end
};

//% end
//% if adapters then
/* A token's t = A x is a row of A. */
INLINE float low_rank(const struct cuda_adapter_site *at, int token, int column)
{
    const element *b = (const element *)at->b + (size_t)column * (size_t)at->rank;
    const element *t = (const element *)at->a + (size_t)token * (size_t)at->rank;
    float sum = 0.0f;
    for (int i = 0; i < at->rank; i += 8) {
        uint4 x = __ldg((const uint4 *)(t + i)), w = __ldg((const uint4 *)(b + i));
        uint32_t xs[4] = {x.x, x.y, x.z, x.w}, ws[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
        for (int j = 0; j < 4; j++) {
            sum = __fmaf_rn(to_float((uint16_t)ws[j]), to_float((uint16_t)xs[j]), sum);
            sum = __fmaf_rn(to_float((uint16_t)(ws[j] >> 16)), to_float((uint16_t)(xs[j] >> 16)), sum);
        }
    }
    return __fmul_rn(at->scale, sum);
}

/* The same column of a row's embedding as its adapter has it. */
INLINE float adapted(const struct cuda_adapter_site *at, int token, int column, float value)
{
    if (at->full)
        return to_float(((const element *)at->full)[(size_t)token * HIDDEN + (size_t)column]);
    return at->rank > 0 ? __fadd_rn(value, low_rank(at, token, column)) : value;
}

//% end
extern "C" __global__ void __launch_bounds__(256)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int index)
{
    struct activations *a = activations(step);
    const float *gain = vector(step, layer.attention_norm);
    int r = (int)blockIdx.x;
    (void)index;
    let_next_start();
    wait_for_previous();
//% if adapters then
    /* Nothing of this step's has been counted yet (adapter.cuh). */
    if (r == 0)
        for (int i = (int)threadIdx.x; i < LAYERS * ADAPTER_STAGES + 1; i += 256)
            a->arrived[i] = 0;
//% end
    if (r >= step.counts->rows)
        return;
    struct cuda_row row = step.row[r];
    int token = row.token < 0 ? step.chosen[~row.token] : row.token;

    /* Two columns a thread, so eight neighbouring lanes have a tile of 16. */
    for (int base = 0; base < HIDDEN_TILES * TILE; base += 512) {
        int column = base + 2 * (int)threadIdx.x;
        float first = 0.0f, second = 0.0f;
        if (column < HIDDEN) {
            uint32_t both = two_of<$tied$>(step.weights + EMBEDDING_OFFSET, token, column);
            first = to_float((uint16_t)both);
            second = to_float((uint16_t)(both >> 16));
//% if adapters then
            if (row.adapter >= 0) {
                const struct cuda_adapter_site *at =
                    step.adapters + (size_t)row.adapter * ADAPTER_SITES + EMBEDDING_SITE;
                first = adapted(at, token, column, first);
                if (column + 1 < HIDDEN)
                    second = adapted(at, token, column + 1, second);
            }
//% end
            a->residual[r][column] = first;
            float gained = __fmul_rn(second, column + 1 < HIDDEN ? gain[column + 1] : 0.0f);
            if (column + 1 < HIDDEN)
                a->residual[r][column + 1] = second;
            *(uint32_t *)&a->input[input_place(r, column, HIDDEN_PADDED)] =
                two_elements(__fmul_rn(first, gain[column]), gained);
        }
        float squares = sum_lanes<8>(__fmaf_rn(second, second, __fmul_rn(first, first)));
        if (threadIdx.x % 8 == 0 && column < HIDDEN_TILES * TILE)
            a->squares[r][column / TILE] = squares;
    }

    float position = (float)row.position;
    for (int i = (int)threadIdx.x; i < HEAD_DIM / 2; i += 256) {
//% for i, rotary in ipairs(rotaries) do
        turn_of(__fmul_rn(position, FREQUENCY$rotary.suffix$[i]), &a->sine$rotary.suffix$[r][i],
                &a->cosine$rotary.suffix$[r][i]);
//% end
    }
}
