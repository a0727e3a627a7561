/* $title$: a product that is added to the residual stream.
 */
#include "product.h"
#include "shapes.h"

enum { DEPTH = $depth$ };

void $name$(const struct step *step, const struct layer *layer, int thread)
{
    struct activations *a = activations(step);
    struct scratch *own = scratch(step, thread);
    const element *weight = matrix(step, layer->$weight$);
//% if bias then
    const float *bias = vector(step, layer->$weight$_bias);
//% end

    for (struct work work = work_begin(step, HIDDEN_TILES * blocks_of(step->rows)); work_next(&work);) {
        struct unit unit = unit_of(&work, step->rows, weight, DEPTH);
        float sums[ROW_BLOCK][TILE];
        int start = unit.start, outputs = $outputs$;
        const element *input = a->$input$[unit.first];
        multiply_tile(weight + (size_t)start * DEPTH, outputs, DEPTH, input, unit.rows, unit.next, own, sums);
        for (int r = 0; r < unit.rows; r++)
            for (int i = 0; i < outputs; i++)
//% if bias then
                a->residual[unit.first + r][start + i] += sums[r][i] + bias[start + i];
//% else
                a->residual[unit.first + r][start + i] += sums[r][i];
//% end
    }
}
