/* RMS norms with all their factors, for rows that no single product takes in.
 */
#ifndef NORM_H
#define NORM_H

#include "prelude.h"

/* The factor 1 / sqrt(mean(x^2) + epsilon), summed as `normalise` does. */
INLINE float norm_factor(const float *x, int size, float epsilon)
{
    f32x16 squares = {0};
    int k = 0;
    for (; k + LANES <= size; k += LANES)
        squares = multiply_add(load_f32(x + k), load_f32(x + k), squares);
    if (k < size)
        squares = multiply_add(load_some_f32(x + k, size - k), load_some_f32(x + k, size - k), squares);
    return 1.0f / sqrtf(sum_lanes(squares) / (float)size + epsilon);
}

/* out = x / sqrt(mean(x^2) + epsilon) * gain. */
INLINE void normalise_whole(const float *x, const float *gain, int size, float epsilon, element *out)
{
    float factor = norm_factor(x, size, epsilon);
    for (int i = 0; i < size; i++)
        out[i] = to_element(x[i] * factor * gain[i]);
}

/* The same, of the residual stream itself. */
INLINE void normalise_in_place(float *x, const float *gain, int size, float epsilon)
{
    float factor = norm_factor(x, size, epsilon);
    for (int i = 0; i < size; i++)
        x[i] = x[i] * factor * gain[i];
}

#endif
