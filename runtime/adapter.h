/* LoRA adapters as kernels see them. An adapter changes a model at *sites*: the linear layers of each decoder layer, the
   embedding and the head. Generated code knows a site by its number:

       layer * LAYER_SITES + q, k, v, o, gate, up, down      LAYERS * LAYER_SITES: head, then embedding

   An adapter is one *blob*, the same bytes whether it is a section of the payload (`lathe build --lora`) or was read into
   a reserved slot at start (`--lora-dir`):

       struct adapter_entry [sites], then the data that their offsets point at, each aligned to 64 bytes

   What a site computes for a row x with an adapter (W, b: the base; peft's tuners/lora/layer.py and dora.py):

       t = A x                                 rounded to the package's dtype, like every input of a product
       y = W x + scale (B t)                   summed over the rank in order
       y = row_scale * y                       DoRA: magnitude / ||W + scale B A|| of each output row, where there is one
       y = y + b + bias                        bias: what the adapter adds to the base's

   With `full` (modules_to_save) W x is that matrix's product instead, and there is no low-rank part. At the embedding, A is
   kept turned, [vocab, rank], so that a token's t is one row; y = W[token] + scale (B t).

   Rows without an adapter do nothing of this. A row's bits depend on its own adapter alone. */
#ifndef LATHE_ADAPTER_H
#define LATHE_ADAPTER_H

#include <stdint.h>

/* Ranks are padded with zeros to the next of these: what the kernels' loops are made for. */
#define ADAPTER_RANKS                                                                                                  \
    {                                                                                                                  \
        8, 16, 32, 64, 128, 256                                                                                        \
    }
enum { ADAPTER_MAX_RANK = 256 };

/* What an adapter does at one site. Offsets are in bytes from the blob's start; 0: there is none. */
struct adapter_entry {
    int32_t rank;       /* padded; 0: no low-rank part */
    float scale;        /* alpha / r, or alpha / sqrt(r), with the rank that the adapter really has */
    uint64_t a;         /* [rank, columns] elements; embedding: [rows, rank] */
    uint64_t b;         /* [rows, rank] elements; embedding: [columns, rank] */
    uint64_t row_scale; /* [rows] f32 */
    uint64_t bias;      /* [rows] f32 */
    uint64_t full;      /* [rows, columns] elements */
};

/* A site, in the order of the numbers above. */
struct adapter_site {
    const char *name;      /* the plan's: "layer.3.q", "head", "embedding" */
    const char *module;    /* the checkpoint's: "model.layers.3.self_attn.q_proj" */
    int32_t rows, columns; /* of its weight: outputs, inputs; the embedding's: vocab, hidden */
    int32_t tensor;        /* index into model.tensors of the section that holds its weight, from row first_row on */
    int32_t first_row;
    int32_t bias_tensor; /* of its bias, from element first_row on; -1: it has none */
};

/* An adapter that was built in. */
struct adapter {
    const char *name;
    int32_t tensor; /* index into model.tensors of its blob, DTYPE_BYTES */
};

/* Rows first .. first + rows - 1 of a step (or of its outputs) follow each other and have the same adapter. */
struct adapter_run {
    int32_t first, rows, adapter;
};

#endif
