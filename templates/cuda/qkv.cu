//% if qk_norm then
/* Norm, then queries, keys and values of all heads in one product. What follows (the norm of each head, rope) is
 * rope_state's.
 */
//% else
/* Norm, then queries, keys and values of all heads in one product; turns queries and keys by their positions' angles and
 * writes keys and values to the sequence's pages.
 *
 * Tiles of queries and keys have the dims j .. j + 7 of a head and their partners of rope, j + HEAD_DIM / 2 .., so that
 * both meet in one warp; tiles of values have 16 dims in order.
 */
//% end
#include "product.cuh"
#include "shapes.cuh"

//% if qk_norm then
enum { SLICES = HIDDEN_PADDED / 64 };
//% else
enum { SLICES = HIDDEN_PADDED / 64, PAIRS = TILE / 2, HALF = HEAD_DIM / 2, HEAD_TILES = HEAD_DIM / TILE };
//% end
typedef $product$ product;

extern "C" __global__ void __launch_bounds__(product::threads, product::blocks)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int index)
{
    extern __shared__ uint4 shared[];
    __shared__ float scale[product::rows];
    struct activations *a = activations(step);
//% if bias then
    const float *bias = vector(step, layer.qkv_bias);
//% end
    int first_row = (int)blockIdx.x * product::rows;

    product sums;
    sums.prefetch(shared, matrix(step, layer.qkv));
    let_next_start();
    wait_for_previous();
    if (first_row > 0 && first_row >= step.counts->rows)
        return;
    auto row_of = [=](int row) { return smaller(first_row + row, PADDED_ROWS - 1); };
    sums.multiply((const element *)a->input, row_of, [&](int warp, int warps) {
        for (int row = warp; row < product::rows; row += warps)
            scale[row] = inverse_rms<HIDDEN_TILES>(a->squares[row_of(row)], HIDDEN, $epsilon$);
    });

//% if qk_norm then
    (void)index;
    for (int i = (int)threadIdx.x; i < product::outputs; i += product::threads) {
        int tile = i / (product::rows * TILE), own_row = i / TILE % product::rows;
        int row = first_row + own_row, column = (sums.first_tile + tile) * TILE + i % TILE;
        if (column < QKV && row < PADDED_ROWS) {
            float value = __fmul_rn(sums.sum(tile, own_row, i % TILE), scale[own_row]);
//% if bias then
            value = __fadd_rn(value, bias[column]);
//% end
            a->qkv[row][column] = value;
        }
    }
//% else
    /* 16 neighbouring lanes have a tile. */
    for (int i = (int)threadIdx.x; i < (product::outputs + LANES - 1) / LANES * LANES; i += product::threads) {
        int tile = i / (product::rows * TILE), own_row = i / TILE % product::rows, place = i % TILE;
        int row = first_row + own_row, all_tiles = sums.first_tile + tile;
        int head = all_tiles / HEAD_TILES, tile_of_head = all_tiles % HEAD_TILES; /* queries, keys, values */
        bool turns = head < HEADS + KV_HEADS;
        int dim = turns ? tile_of_head * PAIRS + place % PAIRS + place / PAIRS * HALF : tile_of_head * TILE + place;
        bool exists = tile < product::tiles && all_tiles < QKV_TILES && row < step.counts->rows;

        float value = exists ? __fmul_rn(sums.sum(tile, own_row, place), scale[own_row]) : 0.0f;
//% if bias then
        if (exists)
            value = __fadd_rn(value, bias[head * HEAD_DIM + dim]);
//% end
        float partner = __shfl_xor_sync(0xffffffffu, value, PAIRS);
        if (!exists)
            continue;
        if (turns) {
            float cosine = load_fresh(&a->cosine$rotary$[row][dim % HALF]), sine = load_fresh(&a->sine$rotary$[row][dim % HALF]);
            float across = __fmul_rn(partner, sine);
            value = __fadd_rn(__fmul_rn(value, cosine), dim < HALF ? -across : across);
        }
        if (head < HEADS) {
            a->query[row][head * HEAD_DIM + dim] = to_element(value);
        } else {
            element *key = state_slot(step, own_slot(step, step.row[row]), index, (head - HEADS) % KV_HEADS);
            key[(turns ? 0 : VALUE_OFFSET) + dim] = to_element(value);
        }
    }
//% end
}
