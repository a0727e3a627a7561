/* What the draft head takes of each row: the residual stream after the last norm.
 */
#include "norm.h"
#include "shapes.h"

void $name$(const struct step *step, int thread)
{
    struct activations *a = activations(step);
    const float *gain = vector(step, FINAL_NORM_OFFSET);
    struct span rows = share(step->rows, thread, step->threads);

    for (int row = rows.begin; row < rows.end; row++)
        normalise_whole(a->residual[row], gain, HIDDEN, $epsilon$, a->taps[row]);
}
