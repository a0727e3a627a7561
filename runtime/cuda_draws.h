/* Draw slots on the device: the host side of cuda_draw.h. */
#ifndef LATHE_CUDA_DRAWS_H
#define LATHE_CUDA_DRAWS_H

#include "cuda_draw.h"
#include "cuda_plan.h"
#include "cuda_stream.h"
#include "engine_backend.h"

/* A slot's options and history, on the way to the device until its first draw. */
struct cuda_sampler {
    struct cuda_draw_slot slot;
    CUdeviceptr lists; /* [lists_bytes] occurrences, biases and stop ids; 0: none yet */
    size_t lists_bytes;
    int32_t *occurrences; /* [vocab] as the device has them when nothing is under way; NULL: no penalties */
    bool uploaded;
};

struct cuda_draws {
    const struct model *model;
    const struct cuda_plan *plan;
    struct cuda_stream *stream;
    CUdeviceptr memory;           /* the planned block */
    struct cuda_sampler *sampler; /* [plan.draw_slots] */
    struct cuda_drawn *drawn;     /* [CUDA_RECORDS][max_draws] pinned; the kernel writes it */
    CUdeviceptr drawn_device;
};

int cuda_draws_open(struct cuda_draws *draws, const struct model *model, const struct cuda_plan *plan,
                    struct cuda_stream *stream, CUdeviceptr memory, struct error *error);
void cuda_draws_close(struct cuda_draws *draws);

/* engine_backend.h's draw_open and draw_see. */
int cuda_draws_slot(struct cuda_draws *draws, int32_t slot, const struct sampler_options *options, struct error *error);
int cuda_draws_see(struct cuda_draws *draws, int32_t slot, const int32_t *tokens, size_t count, bool output,
                   struct error *error);

/* Puts a step's draws into its record on the host; slots that draw for the first time go to the device. */
int cuda_draws_prepare(struct cuda_draws *draws, unsigned char *record, uint64_t number,
                       const struct engine_batch *batch, struct error *error);
/* Launches the kernel behind a step of at most `rows` rows, whose record on the device this is. */
void cuda_draws_enqueue(const struct cuda_draws *draws, struct cuda_stream *stream, CUdeviceptr record, int rows);
/* What came of the draws of a step that is done; token -1: a logit was NaN or +infinity, or all were -infinity. */
void cuda_draws_result(const struct cuda_draws *draws, uint64_t number, int32_t count, struct drawn *drawn);
/* Which it was; always -1. */
int cuda_draws_explain(const struct cuda_draws *draws, uint64_t number, int32_t draw, struct error *error);
/* engine_backend.h's draw_accept. */
int cuda_draws_accept(struct cuda_draws *draws, int32_t slot, const int32_t *tokens, int32_t count, bool tree,
                      struct error *error);

#endif
