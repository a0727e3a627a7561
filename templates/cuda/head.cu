/* The end of a step: $norm and "the last norm, and " or ""$the logits of the rows that asked for them.
 */
#include "$shapes$"

//% if adapters then
#include "adapter.cuh"
//% end
#include "product.cuh"

enum { SLICES = HIDDEN_PADDED / 64 };
typedef $product$ product;
//% if adapters then
typedef adapted<product, $maker$, 1, true, $shared$, $spare$, $few$> adapted_product;
//% end

extern "C" __global__ void __launch_bounds__(product::threads, $blocks$) $cluster$
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer, int)
{
    extern __shared__ $shared_type$ shared[];
//% if norm then
    __shared__ float scale[product::rows];
//% end
    struct activations *a = activations(step);
    int first = (int)blockIdx.x / product::grid_splits * product::rows;

    /* The counts and the output rows are there before the step's first kernel starts. */
    int outputs = smaller(step.counts->outputs - first, product::rows);
//% if adapters then
    __shared__ int slot[product::rows];
    adapted_product adapters(step, HEAD_SITE, LAYERS * ADAPTER_STAGES, first, slot, shared);
    if (adapters.made(a->input))
        return;
    if (step.counts->outputs == 0 || product::absent(&step.counts->outputs)) {
        wait_for_previous();
        return;
    }
    product sums;
    sums.prefetch(shared, matrix(step, HEAD_OFFSET), adapters.block());
    auto spot_of = [&](const output<product> &out) {
        int row = (sums.first_tile + out.tile) * TILE + out.place;
        return spot{0, out.exists() && row < VOCAB ? row : -1};
    };
    let_next_start();
    adapters.prefetch(spot_of);
//% else
    if (step.counts->outputs == 0 || product::absent(&step.counts->outputs)) {
        wait_for_previous();
        return;
    }
    product sums;
    sums.prefetch(shared, matrix(step, HEAD_OFFSET));
    let_next_start();
//% end
    wait_for_previous();
    auto row_of = [=](int output) { return step.output_row[first + smaller(output, outputs - 1)]; };
//% if norm then
    auto norms = [&](int warp, int warps) {
        inverse_rms_rows<HIDDEN_TILES, NORM_BATCH>(
            scale, warp, warps, outputs, [=](int output) { return a->squares[row_of(output)]; }, HIDDEN, $epsilon$);
//% if adapters then
        adapters.meanwhile(spot_of);
//% end
    };
    sums.multiply(a->input, row_of, norms, outputs);
//% else
    sums.multiply(
        a->input, row_of, [](int, int) {}, outputs);
//% end
//% if adapters then
    adapters.finish(sums, spot_of);
//% end

#pragma unroll product::unroll
    for (int i = 0; i < product::thread_outputs; i++) {
        output<product> out(i);
        int column = (sums.first_tile + out.tile) * TILE + out.place;
//% if adapters then
        if (out.exists() && out.row < outputs && column < VOCAB) {
            spot at = spot_of(out);
            float value = __fmul_rn(adapters.add(sums.sum(out.tile, out.row, out.place), i, out), scale[out.row]);
            value = adapters.biased(adapters.scaled(value, out, at), out, at);
            step.logits[(size_t)(first + out.row) * VOCAB + (size_t)column] = value;
        }
//% else
        if (out.exists() && out.row < outputs && column < VOCAB)
            step.logits[(size_t)(first + out.row) * VOCAB + (size_t)column] =
//%    if norm then
                __fmul_rn(sums.sum(out.tile, out.row, out.place), scale[out.row]);
//%    else
                sums.sum(out.tile, out.row, out.place);
//%    end
//% end
    }
}
