/* $title$: a product that is added to the residual stream. Also writes what the next norm's reader needs: the sum of
 * squares of every 16 columns, and the residual times the norm's gain.
 */
#include "product.cuh"
#include "shapes.cuh"

enum { SLICES = $depth$_PADDED / 64 };
typedef $product$ product;

extern "C" __global__ void __launch_bounds__(product::threads, product::blocks)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int)
{
    extern __shared__ uint4 shared[];
    struct activations *a = activations(step);
    const float *gain = vector(step, layer.$gain$);
//% if bias then
    const float *bias = vector(step, layer.$weight$_bias);
//% end
    int first_row = (int)blockIdx.x * product::rows;

    product sums;
    sums.prefetch(shared, matrix(step, layer.$weight$));
    let_next_start();
    wait_for_previous();
    if (first_row > 0 && first_row >= step.counts->rows)
        return;
    sums.multiply((const element *)a->$input$, [=](int row) { return smaller(first_row + row, PADDED_ROWS - 1); }, [](int, int) {});

    /* 16 neighbouring lanes have the 16 columns of a tile. */
    for (int i = (int)threadIdx.x; i < (product::outputs + LANES - 1) / LANES * LANES; i += product::threads) {
        int tile = i / (product::rows * TILE), own_row = i / TILE % product::rows;
        int row = first_row + own_row, column = (sums.first_tile + tile) * TILE + i % TILE;
        bool exists = tile < product::tiles && column < HIDDEN && row < PADDED_ROWS;
        float value = 0.0f;
        if (exists) {
            float sum = sums.sum(tile, own_row, i % TILE);
//% if bias then
            sum = __fadd_rn(sum, bias[column]);
//% end
            value = __fadd_rn(a->residual[row][column], sum);
            a->residual[row][column] = value;
            ((element *)a->input)[fragment_place(row, column, HIDDEN_PADDED)] = to_element(__fmul_rn(value, gain[column]));
        }
        float squares = sum_lanes<TILE>(__fmul_rn(value, value));
        if (exists && i % TILE == 0)
            a->squares[row][column / TILE] = squares;
    }
}
