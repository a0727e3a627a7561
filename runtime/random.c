#include "random.h"

void random_philox(uint32_t counter[4], uint32_t key0, uint32_t key1)
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = UINT64_C(0xD2511F53) * c0;
        uint64_t product1 = UINT64_C(0xCD9E8D57) * c2;
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ key0;
        c1 = (uint32_t)product1;
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ key1;
        c3 = (uint32_t)product0;
        key0 += UINT32_C(0x9E3779B9);
        key1 += UINT32_C(0xBB67AE85);
    }
    counter[0] = c0;
    counter[1] = c1;
    counter[2] = c2;
    counter[3] = c3;
}

uint64_t random_bits(uint64_t seed, uint64_t sequence, uint64_t position)
{
    uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), (uint32_t)sequence,
                           (uint32_t)(sequence >> 32)};
    random_philox(counter, (uint32_t)seed, (uint32_t)(seed >> 32));
    return (uint64_t)counter[1] << 32 | counter[0];
}

uint64_t random_below(uint64_t bits, uint64_t n)
{
    /* The high half of a 64 x 64 product in 32-bit pieces: no 128-bit type, so the same text works in CUDA. */
    uint64_t a = bits >> 32, b = bits & UINT32_MAX, c = n >> 32, d = n & UINT32_MAX;
    uint64_t middle = a * d + (b * d >> 32);
    uint64_t other = b * c + (middle & UINT32_MAX);
    return a * c + (middle >> 32) + (other >> 32);
}
