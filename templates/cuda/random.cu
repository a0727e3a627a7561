/* Random weights at load: the same bits as on the CPU (weights.h has the formula). Each thread makes the two elements of a
 * word, then goes on by the size of the grid.
 */
#include "prelude.cuh"

INLINE uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ull;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

/* Rounded once to double and once to float: the product is exact, so fused or not makes no difference. */
INLINE float value_of(uint32_t bits24, double centre, double scale)
{
    double u = (double)bits24 * (1.0 / 8388608.0) - 1.0;
    return (float)(centre + scale * u);
}

extern "C" __global__ void __launch_bounds__(256)
    $name$(void *to, uint64_t first, uint64_t count, uint64_t key, float centre, float scale, int bf16)
{
    uint64_t pairs = (count + 1) / 2;
    for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < pairs;
         i += (uint64_t)gridDim.x * blockDim.x) {
        uint64_t word = mix(key + (first / 2 + i + 1) * 0x9e3779b97f4a7c15ull);
        float even = value_of((uint32_t)(word >> 40), centre, scale);
        float odd = value_of((uint32_t)(word >> 8) & 0xffffff, centre, scale);
        bool both = 2 * i + 1 < count;
        if (bf16) {
            uint16_t *target = (uint16_t *)to + 2 * i;
            if (both)
                *(uint32_t *)target = two_elements(even, odd);
            else
                *target = to_element(even);
        } else {
            float *target = (float *)to + 2 * i;
            if (both)
                *(float2 *)target = make_float2(even, odd);
            else
                *target = even;
        }
    }
}
