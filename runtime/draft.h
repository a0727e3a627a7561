/* A draft head (EAGLE) of a package: constant data that the generator writes, and what its step function demands.

   The head guesses the tokens after the next one from *features* of the target: the residual stream at a few layers
   (EAGLE-3), or the hidden state after the last norm (EAGLE-1). Its rows are *pairs*: pair i is (feature of token i, token
   i + 1), lies at position i, and predicts token i + 2.

   A target step (variant.step) of a package with a head leaves the features of its rows, rounded to the package's dtype,
   as *taps* in the arena. They stay until the next target step. A draft step (draft_model.steps) is a struct step like any
   other, with the same arena, pages, scratch slots, weights and pool:

       row[r].token           token i + 1, an id of the target's
       row[r].position        i: where the pair's keys lie in the draft's own state group, in the same pages as the target's
       row[r].parent, shared, path, scratch      as in any step; a tree's rows are at consecutive positions after its pairs
       feature[r]             t >= 0: the taps of row t of the last target step; ~p: place p of the draft's own features,
                              which an earlier draft row left, its guess of what the taps would be
       feature_place[r]       the place at which the row leaves its own feature; -1: nowhere. Different for each row
       outputs, output_row    rows that want logits
       logits                 [outputs, draft vocab]

   Places are read before any is written, so a step may leave a feature where it took one. They stay until a draft step
   writes them. Pairs of committed rows belong in the pages (scratch -1) and only ever come from taps; guesses belong in
   scratch slots, which are forgotten after the cycle.

   Pair i needs token i + 1, so its keys say something of a token that lies behind them: who rolls a sequence back to n
   positions, or forks it there, runs position n - 1 through the target again (or drafts with pairs up to n - 2). */
#ifndef LATHE_DRAFT_H
#define LATHE_DRAFT_H

#include <stdint.h>

#include "model.h"

struct draft_model {
    const char *kind; /* "eagle3", "eagle1" */
    const char *name; /* its folder's */
    int32_t vocab;    /* ids that it knows: its logits */
    int32_t
        tensor; /* index into model.tensors of a section [vocab] of int32: the target's ids of its own, all different; -1:
                       they are the same ids */
    int32_t hidden, heads, kv_heads, head_dim, intermediate;
    int32_t places; /* of the draft's own features */
    int32_t state;  /* index into model.states of its keys and values */

    int32_t depth; /* the recipe's: draft steps of a cycle, the first (over the new pairs) included: levels of a tree */
    int32_t top_k; /* children of a node, and nodes that are expanded a level; 1: chains */
    int32_t tokens; /* rows that the target verifies, the root included */

    step_function *const *steps;         /* [variant_count] beside model.variants; NULL: not built for CPUs */
    uint64_t arena_bytes, scratch_bytes; /* as the model's, of a draft step; the larger of both is to be had */
    const struct stage *stages;          /* [stage_count] of a draft step on a CPU, in order */
    int32_t stage_count;

    uint64_t parameters;
    uint64_t flops_per_row;     /* of one row through the head, its output layer included */
    uint64_t weight_bytes_read; /* of one draft step */
};

#endif
