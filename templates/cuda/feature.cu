/* What the draft head takes of each row: the residual stream after the last norm. A block a row.
 */
#include "prelude.cuh"
#include "shapes.cuh"

enum { THREADS = 256 };

extern "C" __global__ void __launch_bounds__(THREADS)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer, int)
{
    struct activations *a = activations(step);
    const float *gain = vector(step, FINAL_NORM_OFFSET);
    int r = (int)blockIdx.x;
    let_next_start();
    wait_for_previous();
    if (r >= step.counts->rows)
        return;
    float scale = inverse_rms<HIDDEN_TILES>(a->squares[r], HIDDEN, $epsilon$);
    for (int column = (int)threadIdx.x; column < HIDDEN; column += THREADS)
        step.taps[input_place(r, column, TAPS_PADDED)] =
            to_element(__fmul_rn(__fmul_rn(load_fresh(&a->residual[r][column]), scale), gain[column]));
}
