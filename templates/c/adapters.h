/* What LoRA adapters do to a product (runtime/adapter.h): t = A x, the shrink, then B t, the expand, in every tile.
 *
 *     a thread     | A x  A x | W x + B t  W x + B t ...
 *     another one  | A x | W x, wait, + B t  W x + B t ...
 *
 * The units of A x are dealt out to the threads before those of W x, from the input that W x reads too. A tile with rows
 * that have an adapter waits, once W x is there, until all of A x is; no other tile waits, and there is no barrier.
 */
#ifndef ADAPTERS_H
#define ADAPTERS_H

#include "adapter.h"
#include "product.h"
#include "shapes.h"

/* The sites' numbers: of a layer, from layer * LAYER_SITES on; then those outside. */
enum { SITE_Q, SITE_K, SITE_V, SITE_O, SITE_GATE, SITE_UP, SITE_DOWN, LAYER_SITES };
enum { SITE_HEAD = LAYERS * LAYER_SITES, SITE_EMBEDDING };

/* A site as a stage has it: `rows` of its outputs from `first` on. */
struct site {
    int number, first, rows;
};

/* A stage whose product adapters change. */
struct adapted {
    struct site sites[3]; /* [site_count] numbers from `layer` * LAYER_SITES on */
    int site_count, layer;
    const struct adapter_run *run; /* [runs] of the rows of `input` */
    int runs;
    const element *input; /* [rows][depth] */
    int depth;
    const float *scale; /* factors that the product's rows get afterwards, a norm's; NULL: none */
    unsigned units;     /* of A x in all */
};

/* What an adapter does at a site. */
INLINE const struct adapter_entry *adapter_entry(const struct step *step, int adapter, int site)
{
    return (const struct adapter_entry *)(const void *)step->adapter[adapter] + site;
}

INLINE const element *adapter_matrix(const struct step *step, int adapter, uint64_t offset)
{
    return (const element *)(const void *)(step->adapter[adapter] + offset);
}

INLINE const float *adapter_vector(const struct step *step, int adapter, uint64_t offset)
{
    return (const float *)(const void *)(step->adapter[adapter] + offset);
}

/* What the adapter of a run does at a stage's site. */
INLINE const struct adapter_entry *entry_of(const struct step *step, const struct adapted *in, int run, int site)
{
    return adapter_entry(step, in->run[run].adapter, in->layer * LAYER_SITES + in->sites[site].number);
}

#define shrink(...) OF_VARIANT(shrink)(__VA_ARGS__)
#define expand_ask(...) OF_VARIANT(expand_ask)(__VA_ARGS__)
#define expand_runs(...) OF_VARIANT(expand_runs)(__VA_ARGS__)
#define expand_embedding(...) OF_VARIANT(expand_embedding)(__VA_ARGS__)

/* This thread's share of the units of A x. */
void shrink(const struct step *step, int thread, struct adapted *in);

void expand_ask(const struct step *step, const struct adapted *in, int start, int outputs, int first, int rows);
void expand_runs(const struct step *step, int thread, const struct adapted *in, int start, int outputs, int first,
                 int rows, float (*sums)[TILE]);

/* Asks for what `expand` will read, which lies scattered: before the product of the tile, which takes a while. */
INLINE void expand_ahead(const struct step *step, const struct adapted *in, int start, int outputs, int first, int rows)
{
    if (in->runs)
        expand_ask(step, in, start, outputs, first, rows);
}

/* What adapters do to a tile: sums[r][i] is output start + i of input row first + r, before its norm's factor. */
INLINE void expand(const struct step *step, int thread, const struct adapted *in, int start, int outputs, int first,
                   int rows, float (*sums)[TILE])
{
    if (in->runs)
        expand_runs(step, thread, in, start, outputs, first, rows, sums);
}

/* The embedding [HIDDEN] of a row that has an adapter. */
void expand_embedding(const struct step *step, const struct row *row, float *embedding);

#endif
