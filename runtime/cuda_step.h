/* What a CUDA kernel of a package is given: the device's view of a step (step.h). This is the contract between the
   runtime, which fills it, and the generated kernels and model.c, which use it. Plain C without includes, so that NVRTC
   compiles it from memory.

   All pointers are device memory and stay the same for the life of the engine, so that a captured graph stays valid;
   what changes from step to step is what they point at. Every kernel has the same parameters:

       extern "C" __global__ void NAME(const __grid_constant__ struct cuda_step step,
                                       const __grid_constant__ struct layer layer, int index)

   with `struct layer` (the offsets of one layer's weights in step.weights) generated into shapes.cuh, and `index` the
   number of the layer. */
#ifndef LATHE_CUDA_STEP_H
#define LATHE_CUDA_STEP_H

#ifdef __CUDACC_RTC__
typedef signed int int32_t;
typedef unsigned int uint32_t;
typedef signed long long int64_t;
typedef unsigned long long uint64_t;
typedef unsigned short uint16_t;
typedef unsigned char uint8_t;
#else
#include <stdint.h>
#endif

/* struct row of step.h, word for word, but for the token. */
struct cuda_row {
    int32_t token;    /* id; or ~i for the token that the device chose last for draw slot i (cuda_step.chosen) */
    int32_t position; /* absolute position in its sequence */
    int32_t sequence; /* row of cuda_step.pages */
    int32_t adapter;  /* adapter slot, -1 for none */
    int32_t parent;   /* row of this step that precedes it, -1: the sequence's stored state */
    int32_t shared;   /* keys at positions < shared come through the page table */
    int32_t path;     /* keys at shared <= p <= position: scratch slot path[path + (p - shared)] */
    int32_t scratch;  /* the scratch slot that this row writes; -1: its position's place in the pages */
};

/* The numbers of one step. Rows >= rows of a bucket are padding: kernels may compute them, never store their keys. */
struct cuda_counts {
    int32_t rows;                  /* 1 <= rows <= the bucket's */
    int32_t outputs;               /* rows whose logits are wanted, 0 <= outputs <= rows */
    int32_t groups, output_groups; /* of rows and of outputs with adapters */
    int32_t adapter_tiles;         /* tiles of 16 rows that the largest A of these adapters has */
    int32_t entering;              /* draft steps: rows whose features are the target's taps */
    int32_t guesses; /* draft steps: likeliest tokens wanted of each output, 0 <= guesses <= CUDA_GUESSES */
    int32_t reserved;
};

/* LoRA (adapter.h): what an adapter does at a site, where it lies on the device. */
struct cuda_adapter_site {
    uint64_t a; /* device addresses; 0: there is none. A: tiles of 16 rows in fragment order, ranks padded with zero
                           rows; at the embedding [vocab, rank] as in the blob */
    uint64_t b; /* [rows, rank] elements */
    uint64_t row_scale; /* [rows] f32 */
    uint64_t bias;      /* [rows] f32 */
    uint64_t full;      /* head: tiles in fragment order; embedding: [vocab, hidden] elements */
    int32_t rank;       /* as in the blob: columns of B; 0: neither A nor B */
    float scale;
};

/* Rows of a step with the same adapter, as many as the tensor cores take at once. */
enum { CUDA_GROUP_ROWS = 8 };

struct cuda_group {
    int32_t adapter, rows;
    int32_t row[CUDA_GROUP_ROWS]; /* [rows] of the step; among the outputs, for groups of outputs */
};

/* One of the likeliest tokens of a draft step's output. */
enum { CUDA_GUESSES = 64 };

struct cuda_guess {
    int32_t id; /* an id of the draft head's; ~id of a logit that is NaN or +infinity */
    float logprob;
};

/* Target and draft steps of a package with a draft head (draft.h) have the same taps and features, and arenas of their own. */
struct cuda_step {
    const struct cuda_counts *counts;
    const struct cuda_row *row;   /* [max_rows] */
    const int32_t *output_row;    /* [max_outputs] index of the row, ascending */
    const int32_t *pages;         /* [sequences][table] position / page -> page */
    const int32_t *path;          /* scratch slots of the tree rows' ancestors */
    const int32_t *chosen;        /* [draw slots] the last token chosen on the device */
    const unsigned char *weights; /* [weights_bytes] packed as cuda_model.h says; LAYER offsets are into it */
    unsigned char *state;         /* pages, then scratch slots; a page as in the C kernels (shapes.cuh state_slot), the
                                     draft head's behind the model's */
    unsigned char *arena;         /* struct activations of shapes.cuh, zero at load */
    float *logits;                /* [max_outputs][vocab] */
    const struct cuda_adapter_site *adapters; /* [adapter slots][sites]; NULL: the package has none */
    const struct cuda_group *group;           /* [counts.groups] all rows with an adapter, each once */
    const struct cuda_group *output_group; /* [counts.output_groups] outputs whose adapter does something at the head */
    uint16_t *taps;         /* [max_rows] what the target's last step left for its draft head, pieces; else NULL */
    float *features;        /* [places][hidden] the draft head's own */
    const int32_t *feature; /* [max_rows] draft steps: where each row's feature comes from */
    const int32_t *feature_place; /* [max_rows] draft steps: where each row leaves its own; -1: nowhere */
    const int32_t *entering;      /* [counts.entering] draft steps: rows whose features are taps, ascending */
    struct cuda_guess *guesses;   /* [max_outputs][CUDA_GUESSES] draft steps: in pinned memory of the host */
    int32_t table;                /* entries of one page table */
    int32_t pages_total;          /* scratch slot i is slot pages_total * page + i */
};

/* The kernels that the runtime launches itself have parameters of their own:

       pack(uint4 *to, const element *from, int rows, int columns, int packing, int first_tile)
           Tiles first_tile + block of a section in fragment order; grid (tiles, 1, 1). `from`: where row 0 of the
           row-major matrix is or would be; of ROWS and ROTARY only the rows of these tiles' heads are there.
       random(void *to, uint64_t first, uint64_t count, uint64_t key, float centre, float scale, int bf16)
           Elements [first, first + count) of a tensor of random weights, row-major, to to[0 .. count); any grid.
       read(const uint4 *from, uint64_t count, uint32_t *sink)
           Reads `count` pieces of 16 bytes; any grid; sink [blocks]: what depends on all of them. */

#endif
