/* Weights of a package of random weights (`lathe build --random-weights SEED`): made when the package is opened, on the
   device that will read them. The values are a pure function of the seed, the tensor's name and the element's index, so
   every target makes the same bits on any number of threads. The CUDA side implements the same formula:

       mix(x)    x ^= x >> 30;  x *= 0xbf58476d1ce4e5b9;  x ^= x >> 27;  x *= 0x94d049bb133111eb;  x ^= x >> 31
                 (64 bits, wrapping: the finaliser of splitmix64)
       name      FNV-1a of the tensor's name: h = 0xcbf29ce484222325; per byte: h = (h ^ byte) * 0x100000001b3
       key       mix(mix(seed + 0x9e3779b97f4a7c15) ^ name)
       word(e)   mix(key + (e / 2 + 1) * 0x9e3779b97f4a7c15)      e: index in the row-major tensor
       n(e)      even e: word >> 40;  odd e: (word >> 8) & 0xffffff      (24 bits)
       u(e)      n / 2^23 - 1, in [-1, 1), exact
       value(e)  (float)((double)centre + (double)scale * u)      the product is exact in a double, so one addition is
                 rounded to double and then to float, to nearest even: fused multiply-add or not makes no difference
       bf16      of the float, to nearest even */
#ifndef LATHE_WEIGHTS_H
#define LATHE_WEIGHTS_H

#include <stdint.h>

#include "error.h"
#include "model.h"

struct pool;

/* The key of a tensor's values. */
uint64_t weights_random_key(uint64_t seed, const char *name);
/* The value of one element, before it is rounded to the tensor's dtype. */
float weights_random_value(uint64_t key, uint64_t element, float centre, float scale);
/* To nearest even; NaN stays NaN (quiet). */
uint16_t weights_bf16(float value);

/* Bytes from the start of the first tensor to the end of the last: what a region that holds them all needs.
 */
uint64_t weights_region_bytes(const struct model *model);

/* Fills every tensor of `model` that is not DTYPE_BYTES at its offset in `region` [weights_region_bytes], on
   all threads of the pool. progress may be NULL. */
void weights_random(const struct model *model, unsigned char *region, struct pool *pool,
                    void (*progress)(void *context, const char *what, uint64_t done, uint64_t total),
                    void *progress_context);

#endif
