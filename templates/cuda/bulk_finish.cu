/* The end of a bulk chunk: what the head of the exact class reads, input = bf16(residual * gain of the last norm) in
 * fragment order, and the sums of squares of every 16 columns.
 */
#include "prelude.cuh"
#include "shapes.cuh"

enum { THREADS = 256 };

/* Grid: BULK_ROWS. 16 neighbouring lanes have the 16 columns of a tile. */
extern "C" __global__ void __launch_bounds__(THREADS)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int)
{
    struct activations *a = activations(step);
    int row = (int)blockIdx.x;
    const float *gain = vector(step, FINAL_NORM_OFFSET);
    let_next_start();
    wait_for_previous();
    for (int first = 0; first < HIDDEN; first += THREADS) {
        int column = first + (int)threadIdx.x;
        float value = column < HIDDEN ? a->residual[row][column] : 0.0f;
        float squares = sum_lanes<TILE>(__fmul_rn(value, value));
        if (column < HIDDEN) {
            a->input[input_place(row, column, HIDDEN_PADDED)] = to_element(__fmul_rn(value, gain[column]));
            if (column % TILE == 0)
                a->squares[row][column / TILE] = squares;
        }
    }
}
