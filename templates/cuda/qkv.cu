//% local norm = ready and "Queries" or "Norm, then queries"
//% if qk_norm then
/* $norm$, keys and values of all heads in one product. What follows (the norm of each head, rope) is
 * rope_state's.
 */
//% else
/* $norm$, keys and values of all heads in one product; turns queries and keys by their positions' angles and
 * writes keys and values to the sequence's pages.
 *
 * Tiles of queries and keys have the dims j .. j + 7 of a head and their partners of rope, j + HEAD_DIM / 2 .., so that
 * both meet in one warp; tiles of values have 16 dims in order.
 */
//% end
#include "$shapes$"

//% if adapters then
#include "adapter.cuh"
//% end
#include "product.cuh"

//% if qk_norm then
enum { SLICES = $columns$_PADDED / 64 };
//% else
enum { SLICES = $columns$_PADDED / 64, PAIRS = TILE / 2, HALF = HEAD_DIM / 2, HEAD_TILES = HEAD_DIM / TILE };
//% end
typedef $product$ product;
//% if adapters then
/* queries, keys, values */
typedef adapted<product, $maker$, 3, false, $shared$, $spare$, $few$> adapted_product;
//% end

extern "C" __global__ void __launch_bounds__(product::threads, $blocks$) $cluster$
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int index)
{
    extern __shared__ $shared_type$ shared[];
//% if not ready then
    __shared__ float scale[product::rows];
//% end
//% if not qk_norm then
    /* where each row's key goes, -1: the row is not there */
    __shared__ int slot[product::rows];
//% end
    struct activations *a = activations(step);
//% if bias then
    const float *bias = vector(step, layer.qkv_bias);
//% end
    int first_row = (int)blockIdx.x / product::grid_splits * product::rows;

//% if not qk_norm then
    /* There before the step's first kernel starts, like the rows themselves. */
    int rows = step.counts->rows;

//% end
//% if adapters then
    __shared__ int slot_of_adapter[product::rows];
    adapted_product adapters(step, index * LAYER_SITES, index * ADAPTER_STAGES, first_row, slot_of_adapter, shared);
    if (adapters.made(a->input))
        return;
    if (product::absent(&step.counts->rows)) {
        wait_for_previous();
        return;
    }
    product sums;
    sums.prefetch(shared, matrix(step, layer.qkv), adapters.block());
    auto spot_of = [&](const output<product> &out) {
        int tile = sums.first_tile + out.tile, row = tile * TILE + out.place;
//%    if not qk_norm then
        /* pairs of rope */
        int head = tile / HEAD_TILES, pair = tile % HEAD_TILES * PAIRS + out.place % PAIRS;
        if (head < HEADS + KV_HEADS)
            row = head * HEAD_DIM + pair + out.place / PAIRS * HALF;
//%    end
        if (!out.exists() || row >= QKV)
            return spot{0, -1};
        return row < QUERY ? spot{0, row} : row < QUERY + KEY ? spot{1, row - QUERY} : spot{2, row - QUERY - KEY};
    };
    let_next_start();
    adapters.prefetch(spot_of);
//% else
    if (product::absent(&step.counts->rows)) {
        wait_for_previous();
        return;
    }
    product sums;
    sums.prefetch(shared, matrix(step, layer.qkv));
    let_next_start();
//% end
    wait_for_previous();
//% if not qk_norm then
    /* What a batch of outputs needs besides their sums is read before any of them is written; if it is little, before the
       product. */
    enum { BATCH = product::unroll, EARLY = product::thread_outputs <= 2 };
    float cosine[BATCH], sine[BATCH];
    auto read_turns = [&](int first) {
#pragma unroll
        for (int j = 0; j < BATCH; j++) {
            output<product> out(first + j);
            int row = smaller(first_row + out.row, rows - 1);
            int pair = (sums.first_tile + out.tile) % HEAD_TILES * PAIRS + out.place % PAIRS;
            cosine[j] = load_fresh(&a->cosine$rotary$[row][pair]);
            sine[j] = load_fresh(&a->sine$rotary$[row][pair]);
        }
    };
    if (EARLY)
        read_turns(0);
//% end
    auto row_of = [=](int row) { return smaller(first_row + row, PADDED_ROWS - 1); };
    sums.multiply(
        a->$input$, row_of,
//% if ready and qk_norm then
        [](int, int) {},
//% else
        [&](int warp, int warps) {
//%    if not ready then
            inverse_rms_rows<HIDDEN_TILES, NORM_BATCH>(
                scale, warp, warps, product::rows, [=](int row) { return a->squares[row_of(row)]; }, HIDDEN, $epsilon$);
//%    end
//% if not qk_norm then
            for (int row = warp * LANES + (int)threadIdx.x % LANES; row < product::rows; row += warps * LANES)
                slot[row] = first_row + row < rows ? own_slot(step, step.row[first_row + row]) : -1;
//% end
//% if adapters then
            adapters.meanwhile(spot_of);
//% end
        },
//% end
        PADDED_ROWS - first_row);
//% if adapters then
    adapters.finish(sums, spot_of);
//% end

//% if qk_norm then
//%    if not adapters then
    (void)index;
//%    end
#pragma unroll product::unroll
    for (int i = 0; i < product::thread_outputs; i++) {
        output<product> out(i);
        int row = first_row + out.row, column = (sums.first_tile + out.tile) * TILE + out.place;
        if (out.exists() && column < QKV && row < PADDED_ROWS) {
//%    if adapters then
            spot at = spot_of(out);
            float value = __fmul_rn(adapters.add(sums.sum(out.tile, out.row, out.place), i, out), scale[out.row]);
            value = adapters.scaled(value, out, at);
//%    elseif ready then
            float value = sums.sum(out.tile, out.row, out.place);
//%    else
            float value = __fmul_rn(sums.sum(out.tile, out.row, out.place), scale[out.row]);
//%    end
//%    if bias then
            value = __fadd_rn(value, bias[column]);
//%    end
//%    if adapters then
            value = adapters.biased(value, out, at);
//%    end
            a->qkv[row][column] = value;
        }
    }
//% else
#pragma unroll 1
    for (int first = 0; first < product::thread_outputs; first += BATCH) {
        if (!EARLY)
            read_turns(first);
#pragma unroll
        for (int j = 0; j < BATCH; j++) {
            output<product> out(first + j);
            int row = first_row + out.row, tile = sums.first_tile + out.tile;
            int head = tile / HEAD_TILES, tile_of_head = tile % HEAD_TILES; /* queries, keys, values */
            bool turns = head < HEADS + KV_HEADS, exists = out.exists() && tile < QKV_TILES && slot[out.row] >= 0;
            int dim = turns ? tile_of_head * PAIRS + out.place % PAIRS + out.place / PAIRS * HALF
                            : tile_of_head * TILE + out.place;

//%    if adapters then
            float value = 0.0f;
            if (exists) {
                spot at = spot_of(out);
                value = __fmul_rn(adapters.add(sums.sum(out.tile, out.row, out.place), first + j, out), scale[out.row]);
                value = adapters.scaled(value, out, at);
//%       if bias then
                value = __fadd_rn(value, bias[head * HEAD_DIM + dim]);
//%       end
                value = adapters.biased(value, out, at);
            }
//%    else
//%       if ready then
            float value = exists ? sums.sum(out.tile, out.row, out.place) : 0.0f;
//%       else
            float value = exists ? __fmul_rn(sums.sum(out.tile, out.row, out.place), scale[out.row]) : 0.0f;
//%       end
//%       if bias then
            if (exists)
                value = __fadd_rn(value, bias[head * HEAD_DIM + dim]);
//%       end
//%    end
            float partner = __shfl_xor_sync(0xffffffffu, value, PAIRS);
            if (!exists)
                continue;
            if (turns) {
                float across = __fmul_rn(partner, sine[j]);
                value = __fadd_rn(__fmul_rn(value, cosine[j]), dim < HALF ? -across : across);
            }
            if (head < HEADS) {
                a->query[row][head * HEAD_DIM + dim] = to_element(value);
            } else {
                element *key = state_slot(step, slot[out.row], index, (head - HEADS) % KV_HEADS);
                key[(turns ? 0 : VALUE_OFFSET) + dim] = to_element(value);
            }
        }
    }
//% end
}
