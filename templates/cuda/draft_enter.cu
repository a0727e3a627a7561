/* The start of a draft step: each row's token and feature side by side, and the angles of its position. A block a row.
 */
#include "$shapes$"

#include "angles.cuh"
#include "embedding.cuh"

enum { THREADS = 256 };

//% for i, rotary in ipairs(rotaries) do
/* Angle per position of each pair of dimensions (RoPE, theta $rotary.theta$, $rotary.scaling$). */
static __constant__ float FREQUENCY$rotary.suffix$[HEAD_DIM / 2] = {
//%    for _, line in ipairs(rotary.lines) do
    $line$
//%    end
};

//% end
extern "C" __global__ void __launch_bounds__(THREADS)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer, int)
{
    struct activations *a = activations(step);
    int r = (int)blockIdx.x;
    let_next_start();
    wait_for_previous();
    if (r >= step.counts->rows)
        return;
    struct cuda_row row = step.row[r];
    int from = step.feature[r];
    for (int column = (int)threadIdx.x; column < HIDDEN; column += THREADS) {
        uint32_t both = two_of<$fragments$>(step.weights + EMBEDDING_OFFSET, row.token, column / 2 * 2);
        element feature = from >= 0 ? __ldcg(&step.taps[input_place(from, column, TAPS_PADDED)])
                                    : to_element(load_fresh(&step.features[(size_t)~from * HIDDEN + (size_t)column]));
        a->entering[input_place(r, column, ENTERING_PADDED)] = (element)(column % 2 ? both >> 16 : both);
        a->entering[input_place(r, HIDDEN + column, ENTERING_PADDED)] = feature;
    }

//% if gap > 0 then
    /* What is only a guess lies behind a gap, as in this head's training. */
    float position = (float)(row.position + (row.scratch < 0 ? 0 : $gap$));
//% else
    float position = (float)row.position;
//% end
    for (int i = (int)threadIdx.x; i < HEAD_DIM / 2; i += THREADS) {
//% for i, rotary in ipairs(rotaries) do
        turn_of(__fmul_rn(position, FREQUENCY$rotary.suffix$[i]), &a->sine$rotary.suffix$[r][i],
                &a->cosine$rotary.suffix$[r][i]);
//% end
    }
}
