/* The GPU side of the fake model (fake_model.h): the same step through kernels. With the driver of fake_cuda.h they are C
   functions; on a GPU, tests/gpu gives the same kernels as cubins. */
#ifndef LATHE_TEST_FAKE_CUDA_MODEL_H
#define LATHE_TEST_FAKE_CUDA_MODEL_H

#include "cuda_model.h"
#include "fake_model.h"

enum {
    FAKE_KEYS,
    FAKE_HASH,
    FAKE_LOGITS,
    FAKE_PACK,
    FAKE_RANDOM,
    FAKE_SAMPLE,
    FAKE_KERNELS,
};

struct fake_cuda_options {
    bool only;                         /* no CPU variants: a package for GPUs alone */
    bool no_sample;                    /* no sampling kernel: the engine draws on the host */
    const struct cuda_target *targets; /* [target_count]; NULL: "90a", "80" and "ptx80", of fake images */
    int32_t target_count;
};

struct fake_cuda {
    struct cuda_model cuda;
    struct cuda_kernel kernel[FAKE_KERNELS];
    struct cuda_section section[2];
    struct cuda_trace trace[2];
};

/* Gives `fake` a GPU side. Neither may be moved afterwards. The fake model's sizes are those of the last one made so. */
void fake_cuda_init(struct fake_cuda *gpu, struct fake_model *fake, const struct fake_cuda_options *options);

#endif
