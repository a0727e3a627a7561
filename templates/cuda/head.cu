/* The end of a step: the last norm, and the logits of the rows that asked for them.
 */
#include "product.cuh"
#include "shapes.cuh"

enum { SLICES = HIDDEN_PADDED / 64 };
typedef $product$ product;

extern "C" __global__ void __launch_bounds__(product::threads, product::blocks) $cluster$
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer, int)
{
    extern __shared__ uint4 shared[];
    __shared__ float scale[product::rows];
    struct activations *a = activations(step);
    int first = (int)blockIdx.x / product::grid_splits * product::rows;

    /* The counts and the output rows are there before the step's first kernel starts. */
    int outputs = smaller(step.counts->outputs - first, product::rows);
    product sums;
    if (outputs > 0)
        sums.prefetch(shared, matrix(step, HEAD_OFFSET));
    let_next_start();
    wait_for_previous();
    if (outputs <= 0 || sums.idle())
        return;
    auto row_of = [=](int output) { return step.output_row[first + smaller(output, outputs - 1)]; };
    sums.multiply(a->input, row_of, [&](int warp, int warps) {
        for (int output = warp; output < outputs; output += warps)
            scale[output] = inverse_rms<HIDDEN_TILES>(a->squares[row_of(output)], HIDDEN, $epsilon$);
    });

#pragma unroll product::unroll
    for (int i = 0; i < product::thread_outputs; i++) {
        output<product> out(i);
        int column = (sums.first_tile + out.tile) * TILE + out.place;
        if (out.exists() && out.row < outputs && column < VOCAB)
            step.logits[(size_t)(first + out.row) * VOCAB + (size_t)column] =
                __fmul_rn(sums.sum(out.tile, out.row, out.place), scale[out.row]);
    }
}
