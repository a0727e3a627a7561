/* The block of dot products that fills the registers: BLOCK_WEIGHTS weight rows against up to BLOCK_ROWS input rows.
 *
 * Where registers are wide a block takes all 16 lanes at once. Elsewhere it goes over its rows twice, first with the even
 * lanes, then with the odd ones, which the tree adds last: half the lanes leave room for more rows, and an even or odd bfloat16
 * is a shift or a mask away from a float. The order of each sum stays what it is.
 *
 * Weights come from a copy that lies as it is read, for one pass after the other:
 *
 *     elements 0, 2 .. 14 of row 0, of row 1, ..., elements 16, 18 .. 30 of row 0, ...     (one pass: 0, 1 .. 15)
 */
#ifndef BLOCK_H
#define BLOCK_H

#include "prelude.h"

#if defined(__AVX512F__)
enum { BLOCK_WEIGHTS = 4, BLOCK_ROWS = 6, PASSES = 1 };

typedef operand pass_operand;
typedef f32x16 pass_sum;

INLINE pass_operand load_pass(int pass, const element *from)
{
    (void)pass;
    return load_operand(from);
}

INLINE pass_sum multiply_pass(pass_operand a, pass_operand b, pass_sum sum)
{
    return multiply_operands(a, b, sum);
}

INLINE f32x4 sum_pass_of_four(const pass_sum *sum)
{
    return sum_lanes_of_four(sum);
}
#else
#if defined(__AVX2__)
enum { BLOCK_WEIGHTS = 4, BLOCK_ROWS = 3, PASSES = 2 };
#else
enum { BLOCK_WEIGHTS = 4, BLOCK_ROWS = 2, PASSES = 2 };
#endif

typedef f32x8 pass_operand;
typedef f32x8 pass_sum;

/* The even (pass 0) or odd ones of 16 elements. On AVX2 some instructions are named: the registers are full to the last one, and
   a compiler that may choose keeps the mask in one of them and a sum in memory. */
INLINE pass_operand load_pass(int pass, const element *from)
{
//% if dtype == "bf16" then
    typedef uint32_t pairs __attribute__((vector_size(32))); /* an even element below an odd one */
    pairs both;
    memcpy(&both, from, sizeof both);
    if (!pass)
        return (pass_operand)(both << 16);
#if defined(__AVX2__)
    static const pairs mask = {0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000,
                               0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000};
    __asm__("vpand %1, %0, %0" : "+x"(both) : "m"(mask));
#else
    both &= 0xffff0000;
#endif
    return (pass_operand)both;
//% else
    f32x8 low, high;
    memcpy(&low, from, sizeof low);
    memcpy(&high, from + 8, sizeof high);
    return pass ? __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15)
                : __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
//% end
}

INLINE pass_sum multiply_pass(pass_operand a, pass_operand b, pass_sum sum)
{
#if defined(__FMA__)
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
    return sum;
#else
    return sum + a * b;
#endif
}

INLINE f32x4 sum_pass_of_four(const pass_sum *sum)
{
    return sum_eights(sum);
}
#endif

/* Elements of a row that a pass takes at a time, and of the copy of a pass over `depth` elements. */
enum { PASS_STRIDE = STRIDE / PASSES };

INLINE int pass_elements(int depth)
{
    return (depth + STRIDE - 1) / STRIDE * PASS_STRIDE * BLOCK_WEIGHTS;
}

/* load_pass of a row's end, `left` elements; the others are zero. */
INLINE pass_operand load_some_pass(int pass, const element *from, int left)
{
    element some[STRIDE] = {0};
    memcpy(some, from, (size_t)left * sizeof *some);
    return load_pass(pass, some);
}

#define UNROLL _Pragma("GCC unroll 8")

/* The copy of BLOCK_WEIGHTS weight rows. (clang-format misreads UNROLL.) */
// clang-format off
INLINE void copy_block(const element *weight, int depth, lane_element *copy)
{
    for (int k = 0; k < depth; k += STRIDE)
        UNROLL for (int w = 0; w < BLOCK_WEIGHTS; w++, copy += PASS_STRIDE)
            UNROLL for (int pass = 0; pass < PASSES; pass++) {
                const element *from = weight + (size_t)w * (size_t)depth + k;
                pass_operand lanes =
                    k + STRIDE <= depth ? load_pass(pass, from) : load_some_pass(pass, from, depth - k);
                memcpy(copy + pass * pass_elements(depth), &lanes, sizeof lanes);
            }
}

/* What is at `copy` against as much of each input row. */
INLINE void multiply_step(int rows, const lane_element *copy, const pass_operand *input, pass_sum (*sum)[BLOCK_WEIGHTS])
{
    UNROLL for (int w = 0; w < BLOCK_WEIGHTS; w++) {
        pass_operand weight;
        memcpy(&weight, copy + w * PASS_STRIDE, sizeof weight);
        UNROLL for (int r = 0; r < rows; r++)
            sum[r][w] = multiply_pass(weight, input[r], sum[r][w]);
    }
}

/* sums[r * row + w] = dot(weight row w, input row r) for BLOCK_WEIGHTS copied weight rows and `rows` input rows, a constant
   where this is called. The first `asked` elements of what lies ahead are asked for. */
INLINE void multiply_block(int rows, const lane_element *copy, int depth, const element *input, const element *ahead,
                           int asked, int row, float *sums)
{
    UNROLL for (int pass = 0; pass < PASSES; pass++, copy += pass_elements(depth)) {
        pass_sum sum[BLOCK_ROWS][BLOCK_WEIGHTS];
        pass_operand lanes[BLOCK_ROWS];
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int w = 0; w < BLOCK_WEIGHTS; w++)
                sum[r][w] = (pass_sum){0};
        const lane_element *at = copy;
        int k = 0;
        for (; k + STRIDE <= depth; k += STRIDE, at += BLOCK_WEIGHTS * PASS_STRIDE) {
            if (pass == 0 && BLOCK_WEIGHTS * k < asked)
                UNROLL for (int w = 0; w < BLOCK_WEIGHTS; w++)
                    ask_for(ahead + BLOCK_WEIGHTS * k + w * STRIDE);
            UNROLL for (int r = 0; r < rows; r++)
                lanes[r] = load_pass(pass, input + (size_t)r * (size_t)depth + k);
            multiply_step(rows, at, lanes, sum);
        }
        if (k < depth) {
            UNROLL for (int r = 0; r < rows; r++)
                lanes[r] = load_some_pass(pass, input + (size_t)r * (size_t)depth + k, depth - k);
            multiply_step(rows, at, lanes, sum);
        }
        UNROLL for (int r = 0; r < rows; r++) {
            f32x4 four = sum_pass_of_four(sum[r]), even;
            memcpy(&even, sums + r * row, sizeof even);
            four = pass ? even + four : four;
            memcpy(sums + r * row, &four, sizeof four);
        }
    }
}
// clang-format on

#endif
