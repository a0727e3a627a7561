/* How fast this GPU reads: every 16 bytes of a region once. */
extern "C" __global__ void __launch_bounds__(512) read_all(const uint4 *from, unsigned long long count, unsigned *sink)
{
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    unsigned mixed = 0;
#pragma unroll 8
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
        uint4 value = __ldcs(from + i);
        mixed ^= value.x ^ value.y ^ value.z ^ value.w;
    }
    if (mixed == 0x12345678)
        *sink = mixed;
}
