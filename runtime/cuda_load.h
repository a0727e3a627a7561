/* Weights onto the device: streamed from the mapped payload through pinned buffers, or made there (random weights), then
   put in the order that the kernels read. Host memory does not grow with the model. */
#ifndef LATHE_CUDA_LOAD_H
#define LATHE_CUDA_LOAD_H

#include "cuda_stream.h"
#include "model.h"
#include "package.h"

/* Device memory that a load needs beside the weights' own place, while it lasts. */
uint64_t cuda_load_staging(const struct model *model);

struct cuda_load {
    const struct model *model;
    const struct package *package; /* whose payload is read; with random weights nothing of it is */
    bool verify;                   /* compare the payload's hash, computed on the way */
    uint64_t weights_bytes;        /* sections at offsets from here on are left out */
    CUdeviceptr weights;           /* [cuda.weights_bytes] zeroed by the load */
    CUdeviceptr staging;           /* [cuda_load_staging] contents are lost */
    void (*progress)(void *context, const char *what, uint64_t done, uint64_t total); /* may be NULL */
    void *progress_context;
};

/* 0, or -1 and a message. The weights are whole when it returns. */
int cuda_load(struct cuda_stream *stream, const struct cuda_load *load, struct error *error);

#endif
