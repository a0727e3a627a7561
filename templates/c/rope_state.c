/* Turns queries and keys by their positions' angles, and writes keys and values to the sequence's pages.
 */
#include "shapes.h"

//% if qk_norm then
/* RMS norm over one head, before it is turned. */
static void normalise_head(const float *x, const float *gain, float *out)
{
    float squares = 0.0f;
    for (int i = 0; i < HEAD_DIM; i++)
        squares += x[i] * x[i];
    float scale = 1.0f / sqrtf(squares / HEAD_DIM + $epsilon$);
    for (int i = 0; i < HEAD_DIM; i++)
        out[i] = x[i] * scale * gain[i];
}

//% end
/* Pairs are (i, i + HEAD_DIM / 2). */
static void turn(const float *x, const float *cosine, const float *sine, element *out)
{
    for (int i = 0; i < HEAD_DIM / 2; i++) {
        float first = x[i], second = x[i + HEAD_DIM / 2];
        out[i] = to_element(first * cosine[i] - second * sine[i]);
        out[i + HEAD_DIM / 2] = to_element(second * cosine[i] + first * sine[i]);
    }
}

void $name$(const struct step *step, const struct layer *layer, int index, int thread)
{
    struct activations *a = activations(step);
//% if qk_norm then
    const float *query_gain = vector(step, layer->query_norm), *key_gain = vector(step, layer->key_norm);
    float normed[HEAD_DIM];
//% else
    (void)layer;
//% end
    struct span items = share(step->rows * (HEADS + KV_HEADS), thread, step->threads);

    for (int item = items.begin; item < items.end; item++) {
        int r = item / (HEADS + KV_HEADS), head = item % (HEADS + KV_HEADS);
        const struct row *row = &step->row[r];
        const float *x = a->qkv[r] + head * HEAD_DIM;
        const float *cosine = a->cosine$rotary$[r], *sine = a->sine$rotary$[r];
        if (head < HEADS) {
//% if qk_norm then
            normalise_head(x, query_gain, normed);
            x = normed;
//% end
            turn(x, cosine, sine, a->query[r] + head * HEAD_DIM);
        } else {
            int slot = row->scratch < 0 ? slot_of(step, row, row->position) : step->pages_total * PAGE + row->scratch;
            element *key = state_slot(step, slot, index, head - HEADS);
            const float *value = x + KV_HEADS * HEAD_DIM;
//% if qk_norm then
            normalise_head(x, key_gain, normed);
            x = normed;
//% end
            turn(x, cosine, sine, key);
            for (int i = 0; i < HEAD_DIM; i++)
                key[VALUE_OFFSET + i] = to_element(value[i]);
        }
    }
}
