/* Norm, then queries, keys and values of all heads in one product.
 */
#include "product.h"
#include "shapes.h"

void $name$(const struct step *step, const struct layer *layer, int thread)
{
    struct activations *a = activations(step);
    struct scratch *own = scratch(step, thread);
    const float *gain = vector(step, layer->attention_norm);
    const element *weight = matrix(step, layer->qkv);
//% if bias then
    const float *bias = vector(step, layer->qkv_bias);
//% end
    struct normed in = normalise_rows(step, thread, NULL, step->rows, gain, $epsilon$);

    for (struct work work = work_begin(step, QKV_TILES * blocks_of(step->rows)); work_next(&work);) {
        struct unit unit = unit_of(&work, step->rows, weight, HIDDEN);
        float sums[ROW_BLOCK][TILE];
        int start = unit.start, outputs = $outputs$;
        multiply_tile(weight + (size_t)start * HIDDEN, outputs, HIDDEN, in.input[unit.first], unit.rows, unit.next, own,
                      sums);
        for (int r = 0; r < unit.rows; r++)
            for (int i = 0; i < outputs; i++)
//% if bias then
                a->qkv[unit.first + r][start + i] = sums[r][i] * in.scale[unit.first + r] + bias[start + i];
//% else
                a->qkv[unit.first + r][start + i] = sums[r][i] * in.scale[unit.first + r];
//% end
    }
}
