/* The candidates of a draw and the filters that thin them: top-k, top-p, min-p.

   Candidates stand in order of id, always. A filter finds the key of the last candidate that stays and drops those
   below it, so nothing is sorted, and equal logits are told apart by id (the lowest first).

   Probabilities are integers: weight = floor(2^40 * exp((logit - maximum) / temperature)), computed as exponential.h
   says. Integer sums do not depend on their order, so a parallel device finds the same tokens bit for bit. What is
   less than 2^-40 as likely as the best token has weight 0 and is never drawn. With at most 2^23 tokens no sum
   overflows. */
#ifndef LATHE_SAMPLER_FILTER_H
#define LATHE_SAMPLER_FILTER_H

#include <stdint.h>

#define CANDIDATE_WEIGHT_ONE (UINT64_C(1) << 40) /* weight of the best token */
#define CANDIDATE_TOKENS_MAX (1 << 23)

struct candidate {
    uint64_t key; /* larger is better: the logit's bits in order, then the complement of the id; unique */
    uint64_t weight;
};

uint64_t candidate_key(float logit, int32_t token);
int32_t candidate_token(const struct candidate *candidate);
float candidate_logit(const struct candidate *candidate);

/* All tokens with their weights, but those of weight 0. `temperature` > 0; `maximum` is the largest logit.
   Returns how many. out: [vocab]. */
int32_t candidates_gather(const float *logits, int32_t vocab, float maximum, float temperature, struct candidate *out);

/* Each of these returns how many stay, at least one if there was one. scratch: [count]. */

/* The k best. k >= 1. */
int32_t candidates_top_k(struct candidate *candidates, int32_t count, int32_t k, struct candidate *scratch);

/* The smallest number of best candidates whose weights reach ceil(total * floor(top_p * 2^32) / 2^32). */
int32_t candidates_top_p(struct candidate *candidates, int32_t count, float top_p, struct candidate *scratch);

/* Those with weight >= floor(min_p * 2^40): min_p times the weight of the best token. */
int32_t candidates_min_p(struct candidate *candidates, int32_t count, float min_p);

/* The first candidate in order of id whose weight, added to those before it, exceeds random_below(bits, total).
   count >= 1 and total > 0. */
int32_t candidates_draw(const struct candidate *candidates, int32_t count, uint64_t bits);

/* The key of the candidate at which the weights, added from the best downwards, first exceed `target`, which is less
   than their sum. Linear in `count` whatever the values. */
uint64_t candidates_crossing(const struct candidate *candidates, int32_t count, uint64_t target,
                             struct candidate *scratch);

uint64_t candidates_total(const struct candidate *candidates, int32_t count);

#endif
