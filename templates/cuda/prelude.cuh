/* What every CUDA kernel of this package is written in: elements, tensor-core products, loads with cache hints, the
 * hand-over from one kernel to the next. No CUDA headers: NVRTC compiles this from memory.
 *
 * The order of every sum is part of the design (docs/cuda.md), so sums are written with __fadd_rn and __fmaf_rn, which
 * the compiler neither fuses nor reorders.
 */
#ifndef PRELUDE_CUH
#define PRELUDE_CUH

#include "cuda_step.h"

#define INLINE static __device__ __forceinline__
#define INLINE_METHOD __device__ __forceinline__

enum { LANES = 32, TILE = 16 };

/* ---- Elements: bfloat16, the upper half of a float ------------------------------------------------------------------ */

/* Two floats, rounded to nearest even; `low` is the one at the lower address. */
INLINE uint32_t two_elements(float low, float high)
{
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

INLINE uint16_t to_element(float value)
{
    return (uint16_t)two_elements(value, 0.0f);
}

INLINE float to_float(uint16_t element)
{
    return __uint_as_float((uint32_t)element << 16);
}

/* The value of a float after a visit to bfloat16. */
INLINE float rounded(float value)
{
    return to_float(to_element(value));
}

/* ---- Tensor cores ---------------------------------------------------------------------------------------------------
 *
 * sum[16 weight rows][8 rows of the step] += W[16][16] X[16][8].  Lane l with g = l / 4, p = l % 4 holds
 *
 *     W (16 bytes):  x: W[g][2p, 2p+1]    y: W[g+8][2p, 2p+1]    z: W[g][2p+8, 2p+9]    w: W[g+8][2p+8, 2p+9]
 *     X  (8 bytes):  low: X[2p, 2p+1][g]     high: X[2p+8, 2p+9][g]
 *     sum:           .x: [g][2p]   .y: [g][2p+1]   .z: [g+8][2p]   .w: [g+8][2p+1]
 */
INLINE void multiply_add(float4 &sum, uint4 weight, uint32_t low, uint32_t high)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(sum.x), "+f"(sum.y), "+f"(sum.z), "+f"(sum.w)
                 : "r"(weight.x), "r"(weight.y), "r"(weight.z), "r"(weight.w), "r"(low), "r"(high));
}

INLINE float4 add(float4 a, float4 b)
{
    return make_float4(__fadd_rn(a.x, b.x), __fadd_rn(a.y, b.y), __fadd_rn(a.z, b.z), __fadd_rn(a.w, b.w));
}

/* What sums start from: -0 + x is x for every x, also for x = -0, so the first addition changes no bit. */
INLINE float4 nothing()
{
    return make_float4(-0.0f, -0.0f, -0.0f, -0.0f);
}

/* ---- Memory --------------------------------------------------------------------------------------------------------- */

INLINE uint32_t shared_address(const void *pointer)
{
    return (uint32_t)__cvta_generic_to_shared(pointer);
}

/* Weights are read once a step: they leave the L2 cache first. */
INLINE uint64_t read_once()
{
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

/* Starts copying 16 bytes from global to shared memory (an address of shared_address), past the L1 cache. */
INLINE void copy_async(uint32_t to, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

INLINE void copy_async(uint32_t to, const void *from, uint64_t policy)
{
    asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "l"(policy)
                 : "memory");
}

/* What copy_async brought. */
INLINE uint4 load_shared(uint32_t from)
{
    uint4 value;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                 : "r"(from)
                 : "memory");
    return value;
}

/* Ends a group of copies. */
INLINE void copies_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits until at most `left` of this thread's groups of copies, the youngest ones, are still under way. */
template <int left> INLINE void copies_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
}

/* What another kernel of the step wrote: from the L2 cache, never from a stale line of L1. */
INLINE uint4 load_fresh(const uint4 *from)
{
    uint4 value;
    asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                 : "l"(from));
    return value;
}

INLINE float load_fresh(const float *from)
{
    return __ldcg(from);
}

/* ---- From one kernel of the step to the next ------------------------------------------------------------------------
 *
 * The next kernel's blocks may start as soon as all blocks of this one have said so (or ended); it then loads what does
 * not depend on this one, its weights, and waits. Before compute capability 9.0 kernels run one after the other.
 */
INLINE void let_next_start()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* Until all that the kernels before this one wrote can be seen. Every thread calls it, and none writes before. */
INLINE void wait_for_previous()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* ---- Arithmetic ----------------------------------------------------------------------------------------------------- */

/* e^x as the C kernels compute it, operation by operation: x = n ln 2 + r with |r| <= ln 2 / 2, then a polynomial in r. */
INLINE float exponential(float x)
{
    float bounded = fminf(fmaxf(x, -87.0f), 88.0f);
    float n = __fadd_rn(__fmaf_rn(bounded, 1.44269504088896341f, 12582912.0f), -12582912.0f);
    float r = __fmaf_rn(n, -0.693359375f, bounded);
    r = __fmaf_rn(n, 2.12194440e-4f, r);
    float y = 1.9875691500e-4f;
    y = __fmaf_rn(y, r, 1.3981999507e-3f);
    y = __fmaf_rn(y, r, 8.3334519073e-3f);
    y = __fmaf_rn(y, r, 4.1665795894e-2f);
    y = __fmaf_rn(y, r, 1.6666665459e-1f);
    y = __fmaf_rn(y, r, 5.0000001201e-1f);
    y = __fmaf_rn(y, __fmul_rn(r, r), __fadd_rn(r, 1.0f));
    return x > -87.0f ? __fmul_rn(y, __int_as_float(((int)n + 127) << 23)) : 0.0f;
}

/* Adds over each group of `width` neighbouring lanes (a power of two): i and i ^ 1, then i and i ^ 2, and so on; all
   lanes of a group get the sum. */
template <int width> INLINE float sum_lanes(float value)
{
#pragma unroll
    for (int distance = 1; distance < width; distance *= 2)
        value = __fadd_rn(value, __shfl_xor_sync(0xffffffffu, value, distance));
    return value;
}

/* ---- The norm -------------------------------------------------------------------------------------------------------
 *
 * Whoever writes the residual stream also writes the sum of squares of every 16 columns; its reader adds them, a warp a
 * row: lane l the tiles l, l + 32, ... in order, then the lanes. Returns 1 / sqrt(mean + epsilon).
 */
template <int tiles> INLINE float inverse_rms(const float *squares, int columns, float epsilon)
{
    int lane = (int)threadIdx.x % LANES;
    float sum = 0.0f;
#pragma unroll
    for (int first = 0; first < tiles; first += LANES)
        sum = __fadd_rn(sum, first + lane < tiles ? load_fresh(squares + first + lane) : 0.0f);
    return __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(sum_lanes<LANES>(sum), (float)columns), epsilon)));
}

/* Place of row r, column c in a buffer of B fragments (docs/cuda.md) with `columns` columns, padded to 64. */
INLINE size_t fragment_place(int row, int column, int columns)
{
    int lane = row % 8 * 4 + column % 8 / 2, place = column % 32 / 16 * 4 + column % 16 / 8 * 2 + column % 2;
    return ((size_t)(row / 8) * (size_t)(columns / 32) + (size_t)(column / 32)) * 256 + (size_t)(lane * 8 + place);
}

#endif
