/* Norm, then queries, keys and values of all heads in one product.
 */
//% if sites then
#include "adapters.h"
//% end
#include "product.h"
#include "shapes.h"

void $name$($parameters$)
{
    struct activations *a = activations(step);
    struct scratch *own = scratch(step, thread);
    const float *gain = vector(step, layer->attention_norm);
    const element *weight = matrix(step, layer->qkv);
//% if bias then
    const float *bias = vector(step, layer->qkv_bias);
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

    for (struct work work = work_begin(step, QKV_TILES * blocks_of(step->rows)); work_next(&work);) {
        struct unit unit = unit_of(&work, step->rows, weight, HIDDEN);
        float sums[ROW_BLOCK][TILE];
        int start = unit.start, outputs = $outputs$;
//% if sites then
        expand_ahead(step, &adapted, start, outputs, unit.first, unit.rows);
//% end
        multiply_tile(weight + (size_t)start * HIDDEN, outputs, HIDDEN, in.input[unit.first], unit.rows, unit.next, own,
                      sums);
//% if sites then
        expand(step, thread, &adapted, start, outputs, unit.first, unit.rows, sums);
//% end
        for (int r = 0; r < unit.rows; r++) {
            f32x16 scaled = multiply(load_f32(sums[r]), splat(in.scale[unit.first + r]));
//% if bias then
            scaled = add(scaled, load_some_f32(bias + start, outputs));
//% end
            store_some_f32(&a->qkv[unit.first + r][start], scaled, outputs);
        }
    }
}
