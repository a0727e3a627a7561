/* Norm, gate and up products, and their gated activation: gated = $activation$(gate) * up. A tile has 8 gate rows and the 8
 * up rows that belong to them, so both meet in one warp.
 */
#include "$shapes$"

//% if adapters then
#include "adapter.cuh"
//% end
#include "product.cuh"

enum { SLICES = HIDDEN_PADDED / 64, PAIRS = TILE / 2 };
typedef $product$ product;
//% if adapters then
/* gate, up */
typedef adapted<product, $maker$, 2, false, $shared$, $spare$, $few$> adapted_product;
//% end

INLINE float $activation$(float x)
{
    return __fdiv_rn(x, __fadd_rn(1.0f, exponential(-x)));
}

extern "C" __global__ void __launch_bounds__(product::threads, $blocks$) $cluster$
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int$index$)
{
    extern __shared__ $shared_type$ shared[];
    __shared__ float scale[product::rows];
    struct activations *a = activations(step);
//% if bias then
    const float *bias = vector(step, layer.gate_up_bias);
//% end
    int first_row = (int)blockIdx.x / product::grid_splits * product::rows;

//% if adapters then
    __shared__ int slot[product::rows];
    adapted_product adapters(step, index * LAYER_SITES + GATE_SITE, index * ADAPTER_STAGES + GATE_UP_STAGE, first_row,
                             slot, shared);
    if (adapters.made(a->input))
        return;
    if (product::absent(&step.counts->rows)) {
        wait_for_previous();
        return;
    }
    product sums;
    sums.prefetch(shared, matrix(step, layer.gate_up), adapters.block());
    auto spot_of = [&](const output<product> &out) {
        int row = (sums.first_tile + out.tile) * PAIRS + out.place % PAIRS;
        return spot{out.place / PAIRS, out.exists() && row < INTERMEDIATE ? row : -1};
    };
    let_next_start();
    adapters.prefetch(spot_of);
//% else
    if (product::absent(&step.counts->rows)) {
        wait_for_previous();
        return;
    }
    product sums;
    sums.prefetch(shared, matrix(step, layer.gate_up));
    let_next_start();
//% end
    wait_for_previous();
    auto row_of = [=](int row) { return smaller(first_row + row, PADDED_ROWS - 1); };
    sums.multiply(
        a->input, row_of,
        [&](int warp, int warps) {
            inverse_rms_rows<HIDDEN_TILES, NORM_BATCH>(
                scale, warp, warps, product::rows, [=](int row) { return a->squares[row_of(row)]; }, HIDDEN, $epsilon$);
//% if adapters then
            adapters.meanwhile(spot_of);
//% end
        },
        PADDED_ROWS - first_row);
//% if adapters then
    adapters.finish(sums, spot_of);
//% end

    /* 16 neighbouring lanes have a tile: 8 gates, then the 8 ups. */
#pragma unroll product::unroll
    for (int i = 0; i < product::thread_outputs; i++) {
        output<product> out(i);
        int row = first_row + out.row, column = (sums.first_tile + out.tile) * PAIRS + out.place % PAIRS;
        bool exists = out.exists() && column < INTERMEDIATE && row < PADDED_ROWS;
//% if adapters then
        float value = 0.0f;
        if (exists) {
            spot at = spot_of(out);
            value = __fmul_rn(adapters.add(sums.sum(out.tile, out.row, out.place), i, out), scale[out.row]);
            value = adapters.scaled(value, out, at);
//%    if bias then
            value = __fadd_rn(value, bias[out.place < PAIRS ? column : INTERMEDIATE + column]);
//%    end
            value = adapters.biased(value, out, at);
        }
//% else
        float value = exists ? __fmul_rn(sums.sum(out.tile, out.row, out.place), scale[out.row]) : 0.0f;
//%    if bias then
        if (exists)
            value = __fadd_rn(value, bias[out.place < PAIRS ? column : INTERMEDIATE + column]);
//%    end
//% end
        float up = __shfl_xor_sync(0xffffffffu, value, PAIRS);
        if (exists && out.place < PAIRS)
            a->gated[input_place(row, column, INTERMEDIATE_PADDED)] = to_element(__fmul_rn($activation$(value), up));
    }
}
