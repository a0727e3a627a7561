/* From logits to a token. Random numbers are counter-based, keyed by (seed, sequence, position): the same request
   gives the same tokens at any load, in any batch, with or without speculation.

   The order of operations, as in `transformers` (GenerationMixin._get_logits_processor) and vLLM (v1 Sampler.forward):

       1. logit bias                added                                 vLLM: LogitBiasLogitsProcessor
       2. min tokens                stop ids become -infinity             vLLM: MinTokensLogitsProcessor
       3. repetition penalty        x > 0 ? x / r : x * r, prompt and output   transformers: RepetitionPenaltyLogitsProcessor
       4. frequency penalty         x - f * occurrences in the output     vLLM: apply_penalties (after repetition)
       5. presence penalty          x - p if it occurs in the output      vLLM: apply_penalties
       6. temperature 0             the largest logit, lowest id among equals: done
       7. temperature               x / t                                 transformers: TemperatureLogitsWarper
       8. top-k                     the k best; exactly k, ties by lowest id
       9. top-p                     the fewest best whose probability, renormalised after top-k, reaches p
                                                                          transformers: TopPLogitsWarper
      10. min-p                     those at least p times as likely as the best   transformers: MinPLogitsWarper
      11. a draw                    renormalised over what is left, by the counter's 64 bits (random.h)

   Steps 7 to 11 work on integers (sampler_filter.h), so that every device finds the same token. */
#ifndef LATHE_SAMPLER_H
#define LATHE_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct logit_bias {
    int32_t token;
    float bias; /* added to the logit; -INFINITY forbids the token */
};

struct sampler_options {
    float temperature;        /* 0: greedy (arg-max, lowest id among equals) */
    int32_t top_k;            /* 0: off */
    float top_p;              /* 1: off; 0: the best token only */
    float min_p;              /* 0: off */
    float repetition_penalty; /* 1: off; logits of tokens seen in prompt or output are divided (if > 0) or multiplied */
    float presence_penalty;   /* 0: off; subtracted once from tokens of the output */
    float frequency_penalty;  /* 0: off; subtracted once per occurrence in the output */
    const struct logit_bias *bias; /* [bias_count]; several for one token add up */
    int bias_count;
    int32_t min_tokens;  /* the `stop` ids are forbidden until so many tokens are out */
    const int32_t *stop; /* [stop_count] ids that end the text */
    int stop_count;
    uint64_t seed;
    uint64_t sequence; /* number of the sequence within its request or batch */
};

/* Greedy, everything off, seed 0. */
struct sampler_options sampler_defaults(void);

struct sampler;

/* Checks the options alone, as sampler_open does. */
int sampler_check(const struct sampler_options *options, int32_t vocab, struct error *error);

/* Checks the options (each message names the option, its range and what was given); copies the arrays. */
struct sampler *sampler_open(const struct sampler_options *options, int32_t vocab, struct error *error);
void sampler_close(struct sampler *sampler);

/* Tells the sampler of a token of the prompt, or of one of the output that it did not choose itself.
   Ids outside the vocabulary are ignored. */
void sampler_see(struct sampler *sampler, int32_t token, bool output);

/* Chooses the token for `position` (the absolute position that the token will have) from logits [vocab], which it
   changes. *logprob (may be NULL): log-probability of the token under the model's own distribution, before any of the
   steps above (natural logarithm). Counts the token as seen. -1 and a message when a logit is NaN or +infinity, or
   nothing is left to choose from. */
int32_t sampler_choose(struct sampler *sampler, float *logits, int32_t position, float *logprob, struct error *error);

/* Uniform in [0, 1), 24 bits: the top ones of random_bits(seed, sequence, position). */
float sampler_uniform(uint64_t seed, uint64_t sequence, uint64_t position);

#endif
