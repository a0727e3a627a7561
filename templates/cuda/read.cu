/* Reads memory as fast as the GPU can, for `bench`: the roof of everything that streams weights.
 *
 *     read(from, count, sink)    `count` pieces of 16 bytes; any grid of blocks of 256 threads
 *
 * sink [blocks] gets what depends on every byte, so that no load can be left out.
 */
#include "shapes.cuh"

enum { THREADS = $threads$, AHEAD = 8 };

extern "C" __global__ void __launch_bounds__(THREADS) $name$(const uint4 *from, uint64_t count, uint32_t *sink)
{
    __shared__ uint32_t word;
    uint32_t all = 0;
    if (threadIdx.x == 0)
        word = 0;
    __syncthreads();
    uint64_t stride = (uint64_t)gridDim.x * THREADS, place = (uint64_t)blockIdx.x * THREADS + threadIdx.x;
    for (; place + (AHEAD - 1) * stride < count; place += AHEAD * stride) {
        uint4 piece[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; i++)
            piece[i] = __ldcs(from + place + (uint64_t)i * stride);
#pragma unroll
        for (int i = 0; i < AHEAD; i++)
            all ^= piece[i].x ^ piece[i].y ^ piece[i].z ^ piece[i].w;
    }
    for (; place < count; place += stride) {
        uint4 piece = __ldcs(from + place);
        all ^= piece.x ^ piece.y ^ piece.z ^ piece.w;
    }
    atomicXor(&word, all);
    __syncthreads();
    if (threadIdx.x == 0)
        sink[blockIdx.x] = word;
}
