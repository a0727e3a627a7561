/* What changes logits before the choice: bias, minimum length, penalties. Remembers what was seen. */
#ifndef LATHE_SAMPLER_PENALTIES_H
#define LATHE_SAMPLER_PENALTIES_H

#include <stdbool.h>
#include <stdint.h>

/* The tokens of a text and how often the output has each. Start with penalties_open. */
struct penalties {
    int32_t vocab;
    int32_t *occurrences; /* [vocab] in the output; -1: never seen at all; 0: in the prompt only */
    int32_t *seen;        /* [vocab] the distinct tokens, in order of appearance */
    int32_t seen_count;
};

/* -1 when memory is out; penalties_close is right in any case. */
int penalties_open(struct penalties *penalties, int32_t vocab);
void penalties_close(struct penalties *penalties);

/* Counts a token, 0 <= token < vocab. */
void penalties_see(struct penalties *penalties, int32_t token, bool output);

/* Repetition, then frequency, then presence, on the seen tokens only. */
void penalties_apply(const struct penalties *penalties, float repetition, float frequency, float presence,
                     float *logits);

#endif
