/* Norm of a bulk chunk's rows: normed = bf16(residual / rms * gain), row-major, as cuBLASLt reads it.
 */
#include "prelude.cuh"
#include "shapes.cuh"

enum { THREADS = 256 };

/* Grid: BULK_ROWS. */
extern "C" __global__ void __launch_bounds__(THREADS)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int)
{
    __shared__ float of_warp[THREADS / LANES];
    struct activations *a = activations(step);
    const float *x = a->residual[blockIdx.x], *gain = vector(step, layer.$gain$);
    let_next_start();
    wait_for_previous();

    float squares = 0.0f;
    for (int i = 4 * (int)threadIdx.x; i < HIDDEN; i += 4 * THREADS) {
        float4 four = *(const float4 *)(x + i);
        squares += four.x * four.x + four.y * four.y + four.z * four.z + four.w * four.w;
    }
    squares = sum_lanes<LANES>(squares);
    if (threadIdx.x % LANES == 0)
        of_warp[threadIdx.x / LANES] = squares;
    __syncthreads();
    squares = sum_lanes<THREADS / LANES>(of_warp[threadIdx.x % (THREADS / LANES)]);
    float scale = __fdiv_rn(1.0f, __fsqrt_rn(squares / HIDDEN + $epsilon$));
    for (int i = 4 * (int)threadIdx.x; i < HIDDEN; i += 4 * THREADS) {
        float4 four = *(const float4 *)(x + i), gains = *(const float4 *)(gain + i);
        *(uint2 *)&a->bulk_normed[blockIdx.x][i] =
            make_uint2(two_elements(four.x * gains.x * scale, four.y * gains.y * scale),
                       two_elements(four.z * gains.z * scale, four.w * gains.w * scale));
    }
}
