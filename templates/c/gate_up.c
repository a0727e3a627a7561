/* Norm, gate and up products, and their gated activation: out = $activation$(gate) * up.
 */
//% if sites then
#include "adapters.h"
//% end
#include "product.h"
#include "shapes.h"

INLINE f32x16 $activation$(f32x16 x)
{
    return divide(x, add(splat(1.0f), exponential(multiply(x, splat(-1.0f)))));
}

void $name$($parameters$)
{
    struct activations *a = activations(step);
    struct scratch *own = scratch(step, thread);
    const float *gain = vector(step, layer->mlp_norm);
    const element *gate = matrix(step, layer->gate_up), *up = gate + (size_t)INTERMEDIATE * HIDDEN;
//% if bias then
    const float *gate_bias = vector(step, layer->gate_up_bias), *up_bias = gate_bias + INTERMEDIATE;
//% end
    struct normed in = normalise_rows(step, thread, NULL, step->rows, gain, $epsilon$);
//% if sites then
    struct adapted adapted = {
        .sites = {$sites$},
        .site_count = $site_count$,
        .layer = index,
        .run = step->run,
        .runs = step->runs,
        .input = in.input[0],
        .depth = HIDDEN,
        .scale = in.scale,
    };
    shrink(step, thread, &adapted);
//% end

    for (struct work work = work_begin(step, INTERMEDIATE_TILES * blocks_of(step->rows)); work_next(&work);) {
        struct unit unit = unit_of(&work, step->rows, gate, HIDDEN);
        float gates[ROW_BLOCK][TILE], ups[ROW_BLOCK][TILE];
        int start = unit.start, outputs = $outputs$;
//% if sites then
        expand_ahead(step, &adapted, start, outputs, unit.first, unit.rows);
        expand_ahead(step, &adapted, INTERMEDIATE + start, outputs, unit.first, unit.rows);
//% end
        const element *up_rows = up + (size_t)start * HIDDEN;
        multiply_tile(gate + (size_t)start * HIDDEN, outputs, HIDDEN, in.input[unit.first], unit.rows, up_rows, own,
                      gates);
        multiply_tile(up_rows, outputs, HIDDEN, in.input[unit.first], unit.rows, unit.next, own, ups);
//% if sites then
        expand(step, thread, &adapted, start, outputs, unit.first, unit.rows, gates);
        expand(step, thread, &adapted, INTERMEDIATE + start, outputs, unit.first, unit.rows, ups);
//% end
        for (int r = 0; r < unit.rows; r++) {
            f32x16 scale = splat(in.scale[unit.first + r]);
//% if bias then
            f32x16 g = multiply_add(load_f32(gates[r]), scale, load_some_f32(gate_bias + start, outputs));
            f32x16 u = multiply_add(load_f32(ups[r]), scale, load_some_f32(up_bias + start, outputs));
//% else
            f32x16 g = multiply(load_f32(gates[r]), scale);
            f32x16 u = multiply(load_f32(ups[r]), scale);
//% end
            store_some(&a->gated[unit.first + r][start], multiply($activation$(g), u), outputs);
        }
    }
}
