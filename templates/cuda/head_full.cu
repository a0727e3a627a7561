/* The logits of rows whose adapter has a head of its own (adapter.h, `full`), in place of those that the stage before has
 * made. An item is a tile of that head for a group of up to 8 outputs.
 */
#include "adapter.cuh"

enum { SLICES = HIDDEN_PADDED / 64, THREADS = 256 };
typedef $maker$ maker;

extern "C" __global__ void __launch_bounds__(THREADS)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer, int)
{
    extern __shared__ uint4 shared[];
    __shared__ float scale[CUDA_GROUP_ROWS];
    struct activations *a = activations(step);
    int items = step.counts->output_groups * VOCAB_TILES, warp = (int)threadIdx.x / LANES;
    int of_lane = (int)threadIdx.x % LANES / 4;
    let_next_start();
    wait_for_previous();

    maker sums;
    for (int item = (int)blockIdx.x; item < items; item += (int)gridDim.x) {
        const struct cuda_group *group = step.output_group + item / VOCAB_TILES;
        const struct cuda_adapter_site *at = site_of(step, group->adapter, HEAD_SITE);
        int tile = item % VOCAB_TILES;
        if (!at->full)
            continue;
        sums.start(shared, (const uint4 *)at->full + (size_t)tile * maker::tile_pieces, 0, maker::units);
        if (warp < group->rows) {
            float of_row = inverse_rms<HIDDEN_TILES>(a->squares[step.output_row[group->row[warp]]], HIDDEN, $epsilon$);
            scale[warp] = of_row;
        }
        sums.multiply(a->input, of_lane < group->rows ? step.output_row[group->row[of_lane]] : -1);
        __syncthreads();
        int row = (int)threadIdx.x / TILE, column = tile * TILE + (int)threadIdx.x % TILE;
        if (row < group->rows && column < VOCAB) {
            float value = __fmul_rn(sums.total(row, column % TILE), scale[row]);
            if (at->bias)
                value = __fadd_rn(value, ((const float *)at->bias)[column]);
            step.logits[(size_t)group->row[row] * VOCAB + (size_t)column] = value;
        }
        __syncthreads();
    }
}
