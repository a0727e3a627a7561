/* $subject$ in numbers: its dimensions, the buffers of one step, where each layer's weights lie, and the stages.
 */
#ifndef SHAPES_H
#define SHAPES_H

#include "prelude.h"

enum {
//% for _, line in ipairs(constant_lines) do
    $line$
//% end
};

/* Where the weights outside the layers lie in the payload, in bytes. */
//% for _, offset in ipairs(offsets) do
#define $offset.name$ UINT64_C($offset.value$)
//% end

/* Attention over some positions, for the query heads of one key/value head: value = sum(p v), relative to the maximum. */
struct partial {
    float maximum[HEADS / KV_HEADS];
    float sum[HEADS / KV_HEADS];
    float value[HEADS / KV_HEADS][HEAD_DIM];
};

/* What a step computes on its way, for all its rows; the stages read and write these. */
struct activations {
//% for _, line in ipairs(buffer_lines) do
    _Alignas(64) $line$
//% end
};

/* A thread's own memory. */
struct scratch {
    element input[FEW_ROWS][HIDDEN];                         /* normalised rows, before a product */
    float scale[FEW_ROWS];                                   /* the factors of their norms */
    _Alignas(64) float copy[4 * ((DEEPEST + 31) / 32 * 32)]; /* weight rows, as a product takes them */
    _Alignas(64) float keys[HEAD_DIM * LEAF];                /* keys of a leaf of the attention, turned */
};

/* Where one layer's weights lie in the payload, in bytes. */
struct layer {
//% for _, line in ipairs(field_lines) do
    $line$
//% end
};

/* The stages' numbers in the table of package.c. */
enum {
//% for _, stage in ipairs(stages) do
    STAGE_$stage.name:upper()$,
//% end
};

/* The stages, under the names that they have in this instruction set. */
//% for _, stage in ipairs(stages) do
#define $stage.name$(...) OF_VARIANT($stage.name$)(__VA_ARGS__)
//% end
//% if is_draft then
#define step_draft(...) OF_VARIANT(step_draft)(__VA_ARGS__)
//% else
#define step_model(...) OF_VARIANT(step_model)(__VA_ARGS__)
#define measure_peak(...) OF_VARIANT(measure_peak)(__VA_ARGS__)
//% end

//% for _, stage in ipairs(stages) do
void $stage.name$($stage.parameters$);
//% end
//% if is_draft then
void step_draft(const struct step *step, int thread);
//% else
void step_model(const struct step *step, int thread);
double measure_peak(int rounds);
//% end

INLINE struct activations *activations(const struct step *step)
{
    return (struct activations *)(void *)step->arena;
}

INLINE struct scratch *scratch(const struct step *step, int thread)
{
    return (struct scratch *)(void *)(step->scratch + (size_t)thread * sizeof(struct scratch));
}

INLINE const element *matrix(const struct step *step, uint64_t offset)
{
    return (const element *)(const void *)(step->weights + offset);
}

INLINE const float *vector(const struct step *step, uint64_t offset)
{
    return (const float *)(const void *)(step->weights + offset);
}

/* Keys and values lie in pages of PAGE positions:
 *
 *     page:  layer 0: head 0: K [PAGE][HEAD_DIM], V [PAGE][HEAD_DIM]; head 1: ...; layer 1: ...
 *
 * Returns the key of a slot (page * PAGE + place in the page); its value lies VALUE_OFFSET elements behind it. */
INLINE element *state_slot(const struct step *step, int slot, int layer, int head)
{
    element *pages = (element *)(void *)step->state[$state_group$];
    return pages + (size_t)(slot / PAGE) * PAGE_ELEMENTS + ((size_t)layer * KV_HEADS + (size_t)head) * HEAD_ELEMENTS +
           (size_t)(slot % PAGE) * HEAD_DIM;
}

/* The slot of a position as `row` sees it: through its sequence's page table, or, for the ancestors of a tree row that
   are not in the pages yet, through its path. */
INLINE int slot_of(const struct step *step, const struct row *row, int position)
{
    if (position < row->shared)
        return step->pages[row->sequence][position / PAGE] * PAGE + position % PAGE;
    return step->pages_total * PAGE + step->path[row->path + position - row->shared];
}

#endif
