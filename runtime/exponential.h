/* 2^y for y <= 0 in single multiplications and additions, each rounded once: the same bits on every processor and
   compiler (no library call, no fused multiply-add; the runtime is compiled with -ffp-contract=off where the target has
   one), and simple enough to be vectorised. Relative error below 2e-7.

       n = (int)(y - 0.5)   (towards zero, so that f = y - n lies in [-0.5, 0.5])
       p = 1 + f (c1 + f (c2 + f (c3 + f (c4 + f (c5 + f c6)))))     2^f, least maximal relative error with p(0) = 1
       2^y = p * 2^n */
#ifndef LATHE_EXPONENTIAL_H
#define LATHE_EXPONENTIAL_H

#include <stdint.h>
#include <string.h>

static inline float exponential_fraction(float f)
{
    float p = 0x1.470b4ap-13f;
    p = p * f + 0x1.5f7276p-10f;
    p = p * f + 0x1.3b270ep-7f;
    p = p * f + 0x1.c6ae72p-5f;
    p = p * f + 0x1.ebfbe2p-3f;
    p = p * f + 0x1.62e432p-1f;
    return p * f + 1.0f;
}

/* 2^y as a float, y <= 0; 2^-120 for anything below that. */
static inline float exponential_float(float y)
{
    y = y < -120.0f ? -120.0f : y;
    int32_t n = (int32_t)(y - 0.5f);
    float p = exponential_fraction(y - (float)n);
    uint32_t bits = (uint32_t)(n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

/* floor(2^23 * p) * 2^17 >> -n: 2^y in units of 2^-40, y <= 0; 2^40 for y = 0, 0 for anything below about -40. */
static inline uint64_t exponential_fixed(float y)
{
    y = y < -60.0f ? -60.0f : y;
    int32_t n = (int32_t)(y - 0.5f);
    float p = exponential_fraction(y - (float)n);
    return ((uint64_t)(uint32_t)(p * 8388608.0f) << 17) >> -n;
}

#endif
