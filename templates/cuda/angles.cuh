/* Angles of positions (RoPE), for the kernels that a step begins with.
 */
#ifndef ANGLES_CUH
#define ANGLES_CUH

#include "prelude.cuh"

/* Sine and cosine of an angle below 2^20, right to single precision as libm's are; the built-in functions are not, for
   large angles. The angle less the nearest multiple of pi / 2, whose second half makes up for what its double lacks; then
   Taylor's series, whose first term left out is below 1e-13. */
INLINE void turn_of(float angle, float *sine, float *cosine)
{
    double quarters = rint((double)angle * 0.63661977236758134308), x = (double)angle;
    x = fma(quarters, -1.57079632679489655800, x);
    x = fma(quarters, -6.12323399573676603587e-17, x);
    double y = x * x;
    double s = fma(y, 1.0 / 6227020800.0, -1.0 / 39916800.0), c = fma(y, -1.0 / 87178291200.0, 1.0 / 479001600.0);
    s = fma(y, s, 1.0 / 362880.0);
    c = fma(y, c, -1.0 / 3628800.0);
    s = fma(y, s, -1.0 / 5040.0);
    c = fma(y, c, 1.0 / 40320.0);
    s = fma(y, s, 1.0 / 120.0);
    c = fma(y, c, -1.0 / 720.0);
    s = fma(y, s, -1.0 / 6.0);
    c = fma(y, c, 1.0 / 24.0);
    s = fma(y * x, s, x);
    c = fma(y, c, -0.5);
    c = fma(y, c, 1.0);
    int quadrant = (int)quarters & 3;
    float first = (float)(quadrant % 2 ? c : s), second = (float)(quadrant % 2 ? s : c);
    *sine = quadrant >= 2 ? -first : first;
    *cosine = quadrant == 1 || quadrant == 2 ? -second : second;
}

#endif
