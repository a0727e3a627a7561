/* The model, top to bottom. Every thread runs this function; stage_end waits until all have finished a stage.
 */
#include "model.h"

#include "layers.h"
#include "shapes.h"

void step_model(const struct step *step, int thread)
{
    struct activations *a = activations(step);
    int rows = step->rows;

    if (step->watch)
        step->watch->lap(step->watch->context, step, thread, -1, true);
    embed(step, thread);
    stage_end(step, thread, STAGE_EMBED);
    show(step, thread, "embed", -1, DTYPE_F32, a->residual, rows, HIDDEN);

//% for _, run in ipairs(runs) do
    for (int layer = $run.first$; layer < $run.last$; layer++) {
        const struct layer *weights = &LAYER[layer];
//%    for _, stage in ipairs(run.stages) do
        $stage.call$;
        stage_end(step, thread, STAGE_$stage.kernel.name:upper()$);
        show(step, thread, "$stage.trace$", layer, $stage.dtype$, a->$stage.output$, rows, $stage.columns$);
//%    end
    }

//% end
//% if has_feature then
    feature(step, thread);
    stage_end(step, thread, STAGE_FEATURE);
//% end
//% if has_draft then
    show(step, thread, "taps", -1, $element_dtype$, a->taps, rows, TAPS);
//% end
    if (step->outputs > 0) {
        head(step, thread);
        stage_end(step, thread, STAGE_HEAD);
        show(step, thread, "logits", -1, DTYPE_F32, step->logits, step->outputs, VOCAB);
    }
}
