/* A model small enough to predict by hand, for testing what surrounds a model. Its "attention" chains a hash
   over every position of the sequence, read back through the page tables of two state groups, so its logits
   are right only if pages, forks, roll backs, copies on write, chunking and threads are all right:

       logits[v] = fake_hash_float(chain over (position, token), v) + head[v] + embedding[v][0]

   Tensors: "tokenizer" (bytes, as given; absent when there are none), "embedding" bf16 [vocab, 8], "head" f32
   [1, vocab]. Traces: "layer.*.key" (f32 in layer 0, bf16 in layer 1, [rows, 4]) and "logits" (f32 [outputs,
   vocab]). */
#ifndef LATHE_TEST_FAKE_MODEL_H
#define LATHE_TEST_FAKE_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "model.h"

enum { FAKE_WIDTH = 8, FAKE_TRACE_COLUMNS = 4 };

/* Zero means the default. */
struct fake_options {
    int32_t vocab;       /* 32 */
    int32_t max_seq;     /* 64 */
    int32_t max_rows;    /* 16 */
    int32_t max_outputs; /* max_rows */
    int32_t page;        /* 4 positions */
    bool random;         /* random weights: without tokenizer tables, engine_open then needs no file at all */
    uint64_t random_seed;
    const void *tokenizer; /* the "tokenizer" section; must outlive the fake model */
    size_t tokenizer_bytes;
    struct generation_defaults generation;
};

struct fake_model {
    struct model model; /* hand this to engine_open, commands_main, ... */
    struct tensor tensor[3];
    struct state_group state[2];
    struct variant variant[3]; /* "unsupported" (never usable), "scalar", "twin" (the same code) */
    char layout[33];
    struct fake_options options;
};

/* Fills `fake`, which must not be moved or copied afterwards (the model points into it). NULL options: all
   defaults. The step runs with the sizes of the last fake model made: let one model run at a time. */
void fake_model_init(struct fake_model *fake, const struct fake_options *options);

/* The payload as the generator would lay it out, newly allocated [fake->model.payload_bytes]. */
unsigned char *fake_model_payload(const struct fake_model *fake);

/* Writes a package file: `prefix` bytes of anything (0 for a thin weights.bin), padding, payload, trailer.
   Returns 0, or -1 when the file cannot be written. */
int fake_model_write(const struct fake_model *fake, const char *path, size_t prefix);

/* What the logits after `tokens` must be: [vocab]. weights: where the tensors lie (engine_section of "head"
   and "embedding"). */
void fake_model_logits(const struct fake_model *fake, const float *head, const uint16_t *embedding,
                       const int32_t *tokens, int count, float *logits);

#endif
