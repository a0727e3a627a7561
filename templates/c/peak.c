/* The roof of the products: how fast this instruction set multiplies and adds when everything is in registers.
 */
#include "shapes.h"

enum { CHAINS = 12 / PARTS }; /* sums beside each other, so that none waits for its last addition */

/* Multiplies and adds `rounds` times in each chain; how many floating-point operations that were. */
double measure_peak(int rounds)
{
    static const element zeros[STRIDE];
    volatile float sink = 0.0f; /* what the compiler cannot see through; each thread has its own */
    operand a = load_operand(zeros), b = load_operand(zeros);
    f32x16 sum[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        sum[i] = splat(sink);
    // clang-format off
    for (int round = 0; round < rounds; round++)
        _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++)
            sum[i] = multiply_operands(a, b, sum[i]);
    // clang-format on
    for (int i = 0; i < CHAINS; i++)
        sink = sum_lanes(sum[i]);
    return 2.0 * STRIDE * CHAINS * rounds;
}
