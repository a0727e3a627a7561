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

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
/* The same with four warps and 32 rows of the step at once: sum[i] gets what multiply_add gives for rows 8i .. 8i + 7, bit for
 * bit. Each warp brings its own 16 weight rows. `pieces`: of X in shared memory, as they lie in a stage of the ring: 8 pieces
 * of 8 rows, then those of the next 8 rows. Starts only: a fence before, commit and wait behind.
 */
INLINE void multiply_add_32(float4 sum[4], uint4 weight, uint32_t pieces)
{
    /* Bytes / 16: the address; 128 from a piece to the next along K; 1024 to the next 8 rows. */
    uint64_t matrix = (uint64_t)(pieces >> 4 & 0x3fff) | (uint64_t)(128 >> 4) << 16 | (uint64_t)(1024 >> 4) << 32;
    asm volatile("wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 "
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
                 "{%16, %17, %18, %19}, %20, 1, 1, 1, 0;"
                 : "+f"(sum[0].x), "+f"(sum[0].y), "+f"(sum[0].z), "+f"(sum[0].w), "+f"(sum[1].x), "+f"(sum[1].y),
                   "+f"(sum[1].z), "+f"(sum[1].w), "+f"(sum[2].x), "+f"(sum[2].y), "+f"(sum[2].z), "+f"(sum[2].w),
                   "+f"(sum[3].x), "+f"(sum[3].y), "+f"(sum[3].z), "+f"(sum[3].w)
                 : "r"(weight.x), "r"(weight.y), "r"(weight.z), "r"(weight.w), "l"(matrix));
}

INLINE void products_begin()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

INLINE void products_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int left> INLINE void products_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(left) : "memory");
}

/* What this thread copied to shared memory, made visible to the tensor cores' own reads. */
INLINE void copies_to_products()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
#endif

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

/* Four pieces of 8 x 8 elements, 16 bytes a row, lane l's address being row l % 8 of piece l / 8: lane l gets elements
   2 (l % 4) and the next of row l / 4 of each. */
INLINE uint4 load_pieces(uint32_t from)
{
    uint4 value;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                 : "r"(from)
                 : "memory");
    return value;
}

/* What another kernel of the step wrote: from the L2 cache, never from a stale line of L1. */
INLINE uint4 load_fresh(const uint4 *from)
{
    return __ldcg(from);
}

INLINE float load_fresh(const float *from)
{
    return __ldcg(from);
}

/* The same for 8 pieces along K: two elements of each, 128 bytes from one piece to the next. All start here, not where the
   compiler would rather have them. */
INLINE void load_fresh_8(uint32_t value[8], const uint32_t *from)
{
    asm volatile("ld.global.cg.u32 %0, [%8];\n\tld.global.cg.u32 %1, [%8 + 128];\n\t"
                 "ld.global.cg.u32 %2, [%8 + 256];\n\tld.global.cg.u32 %3, [%8 + 384];\n\t"
                 "ld.global.cg.u32 %4, [%8 + 512];\n\tld.global.cg.u32 %5, [%8 + 640];\n\t"
                 "ld.global.cg.u32 %6, [%8 + 768];\n\tld.global.cg.u32 %7, [%8 + 896];"
                 : "=r"(value[0]), "=r"(value[1]), "=r"(value[2]), "=r"(value[3]), "=r"(value[4]), "=r"(value[5]),
                   "=r"(value[6]), "=r"(value[7])
                 : "l"(from));
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

/* ---- Clusters: blocks that run together and read each other's shared memory (9.0 and up) ---------------------------- */

#if __CUDA_ARCH__ >= 900
#define CLUSTER(x, y) __attribute__((cluster_dims(x, y, 1)))

INLINE void cluster_arrive()
{
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}

INLINE void cluster_wait()
{
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/* 16 bytes at the same place in the shared memory of block `rank` of the cluster. */
INLINE float4 load_from_block(uint32_t address, int rank)
{
    float4 value;
    uint32_t there;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
    asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
                 : "r"(there)
                 : "memory");
    return value;
}
#else
#define CLUSTER(x, y)
#endif

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

/* The same for rows first, first + step, ... below `rows`, `batch` side by side: inverse[row]. of(row): the row's squares. */
template <int tiles, int batch, typename squares_of>
INLINE void inverse_rms_rows(float *inverse, int first, int step, int rows, squares_of of, int columns, float epsilon)
{
#pragma unroll 1
    for (int start = first; start < rows; start += batch * step) {
        float result[batch];
#pragma unroll
        for (int i = 0; i < batch; i++)
            result[i] = inverse_rms<tiles>(of(min(start + i * step, rows - 1)), columns, epsilon);
#pragma unroll
        for (int i = 0; i < batch; i++)
            if (start + i * step < rows)
                inverse[start + i * step] = result[i];
    }
}

/* Place of an element in an activation that feeds a product (docs/cuda.md): pieces of 8 rows x 8 columns. `columns`: of the
   buffer, a multiple of 64. */
INLINE size_t input_place(int row, int column, int columns)
{
    return ((size_t)(row / 8) * (size_t)(columns / 8) + (size_t)(column / 8)) * 64 + (size_t)(row % 8 * 8 + column % 8);
}

#endif
