/* Launching kernels: one after the other on a stream, or captured in a graph that is launched as a whole. The first error
   is kept; after it nothing is launched until it has been taken. */
#ifndef LATHE_CUDA_STREAM_H
#define LATHE_CUDA_STREAM_H

#include <stdbool.h>

#include "cuda_device.h"
#include "cuda_model.h"
#include "error.h"

/* Who is told of the launches of a step. Either may be NULL. */
struct cuda_observer {
    /* Around a launch, which then does not overlap with its neighbours (no programmatic dependent launch). */
    int (*before)(void *context, struct cuda_stream *stream, const char *stage, int index);
    int (*after)(void *context, struct cuda_stream *stream, const char *stage, int index);
    void *context;
};

struct cuda_blas;

struct cuda_stream {
    struct cuda_device *device;
    struct cuda_blas *blas;  /* of cuda_product; NULL: no bulk steps. Owned by the engine */
    CUstream handle;         /* NULL: not open */
    bool programmatic;       /* in a graph, launches after the first may begin before their predecessor ends */
    bool capturing, follows; /* follows: a kernel precedes the next launch in this graph */
    bool serial;             /* wait for each launch, so that an error has its stage's name */
    const struct cuda_observer *observer; /* NULL: none */
    bool failed;
    struct error error;
};

/* programmatic: if the device's target allows it. */
int cuda_stream_open(struct cuda_stream *stream, struct cuda_device *device, struct error *error);
void cuda_stream_close(struct cuda_stream *stream);

/* Launches a kernel with these parameters. Errors are kept. */
void cuda_stream_launch(struct cuda_stream *stream, int kernel, const char *stage, int index, const unsigned grid[3],
                        void **parameters);

/* Runs `enqueue` with the stream's launches captured into a graph. NULL and a message on an error. */
CUgraphExec cuda_stream_capture(struct cuda_stream *stream, void (*enqueue)(void *context, struct cuda_stream *stream),
                                void *context, struct error *error);

/* The kept error, if any: -1 and its message, and it is forgotten. */
int cuda_stream_take_error(struct cuda_stream *stream, struct error *error);
/* Waits until everything is done; takes the kept error. */
int cuda_stream_finish(struct cuda_stream *stream, const char *what, struct error *error);

#endif
