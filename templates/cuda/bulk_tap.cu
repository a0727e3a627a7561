/* What a layer leaves of a bulk chunk's rows for the draft head: the residual stream, as the head's product reads it.
 */
#include "prelude.cuh"
#include "shapes.cuh"

enum { THREADS = 256 };

/* Grid: BULK_ROWS. */
extern "C" __global__ void __launch_bounds__(THREADS)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int)
{
    struct activations *a = activations(step);
    int row = (int)blockIdx.x;
    let_next_start();
    wait_for_previous();
    for (int column = (int)threadIdx.x; column < HIDDEN; column += THREADS)
        step.taps[input_place(row, (int)layer.tap + column, TAPS_PADDED)] =
            to_element(load_fresh(&a->residual[row][column]));
}
