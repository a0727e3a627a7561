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
    struct span tiles = share(QKV_TILES, thread, step->threads);

    for (int first = 0; first < step->rows; first += ROW_BLOCK) {
        int rows = minimum(ROW_BLOCK, step->rows - first);
        for (int r = 0; r < rows; r++)
            own->scale[r] = normalise(a->residual[first + r], gain, HIDDEN, $epsilon$, own->input[r]);

        for (int tile = tiles.begin; tile < tiles.end; tile++) {
            float sums[ROW_BLOCK][TILE];
            int start = tile * TILE, outputs = $outputs$;
            multiply_tile(weight + (size_t)start * HIDDEN, outputs, HIDDEN, own->input[0], HIDDEN, rows, sums);
            for (int r = 0; r < rows; r++)
                for (int i = 0; i < outputs; i++)
//% if bias then
                    a->qkv[first + r][start + i] = sums[r][i] * own->scale[r] + bias[start + i];
//% else
                    a->qkv[first + r][start + i] = sums[r][i] * own->scale[r];
//% end
        }
    }
}
