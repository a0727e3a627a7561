/* The sampler as a whole: distributions against exact probabilities, penalties against a reference, errors. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sampler.h"
#include "share.h"

enum { VOCAB = 12 };

static const float plain[VOCAB] = {1.5f, -0.5f, 3.0f, 0.25f, 2.0f, -4.0f, 1.0f, 0.0f, 2.5f, -1.0f, 0.75f, 1.25f};

static struct sampler *open_or_fail(const struct sampler_options *options, int32_t vocab)
{
    struct error error = {""};
    struct sampler *sampler = sampler_open(options, vocab, &error);
    ck_assert_msg(sampler != NULL, "%s", error.message);
    return sampler;
}

/* One choice from a copy of the logits. */
static int32_t choose(struct sampler *sampler, const float *logits, int32_t vocab, int32_t position, float *logprob)
{
    float copy[64];
    struct error error = {""};
    memcpy(copy, logits, (size_t)vocab * sizeof *copy);
    int32_t token = sampler_choose(sampler, copy, position, logprob, &error);
    ck_assert_msg(token >= 0, "%s", error.message);
    return token;
}

/* What the chain of filters leaves, written down as plainly as possible. */
static void reference(const struct sampler_options *o, double *probability)
{
    int order[VOCAB];
    double weight[VOCAB], total = 0;
    for (int i = 0; i < VOCAB; i++) {
        int at = i;
        while (at > 0 && plain[order[at - 1]] < plain[i]) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
        weight[i] = exp(((double)plain[i] - 3.0) / (double)o->temperature);
    }
    int kept = o->top_k > 0 && o->top_k < VOCAB ? o->top_k : VOCAB;
    for (int i = 0; i < kept; i++)
        total += weight[order[i]];
    double mass = 0;
    int nucleus = 0;
    while (nucleus < kept && (nucleus == 0 || mass < (double)o->top_p * total))
        mass += weight[order[nucleus++]];
    if (o->top_p < 1)
        kept = nucleus;
    while (kept > 1 && weight[order[kept - 1]] < (double)o->min_p)
        kept--;
    total = 0;
    for (int i = 0; i < kept; i++)
        total += weight[order[i]];
    for (int i = 0; i < VOCAB; i++)
        probability[i] = 0;
    for (int i = 0; i < kept; i++)
        probability[order[i]] = weight[order[i]] / total;
}

static const struct sampler_options distributions[] = {
    {.temperature = 1, .top_p = 1, .repetition_penalty = 1, .seed = 1},
    {.temperature = 0.5f, .top_p = 1, .repetition_penalty = 1, .seed = 2},
    {.temperature = 3, .top_p = 1, .repetition_penalty = 1, .seed = 3},
    {.temperature = 1, .top_k = 4, .top_p = 1, .repetition_penalty = 1, .seed = 4},
    {.temperature = 1, .top_p = 0.7f, .repetition_penalty = 1, .seed = 5},
    {.temperature = 1, .top_p = 1, .min_p = 0.2f, .repetition_penalty = 1, .seed = 6},
    {.temperature = 1.3f, .top_k = 8, .top_p = 0.9f, .min_p = 0.1f, .repetition_penalty = 1, .seed = 7},
    {.temperature = 0.8f, .top_k = 5, .top_p = 0.6f, .repetition_penalty = 1, .seed = 1234567890123456789u},
};
enum { DISTRIBUTIONS = sizeof distributions / sizeof *distributions };

/* Chi-square of `draws` choices against probabilities; tokens of probability 0 must not occur. *freedom: bins - 1. */
static double chi_square(const struct sampler_options *options, const double *probability, int draws, bool sequences,
                         int *freedom)
{
    int counts[VOCAB] = {0};
    struct sampler *sampler = open_or_fail(options, VOCAB);
    for (int i = 0; i < draws; i++) {
        if (sequences) {
            sampler_close(sampler);
            struct sampler_options other = *options;
            other.sequence = (uint64_t)i;
            sampler = open_or_fail(&other, VOCAB);
        }
        counts[choose(sampler, plain, VOCAB, sequences ? 5 : i, NULL)]++;
    }
    sampler_close(sampler);
    double chi = 0;
    *freedom = -1;
    for (int i = 0; i < VOCAB; i++) {
        double expected = probability[i] * draws;
        if (probability[i] == 0) {
            ck_assert_int_eq(counts[i], 0);
            continue;
        }
        chi += (counts[i] - expected) * (counts[i] - expected) / expected;
        (*freedom)++;
    }
    return chi;
}

/* The 1 - 1e-6 quantile, Wilson and Hilferty's approximation (4.753 of the normal distribution). */
static double chi_limit(int freedom)
{
    double k = freedom, t = 1 - 2 / (9 * k) + 4.753 * sqrt(2 / (9 * k));
    return k * t * t * t;
}

START_TEST(draws_follow_the_distribution)
{
    double probability[VOCAB];
    int freedom;
    reference(&distributions[_i], probability);
    double chi = chi_square(&distributions[_i], probability, 200000, false, &freedom);
    ck_assert_double_lt(chi, chi_limit(freedom));
    chi = chi_square(&distributions[_i], probability, 20000, true, &freedom);
    ck_assert_double_lt(chi, chi_limit(freedom));
}
END_TEST

/* The test above can fail: it finds a bias of 3% on one token. */
START_TEST(a_planted_bias_is_found)
{
    double probability[VOCAB];
    int freedom;
    reference(&distributions[0], probability);
    double moved = probability[2] * 0.03;
    probability[2] -= moved;
    probability[4] += moved;
    double chi = chi_square(&distributions[0], probability, 200000, false, &freedom);
    ck_assert_double_gt(chi, chi_limit(freedom));
}
END_TEST

START_TEST(same_seed_same_tokens)
{
    struct sampler_options options = distributions[6];
    struct sampler *a = open_or_fail(&options, VOCAB), *b = open_or_fail(&options, VOCAB);
    options.seed++;
    struct sampler *other = open_or_fail(&options, VOCAB);
    int different = 0;
    for (int i = 0; i < 200; i++) {
        int32_t token = choose(a, plain, VOCAB, i, NULL);
        ck_assert_int_eq(token, choose(b, plain, VOCAB, i, NULL));
        different += token != choose(other, plain, VOCAB, i, NULL);
    }
    ck_assert_int_gt(different, 50);
    /* Only the position counts, not how many were drawn before. */
    int32_t first = choose(a, plain, VOCAB, 17, NULL);
    ck_assert_int_eq(first, choose(b, plain, VOCAB, 17, NULL));
    sampler_close(a);
    sampler_close(b);
    sampler_close(other);
}
END_TEST

START_TEST(greedy_takes_the_lowest_id)
{
    struct sampler_options options = sampler_defaults();
    struct sampler *sampler = open_or_fail(&options, 40);
    float logits[40];
    for (int i = 0; i < 40; i++)
        logits[i] = i == 37 || i == 21 || i == 5 ? 2.0f : -(float)i;
    ck_assert_int_eq(choose(sampler, logits, 40, 0, NULL), 5);
    logits[5] = -INFINITY;
    ck_assert_int_eq(choose(sampler, logits, 40, 0, NULL), 21);
    float zeros[40] = {0};
    zeros[0] = -0.0f; /* equal to +0 */
    ck_assert_int_eq(choose(sampler, zeros, 40, 0, NULL), 0);
    sampler_close(sampler);
}
END_TEST

START_TEST(logprob_is_the_models_own)
{
    double sum = 0;
    for (int i = 0; i < VOCAB; i++)
        sum += exp((double)plain[i]);
    static const struct logit_bias bias[] = {{5, 20}, {2, -INFINITY}};
    struct sampler_options options = sampler_defaults();
    options.temperature = 0.3f;
    options.bias = bias;
    options.bias_count = 2;
    options.frequency_penalty = 1;
    struct sampler *sampler = open_or_fail(&options, VOCAB);
    float logprob;
    int32_t token = choose(sampler, plain, VOCAB, 0, &logprob);
    ck_assert_int_eq(token, 5); /* the bias decides, the log-probability does not know of it */
    ck_assert_float_eq_tol(logprob, (float)(plain[5] - log(sum)), 2e-6f);
    sampler_close(sampler);
}
END_TEST

/* Penalties change who is greedy's first; the expected logits are computed here from the formulas in the header. */
START_TEST(penalties_agree_with_the_formulas)
{
    for (int trial = 0; trial < 500; trial++) {
        struct sampler_options options = sampler_defaults();
        options.repetition_penalty = 0.5f + 2 * sampler_uniform(1, 0, (uint64_t)trial);
        options.frequency_penalty = 2 * sampler_uniform(2, 0, (uint64_t)trial) - 0.5f;
        options.presence_penalty = 2 * sampler_uniform(3, 0, (uint64_t)trial) - 0.5f;
        struct sampler *sampler = open_or_fail(&options, VOCAB);
        bool seen[VOCAB] = {false};
        int occurrences[VOCAB] = {0};
        for (int i = 0; i < 10; i++) {
            int32_t token = (int32_t)(sampler_uniform(4, (uint64_t)trial, (uint64_t)i) * VOCAB);
            sampler_see(sampler, token, i >= 5);
            seen[token] = true;
            occurrences[token] += i >= 5;
        }
        for (int i = 0; i < 5; i++) { /* the sampler counts what it chose itself */
            float expected[VOCAB];
            int best = 0;
            for (int t = 0; t < VOCAB; t++) {
                float x = plain[t];
                if (seen[t])
                    x = x > 0 ? x / options.repetition_penalty : x * options.repetition_penalty;
                x -= options.frequency_penalty * (float)occurrences[t];
                x -= occurrences[t] ? options.presence_penalty : 0;
                expected[t] = x;
                best = expected[t] > expected[best] ? t : best;
            }
            ck_assert_int_eq(choose(sampler, plain, VOCAB, i, NULL), best);
            seen[best] = true;
            occurrences[best]++;
        }
        sampler_close(sampler);
    }
}
END_TEST

START_TEST(min_tokens_forbid_stop_ids)
{
    static const int32_t stop[] = {2, 8};
    struct sampler_options options = sampler_defaults();
    options.stop = stop;
    options.stop_count = 2;
    options.min_tokens = 2;
    struct sampler *sampler = open_or_fail(&options, VOCAB);
    sampler_see(sampler, 2, false); /* the prompt does not count */
    ck_assert_int_eq(choose(sampler, plain, VOCAB, 0, NULL), 4);
    ck_assert_int_eq(choose(sampler, plain, VOCAB, 1, NULL), 4);
    ck_assert_int_eq(choose(sampler, plain, VOCAB, 2, NULL), 2);
    sampler_close(sampler);
}
END_TEST

static void expect_choice_error(const struct sampler_options *options, const float *logits, const char *words)
{
    float copy[VOCAB], logprob;
    struct error error = {""};
    struct sampler *sampler = open_or_fail(options, VOCAB);
    memcpy(copy, logits, sizeof copy);
    ck_assert_int_eq(sampler_choose(sampler, copy, 0, &logprob, &error), -1);
    ck_assert_msg(strstr(error.message, words) != NULL, "'%s' not in '%s'", words, error.message);
    sampler_close(sampler);
}

START_TEST(nonsense_is_an_error)
{
    for (int at = 0; at < VOCAB; at++) {
        float logits[VOCAB];
        struct sampler_options options = distributions[_i];
        memcpy(logits, plain, sizeof logits);
        logits[at] = NAN;
        expect_choice_error(&options, logits, "NaN");
        logits[at] = INFINITY;
        expect_choice_error(&options, logits, "+infinity");
    }
    float nothing[VOCAB];
    for (int i = 0; i < VOCAB; i++)
        nothing[i] = -INFINITY;
    expect_choice_error(&distributions[_i], nothing, "every logit is -infinity");
    struct logit_bias forbid[VOCAB];
    for (int i = 0; i < VOCAB; i++)
        forbid[i] = (struct logit_bias){i, -INFINITY};
    struct sampler_options options = distributions[_i];
    options.bias = forbid;
    options.bias_count = VOCAB;
    expect_choice_error(&options, plain, "--logit-bias");
}
END_TEST

static void expect_open_error(struct sampler_options options, const char *words)
{
    struct error error = {""};
    ck_assert_ptr_null(sampler_open(&options, VOCAB, &error));
    ck_assert_msg(strstr(error.message, words) != NULL, "'%s' not in '%s'", words, error.message);
}

START_TEST(bad_options_are_named)
{
    struct sampler_options good = sampler_defaults(), bad;
#define EXPECT(field, value, words)                                                                                    \
    bad = good;                                                                                                        \
    bad.field = value;                                                                                                 \
    expect_open_error(bad, words)
    EXPECT(temperature, -1, "--temp -1");
    EXPECT(temperature, NAN, "--temp");
    EXPECT(temperature, INFINITY, "--temp");
    EXPECT(top_k, -1, "--top-k -1");
    EXPECT(top_p, 1.5f, "--top-p 1.5");
    EXPECT(top_p, NAN, "--top-p");
    EXPECT(min_p, -0.1f, "--min-p");
    EXPECT(repetition_penalty, 0, "--repetition-penalty 0");
    EXPECT(presence_penalty, INFINITY, "--presence-penalty");
    EXPECT(frequency_penalty, NAN, "--frequency-penalty");
    EXPECT(min_tokens, -1, "--min-tokens");
#undef EXPECT
    static const struct logit_bias outside = {VOCAB, 1}, infinite = {1, INFINITY};
    static const int32_t stop = -1;
    bad = good;
    bad.bias = &outside;
    bad.bias_count = 1;
    expect_open_error(bad, "--logit-bias 12");
    bad.bias = &infinite;
    expect_open_error(bad, "--logit-bias 1=inf");
    bad = good;
    bad.stop = &stop;
    bad.stop_count = 1;
    expect_open_error(bad, "--stop-id -1");
}
END_TEST

/* A tiny temperature is greedy in effect, and a huge one uniform: nothing overflows. */
START_TEST(extreme_temperatures)
{
    struct sampler_options options = sampler_defaults();
    options.temperature = 1e-38f;
    struct sampler *sampler = open_or_fail(&options, VOCAB);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(choose(sampler, plain, VOCAB, i, NULL), 2);
    sampler_close(sampler);
    options.temperature = 1e6f;
    double probability[VOCAB];
    int freedom;
    for (int i = 0; i < VOCAB; i++)
        probability[i] = 1.0 / VOCAB;
    ck_assert_double_lt(chi_square(&options, probability, 100000, false, &freedom), chi_limit(freedom));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sampler/sampler");
    TCase *test = tcase_create("sampler");
    tcase_set_timeout(test, 120);
    /* Sanitizers look for nothing that a distribution shows. */
    tcase_add_loop_test(test, draws_follow_the_distribution, 0, SANITIZED ? 2 : DISTRIBUTIONS);
    tcase_add_test(test, a_planted_bias_is_found);
    tcase_add_test(test, same_seed_same_tokens);
    tcase_add_test(test, greedy_takes_the_lowest_id);
    tcase_add_test(test, logprob_is_the_models_own);
    tcase_add_test(test, penalties_agree_with_the_formulas);
    tcase_add_test(test, min_tokens_forbid_stop_ids);
    tcase_add_loop_test(test, nonsense_is_an_error, 0, DISTRIBUTIONS);
    tcase_add_test(test, bad_options_are_named);
    tcase_add_test(test, extreme_temperatures);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
