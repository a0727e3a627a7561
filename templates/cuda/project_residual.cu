/* $title$: a product that is added to the residual stream. Also writes what the next norm's reader needs: the sum of
 * squares of every 16 columns, and the residual$gain and " times the norm's gain" or ""$.
//% if leaves == "tap" then
 * Some layers leave the residual for the draft head.
//% elseif leaves == "feature" then
 * The residual is the feature that the rows of the next level start from.
//% end
 */
#include "$shapes$"

//% if adapters then
#include "adapter.cuh"
//% end
#include "product.cuh"

enum { SLICES = $depth$_PADDED / 64 };
typedef $product$ product;
//% if adapters then
typedef adapted<product, $maker$, 1, false, $shared$, $spare$, $few$> adapted_product;
//% end

extern "C" __global__ void __launch_bounds__(product::threads, $blocks$) $cluster$
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int$index$)
{
    extern __shared__ $shared_type$ shared[];
    struct activations *a = activations(step);
//% if gain then
    const float *gain = vector(step, layer.$gain$);
//% end
//% if bias then
    const float *bias = vector(step, layer.$weight$_bias);
//% end
    int first_row = (int)blockIdx.x / product::grid_splits * product::rows;

    /* What a batch of outputs needs besides their sums is read before any of them is written; if it is little, before the
       product. */
    enum { BATCH = product::unroll, EARLY = product::thread_outputs <= 2 };
//% if gain then
    float before[BATCH], gain_of[BATCH];
//% else
    float before[BATCH];
//% end
    auto row_of = [=](int row) { return smaller(first_row + row, PADDED_ROWS - 1); };

//% if adapters then
    __shared__ int slot[product::rows];
    adapted_product adapters(step, index * LAYER_SITES + $site$, index * ADAPTER_STAGES + $stage$, first_row, slot,
                             shared);
    if (adapters.made(a->$input$))
        return;
    if (product::absent(&step.counts->rows)) {
        wait_for_previous();
        return;
    }
    product sums;
    sums.prefetch(shared, matrix(step, layer.$weight$), adapters.block());
    auto spot_of = [&](const output<product> &out) {
        int row = (sums.first_tile + out.tile) * TILE + out.place;
        return spot{0, out.exists() && row < HIDDEN ? row : -1};
    };
    let_next_start();
    adapters.prefetch(spot_of);
//% else
    if (product::absent(&step.counts->rows)) {
        wait_for_previous();
        return;
    }
    product sums;
    sums.prefetch(shared, matrix(step, layer.$weight$));
    let_next_start();
//% end
    auto column_of = [&](const output<product> &out) { return (sums.first_tile + out.tile) * TILE + out.place; };
//% if gain then
    auto read_gains = [&](int first) {
#pragma unroll
        for (int j = 0; j < BATCH; j++)
            gain_of[j] = gain[smaller(column_of(output<product>(first + j)), HIDDEN - 1)];
    };
//% end
    auto read_residual = [&](int first) {
#pragma unroll
        for (int j = 0; j < BATCH; j++) {
            output<product> out(first + j);
            before[j] = load_fresh(&a->residual[row_of(out.row)][smaller(column_of(out), HIDDEN - 1)]);
        }
    };
//% if gain then
    if (EARLY)
        read_gains(0);
//% end
    wait_for_previous();
    if (EARLY)
        read_residual(0);
//% if adapters then
    sums.multiply(a->$input$, row_of, [&](int, int) { adapters.meanwhile(spot_of); });
    adapters.finish(sums, spot_of);
//% else
    sums.multiply(
        a->$input$, row_of, [](int, int) {}, PADDED_ROWS - first_row);
//% end

#pragma unroll 1
    for (int first = 0; first < product::thread_outputs; first += BATCH) {
        if (!EARLY) {
//% if gain then
            read_gains(first);
//% end
            read_residual(first);
        }
#pragma unroll
        for (int j = 0; j < BATCH; j++) {
            output<product> out(first + j);
            int row = first_row + out.row, column = column_of(out);
            bool exists = out.exists() && column < HIDDEN && row < PADDED_ROWS;
            float value = 0.0f;
            if (exists) {
                float sum = sums.sum(out.tile, out.row, out.place);
//% if adapters then
                spot at = spot_of(out);
                sum = adapters.scaled(adapters.add(sum, first + j, out), out, at);
//% end
//% if bias then
                sum = __fadd_rn(sum, bias[column]);
//% end
//% if adapters then
                sum = adapters.biased(sum, out, at);
//% end
                value = __fadd_rn(before[j], sum);
                a->residual[row][column] = value;
//% if gain then
                a->input[input_place(row, column, HIDDEN_PADDED)] = to_element(__fmul_rn(value, gain_of[j]));
//% else
                a->input[input_place(row, column, HIDDEN_PADDED)] = to_element(value);
//% end
//% if leaves == "tap" then
                if (layer.tap != NO_TAP)
                    step.taps[input_place(row, (int)layer.tap + column, TAPS_PADDED)] = to_element(value);
//% elseif leaves == "feature" then
                int place = row < step.counts->rows ? step.feature_place[row] : -1;
                if (place >= 0)
                    step.features[(size_t)place * HIDDEN + (size_t)column] = value;
//% end
            }
            float squares = sum_lanes<TILE>(__fmul_rn(value, value));
            if (exists && out.place == 0)
                a->squares[row][column / TILE] = squares;
        }
    }
}
