/* Choosing tokens on the GPU: what the sampling kernel (templates/cuda/sample.cu) is given. The contract between the
   runtime, which fills it, and the kernel. Plain C without includes but cuda_step.h, so that NVRTC compiles it.

   A draw slot is a sequence's sampler on the device: its options and what its text has seen so far; it lives as long as
   the sequence. A draw is one choice of one step. In a tree of rows a slot draws at many rows, and the host finds out which
   of them are the text: these draws leave the slot as it is, and see the tokens between the tree's root and their row
   besides. The token is exactly the one that sampler.h's steps 1 to 11 find for the
   same logits, options, seed and position; its logprob may differ in the last digits.

   The runtime launches the kernel itself, behind the step's last stage, in the same graph:

       extern "C" __global__ void NAME(const __grid_constant__ struct cuda_sample sample)
       grid (CUDA_SAMPLE_CHUNKS, draws that the graph's bucket may have, 1), block 1024 threads, no dynamic shared memory

   Counts, draws and slots are read before the kernels ahead of it in the graph are done: only the host and the step before
   write them.

   All pointers are device memory (or pinned host memory that the device can write, for `drawn`) and stay the same for the
   life of a graph; draws beyond counts->draws are ignored. */
#ifndef LATHE_CUDA_DRAW_H
#define LATHE_CUDA_DRAW_H

#include "cuda_step.h"

#define CUDA_SAMPLE_CHUNKS 16 /* blocks that share the vocabulary of one draw */

struct cuda_bias {
    int32_t token;
    float bias;
};

/* As struct sampler_options, checked by the runtime in the same way. */
struct cuda_draw_slot {
    float temperature, top_p, min_p;
    int32_t top_k;
    float repetition_penalty, presence_penalty, frequency_penalty;
    int32_t min_tokens;
    int32_t output; /* tokens of the output so far; the kernel counts on */
    int32_t bias_count, stop_count;
    int32_t reserved;
    const struct cuda_bias *bias; /* [bias_count] in the order given */
    const int32_t *stop;          /* [stop_count] */
    int32_t *occurrences; /* [vocab] in the output; -1: never seen at all, 0: in the prompt only. The runtime puts the
                             prompt in, the kernel counts on. NULL when all three penalties are off */
    uint64_t seed, sequence;
};

/* One choice. */
struct cuda_draw {
    int32_t output;   /* logits[output] */
    int32_t slot;     /* its sampler; chosen[slot] gets the token */
    int32_t position; /* absolute position that the token will have */
    int32_t tree;     /* 1: one of several, which leaves slot and chosen[slot] as they are */
    int32_t path;     /* tokens that the text has besides: those of rows path[path + i], 0 <= i < path_count */
    int32_t path_count;
};

enum cuda_drawn_status {
    CUDA_DRAWN_TOKEN,     /* as it should be */
    CUDA_DRAWN_STOP,      /* the token is one of the slot's stop ids */
    CUDA_DRAWN_BAD_LOGIT, /* a logit is NaN or +infinity: token is its id, chosen[slot] becomes 0 */
    CUDA_DRAWN_NOTHING,   /* every logit is -infinity: token -1, chosen[slot] becomes 0 */
};

/* What came of a draw. */
struct cuda_drawn {
    int32_t token;
    float logprob; /* under the model's own distribution, before any option */
    int32_t status;
    int32_t ring; /* counts->ring of the step: written last, so a poller that sees it may read the rest */
};

/* Written by the host for each step, beside the rows. */
struct cuda_draw_counts {
    int32_t draws; /* of this step, 0 or more */
    int32_t ring;  /* entry of `drawn` that this step fills: ring % rings */
};

/* Scratch for one draw, in bytes: its logits with the options' changes, and a list of tokens. */
#define CUDA_SAMPLE_SCRATCH(vocab) (((uint64_t)(vocab) + 127) / 128 * 1024)

/* Of one chunk of one draw: the kernel's own. */
struct cuda_sample_part {
    float sum;     /* of e^(logit - maximum), the model's own logits */
    float maximum; /* of these */
    uint32_t best; /* after the options' changes: the largest logit, as a number in the same order */
    int32_t token; /* the lowest id that has it */
    int32_t bad;   /* lowest id with a NaN or +infinity, or 0x7fffffff */
    int32_t reserved[3];
};

struct cuda_sample {
    const struct cuda_draw_counts *counts;
    const struct cuda_draw *draw;  /* [max_draws] */
    struct cuda_draw_slot *slot;   /* [slots] */
    const struct cuda_row *row;    /* cuda_step.row; a tree's row has the scratch slot of its number */
    const int32_t *path;           /* cuda_step.path */
    const float *logits;           /* [max_outputs][vocab], left as they are */
    int32_t *chosen;               /* [slots]: cuda_step.chosen */
    struct cuda_drawn *drawn;      /* [rings][max_draws] */
    unsigned char *scratch;        /* [max_draws][CUDA_SAMPLE_SCRATCH(vocab)], 512-byte aligned */
    struct cuda_sample_part *part; /* [max_draws][CUDA_SAMPLE_CHUNKS], 512-byte aligned */
    uint32_t *arrivals;            /* [max_draws], zero at first */
    int32_t rings, max_draws;
};

#endif
