/* Queries, keys and values of all heads in one product; their input is ready.
 */
#include "product.h"
#include "shapes.h"

void $name$(const struct step *step, const struct layer *layer, int thread)
{
    struct activations *a = activations(step);
    struct scratch *own = scratch(step, thread);
    const element *weight = matrix(step, layer->qkv);
//% if bias then
    const float *bias = vector(step, layer->qkv_bias);
//% end

    for (struct work work = work_begin(step, QKV_TILES * blocks_of(step->rows)); work_next(&work);) {
        struct unit unit = unit_of(&work, step->rows, weight, INPUT);
        float sums[ROW_BLOCK][TILE];
        int start = unit.start, outputs = $outputs$;
        multiply_tile(weight + (size_t)start * INPUT, outputs, INPUT, a->input[unit.first], unit.rows, unit.next, own,
                      sums);
        for (int r = 0; r < unit.rows; r++)
            for (int i = 0; i < outputs; i++)
//% if bias then
                a->qkv[unit.first + r][start + i] = sums[r][i] + bias[start + i];
//% else
                a->qkv[unit.first + r][start + i] = sums[r][i];
//% end
    }
}
