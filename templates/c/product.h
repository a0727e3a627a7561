/* Products: tiles of TILE weight rows against some input rows.
 *
 *                     input rows (tokens)
 *                     r0   r1   r2   r3
 *      weight row 0  [s ] [s ] [s ] [s ]     every s is one dot product over `depth`, kept in 16 lanes;
 *      weight row 1  [s ] [s ] [s ] [s ]     a block of them lives in registers, so that each load serves
 *      weight row 2  [s ] [s ] [s ] [s ]     several; its shape depends on how many rows there are, the order
 *      weight row 3  [s ] [s ] [s ] [s ]     of additions within each s does not.
 *
 * Weights are read from the mapped file once, one row after the other, which is what memory is fastest at: few input
 * rows use them on the way, more use a copy of a few weight rows in the nearest cache (as floats, if sums take floats).
 */
#ifndef PRODUCT_H
#define PRODUCT_H

#include "block.h"
#include "shapes.h"

enum { TILE = 16 };

/* So many input rows at most use the weights in place. */
enum { ROWS_IN_PLACE = PACK == 2 ? 8 : 2 };

/* How far ahead memory is asked for. */
enum { BYTES_AHEAD = 8192 };

/* sums[r * TILE] = dot(weight row, input row r) for `rows` input rows, a constant where this is called. What lies `ahead`
   is asked for. (clang-format misreads UNROLL.) */
// clang-format off
INLINE void multiply_row(int rows, const element *weight, int depth, const element *input, const element *ahead,
                         float *sums)
{
    f32x16 sum[ROWS_IN_PLACE];
    UNROLL for (int r = 0; r < rows; r++)
        sum[r] = splat(0.0f);
    int k = 0;
    for (; k + STRIDE <= depth; k += STRIDE) {
        ask_for(ahead + k);
        operand lanes = load_operand(weight + k);
        UNROLL for (int r = 0; r < rows; r++)
            sum[r] = multiply_operands(lanes, load_operand(input + (size_t)r * (size_t)depth + k), sum[r]);
    }
    if (k < depth) {
        operand lanes = load_some_operand(weight + k, depth - k);
        UNROLL for (int r = 0; r < rows; r++)
            sum[r] = multiply_operands(lanes, load_some_operand(input + (size_t)r * (size_t)depth + k, depth - k),
                                       sum[r]);
    }
    UNROLL for (int r = 0; r < rows; r++)
        sums[r * TILE] = sum_lanes(sum[r]);
}
// clang-format on

/* One weight row, in place, against all input rows. */
INLINE void multiply_in_place(const element *weight, int depth, const element *input, int rows, const element *ahead,
                              float *sums)
{
    int r = 0;
    for (; ROWS_IN_PLACE >= 8 && r + 8 <= rows; r += 8)
        multiply_row(8, weight, depth, input + (size_t)r * (size_t)depth, ahead, sums + r * TILE);
    for (; ROWS_IN_PLACE >= 4 && r + 4 <= rows; r += 4)
        multiply_row(4, weight, depth, input + (size_t)r * (size_t)depth, ahead, sums + r * TILE);
    for (; r + 2 <= rows; r += 2)
        multiply_row(2, weight, depth, input + (size_t)r * (size_t)depth, ahead, sums + r * TILE);
    for (; r < rows; r++)
        multiply_row(1, weight, depth, input + (size_t)r * (size_t)depth, ahead, sums + r * TILE);
}

/* BLOCK_WEIGHTS weight rows, copied, against all input rows. What lies ahead (as much again) is asked for in equal parts,
   one with each block. */
INLINE void multiply_copied(const element *weight, int depth, const element *input, int rows, const element *ahead,
                            lane_element *copy, float *sums)
{
    int blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS, whole = BLOCK_WEIGHTS * depth;
    int part = (whole / blocks / STRIDE + 1) * STRIDE;
    copy_block(weight, depth, copy);
    for (int r = 0, taken; r < rows; r += taken, ahead += part) {
        const element *some = input + (size_t)r * (size_t)depth;
        int left = rows - r;
        taken = left >= BLOCK_ROWS && left != 4 ? BLOCK_ROWS : left >= 2 ? 2 : 1; /* 4: twice 2 */
        if (taken == BLOCK_ROWS)
            multiply_block(BLOCK_ROWS, copy, depth, some, ahead, part, TILE, sums + r * TILE);
        else if (taken == 2)
            multiply_block(2, copy, depth, some, ahead, part, TILE, sums + r * TILE);
        else
            multiply_block(1, copy, depth, some, ahead, part, TILE, sums + r * TILE);
    }
}

/* sums[r][i] = dot(weight row i, input row r) over `depth`, for `outputs` <= TILE weight rows and `rows` input rows.
   next: the weight rows that this thread takes after these. own: the thread's. */
INLINE void multiply_tile(const element *weight, int outputs, int depth, const element *input, int rows,
                          const element *next, struct scratch *own, float (*sums)[TILE])
{
    int w = 0, rows_ahead = BYTES_AHEAD / (int)(sizeof *weight * (size_t)depth) + 1;
    if (rows > ROWS_IN_PLACE)
        for (; w + BLOCK_WEIGHTS <= outputs; w += BLOCK_WEIGHTS) {
            int after = w + BLOCK_WEIGHTS;
            const element *ahead = after < outputs ? weight + (size_t)after * (size_t)depth : next;
            multiply_copied(weight + (size_t)w * (size_t)depth, depth, input, rows, ahead,
                            (lane_element *)(void *)own->copy, &sums[0][w]);
        }
    for (; w < outputs; w++) {
        int later = w + rows_ahead;
        const element *ahead =
            later < outputs ? weight + (size_t)later * (size_t)depth : next + (size_t)(later - outputs) * (size_t)depth;
        multiply_in_place(weight + (size_t)w * (size_t)depth, depth, input, rows, ahead, &sums[0][w]);
    }
}

/* A unit of a product's work: a tile of weight rows against at most ROW_BLOCK input rows. */
struct unit {
    int start;           /* the first of the tile's weight rows */
    int first, rows;     /* input rows */
    const element *next; /* the weight rows of the thread's next unit, or its own */
};

INLINE int blocks_of(int rows)
{
    return (rows + ROW_BLOCK - 1) / ROW_BLOCK;
}

/* Units of one tile follow each other, so that a thread reads its weights from memory once. */
INLINE struct unit unit_of(const struct work *work, int rows, const element *weight, int depth)
{
    int blocks = blocks_of(rows), following = work_following(work);
    struct unit unit = {.start = work->unit / blocks * TILE, .first = work->unit % blocks * ROW_BLOCK};
    unit.rows = minimum(ROW_BLOCK, rows - unit.first);
    unit.next = weight + (size_t)((following < 0 ? work->unit : following) / blocks * TILE) * (size_t)depth;
    return unit;
}

/* Normalised input rows and the factors of their norms. */
struct normed {
    element (*input)[HIDDEN];
    const float *scale;
};

/* The rows `which` (NULL: 0, 1, ...) of the residual stream, normalised. A few are made by each thread for itself, more
   by all together, which costs a barrier. */
INLINE struct normed normalise_rows(const struct step *step, int thread, const int32_t *which, int rows,
                                    const float *gain, float epsilon)
{
    struct activations *a = activations(step);
    struct scratch *own = scratch(step, thread);
    bool alone = rows <= FEW_ROWS;
    struct span mine = alone ? (struct span){0, rows} : share(rows, thread, step->threads);
    element(*input)[HIDDEN] = alone ? own->input : a->normed;
    float *scale = alone ? own->scale : a->scale;
    for (int r = mine.begin; r < mine.end; r++)
        scale[r] = normalise(a->residual[which ? which[r] : r], gain, HIDDEN, epsilon, input[r]);
    if (!alone)
        barrier_wait(step->barrier);
    return (struct normed){input, scale};
}
//% if without_norm then

/* The same without a norm: the rows as they are, rounded. */
INLINE struct normed round_rows(const struct step *step, int thread, const int32_t *which, int rows)
{
    struct activations *a = activations(step);
    struct scratch *own = scratch(step, thread);
    bool alone = rows <= FEW_ROWS;
    struct span mine = alone ? (struct span){0, rows} : share(rows, thread, step->threads);
    element(*input)[HIDDEN] = alone ? own->input : a->normed;
    float *scale = alone ? own->scale : a->scale;
    for (int r = mine.begin; r < mine.end; r++) {
        scale[r] = 1.0f;
        for (int i = 0; i < HIDDEN; i++)
            input[r][i] = to_element(a->residual[which[r]][i]);
    }
    if (!alone)
        barrier_wait(step->barrier);
    return (struct normed){input, scale};
}
//% end

#endif
