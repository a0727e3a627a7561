/* The gated activation of a bulk chunk's rows: bulk_gated = bf16($activation$(gate) * up), row-major.
 */
#include "prelude.cuh"
#include "shapes.cuh"

enum { THREADS = 256 };

INLINE float $activation$(float x)
{
    return __fdiv_rn(x, __fadd_rn(1.0f, exponential(-x)));
}

/* Two neighbouring elements of a gate and an up. */
INLINE uint32_t gate_pair(uint32_t gates, uint32_t ups$bias and ", const float *gate_bias, const float *up_bias" or ""$)
{
    float gate[2] = {__uint_as_float(gates << 16), __uint_as_float(gates & 0xffff0000u)};
    float up[2] = {__uint_as_float(ups << 16), __uint_as_float(ups & 0xffff0000u)};
#pragma unroll
    for (int i = 0; i < 2; i++) {
//% if bias then
        gate[i] += gate_bias[i];
        up[i] += up_bias[i];
//% end
        gate[i] = $activation$(gate[i]) * up[i];
    }
    return two_elements(gate[0], gate[1]);
}

/* Grid: INTERMEDIATE / 8 / THREADS, rounded up; BULK_ROWS. */
extern "C" __global__ void __launch_bounds__(THREADS)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int)
{
    struct activations *a = activations(step);
    int column = (int)(blockIdx.x * THREADS + threadIdx.x) * 8;
    const element *gates = a->bulk_gate_up[blockIdx.y] + column, *ups = gates + INTERMEDIATE;
//% if bias then
    const float *gate_bias = vector(step, layer.gate_up_bias) + column, *up_bias = gate_bias + INTERMEDIATE;
//% end
    let_next_start();
    wait_for_previous();
    if (column >= INTERMEDIATE)
        return;
    uint4 gate = load_fresh((const uint4 *)gates), up = load_fresh((const uint4 *)ups);
    *(uint4 *)&a->bulk_gated[blockIdx.y][column] = make_uint4(
//% for i, field in ipairs { "x", "y", "z", "w" } do
        gate_pair(gate.$field$, up.$field$$bias and string.format(", gate_bias + %d, up_bias + %d", 2 * i - 2, 2 * i - 2) or ""$)$i < 4 and "," or ");"$
//% end
}
