/* Counter-based random numbers: a pure function of (seed, sequence, position), so that the same request draws the same
   numbers at any load, in any batch, on any device, with or without speculation.

   The generator is Philox-4x32-10 of J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC11), with

       key     = (seed & 0xffffffff, seed >> 32)
       counter = (position & 0xffffffff, position >> 32, sequence & 0xffffffff, sequence >> 32)

   and 10 rounds of, in 32-bit unsigned arithmetic with (high, low) the halves of a 64-bit product:

       (h0, l0) = 0xD2511F53 * c0;  (h1, l1) = 0xCD9E8D57 * c2
       (c0, c1, c2, c3) = (h1 ^ c1 ^ k0, l1, h0 ^ c3 ^ k1, l0)
       k0 += 0x9E3779B9;  k1 += 0xBB67AE85                       (after each round)

   random_bits is c0 | c1 << 32 of the result; c2 and c3 are free for a second draw at the same position. */
#ifndef LATHE_RANDOM_H
#define LATHE_RANDOM_H

#include <stdint.h>

/* The ten rounds; `counter` becomes the result. */
void random_philox(uint32_t counter[4], uint32_t key0, uint32_t key1);

/* 64 bits for this place. */
uint64_t random_bits(uint64_t seed, uint64_t sequence, uint64_t position);

/* floor(bits * n / 2^64): an integer in [0, n), 0 if n is 0. The bias is below n / 2^64. */
uint64_t random_below(uint64_t bits, uint64_t n);

#endif
