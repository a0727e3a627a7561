/* $title$: a product that is added to the residual stream.
 */
//% if sites then
#include "adapters.h"
//% end
#include "product.h"
#include "shapes.h"

enum { DEPTH = $depth$ };

void $name$($parameters$)
{
    struct activations *a = activations(step);
    struct scratch *own = scratch(step, thread);
    const element *weight = matrix(step, layer->$weight$);
//% if bias then
    const float *bias = vector(step, layer->$weight$_bias);
//% end
//% if sites then
    struct adapted adapted = {
        .sites = {$sites$},
        .site_count = $site_count$,
        .layer = index,
        .run = step->run,
        .runs = step->runs,
        .input = a->$input$[0],
        .depth = DEPTH,
    };
    shrink(step, thread, &adapted);
//% end

    for (struct work work = work_begin(step, HIDDEN_TILES * blocks_of(step->rows)); work_next(&work);) {
        struct unit unit = unit_of(&work, step->rows, weight, DEPTH);
        float sums[ROW_BLOCK][TILE];
        int start = unit.start, outputs = $outputs$;
//% if sites then
        expand_ahead(step, &adapted, start, outputs, unit.first, unit.rows);
//% end
        const element *input = a->$input$[unit.first];
        multiply_tile(weight + (size_t)start * DEPTH, outputs, DEPTH, input, unit.rows, unit.next, own, sums);
//% if sites then
        expand(step, thread, &adapted, start, outputs, unit.first, unit.rows, sums);
//% end
        for (int r = 0; r < unit.rows; r++) {
            float *residual = &a->residual[unit.first + r][start];
            f32x16 sum = load_f32(sums[r]);
//% if bias then
            sum = add(sum, load_some_f32(bias + start, outputs));
//% end
            store_some_f32(residual, add(load_some_f32(residual, outputs), sum), outputs);
        }
//% if leaves == "tap" then
        /* What the draft head takes of this layer. */
        for (int r = 0; r < unit.rows; r++)
            for (int i = 0; i < outputs; i++)
                a->taps[unit.first + r][tap * HIDDEN + start + i] = to_element(a->residual[unit.first + r][start + i]);
//% elseif leaves == "feature" then
        for (int r = 0; r < unit.rows; r++) {
            int place = step->feature_place[unit.first + r];
            if (place >= 0)
                memcpy(&a->feature[place][start], &a->residual[unit.first + r][start], (size_t)outputs * sizeof(float));
        }
//% end
    }
}
