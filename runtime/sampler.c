#include "sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "logits.h"
#include "random.h"
#include "sampler_filter.h"
#include "sampler_penalties.h"

struct sampler {
    struct sampler_options options; /* `bias` and `stop` point to the copies below */
    struct logit_bias *bias;
    int32_t *stop;
    int32_t vocab;
    int32_t output; /* tokens of the output so far */
    struct penalties penalties;
    float *own;                             /* [vocab] the model's logits before they are changed */
    struct candidate *candidates, *scratch; /* [vocab] each; NULL when greedy */
};

struct sampler_options sampler_defaults(void)
{
    return (struct sampler_options){.top_p = 1, .repetition_penalty = 1};
}

float sampler_uniform(uint64_t seed, uint64_t sequence, uint64_t position)
{
    return (float)(random_bits(seed, sequence, position) >> 40) * 0x1p-24f;
}

/* NaN fails every comparison, so it is outside every range. */
static int check_range(const char *option, float value, bool inside, const char *range, struct error *error)
{
    return inside ? 0 : error_set(error, "%s %g: expected %s", option, (double)value, range);
}

static int check_numbers(const struct sampler_options *o, struct error *error)
{
    if (check_range("--temp", o->temperature, o->temperature >= 0 && o->temperature < INFINITY,
                    "a number from 0 (greedy) up", error) ||
        check_range("--top-p", o->top_p, o->top_p >= 0 && o->top_p <= 1, "a number from 0 to 1 (1: off)", error) ||
        check_range("--min-p", o->min_p, o->min_p >= 0 && o->min_p <= 1, "a number from 0 (off) to 1", error) ||
        check_range("--repetition-penalty", o->repetition_penalty,
                    o->repetition_penalty > 0 && o->repetition_penalty < INFINITY, "a number above 0 (1: off)",
                    error) ||
        check_range("--presence-penalty", o->presence_penalty, isfinite(o->presence_penalty), "a finite number",
                    error) ||
        check_range("--frequency-penalty", o->frequency_penalty, isfinite(o->frequency_penalty), "a finite number",
                    error))
        return -1;
    if (o->top_k < 0)
        return error_set(error, "--top-k %d: expected a whole number from 0 (off) up", (int)o->top_k);
    if (o->min_tokens < 0)
        return error_set(error, "--min-tokens %d: expected a whole number from 0 up", (int)o->min_tokens);
    return 0;
}

static int check_tokens(const struct sampler_options *o, int32_t vocab, struct error *error)
{
    if (vocab < 1 || vocab > CANDIDATE_TOKENS_MAX)
        return error_set(error, "a vocabulary of %d tokens: expected 1 to %d", (int)vocab, CANDIDATE_TOKENS_MAX);
    for (int i = 0; i < o->bias_count; i++) {
        if (o->bias[i].token < 0 || o->bias[i].token >= vocab)
            return error_set(error, "--logit-bias %d=%g: expected an id from 0 to %d, the vocabulary's last",
                             (int)o->bias[i].token, (double)o->bias[i].bias, (int)vocab - 1);
        if (!(o->bias[i].bias < INFINITY))
            return error_set(error, "--logit-bias %d=%g: expected a finite number, or -inf to forbid the token",
                             (int)o->bias[i].token, (double)o->bias[i].bias);
    }
    for (int i = 0; i < o->stop_count; i++)
        if (o->stop[i] < 0 || o->stop[i] >= vocab)
            return error_set(error, "--stop-id %d: expected an id from 0 to %d, the vocabulary's last", (int)o->stop[i],
                             (int)vocab - 1);
    return 0;
}

/* A copy of an array, never NULL but when memory is out. */
static void *copy_array(const void *source, size_t bytes)
{
    void *copy = malloc(bytes ? bytes : 1);
    if (copy && bytes)
        memcpy(copy, source, bytes);
    return copy;
}

static int allocate(struct sampler *sampler)
{
    struct sampler_options *o = &sampler->options;
    sampler->bias = copy_array(o->bias, (size_t)o->bias_count * sizeof *o->bias);
    sampler->stop = copy_array(o->stop, (size_t)o->stop_count * sizeof *o->stop);
    o->bias = sampler->bias;
    o->stop = sampler->stop;
    sampler->own = malloc((size_t)sampler->vocab * sizeof *sampler->own);
    if (!sampler->bias || !sampler->stop || !sampler->own || penalties_open(&sampler->penalties, sampler->vocab))
        return -1;
    if (o->temperature > 0) {
        sampler->candidates = malloc((size_t)sampler->vocab * sizeof *sampler->candidates);
        sampler->scratch = malloc((size_t)sampler->vocab * sizeof *sampler->scratch);
        return sampler->candidates && sampler->scratch ? 0 : -1;
    }
    return 0;
}

int sampler_check(const struct sampler_options *options, int32_t vocab, struct error *error)
{
    return check_numbers(options, error) || check_tokens(options, vocab, error) ? -1 : 0;
}

struct sampler *sampler_open(const struct sampler_options *options, int32_t vocab, struct error *error)
{
    if (sampler_check(options, vocab, error))
        return NULL;
    struct sampler *sampler = calloc(1, sizeof *sampler);
    if (sampler) {
        sampler->options = *options;
        sampler->vocab = vocab;
        if (!allocate(sampler))
            return sampler;
    }
    sampler_close(sampler);
    error_set(error, "out of memory for the sampler's tables (%d tokens)", (int)vocab);
    return NULL;
}

void sampler_close(struct sampler *sampler)
{
    if (!sampler)
        return;
    free(sampler->bias);
    free(sampler->stop);
    free(sampler->own);
    free(sampler->candidates);
    free(sampler->scratch);
    penalties_close(&sampler->penalties);
    free(sampler);
}

void sampler_see(struct sampler *sampler, int32_t token, bool output)
{
    if (token < 0 || token >= sampler->vocab)
        return;
    penalties_see(&sampler->penalties, token, output);
    sampler->output += output;
}

static bool too_short(const struct sampler *sampler)
{
    return sampler->output < sampler->options.min_tokens;
}

/* Whether `adjust` has anything to do. */
static bool adjusts(const struct sampler *sampler)
{
    const struct sampler_options *o = &sampler->options;
    return o->bias_count || too_short(sampler) || o->repetition_penalty != 1 || o->frequency_penalty != 0 ||
           o->presence_penalty != 0;
}

/* Steps 1 to 5 of the header. */
static void adjust(const struct sampler *sampler, float *logits)
{
    const struct sampler_options *o = &sampler->options;
    for (int i = 0; i < o->bias_count; i++)
        logits[o->bias[i].token] += o->bias[i].bias;
    for (int i = 0; too_short(sampler) && i < o->stop_count; i++)
        logits[o->stop[i]] = -INFINITY;
    penalties_apply(&sampler->penalties, o->repetition_penalty, o->frequency_penalty, o->presence_penalty, logits);
}

/* Steps 7 to 11. */
static int32_t draw(struct sampler *sampler, const float *logits, float maximum, int32_t position)
{
    const struct sampler_options *o = &sampler->options;
    struct candidate *candidates = sampler->candidates, *scratch = sampler->scratch;
    int32_t count = candidates_gather(logits, sampler->vocab, maximum, o->temperature, candidates);
    if (o->top_k > 0)
        count = candidates_top_k(candidates, count, o->top_k, scratch);
    count = candidates_top_p(candidates, count, o->top_p, scratch);
    count = candidates_min_p(candidates, count, o->min_p);
    return candidates_draw(candidates, count, random_bits(o->seed, o->sequence, (uint64_t)position));
}

int32_t sampler_choose(struct sampler *sampler, float *logits, int32_t position, float *logprob, struct error *error)
{
    const struct sampler_options *o = &sampler->options;
    float maximum;
    if (logits_maximum(logits, sampler->vocab, &maximum, error))
        return -1;
    double log_sum = logprob ? logits_log_sum(logits, sampler->vocab, maximum) : 0;
    const float *own = logits; /* the model's own logits */
    if (adjusts(sampler)) {
        if (logprob)
            own = memcpy(sampler->own, logits, (size_t)sampler->vocab * sizeof *logits);
        adjust(sampler, logits);
        if (logits_maximum(logits, sampler->vocab, &maximum, error))
            return -1;
    }
    int32_t token =
        o->temperature > 0 ? draw(sampler, logits, maximum, position) : logits_find(logits, sampler->vocab, maximum);
    if (logprob)
        *logprob = (float)((double)own[token] - log_sum);
    sampler_see(sampler, token, true);
    return token;
}
