/* What speculation gives, for `bench`: the same greedy texts with guesses, beside the plain steps that were measured before. */
#ifndef LATHE_BENCH_DRAFTS_H
#define LATHE_BENCH_DRAFTS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "error.h"
#include "json_out.h"
#include "speculate.h"

struct bench_drafts {
    struct engine *engine;
    struct draft_options options;
    int32_t prompt, gen, batch, repeat;
    const int32_t *prompts; /* [batch][prompt] */
    const int32_t *plain;   /* [batch][gen + 1] the tokens that plain steps made */
    const int32_t *adapter; /* [batch] */

    /* What was measured. */
    struct speculation_counts counts; /* of the measured runs */
    double *step;                     /* [repeat * gen] seconds of a cycle */
    int32_t steps;
    double seconds; /* of all cycles */
};

enum { BENCH_DRAFTS_INTERRUPTED = 1 };

/* Runs it: one run warms up. 0; BENCH_DRAFTS_INTERRUPTED; -1 and a message: a step failed, or a token differs from the plain
   one, which no guess may bring about. bench_drafts_free is right in all cases. */
int bench_drafts_run(struct bench_drafts *drafts, struct error *error);
void bench_drafts_free(struct bench_drafts *drafts);

/* What it stands beside. */
struct bench_plain {
    double seconds;   /* of a plain step */
    double bytes;     /* that it reads of weights and adapters */
    double bandwidth; /* bytes a second; 0: unknown */
};
void bench_drafts_print(const struct bench_drafts *drafts, const struct bench_plain *plain);
void bench_drafts_json(const struct bench_drafts *drafts, const struct bench_plain *plain, struct json_out *out);

#endif
