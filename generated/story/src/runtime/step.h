/* One step: a batch of rows through the whole model. This is the contract between the runtime, which decides
   what to compute, and the generated code, which computes it (model.c of a package).

   A row is one token with its position, its sequence, its adapter and its parent:

       prefill      many consecutive rows of one sequence
       decode       one row a sequence
       mixed        both, from many sequences
       speculation  a tree of rows of one sequence

   A row's result depends on its own sequence and position, never on the rows beside it: the same bits alone,
   in a batch, or in another chunking. */
#ifndef LATHE_STEP_H
#define LATHE_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct adapter_run;
struct barrier;
struct stopwatch;
struct trace;

struct row {
    int32_t token;    /* id, 0 <= token < vocab; checked by the engine */
    int32_t position; /* absolute position in its sequence, 0 <= position < max_seq */
    int32_t sequence; /* index into step.pages */
    int32_t adapter;  /* adapter slot, -1 for none */
    int32_t parent;   /* index of the row of this step that precedes it, -1: the sequence's stored state */
    int32_t shared;   /* keys at positions < shared are read through the page table; a plain row has
                         shared = position + 1, its own key included */
    int32_t path;     /* tree rows: step.path[path + (p - shared)] is the scratch slot that holds the key of
                         position p, for shared <= p <= position (the row itself is last) */
    int32_t scratch;  /* tree rows: the scratch slot that this row writes; -1: its position's place in the
                         sequence's pages */
};

/* The memory of one step. Everything is owned by the caller (the engine) and outlives the step. */
struct step {
    int rows;                             /* 1 <= rows <= max_rows */
    int outputs;                          /* rows whose logits are wanted, 0 <= outputs <= max_outputs */
    const struct row *row;                /* [rows] rows of one sequence in order of position, parents first */
    const int32_t *output_row;            /* [outputs] index of the row, ascending */
    const int32_t *const *pages;          /* [sequences][position / page] -> page; one table for all paged groups */
    const int32_t *path;                  /* scratch slots of the tree rows' ancestors */
    const unsigned char *weights;         /* the payload; tensors lie at the offsets of model.tensors */
    unsigned char *const *state;          /* [state groups] base of each group's pages, then its scratch slots */
    int32_t pages_total;                  /* pages in each paged group; scratch slot i is slot pages_total * page + i */
    unsigned char *arena;                 /* model.arena_bytes, aligned to 64: activations of all rows */
    unsigned char *scratch;               /* threads * model.scratch_bytes, aligned to 64: each thread's own */
    float *logits;                        /* [outputs, vocab] */
    const unsigned char *const *adapter;  /* [adapter slots] blobs (adapter.h); NULL: the package has none */
    const struct adapter_run *run;        /* [runs] rows with an adapter, ascending */
    const struct adapter_run *output_run; /* [output_runs] the same among the outputs */
    int runs, output_runs;
    const int32_t *feature;        /* [rows] draft steps (draft.h): where each row's feature comes from */
    const int32_t *feature_place;  /* [rows] and where it leaves its own; -1: nowhere */
    int threads;                   /* how many threads run this step, each calling the step function once */
    struct barrier *barrier;       /* between stages; initialised for `threads` */
    const struct trace *trace;     /* who wants to see the tensors between the stages; usually NULL */
    const struct stopwatch *watch; /* who measures the stages; usually NULL */
};

/* Generated. Every thread of the team calls it with its own number, 0 <= thread < step->threads. */
typedef void step_function(const struct step *step, int thread);

/* A look at the tensors between the stages (`--dump`). Called by thread 0 alone, after the stage's barrier,
   and before any thread goes on. data: [rows, columns] of dtype. layer: -1 outside the layers. */
struct trace {
    void (*tensor)(void *context, const char *name, int layer, int dtype, const void *data, int rows, int columns);
    void *context;
};

/* A look at the clock (`bench --stages`). Each thread calls it at the beginning of a step (stage -1), when it has done its
   own part of a stage, and again when all have (`all`). stage: index into model.stages. */
struct stopwatch {
    void (*lap)(void *context, const struct step *step, int thread, int stage, bool all);
    void *context;
};

#endif
