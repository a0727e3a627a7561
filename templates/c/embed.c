/* The start of a step: each row's embedding, and the angles of its position.
 */
//% if sites then
#include "adapters.h"
//% end
#include "shapes.h"

//% for i, rotary in ipairs(rotaries) do
/* Angle per position of each pair of dimensions (RoPE, theta $rotary.theta$, $rotary.scaling$). */
// clang-format off
static const float FREQUENCY$rotary.suffix$[HEAD_DIM / 2] = {
//%    for _, line in ipairs(rotary.lines) do
    $line$
//%    end
};
// clang-format on

//% end
void embed(const struct step *step, int thread)
{
    struct activations *a = activations(step);
    const element *table = matrix(step, EMBEDDING_OFFSET);
    struct span rows = share(step->rows, thread, step->threads);

    if (thread == 0)
        memset(a->finished, 0, sizeof a->finished);
    for (int row = rows.begin; row < rows.end; row++) {
        const element *embedding = table + (size_t)step->row[row].token * HIDDEN;
        for (int i = 0; i < HIDDEN; i++)
            a->residual[row][i] = to_float(embedding[i]);
//% if sites then
        if (step->row[row].adapter >= 0)
            expand_embedding(step, &step->row[row], a->residual[row]);
//% end

        float position = (float)step->row[row].position;
//% for i, rotary in ipairs(rotaries) do
        for (int i = 0; i < HEAD_DIM / 2; i++) {
            float angle = position * FREQUENCY$rotary.suffix$[i];
            a->cosine$rotary.suffix$[row][i] = cosf(angle);
            a->sine$rotary.suffix$[row][i] = sinf(angle);
        }
//% end
    }
}
