/* $title$: a product that is added to the residual stream. Also writes what the next norm's reader needs: the sum of
 * squares of every 16 columns, and the residual times the norm's gain.
 */
//% if adapters then
#include "adapter.cuh"
//% end
#include "product.cuh"
#include "shapes.cuh"

enum { SLICES = $depth$_PADDED / 64 };
typedef $product$ product;
//% if adapters then
typedef adapted<product, $maker$, 1, false, $shared$> adapted_product;
//% end

extern "C" __global__ void __launch_bounds__(product::threads, product::blocks) $cluster$
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int$index$)
{
    extern __shared__ uint4 shared[];
    struct activations *a = activations(step);
    const float *gain = vector(step, layer.$gain$);
//% if bias then
    const float *bias = vector(step, layer.$weight$_bias);
//% end
    int first_row = (int)blockIdx.x / product::grid_splits * product::rows;

    /* What the outputs need besides their sums is read ahead, if it is little. */
    enum { AHEAD = product::thread_outputs <= 2 ? product::thread_outputs : 1 };
    float ahead[AHEAD], gain_ahead[AHEAD];
    auto row_of = [=](int row) { return smaller(first_row + row, PADDED_ROWS - 1); };

//% if adapters then
    __shared__ int slot[product::rows];
    adapted_product adapters(step, index * LAYER_SITES + $site$, index * ADAPTER_STAGES + $stage$, first_row, slot,
                             shared);
    if (adapters.made(a->$input$))
        return;
    product sums;
    sums.prefetch(shared, matrix(step, layer.$weight$), adapters.block());
    auto spot_of = [&](const output<product> &out) {
        int row = (sums.first_tile + out.tile) * TILE + out.place;
        return spot{0, out.exists() && row < HIDDEN ? row : -1};
    };
    let_next_start();
    adapters.prefetch(spot_of);
//% else
    product sums;
    sums.prefetch(shared, matrix(step, layer.$weight$));
    let_next_start();
//% end
    for (int i = 0; i < AHEAD; i++) {
        output<product> out(i);
        gain_ahead[i] = gain[smaller((sums.first_tile + out.tile) * TILE + out.place, HIDDEN - 1)];
    }
    wait_for_previous();
    if (sums.idle() || (first_row > 0 && first_row >= step.counts->rows))
        return;
    for (int i = 0; i < AHEAD; i++) {
        output<product> out(i);
        int column = smaller((sums.first_tile + out.tile) * TILE + out.place, HIDDEN - 1);
        ahead[i] = load_fresh(&a->residual[row_of(out.row)][column]);
    }
//% if adapters then
    sums.multiply(a->$input$, row_of, [&](int warp, int warps) { adapters.meanwhile(warp, warps, spot_of); });
//% else
    sums.multiply(a->$input$, row_of, [](int, int) {});
//% end

#pragma unroll product::unroll
    for (int i = 0; i < product::thread_outputs; i++) {
        output<product> out(i);
        int row = first_row + out.row, column = (sums.first_tile + out.tile) * TILE + out.place;
        bool exists = out.exists() && column < HIDDEN && row < PADDED_ROWS;
        float value = 0.0f;
        if (exists) {
            float sum = sums.sum(out.tile, out.row, out.place);
//% if adapters then
            spot at = spot_of(out);
            sum = adapters.scaled(adapters.add(sum, i, out, at), out, at);
//% end
//% if bias then
            sum = __fadd_rn(sum, bias[column]);
//% end
//% if adapters then
            sum = adapters.biased(sum, out, at);
//% end
            value = __fadd_rn(product::thread_outputs == AHEAD ? ahead[i % AHEAD] : a->residual[row][column], sum);
            a->residual[row][column] = value;
            float next = __fmul_rn(value, product::thread_outputs == AHEAD ? gain_ahead[i % AHEAD] : gain[column]);
            a->input[input_place(row, column, HIDDEN_PADDED)] = to_element(next);
        }
        float squares = sum_lanes<TILE>(__fmul_rn(value, value));
        if (exists && out.place == 0)
            a->squares[row][column / TILE] = squares;
    }
}
