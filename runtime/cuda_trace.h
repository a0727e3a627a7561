/* --dump on the GPU: the tensors that a stage has written, as the CPU's would be. */
#ifndef LATHE_CUDA_TRACE_H
#define LATHE_CUDA_TRACE_H

#include "cuda_stream.h"
#include "model.h"

struct cuda_tracer {
    const struct model *model;
    const struct cuda_step *step;
    const struct trace *trace;
    int32_t rows, outputs;
};

/* Do the kernels leave this tensor to be seen? name: as model.traces has it. */
bool cuda_trace_shows(const struct cuda_model *cuda, const char *name);

/* An observer's `after`; context: the tracer. Waits for the stage and shows its tensors. */
int cuda_trace_stage(void *context, struct cuda_stream *stream, const char *stage, int index);
/* After the last stage: shows the logits. */
int cuda_trace_logits(const struct cuda_tracer *tracer, struct cuda_stream *stream, struct error *error);

/* Rows of bf16 out of pieces of 8 x 8 (docs/cuda.md): to [rows][columns]. */
void cuda_trace_unpack(uint16_t *to, const uint16_t *pieces, int32_t rows, int32_t columns);

#endif
