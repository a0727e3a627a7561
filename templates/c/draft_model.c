/* The draft head, top to bottom: it guesses the token after the next one from a feature and a token (runtime/draft.h). Every
 * thread runs this function; stage_end waits until all have finished a stage.
 */
#include "model.h"

#include "layers.h"
#include "shapes.h"

void step_draft(const struct step *step, int thread)
{
    struct activations *a = activations(step);
    int rows = step->rows;

    if (step->watch)
        step->watch->lap(step->watch->context, step, thread, -1, true);
//% for _, kernel in ipairs(before) do
    $kernel.name$(step, thread);
    stage_end(step, thread, STAGE_$kernel.name:upper()$);
//% end
    show(step, thread, "draft.fc", -1, DTYPE_F32, a->residual, rows, HIDDEN);

    const struct layer *weights = LAYER;
    int layer = 0;
//% for _, stage in ipairs(draft_stages) do
    $stage.call$;
    stage_end(step, thread, STAGE_$stage.kernel.name:upper()$);
    show(step, thread, "draft.$stage.trace$", -1, $stage.dtype$, a->$stage.output$, rows, $stage.columns$);
//% end

    if (step->outputs > 0) {
        $after.name$(step, thread);
        stage_end(step, thread, STAGE_$after.name:upper()$);
        show(step, thread, "draft.logits", -1, DTYPE_F32, step->logits, step->outputs, VOCAB);
    }
}
