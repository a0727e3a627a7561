//% if eagle3 then
/* Takes in the taps of the target: the residual stream of their rows begins with it. Rows that start from a feature of the
 * head's own need no product.
 */
//% else
/* Takes in what was gathered: the residual stream begins with it.
 */
//% end
#include "$shapes$"

#include "product.cuh"

enum { SLICES = ENTERING_PADDED / 64 };
typedef $product$ product;

extern "C" __global__ void __launch_bounds__(product::threads, $blocks$) $cluster$
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int)
{
    extern __shared__ $shared_type$ shared[];
    struct activations *a = activations(step);
//% if bias then
    const float *bias = vector(step, layer.fc_bias);
//% end
    int first = (int)blockIdx.x / product::grid_splits * product::rows;

    /* The counts, and where features come from, are there before the step's first kernel starts. */
//% if eagle3 then
    int rows = smaller(step.counts->entering - first, product::rows);
    if (step.counts->entering == 0 || product::absent(&step.counts->entering)) {
//% else
    int rows = smaller(step.counts->rows - first, product::rows);
    if (product::absent(&step.counts->rows)) {
//% end
        wait_for_previous();
        return;
    }
    product sums;
    sums.prefetch(shared, matrix(step, layer.fc));
    let_next_start();
    wait_for_previous();
//% if eagle3 then
    auto row_of = [=](int row) { return step.feature[step.entering[first + max(0, smaller(row, rows - 1))]]; };
    sums.multiply(
        step.taps, row_of, [](int, int) {}, rows);
//% else
    auto row_of = [=](int row) { return smaller(first + row, PADDED_ROWS - 1); };
    sums.multiply(
        a->entering, row_of, [](int, int) {}, PADDED_ROWS - first);
//% end

#pragma unroll product::unroll
    for (int i = 0; i < product::thread_outputs; i++) {
        output<product> out(i);
        int column = (sums.first_tile + out.tile) * TILE + out.place;
        if (out.exists() && out.row < rows && column < HIDDEN) {
            float value = sums.sum(out.tile, out.row, out.place);
//% if bias then
            value = __fadd_rn(value, bias[column]);
//% end
//% if eagle3 then
            a->residual[step.entering[first + out.row]][column] = value;
//% else
            a->residual[first + out.row][column] = value;
            a->pair[input_place(first + out.row, column, INPUT_PADDED)] = to_element(value);
//% end
        }
    }
}
