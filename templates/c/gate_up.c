/* Norm, gate and up products, and their gated activation: out = $activation$(gate) * up.
 */
#include "product.h"
#include "shapes.h"

INLINE f32x16 $activation$(f32x16 x)
{
    return divide(x, add(splat(1.0f), exponential(multiply(x, splat(-1.0f)))));
}

void $name$(const struct step *step, const struct layer *layer, int thread)
{
    struct activations *a = activations(step);
    struct scratch *own = scratch(step, thread);
    const float *gain = vector(step, layer->mlp_norm);
    const element *gate = matrix(step, layer->gate_up), *up = gate + (size_t)INTERMEDIATE * HIDDEN;
//% if bias then
    const float *gate_bias = vector(step, layer->gate_up_bias), *up_bias = gate_bias + INTERMEDIATE;
//% end
    struct span tiles = share(INTERMEDIATE_TILES, thread, step->threads);

    for (int first = 0; first < step->rows; first += ROW_BLOCK) {
        int rows = minimum(ROW_BLOCK, step->rows - first);
        for (int r = 0; r < rows; r++)
            own->scale[r] = normalise(a->residual[first + r], gain, HIDDEN, $epsilon$, own->input[r]);

        for (int tile = tiles.begin; tile < tiles.end; tile++) {
            float gates[ROW_BLOCK][TILE], ups[ROW_BLOCK][TILE];
            int start = tile * TILE, outputs = $outputs$;
            multiply_tile(gate + (size_t)start * HIDDEN, outputs, HIDDEN, own->input[0], HIDDEN, rows, gates);
            multiply_tile(up + (size_t)start * HIDDEN, outputs, HIDDEN, own->input[0], HIDDEN, rows, ups);
            for (int r = 0; r < rows; r++) {
                f32x16 scale = splat(own->scale[r]);
//% if bias then
                f32x16 g = multiply_add(load_f32(gates[r]), scale, load_some_f32(gate_bias + start, outputs));
                f32x16 u = multiply_add(load_f32(ups[r]), scale, load_some_f32(up_bias + start, outputs));
//% else
                f32x16 g = multiply(load_f32(gates[r]), scale);
                f32x16 u = multiply(load_f32(ups[r]), scale);
//% end
                store_some(&a->gated[first + r][start], multiply($activation$(g), u), outputs);
            }
        }
    }
}
