/* Draft steps on a GPU (draft.h): a graph of their own for each bucket of rows, run to their end one at a time while no other
   step is under way. */
#ifndef LATHE_CUDA_DRAFTS_H
#define LATHE_CUDA_DRAFTS_H

#include "cuda_plan.h"
#include "cuda_stream.h"
#include "cuda_tables.h"
#include "engine_backend.h"

struct cuda_drafts {
    const struct model *model;
    const struct cuda_plan *plan;
    struct cuda_stream *stream;
    CUdeviceptr memory;       /* the planned block */
    unsigned char *host;      /* [plan.draft_record_bytes] pinned: what a step reads, on its way */
    struct cuda_guess *guess; /* [max_outputs][CUDA_GUESSES] pinned; the kernel writes it */
    CUdeviceptr guess_device;
    float *logits;      /* [draft vocab] of an output that somebody looks at */
    CUgraphExec *graph; /* [bucket_count] NULL: not captured yet */
};

/* Of a package without a head on GPUs everything stays zero. */
int cuda_drafts_open(struct cuda_drafts *drafts, const struct model *model, const struct cuda_plan *plan,
                     struct cuda_stream *stream, CUdeviceptr memory, struct error *error);
/* All zero is allowed. */
void cuda_drafts_close(struct cuda_drafts *drafts);

/* Runs a draft step to its end. base: a step of the target, for what both have in common. */
int cuda_drafts_run(struct cuda_drafts *drafts, const struct engine_draft_step *step, struct cuda_tables *tables,
                    int32_t bucket, const struct cuda_step *base, struct error *error);
/* engine_backend.h's draft_logits and draft_best, of the step run last. */
const float *cuda_drafts_logits(struct cuda_drafts *drafts, int32_t output);
int cuda_drafts_best(const struct cuda_drafts *drafts, int32_t output, int32_t count, struct engine_guess *best,
                     struct error *error);

#endif
