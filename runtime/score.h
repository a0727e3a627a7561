/* Teacher-forced scoring: the log-probability of every token of a sequence given those before it. */
#ifndef LATHE_SCORE_H
#define LATHE_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"
#include "error.h"
#include "npy_out.h"

struct score_options {
    int32_t chunk;          /* positions of the sequence in a step; 0: as many as fit */
    int32_t batch;          /* copies scored beside each other, interleaved row by row; the first is reported */
    bool neighbours;        /* the others are different sequences, of random tokens */
    int32_t adapter;        /* its slot; -1: none. The others, if different, take all adapters in turn */
    int32_t context;        /* longest window; 0: max_seq */
    int32_t stride;         /* from one window's start to the next one's; 0: context (no overlap) */
    struct npy_out *logits; /* receives every row of logits that was computed; NULL: none */
    void (*progress)(void *context, const char *what, uint64_t done, uint64_t total); /* may be NULL */
    void *progress_context;
    bool (*interrupted)(void); /* may be NULL */
};

/* What the model says about one place, from the tokens before it. */
struct prediction {
    float logprob;  /* of the token that stands there; NaN: not scored */
    int32_t argmax; /* the likeliest token, lowest id among equals; -1: not scored */
    float gap;      /* difference between the two best logits */
};

struct score {
    struct prediction
        *place;             /* [count] the first has nothing before it, nor has the first of a window without overlap */
    struct prediction next; /* of the token after the last: logprob is the arg-max's */
    size_t count, scored;
    int32_t windows, steps;
    double nll;           /* sum of -logprob over the scored places */
    uint64_t logits_hash; /* XXH3-64 of the bits of all rows of logits, in the order computed */
    double seconds;       /* in steps and in looking at their logits */
    bool interrupted;     /* incomplete */
};

/* Sequences (of `context` positions) that the engine's state must hold: options.batch. Every id must be in the
   vocabulary and count >= 1. 0, or -1 and a message; score_free is right in both cases. */
int score_sequence(struct engine *engine, const int32_t *ids, size_t count, const struct score_options *options,
                   struct score *score, struct error *error);
void score_free(struct score *score);

#endif
