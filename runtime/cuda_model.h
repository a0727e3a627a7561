/* What a package with the target `cuda` says about its GPU side: constant data in the generated src/cuda/package.c, and
   one function, the generated src/cuda/model.c. The runtime knows the GPU side only through this header and
   cuda_step.h. */
#ifndef LATHE_CUDA_MODEL_H
#define LATHE_CUDA_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "cuda_step.h"

/* A compiled kernel for one target. */
struct cuda_image {
    const unsigned char *data; /* a cubin, or PTX text that ends in a zero */
    uint64_t bytes;
};

/* "90a": runs on 9.0 only; "80": on 8.x with x >= 0; "ptx80": compiled by the driver for anything from 8.0 up, the last
   resort, announced when used. In order of preference. */
struct cuda_target {
    const char *name;
    int32_t major, minor;
    bool exact; /* an 'a' target: runs on this compute capability alone */
    bool ptx;
    const struct cuda_image *images; /* [kernel_count] */
};

struct cuda_kernel {
    const char *name;      /* the entry point, "qkv_8" */
    int32_t threads;       /* of a block */
    uint32_t shared_bytes; /* dynamic shared memory of a block */
    const char *only;      /* name of the only target that has it, "90a"; NULL: all have it */
};

/* How a section of the payload (model.tensors) becomes a part of the device's weights. */
enum cuda_packing {
    CUDA_PACKING_COPY,   /* as it is */
    CUDA_PACKING_ROWS,   /* tiles of 16 rows in mma fragment order (docs/cuda.md) */
    CUDA_PACKING_PAIRS,  /* gate and up: tile rows 0-7 are gate rows 8t.., rows 8-15 up rows 8t.. */
    CUDA_PACKING_ROTARY, /* queries, keys, values: in query and key heads, tile rows 0-7 are the first halves' dims j..,
                            rows 8-15 their partners j + head_dim / 2; value heads plain */
    CUDA_PACKING_DRAFT_ROTARY, /* the same of the draft head, whose heads are its own */
};

struct cuda_section {
    int32_t tensor; /* index into model.tensors */
    enum cuda_packing packing;
    uint64_t offset; /* in the device's weights, a multiple of 512 */
    uint64_t bytes;  /* there: rows padded to 16, columns to 64 */
};

/* How a buffer of the arena lies. */
enum cuda_order {
    CUDA_ORDER_ROWS,   /* row-major [rows][columns] */
    CUDA_ORDER_PIECES, /* bf16 in pieces of 8 x 8 (docs/cuda.md), columns padded to 64, rows to 8 */
};

/* A tensor that --dump can show: what a stage has written when it is done. The logits need none. */
struct cuda_trace {
    const char *name;  /* as model.traces has it behind "layer.*.": "attention" */
    const char *stage; /* of cuda_launch */
    int32_t dtype;     /* enum dtype of model.h */
    enum cuda_order order;
    int32_t columns;
    uint64_t offset; /* of the buffer in the arena */
};

/* What a launch of a stage costs, for the roofs of `bench --stages`. */
struct cuda_cost {
    const char *stage;
    uint64_t weight_bytes;  /* read by one launch */
    uint64_t flops_per_row; /* 2 for a multiplication and an addition */
};

struct cuda_stream;

/* The draft head of a package (draft.h) on the GPU. */
struct cuda_draft {
    int32_t pack_kernel;  /* its pack, for CUDA_PACKING_DRAFT_ROTARY */
    uint64_t arena_bytes; /* of a draft step; zero at load, like the target's */
    uint64_t taps_bytes, features_bytes;
    /* Launches the stages of a draft step of up to `rows` rows, guesses included. */
    void (*enqueue)(struct cuda_stream *stream, const struct cuda_step *step, int rows);
};

struct cuda_model {
    const struct cuda_target *targets;
    int32_t target_count;
    const struct cuda_kernel *kernels;
    int32_t kernel_count;
    int32_t pack_kernel;   /* repacks a section (templates/cuda/pack.cu) */
    int32_t random_kernel; /* random weights, row-major (templates/cuda/random.cu) */
    int32_t read_kernel;   /* read bandwidth (templates/cuda/read.cu); -1: none */
    bool own_heads;        /* steps with adapters look for heads of their own (adapter.h, full) */
    int32_t sample_kernel; /* chooses tokens (cuda_draw.h, templates/cuda/sample.cu); -1: none, the host does it */
    int32_t cuda_version;  /* of the compiler that made the images, as cuDriverGetVersion counts: 13000; 0: unknown */
    const struct cuda_section *sections;
    int32_t section_count;
    uint64_t weights_bytes, arena_bytes;
    uint64_t bulk_bytes;    /* of the sections at offsets from weights_bytes on: row-major copies for bulk steps */
    int32_t bulk_rows;      /* rows of a bulk step, the bucket max_rows; 0: the package has none */
    const int32_t *buckets; /* [bucket_count] rows of a captured step, ascending; the last is max_rows */
    int32_t bucket_count;
    const struct cuda_trace *traces;
    int32_t trace_count;
    const struct cuda_cost *costs;
    int32_t cost_count;
    /* Launches the stages of one step of up to `rows` rows, in order, with cuda_launch. Captured once a bucket. */
    void (*enqueue)(struct cuda_stream *stream, const struct cuda_step *step, int rows);
    /* The same for a step with rows that have an adapter; NULL: the package has no adapters. */
    void (*enqueue_adapters)(struct cuda_stream *stream, const struct cuda_step *step, int rows);
    /* The same for a bulk step (docs/cuda.md, "Two classes"): bulk_rows rows of one sequence from a position that is a
       multiple of them, with cuda_launch and cuda_product. */
    void (*enqueue_bulk)(struct cuda_stream *stream, const struct cuda_step *step);
    const struct cuda_draft *draft; /* NULL: no head, or not for GPUs */
};

/* For the generated model.c: launches kernel `kernel` with a grid of x * y * z blocks and the parameters that every
   kernel has. layer: [layer_bytes] struct layer. Errors are kept in the stream and reported when the step ends; after
   one, launches do nothing. stage: for messages, `bench --stages` and --dump; a constant string. index: the layer's
   number; -1 outside the layers. */
void cuda_launch(struct cuda_stream *stream, int kernel, const char *stage, int x, int y, int z,
                 const struct cuda_step *step, const void *layer, int layer_bytes, int index);

/* Whether the stream's target has this kernel. */
bool cuda_can_launch(const struct cuda_stream *stream, int kernel);

/* A product of a bulk step, all in device memory and row-major:

       output[rows, outputs] = input[rows, depth] x weight[outputs, depth]^T   (+ output, if accumulate) */
struct cuda_product {
    int32_t rows, outputs, depth;
    bool f32, accumulate; /* output is f32, else bf16; it is added to what is there */
    const void *weight;   /* bf16 */
    const void *input;    /* bf16 */
    void *output;
};

/* Puts a product into the stream, like cuda_launch. */
void cuda_product(struct cuda_stream *stream, const char *stage, int index, const struct cuda_product *product);

#endif
