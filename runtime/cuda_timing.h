/* How long each stage of a step takes on the GPU: a graph of its own, with an event before and after every launch and no
   overlap of neighbours, so that the sum is more than a step takes. And how fast the GPU reads. */
#ifndef LATHE_CUDA_TIMING_H
#define LATHE_CUDA_TIMING_H

#include "bandwidth.h"
#include "cuda_stream.h"
#include "engine.h"

enum { STAGES_MAX = 32 }; /* different names of stages */

struct cuda_timing {
    struct cuda_stream *stream;
    CUgraphExec graph; /* NULL: not captured */
    CUevent *event;    /* [capacity] two a launch */
    int32_t capacity, events;
    int32_t *stage_of; /* [capacity / 2] of each launch: its place in `stage` */
    struct stage_time stage[STAGES_MAX];
    int32_t stages;
};

void cuda_timing_open(struct cuda_timing *timing, struct cuda_stream *stream);
void cuda_timing_close(struct cuda_timing *timing);

/* Captures the step anew and runs it; the times are there when the stream has finished and cuda_timing_read was called. */
int cuda_timing_run(struct cuda_timing *timing, void (*enqueue)(void *context, struct cuda_stream *stream),
                    void *context, struct error *error);
int cuda_timing_read(struct cuda_timing *timing, struct error *error);

/* Reads [memory, memory + bytes) over and over for about `seconds`. sink: 64 KiB that may be overwritten. */
int cuda_bandwidth(struct cuda_stream *stream, CUdeviceptr memory, uint64_t bytes, CUdeviceptr sink, double seconds,
                   struct bandwidth *result, struct error *error);

#endif
