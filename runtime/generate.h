/* The generation loop: a prompt goes through the engine in chunks, then tokens are chosen one by one until something
   ends the text. */
#ifndef LATHE_GENERATE_H
#define LATHE_GENERATE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "error.h"
#include "sampler.h"
#include "speculate.h"
#include "text_buffer.h"
#include "tokenizer.h"

enum finish {
    FINISH_STOP,        /* a stop id or a stop string */
    FINISH_LENGTH,      /* max_tokens */
    FINISH_CONTEXT,     /* the sequence has max_seq positions */
    FINISH_INTERRUPTED, /* `interrupted` said so */
};

/* "stop", "length", "context", "interrupted". */
const char *finish_name(enum finish finish);

struct generate_options {
    int32_t max_tokens;                    /* -1: until the context is full */
    int32_t chunk;                         /* rows of a prefill step; 0: as many as a step can have */
    const struct sampler_options *sampler; /* its `stop` ids end the text */
    int32_t adapter;                       /* -1: none */
    bool
        continues; /* go on in `sequence`: the prompt begins with the tokens that it stores, which are not run again; the
                       sequence stays open, with what was run */
    int sequence;
    struct speculation *speculation; /* guesses tokens ahead, as its member 0; NULL: nobody does */
    int32_t alternatives;            /* the so many likeliest tokens are noted with every token; 0: none */

    const struct tokenizer *tokenizer; /* NULL: no text is made */
    bool special;                      /* special tokens are part of the text */
    const char *const *stop_strings;   /* [stop_string_count], not looked at before min_tokens */
    int stop_string_count;

    /* All may be NULL. Text comes in whole characters, and never contains the beginning of a stop string that
       could still become complete. */
    void (*text)(void *context, const char *text, size_t length);
    void (*progress)(void *context, const char *what, uint64_t done, uint64_t total);
    bool (*interrupted)(void);
    void *context;          /* for `text` */
    void *progress_context; /* for `progress` */
};

struct alternative {
    int32_t token;
    float logprob;
};

struct generation {
    struct token_list ids;            /* everything chosen, the token that ended the text included */
    float *logprobs;                  /* [ids.count] under the model's own distribution */
    struct alternative *alternatives; /* [ids.count * options.alternatives], best first; token -1 past the vocabulary */
    struct text_buffer text;          /* without stop strings and stop ids */
    enum finish finish;
    int32_t prefill_steps, decode_steps;
    struct speculation_counts drafts; /* all zero: nobody guesses */
    struct token_list gained;         /* [drafts.steps] how many tokens each of their steps gave */
    double prefill_seconds;           /* until the first token was there */
    double decode_seconds;            /* the rest */
};

/* The prompt is checked: at least one id, all in the vocabulary, no longer than the context. 0, or -1 and a message;
   generation_free is right in both cases. */
int generate(struct engine *engine, const int32_t *prompt, size_t prompt_count, const struct generate_options *options,
             struct generation *generation, struct error *error);
void generation_free(struct generation *generation);

#endif
