/* What this package says about its draft head.
 */
#include "draft.h"

//% if cpu then
#include "shapes.h"

//% for _, variant in ipairs(variants) do
//%    if variant.guard then
#if $variant.guard$
//%    end
void step_draft_$variant.name$(const struct step *step, int thread);
//%    if variant.guard then
#endif
//%    end
//% end

/* Beside the variants of package.c. */
static step_function *const STEPS[] = {
//% for _, variant in ipairs(variants) do
//%    if variant.guard then
#if $variant.guard$
//%    end
    step_draft_$variant.name$,
//%    if variant.guard then
#endif
//%    end
//% end
};

// clang-format off
static const struct stage STAGES[] = {
    /* name, layers, window, for outputs only, bytes of weights a step; FLOPs a row, and a row and position; bytes of state */
//% for _, line in ipairs(stage_lines) do
    $line$
//% end
};
// clang-format on
//% else
#include "cuda/shapes_draft.cuh"
//% end

extern const struct draft_model package_draft;

const struct draft_model package_draft = {
    .kind = "$draft.kind$",
    .name = $c_string(draft.name)$,
    .vocab = VOCAB,
    .tensor = $ids_tensor$,
    .hidden = HIDDEN,
    .heads = HEADS,
    .kv_heads = KV_HEADS,
    .head_dim = HEAD_DIM,
    .intermediate = INTERMEDIATE,
    .places = PLACES,
    .state = 1,
    .depth = $draft.depth$,
    .top_k = $draft.top_k$,
    .tokens = $draft.tokens$,
//% if cpu then
    .steps = STEPS,
    .arena_bytes = sizeof(struct activations),
    .scratch_bytes = sizeof(struct scratch),
    .stages = STAGES,
    .stage_count = sizeof STAGES / sizeof STAGES[0],
//% end
    .parameters = $draft.totals.parameters$,
    .flops_per_row = $draft.totals.flops_per_row$,
    .weight_bytes_read = $draft.totals.weight_bytes_read$,
};
