/* What a package says about its model: constant data that the generator writes into package.c.
   The runtime knows a model only through this header and step.h. */
#ifndef LATHE_MODEL_H
#define LATHE_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "adapter.h"
#include "step.h"

enum dtype {
    DTYPE_BYTES, /* tokenizer tables and the like */
    DTYPE_BF16,
    DTYPE_F32,
};

/* A section of the payload (weights.bin, or the bytes appended to the executable). */
struct tensor {
    const char *name; /* the plan's name: "layer.3.qkv" */
    enum dtype dtype;
    int64_t rows, columns; /* row-major [rows, columns]; a vector is [1, columns]; bytes are [1, n] */
    uint64_t offset;       /* in the payload, a multiple of 64 */
    uint64_t bytes;
    float random_centre; /* packages of random weights: values are centre + scale * u, u uniform in [-1, 1) */
    float random_scale;
};

enum state_kind {
    STATE_PAGED, /* so many bytes a token, in pages that a sequence collects */
    STATE_SLOT,  /* so many bytes a sequence, whatever its length (recurrent layers; none yet) */
};

/* One kind of sequence state, for all the layers that share it. */
struct state_group {
    const char *name;
    enum state_kind kind;
    uint64_t page_bytes;    /* all layers of one page (paged), or of one sequence (slot) */
    uint64_t scratch_bytes; /* all layers of one scratch slot */
    int32_t window;         /* positions a row looks back, itself included; 0: all */
    uint64_t piece_bytes;   /* what lies together of a position: a page is runs of `page` pieces. 0: what rows of trees
                               leave in their scratch slots is never kept */
};

/* The step compiled for one instruction set. Variants stand in order of preference, best first. */
struct variant {
    const char *name; /* "scalar", "avx2", "avx512", "bf16" */
    bool (*supported)(void);
    step_function *step;
    double (*peak)(int rounds); /* multiplies and adds from registers as the products do; how many operations it did */
};

/* A stage of the step, in all its layers together, and what it costs. */
struct stage {
    const char *name;
    int32_t layers;
    int32_t window;                    /* positions that a row sees, 0: all */
    bool outputs_only;                 /* for the rows that want logits */
    uint64_t weight_bytes;             /* read by each step */
    uint64_t flops_per_row;            /* of the products */
    uint64_t flops_per_position;       /* for each row and each position that it sees */
    uint64_t state_bytes_per_position; /* for each sequence and each position that its rows see */
};

/* What the checkpoint recommends (generation_config.json); the command line overrides. */
struct generation_defaults {
    const int32_t *eos; /* [eos_count] ids that end the text */
    int32_t eos_count;
    bool sample; /* false: greedy whatever the temperature says */
    float temperature, top_p, min_p, repetition_penalty;
    int32_t top_k; /* 0: off */
};

struct cuda_model;
struct chat_render;
struct draft_model;

/* A chat template, translated (chat.h). */
struct chat_template {
    const char *name; /* "default", "tool_use" ... */
    void (*render)(struct chat_render *r);
};

/* A special token that templates may name. */
struct chat_token {
    const char *name, *text; /* "bos_token", "<s>" */
};

struct chat_templates {
    const struct chat_template *items; /* [count] */
    int32_t count;
    const struct chat_token *tokens; /* [token_count] */
    int32_t token_count;
};

struct model {
    const char *name;         /* the package's name */
    const char *architecture; /* "LlamaForCausalLM" */
    const char *generator;    /* "lathe 0.1.0" */
    const char *dtype;        /* "bf16" or "f32": what the matrices are stored as */
    const char *layout;       /* 32 hex digits: names the payload's layout; executable and payload must agree */
    bool sources_edited;      /* compiled from sources that were changed after generation */

    int32_t vocab, hidden, layers, heads, kv_heads, head_dim, intermediate;
    int32_t max_seq;     /* positions a sequence can have */
    int32_t max_rows;    /* rows a step can have */
    int32_t max_outputs; /* rows a step can give logits for */
    int32_t page;        /* positions a page */
    uint64_t parameters;

    const struct tensor *tensors; /* [tensor_count] in payload order */
    int32_t tensor_count;
    uint64_t payload_bytes;
    bool random; /* no payload: weights are made at load from random_seed */
    uint64_t random_seed;

    const struct state_group *states; /* [state_count] */
    int32_t state_count;

    uint64_t arena_bytes, scratch_bytes;
    uint64_t flops_per_row;     /* of one row through the linear layers, head included */
    uint64_t weight_bytes_read; /* of one decode step */

    const struct variant *variants; /* [variant_count]; none: the package was not built for CPUs */
    int32_t variant_count;
    const struct stage *stages; /* [stage_count] of a step on a CPU, in order */
    int32_t stage_count;
    const struct cuda_model *cuda; /* cuda_model.h; NULL: the package was not built for GPUs */
    const char *const *traces;     /* [trace_count] names that --dump knows */
    int32_t trace_count;

    const struct adapter_site *sites; /* [site_count] where adapters can change the model; 0: it was built without */
    int32_t site_count;
    const struct adapter *adapters; /* [adapter_count] built in: slots 0, 1, ... */
    int32_t adapter_count;
    int32_t adapter_slots;    /* reserved behind them for adapters that are read at start */
    int32_t adapter_max_rank; /* of those, padded */
    int32_t adapter_rank;     /* the largest that kernels have room for, padded */

    const struct draft_model *draft; /* draft.h; NULL: it was built without a head (--eagle) */

    struct generation_defaults generation;
    const char *chat_template;         /* the default one as the checkpoint has it, or NULL */
    const struct chat_templates *chat; /* NULL: none */
};

/* The section called `name`, or NULL. */
const struct tensor *model_tensor(const struct model *model, const char *name);

#endif
