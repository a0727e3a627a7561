#include "sampler_filter.h"

#include <string.h>

#include "exponential.h"
#include "random.h"

uint64_t candidate_key(float logit, int32_t token)
{
    logit += 0.0f; /* -0 becomes +0: they are equal, so the id decides */
    uint32_t bits;
    memcpy(&bits, &logit, sizeof bits);
    bits = bits >> 31 ? ~bits : bits | UINT32_C(0x80000000);
    return (uint64_t)bits << 32 | (uint32_t) ~(uint32_t)token;
}

int32_t candidate_token(const struct candidate *candidate)
{
    return (int32_t)(uint32_t) ~(uint32_t)candidate->key;
}

float candidate_logit(const struct candidate *candidate)
{
    uint32_t bits = (uint32_t)(candidate->key >> 32);
    bits = bits >> 31 ? bits & UINT32_C(0x7fffffff) : ~bits;
    float logit;
    memcpy(&logit, &bits, sizeof logit);
    return logit;
}

int32_t candidates_gather(const float *logits, int32_t vocab, float maximum, float temperature, struct candidate *out)
{
    const float scale = 0x1.715476p+0f / temperature; /* log2(e) / temperature */
    int32_t count = 0;
    for (int32_t token = 0; token < vocab; token++) {
        /* A tiny temperature makes the scale infinite, and the best token's 0 * infinity must stay 0. */
        float below = logits[token] - maximum;
        uint64_t weight = below < 0 ? exponential_fixed(below * scale) : CANDIDATE_WEIGHT_ONE;
        out[count].key = candidate_key(logits[token], token);
        out[count].weight = weight;
        count += weight > 0;
    }
    return count;
}

uint64_t candidates_total(const struct candidate *candidates, int32_t count)
{
    uint64_t total = 0;
    for (int32_t i = 0; i < count; i++)
        total += candidates[i].weight;
    return total;
}

/* One round of candidates_crossing: finds the digit of the key, from the top, in which the crossing lies. */
static unsigned crossing_digit(const struct candidate *candidates, int32_t count, int shift, uint64_t *target)
{
    uint64_t mass[2048] = {0};
    for (int32_t i = 0; i < count; i++)
        mass[candidates[i].key >> shift & 2047] += candidates[i].weight;
    unsigned digit = 2047;
    while (digit > 0 && *target >= mass[digit])
        *target -= mass[digit--];
    return digit;
}

uint64_t candidates_crossing(const struct candidate *candidates, int32_t count, uint64_t target,
                             struct candidate *scratch)
{
    /* A radix selection from the most significant digit: each round keeps one digit's candidates. Quickselect would
       be as fast on average, but an unlucky (or chosen) order makes it quadratic. */
    static const int shifts[] = {53, 42, 31, 20, 9, 0};
    for (unsigned round = 0; count > 1 && round < sizeof shifts / sizeof *shifts; round++) {
        unsigned digit = crossing_digit(candidates, count, shifts[round], &target);
        int32_t kept = 0;
        for (int32_t i = 0; i < count; i++)
            if ((candidates[i].key >> shifts[round] & 2047) == digit)
                scratch[kept++] = candidates[i];
        candidates = scratch;
        count = kept;
    }
    return candidates[0].key;
}

static int32_t keep_from(struct candidate *candidates, int32_t count, uint64_t key)
{
    int32_t kept = 0;
    for (int32_t i = 0; i < count; i++) {
        candidates[kept] = candidates[i];
        kept += candidates[i].key >= key;
    }
    return kept;
}

int32_t candidates_top_k(struct candidate *candidates, int32_t count, int32_t k, struct candidate *scratch)
{
    if (k >= count)
        return count;
    /* The selection counts weights, so every candidate weighs one for the time of the search. */
    for (int32_t i = 0; i < count; i++) {
        scratch[i].key = candidates[i].key;
        scratch[i].weight = 1;
    }
    return keep_from(candidates, count, candidates_crossing(scratch, count, (uint64_t)k - 1, scratch));
}

int32_t candidates_top_p(struct candidate *candidates, int32_t count, float top_p, struct candidate *scratch)
{
    if (top_p >= 1 || count <= 1)
        return count;
    uint64_t fraction = top_p > 0 ? (uint64_t)((double)top_p * 4294967296.0) : 0; /* exact, or cut below 2^-32 */
    uint64_t total = candidates_total(candidates, count);
    /* ceil(total * fraction / 2^32) - 1: reaching the ceiling is exceeding one less. */
    uint64_t high = (total >> 32) * fraction, low = (total & UINT32_MAX) * fraction;
    uint64_t wanted = high + (low >> 32) + ((low & UINT32_MAX) != 0);
    uint64_t target = wanted > 0 ? wanted - 1 : 0;
    return keep_from(candidates, count, candidates_crossing(candidates, count, target, scratch));
}

int32_t candidates_min_p(struct candidate *candidates, int32_t count, float min_p)
{
    if (min_p <= 0)
        return count;
    uint64_t least = (uint64_t)((double)(min_p < 1 ? min_p : 1) * (double)CANDIDATE_WEIGHT_ONE);
    int32_t kept = 0;
    for (int32_t i = 0; i < count; i++) {
        candidates[kept] = candidates[i];
        kept += candidates[i].weight >= least;
    }
    return kept;
}

int32_t candidates_draw(const struct candidate *candidates, int32_t count, uint64_t bits)
{
    uint64_t left = random_below(bits, candidates_total(candidates, count));
    int32_t i = 0;
    while (i < count - 1 && left >= candidates[i].weight)
        left -= candidates[i++].weight;
    return candidate_token(&candidates[i]);
}
