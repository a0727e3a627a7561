/* $title$: a product that is added to the residual stream.
 */
#include "product.h"
#include "shapes.h"

enum { DEPTH = $depth$ };

void $name$(const struct step *step, const struct layer *layer, int thread)
{
    struct activations *a = activations(step);
    const element *weight = matrix(step, layer->$weight$);
//% if bias then
    const float *bias = vector(step, layer->$weight$_bias);
//% end
    struct span tiles = share(HIDDEN_TILES, thread, step->threads);

    for (int first = 0; first < step->rows; first += ROW_BLOCK) {
        int rows = minimum(ROW_BLOCK, step->rows - first);
        for (int tile = tiles.begin; tile < tiles.end; tile++) {
            float sums[ROW_BLOCK][TILE];
            int start = tile * TILE, outputs = $outputs$;
            multiply_tile(weight + (size_t)start * DEPTH, outputs, DEPTH, a->$input$[first], DEPTH, rows, sums);
            for (int r = 0; r < rows; r++)
                for (int i = 0; i < outputs; i++)
//% if bias then
                    a->residual[first + r][start + i] += sums[r][i] + bias[start + i];
//% else
                    a->residual[first + r][start + i] += sums[r][i];
//% end
        }
    }
}
