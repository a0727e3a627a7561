/* The gated activation of a bulk chunk's rows: bulk_gated = bf16($activation$(gate) * up), row-major.
 */
#include "prelude.cuh"
#include "shapes.cuh"

enum { THREADS = 256 };

INLINE float $activation$(float x)
{
    return __fdiv_rn(x, __fadd_rn(1.0f, exponential(-x)));
}

/* Grid: INTERMEDIATE / 2 / THREADS, rounded up; BULK_ROWS. */
extern "C" __global__ void __launch_bounds__(THREADS)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int)
{
    struct activations *a = activations(step);
    int column = (int)(blockIdx.x * THREADS + threadIdx.x) * 2;
    const element *gates = a->bulk_gate_up[blockIdx.y], *ups = gates + INTERMEDIATE;
//% if bias then
    const float *gate_bias = vector(step, layer.gate_up_bias), *up_bias = gate_bias + INTERMEDIATE;
//% end
    let_next_start();
    wait_for_previous();
    if (column >= INTERMEDIATE)
        return;
    float gated[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float gate = to_float(gates[column + i]), up = to_float(ups[column + i]);
//% if bias then
        gate += gate_bias[column + i];
        up += up_bias[column + i];
//% end
        gated[i] = $activation$(gate) * up;
    }
    *(uint32_t *)&a->bulk_gated[blockIdx.y][column] = two_elements(gated[0], gated[1]);
}
