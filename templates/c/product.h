/* Matrix products: tiles of TILE weight rows against a few input rows.
 *
 *                     input rows (tokens)
 *                     r0   r1   r2   r3
 *      weight row 0  [s ] [s ] [s ] [s ]     every s is one dot product over `depth`, kept in 16 lanes;
 *      weight row 1  [s ] [s ] [s ] [s ]     a block of them lives in registers, so that each load serves
 *      weight row 2  [s ] [s ] [s ] [s ]     several; fewer rows use a narrower block, with the same order of
 *      weight row 3  [s ] [s ] [s ] [s ]     additions within each s.
 */
#ifndef PRODUCT_H
#define PRODUCT_H

#include "prelude.h"

enum { TILE = 16 };

/* How many dot products live in registers at a time: weight rows x input rows. */
#if defined(__AVX512F__)
enum { BLOCK_WEIGHTS = 4, BLOCK_ROWS = 4 };
#elif defined(__AVX2__)
enum { BLOCK_WEIGHTS = 2, BLOCK_ROWS = 2 };
#else
enum { BLOCK_WEIGHTS = 2, BLOCK_ROWS = 1 };
#endif
enum { WEIGHTS_FOR_ONE_ROW = 4 };

/* One row is bound by memory: the weights two blocks ahead are asked for while this one is multiplied. (The processor's
   own prefetchers lose the thread at the end of each short row; asking halves the time of a token.) */
enum { BLOCKS_AHEAD = 2 };

#define UNROLL _Pragma("GCC unroll 8")

/* sums[r * TILE + w] = dot(weight row w, input row r) for `weights` weight rows (stride `depth`) and `rows` input rows;
   both are constants where this is called, so that the sums stay in registers. (clang-format misreads UNROLL.) */
// clang-format off
INLINE void block(int weights, int rows, const element *weight, int depth, const element *input, int stride,
                  float *sums)
{
    f32x16 sum[BLOCK_ROWS][WEIGHTS_FOR_ONE_ROW];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int w = 0; w < weights; w++)
            sum[r][w] = splat(0.0f);
    int k = 0;
    for (; k + LANES <= depth; k += LANES) {
        f32x16 input_lanes[BLOCK_ROWS];
        UNROLL for (int r = 0; r < rows; r++)
            input_lanes[r] = load(input + (size_t)r * (size_t)stride + k);
        UNROLL for (int w = 0; w < weights; w++) {
            if (rows == 1)
                __builtin_prefetch(weight + (size_t)(w + BLOCKS_AHEAD * weights) * (size_t)depth + k);
            f32x16 weight_lanes = load(weight + (size_t)w * (size_t)depth + k);
            UNROLL for (int r = 0; r < rows; r++)
                sum[r][w] = multiply_add(weight_lanes, input_lanes[r], sum[r][w]);
        }
    }
    if (k < depth) {
        UNROLL for (int w = 0; w < weights; w++) {
            f32x16 weight_lanes = load_some(weight + (size_t)w * (size_t)depth + k, depth - k);
            UNROLL for (int r = 0; r < rows; r++)
                sum[r][w] = multiply_add(weight_lanes, load_some(input + (size_t)r * (size_t)stride + k, depth - k),
                                         sum[r][w]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int w = 0; w < weights; w++)
            sums[r * TILE + w] = sum_lanes(sum[r][w]);
}
// clang-format on

/* sums[r][i] = dot(weight row i, input row r) over `depth`, for `outputs` <= TILE weight rows and `rows` input rows. */
INLINE void multiply_tile(const element *weight, int outputs, int depth, const element *input, int stride, int rows,
                          float (*sums)[TILE])
{
    int r = 0;
    for (; r + BLOCK_ROWS <= rows && BLOCK_ROWS > 1; r += BLOCK_ROWS) {
        const element *inputs = input + (size_t)r * (size_t)stride;
        int w = 0;
        for (; w + BLOCK_WEIGHTS <= outputs; w += BLOCK_WEIGHTS)
            block(BLOCK_WEIGHTS, BLOCK_ROWS, weight + (size_t)w * (size_t)depth, depth, inputs, stride, &sums[r][w]);
        for (; w < outputs; w++)
            block(1, BLOCK_ROWS, weight + (size_t)w * (size_t)depth, depth, inputs, stride, &sums[r][w]);
    }
    for (; r < rows; r++) {
        const element *inputs = input + (size_t)r * (size_t)stride;
        int w = 0;
        for (; w + WEIGHTS_FOR_ONE_ROW <= outputs; w += WEIGHTS_FOR_ONE_ROW)
            block(WEIGHTS_FOR_ONE_ROW, 1, weight + (size_t)w * (size_t)depth, depth, inputs, stride, &sums[r][w]);
        for (; w < outputs; w++)
            block(1, 1, weight + (size_t)w * (size_t)depth, depth, inputs, stride, &sums[r][w]);
    }
}

#endif
