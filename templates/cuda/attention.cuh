/* What the attention kernels add to the prelude: 8 x 8 matrices from shared memory, asynchronous copies.
 */
#ifndef ATTENTION_CUH
#define ATTENTION_CUH

#include "prelude.cuh"
#include "shapes.cuh"

#define NOTHING __int_as_float((int)0xff800000) /* -infinity: the maximum of no scores */

INLINE int minimum(int a, int b)
{
    return a < b ? a : b;
}

INLINE int maximum(int a, int b)
{
    return a > b ? a : b;
}

/* Four 8 x 8 matrices of bf16; lane l gives the address of row l % 8 of matrix l / 8. */
INLINE uint4 load_matrices(const element *row)
{
    uint4 out;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out.x), "=r"(out.y), "=r"(out.z), "=r"(out.w)
                 : "r"(shared_address(row))
                 : "memory");
    return out;
}

/* The same, each matrix transposed. */
INLINE uint4 load_turned_matrices(const element *row)
{
    uint4 out;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out.x), "=r"(out.y), "=r"(out.z), "=r"(out.w)
                 : "r"(shared_address(row))
                 : "memory");
    return out;
}

/* Two matrices; lanes 0 to 15 give the addresses. */
INLINE uint2 load_two_matrices(const element *row)
{
    uint2 out;
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(out.x), "=r"(out.y)
                 : "r"(shared_address(row))
                 : "memory");
    return out;
}

/* sum [16, 8] += a [16, 16] * b [16, 8]; sum: rows g and g + 8 of columns 2p and 2p + 1. */
INLINE void multiply_add(float sum[4], uint4 a, uint2 b)
{
    float4 four = make_float4(sum[0], sum[1], sum[2], sum[3]);
    multiply_add(four, a, b.x, b.y);
    sum[0] = four.x;
    sum[1] = four.y;
    sum[2] = four.z;
    sum[3] = four.w;
}

/* Starts copying 16 bytes to shared memory; zeros if not `exists`. */
INLINE void copy_async_or_zero(element *to, const element *from, bool exists)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(exists ? 16 : 0)
                 : "memory");
}

#endif
