/* A bulk step on the GPU, top to bottom: BULK_ROWS rows of one sequence, a whole chunk of its prompt. cuBLASLt multiplies,
 * with row-major copies of the weights; the sums are in another order than those of model.c (docs/cuda.md, "Two classes").
 */
#include <stddef.h>

#include "cuda_model.h"
#include "kernels.h"
#include "layers.h"

/* Where one layer's copies lie, in bytes from step.weights; they are row-major. */
struct copies {
//% for _, line in ipairs(copy_fields) do
    $line$
//% end
};

// clang-format off
static const struct copies COPIES[LAYERS] = {
//% for _, line in ipairs(copy_lines) do
    $line$
//% end
};
// clang-format on

/* output[BULK_ROWS][outputs] = input[BULK_ROWS][depth] x weight[outputs][depth]^T, in bfloat16. */
static struct cuda_product product(const struct cuda_step *step, uint64_t weight, int outputs, int depth,
                                   const element *input, void *output)
{
    return (struct cuda_product){.rows = BULK_ROWS,
                                 .outputs = outputs,
                                 .depth = depth,
                                 .weight = step->weights + weight,
                                 .input = input,
                                 .output = output};
}

static void multiply(struct cuda_stream *stream, const struct cuda_step *step, const char *stage, int layer,
                     uint64_t weight, int outputs, int depth, const element *input, element *output)
{
    struct cuda_product values = product(step, weight, outputs, depth, input, output);
    cuda_product(stream, stage, layer, &values);
}

/* The same, to single precision; `add`: to what the output holds. */
static void multiply_f32(struct cuda_stream *stream, const struct cuda_step *step, const char *stage, int layer,
                         uint64_t weight, int outputs, int depth, const element *input, float *output, bool add)
{
    struct cuda_product values = product(step, weight, outputs, depth, input, output);
    values.f32 = true;
    values.accumulate = add;
    cuda_product(stream, stage, layer, &values);
}

void cuda_bulk_model(struct cuda_stream *stream, const struct cuda_step *step);

void cuda_bulk_model(struct cuda_stream *stream, const struct cuda_step *step)
{
    struct activations *a = (struct activations *)(void *)step->arena; /* on the device: for addresses only */
    const int layer_bytes = (int)sizeof(struct layer);

    cuda_launch(stream, $embed$, step, &LAYER[0], layer_bytes, -1);

//% for _, run in ipairs(runs) do
    for (int i = $run.first$; i < $run.last$; i++) {
        const struct layer *layer = &LAYER[i];
        const struct copies *copies = &COPIES[i];
        cuda_launch(stream, $run.attention_norm$, step, layer, layer_bytes, i);
        multiply_f32(stream, step, "qkv", i, copies->qkv, QKV, HIDDEN, a->bulk_normed[0], a->bulk_qkv[0], false);
        cuda_launch(stream, $run.rope$, step, layer, layer_bytes, i);
        cuda_launch(stream, $run.attention$, step, layer, layer_bytes, i);
        multiply_f32(stream, step, "attention_output", i, copies->attention_output, HIDDEN, QUERY, a->bulk_attention[0],
                     a->residual[0], true);
        cuda_launch(stream, $run.mlp_norm$, step, layer, layer_bytes, i);
        multiply(stream, step, "gate_up", i, copies->gate_up, 2 * INTERMEDIATE, HIDDEN, a->bulk_normed[0],
                 a->bulk_gate_up[0]);
        cuda_launch(stream, $run.activate$, step, layer, layer_bytes, i);
        multiply_f32(stream, step, "down", i, copies->down, HIDDEN, INTERMEDIATE, a->bulk_gated[0], a->residual[0],
                     true);
//%    if tap then
        if (layer->tap != NO_TAP)
            cuda_launch(stream, $tap$, step, layer, layer_bytes, i);
//%    end
    }

//% end
    cuda_launch(stream, $finish$, step, &LAYER[LAYERS - 1], layer_bytes, -1);
//% for _, stage in ipairs(ends) do
    cuda_launch(stream, $stage$, step, &LAYER[LAYERS - 1], layer_bytes, -1);
//% end
}
