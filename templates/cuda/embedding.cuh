/* Tokens' rows of an embedding.
 */
#ifndef EMBEDDING_CUH
#define EMBEDDING_CUH

#include "prelude.cuh"
#include "shapes.cuh"

/* Two elements of a row of the embedding at `table`, from an even column on. fragments: it is a head's matrix too, so it lies
   in fragments (docs/cuda.md). */
template <bool fragments> INLINE uint32_t two_of(const unsigned char *table, int token, int column)
{
    if (fragments) {
        int fragment = token / TILE * (HIDDEN_PADDED / TILE) + column / TILE, lane = token % 8 * 4 + column % 8 / 2;
        int part = token % TILE / 8 + column % TILE / 8 * 2;
        return *(const uint32_t *)(table + (size_t)fragment * 512 + (size_t)(lane * 16 + part * 4));
    }
    const element *row = (const element *)table + (size_t)token * HIDDEN;
    if (HIDDEN % 2 == 0)
        return *(const uint32_t *)(row + column);
    return row[column] | (column + 1 < HIDDEN ? (uint32_t)row[column + 1] << 16 : 0);
}

#endif
