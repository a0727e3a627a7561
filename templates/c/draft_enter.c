/* The start of a draft step: gathers what is taken in, and the angles of each pair's position.
 */
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
//% if eagle3 then
/* Taps of the target go through the product that follows, so they lie side by side; a feature of the head's own is what that
   product would make of them. `entering`: how many rows before this one have taps. */
static void gather(struct activations *a, int row, int from, int entering)
{
    if (from < 0) {
        memcpy(a->residual[row], a->feature[~from], sizeof a->residual[row]);
        return;
    }
    memcpy(a->entering[entering], a->taps[from], sizeof a->entering[entering]);
    a->entering_row[entering] = row;
}
//% else
/* Each row's token and feature, of the target or the head's own. */
static void gather(struct activations *a, int row, int from, const element *embedding)
{
    element *out = a->entering[row];
    memcpy(out, embedding, HIDDEN * sizeof *out);
    if (from >= 0)
        memcpy(out + HIDDEN, a->taps[from], HIDDEN * sizeof *out);
    else
        for (int i = 0; i < HIDDEN; i++)
            out[HIDDEN + i] = to_element(a->feature[~from][i]);
    a->entering_row[row] = row;
}
//% end

void $name$(const struct step *step, int thread)
{
    struct activations *a = activations(step);
    struct span rows = share(step->rows, thread, step->threads);

    if (thread == 0)
        memset(a->finished, 0, sizeof a->finished);
//% if eagle3 then
    int entering = 0;
    for (int row = 0; row < rows.begin; row++)
        entering += step->feature[row] >= 0;
//% else
    const element *table = matrix(step, EMBEDDING_OFFSET);
//% end
    for (int row = rows.begin; row < rows.end; row++) {
//% if eagle3 then
        gather(a, row, step->feature[row], entering);
        entering += step->feature[row] >= 0;
//% else
        gather(a, row, step->feature[row], table + (size_t)step->row[row].token * HIDDEN);
//% end

//% if gap > 0 then
        /* What is only a guess lies behind a gap, as in this head's training. */
        float position = (float)(step->row[row].position + (step->row[row].scratch < 0 ? 0 : $gap$));
//% else
        float position = (float)step->row[row].position;
//% end
//% for i, rotary in ipairs(rotaries) do
        for (int i = 0; i < HEAD_DIM / 2; i++) {
            float angle = position * FREQUENCY$rotary.suffix$[i];
            a->cosine$rotary.suffix$[row][i] = cosf(angle);
            a->sine$rotary.suffix$[row][i] = sinf(angle);
        }
//% end
    }
    if (thread == step->threads - 1)
//% if eagle3 then
        a->entered = entering;
//% else
        a->entered = step->rows;
//% end
}
