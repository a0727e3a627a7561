/* Takes in what was gathered: the residual stream of those rows begins with it.
 */
#include "layers.h"
#include "product.h"
#include "shapes.h"

void $name$(const struct step *step, int thread)
{
    struct activations *a = activations(step);
    struct scratch *own = scratch(step, thread);
    const element *weight = matrix(step, LAYER[0].fc);
//% if bias then
    const float *bias = vector(step, LAYER[0].fc_bias);
//% end

    for (struct work work = work_begin(step, HIDDEN_TILES * blocks_of(a->entered)); work_next(&work);) {
        struct unit unit = unit_of(&work, a->entered, weight, ENTERING);
        float sums[ROW_BLOCK][TILE];
        int start = unit.start, outputs = $outputs$;
        multiply_tile(weight + (size_t)start * ENTERING, outputs, ENTERING, a->entering[unit.first], unit.rows,
                      unit.next, own, sums);
        for (int r = 0; r < unit.rows; r++) {
            int row = a->entering_row[unit.first + r];
            for (int i = 0; i < outputs; i++) {
//% if bias then
                a->residual[row][start + i] = sums[r][i] + bias[start + i];
//% else
                a->residual[row][start + i] = sums[r][i];
//% end
//% if not eagle3 then
                a->input[row][start + i] = to_element(a->residual[row][start + i]);
//% end
            }
        }
    }
}
