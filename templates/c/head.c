/* The end of a step: the last norm, and the logits of the rows that asked for them.
 */
#include "product.h"
#include "shapes.h"

void head(const struct step *step, int thread)
{
    struct activations *a = activations(step);
    struct scratch *own = scratch(step, thread);
    const float *gain = vector(step, FINAL_NORM_OFFSET);
    const element *weight = matrix(step, HEAD_OFFSET);
    struct span tiles = share(VOCAB_TILES, thread, step->threads);

    for (int first = 0; first < step->outputs; first += ROW_BLOCK) {
        int rows = minimum(ROW_BLOCK, step->outputs - first);
        for (int r = 0; r < rows; r++) {
            const float *x = a->residual[step->output_row[first + r]];
            own->scale[r] = normalise(x, gain, HIDDEN, $epsilon$, own->input[r]);
        }

        for (int tile = tiles.begin; tile < tiles.end; tile++) {
            float sums[ROW_BLOCK][TILE];
            int start = tile * TILE, outputs = $outputs$;
            multiply_tile(weight + (size_t)start * HIDDEN, outputs, HIDDEN, own->input[0], HIDDEN, rows, sums);
            for (int r = 0; r < rows; r++)
                for (int i = 0; i < outputs; i++)
                    step->logits[(size_t)(first + r) * VOCAB + (size_t)(start + i)] = sums[r][i] * own->scale[r];
        }
    }
}
