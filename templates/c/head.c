/* The end of a step: $norm and "the last norm, and " or ""$the logits of the rows that asked for them.
 */
//% if sites then
#include "adapters.h"
//% end
#include "product.h"
#include "shapes.h"

void $name$(const struct step *step, int thread)
{
    struct scratch *own = scratch(step, thread);
//% if norm then
    const float *gain = vector(step, FINAL_NORM_OFFSET);
//% end
    const element *weight = matrix(step, HEAD_OFFSET);
//% if norm then
    struct normed in = normalise_rows(step, thread, step->output_row, step->outputs, gain, $epsilon$);
//% else
    struct normed in = round_rows(step, thread, step->output_row, step->outputs);
//% end
//% if sites then
    struct adapted adapted = {
        .sites = {$sites$},
        .site_count = $site_count$,
        .layer = 0,
        .run = step->output_run,
        .runs = step->output_runs,
        .input = in.input[0],
        .depth = HIDDEN,
        .scale = in.scale,
    };
    shrink(step, thread, &adapted);
//% end

    for (struct work work = work_begin(step, VOCAB_TILES * blocks_of(step->outputs)); work_next(&work);) {
        struct unit unit = unit_of(&work, step->outputs, weight, HIDDEN);
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
            float *logits = step->logits + (size_t)(unit.first + r) * VOCAB + (size_t)start;
            store_some_f32(logits, multiply(load_f32(sums[r]), splat(in.scale[unit.first + r])), outputs);
        }
    }
}
