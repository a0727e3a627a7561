/* What queries, keys and values are made of: the token's embedding and the feature, each after a norm of its own.
 */
#include "layers.h"
#include "norm.h"
#include "shapes.h"

void $name$(const struct step *step, int thread)
{
    struct activations *a = activations(step);
    struct scratch *own = scratch(step, thread);
    const element *table = matrix(step, EMBEDDING_OFFSET);
    const float *embedding_gain = vector(step, LAYER[0].embedding_norm);
    const float *hidden_gain = vector(step, LAYER[0].hidden_norm);
    struct span rows = share(step->rows, thread, step->threads);

    for (int row = rows.begin; row < rows.end; row++) {
        const element *embedding = table + (size_t)step->row[row].token * HIDDEN;
        float *wide = own->copy;
        for (int i = 0; i < HIDDEN; i++)
            wide[i] = to_float(embedding[i]);
        normalise_whole(wide, embedding_gain, HIDDEN, $embedding_epsilon$, a->input[row]);
        normalise_whole(a->residual[row], hidden_gain, HIDDEN, $hidden_epsilon$, a->input[row] + HIDDEN);
//% if norm_before_residual then
        normalise_in_place(a->residual[row], hidden_gain, HIDDEN, $hidden_epsilon$);
//% end
    }
}
