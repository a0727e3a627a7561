/* Repacks one matrix at load: from the payload's row-major order to tiles of fragments (docs/cuda.md).
 *
 *     pack(to, from, rows, columns, packing, first_tile)    packing: enum cuda_packing of cuda_model.h
 *
 * A block of 256 threads a tile of 16 weight rows: grid (tiles, 1, 1), where tiles = ceil(rows / 16), or for pairs
 * ceil(rows / 2 / 8). `from` points at the whole matrix, `to` at its first tile; block b makes tile first_tile + b, so
 * that a matrix can be made in several launches. Rows behind the last and columns up to a multiple of 64 become zero.
 */
#include "$shapes$"

#include "prelude.cuh"

enum { ROWS = 1, PAIRS = 2, ROTARY = 3, THREADS = 256 };

/* The row of the matrix that is weight row `place` of tile `tile`; -1 for one that is not there. */
INLINE int source_row(int packing, int rows, int tile, int place)
{
    int row = tile * TILE + place;
    if (packing == PAIRS) {
        row = tile * (TILE / 2) + place % (TILE / 2);
        if (row >= rows / 2)
            return -1;
        return place < TILE / 2 ? row : rows / 2 + row;
    }
    if (packing == ROTARY && row < QUERY + KEY) {
        int start = row / HEAD_DIM * HEAD_DIM, tile_of_head = row % HEAD_DIM / TILE;
        return start + tile_of_head * (TILE / 2) + place % (TILE / 2) + place / (TILE / 2) * (HEAD_DIM / 2);
    }
    return row < rows ? row : -1;
}

/* Elements `column` and `column + 1` of a row. */
INLINE uint32_t two_of(const element *from, int row, int column, int columns)
{
    const element *at = from + (size_t)row * (size_t)columns + (size_t)column;
    if (row < 0 || column >= columns)
        return 0;
    if (columns % 2 == 0)
        return *(const uint32_t *)at;
    return at[0] | (column + 1 < columns ? (uint32_t)at[1] << 16 : 0);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    $name$(uint4 *to, const element *from, int rows, int columns, int packing, int first_tile)
{
    int tile = first_tile + (int)blockIdx.x, fragments = (columns + 63) / 64 * 4;
    int lane = (int)threadIdx.x % LANES, upper = source_row(packing, rows, tile, lane / 4);
    int lower = source_row(packing, rows, tile, lane / 4 + 8);
    uint4 *to_tile = to + (size_t)tile * (size_t)fragments * LANES;

    for (int fragment = (int)threadIdx.x / LANES; fragment < fragments; fragment += THREADS / LANES) {
        int column = fragment * 16 + lane % 4 * 2;
        uint4 weight;
        weight.x = two_of(from, upper, column, columns);
        weight.y = two_of(from, lower, column, columns);
        weight.z = two_of(from, upper, column + 8, columns);
        weight.w = two_of(from, lower, column + 8, columns);
        to_tile[fragment * LANES + lane] = weight;
    }
}
