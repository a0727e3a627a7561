/* The filters against references that sort everything. */
#include <check.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "exponential.h"
#include "logits.h"
#include "random.h"
#include "sampler_filter.h"

enum { VOCAB = 3000 };

/* Random logits of several characters: smooth, with many equal values, flat, with -infinity, peaked. */
static void make_logits(float *logits, int32_t vocab, int kind)
{
    for (int32_t i = 0; i < vocab; i++) {
        float u = (float)(random_bits(77, (uint64_t)kind, (uint64_t)i) >> 40) * 0x1p-24f;
        switch (kind % 5) {
        case 0:
            logits[i] = u * 20 - 10;
            break;
        case 1:
            logits[i] = floorf(u * 8) - 4;
            break;
        case 2:
            logits[i] = i % 2 ? -0.0f : 0.0f;
            break;
        case 3:
            logits[i] = u < 0.5f ? -INFINITY : u * 30;
            break;
        default:
            logits[i] = i == vocab / 2 ? 40 : -u;
        }
    }
}

struct reference {
    float logit;
    int32_t token;
    double weight;
};

static int better(const void *a, const void *b)
{
    const struct reference *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->token - y->token;
}

static float top_logit(const float *logits, int32_t vocab)
{
    float maximum;
    struct error error;
    ck_assert_int_eq(logits_maximum(logits, vocab, &maximum, &error), 0);
    return maximum;
}

/* Everything sorted, best first. */
static struct reference *sorted(const float *logits, int32_t vocab, float temperature)
{
    struct reference *list = malloc((size_t)vocab * sizeof *list);
    float maximum = top_logit(logits, vocab);
    for (int32_t i = 0; i < vocab; i++)
        list[i] = (struct reference){logits[i], i, exp(((double)logits[i] - maximum) / temperature)};
    qsort(list, (size_t)vocab, sizeof *list, better);
    return list;
}

static bool contains(const struct candidate *candidates, int32_t count, int32_t token)
{
    for (int32_t i = 0; i < count; i++)
        if (candidate_token(&candidates[i]) == token)
            return true;
    return false;
}

static void check_order(const struct candidate *candidates, int32_t count)
{
    for (int32_t i = 1; i < count; i++)
        ck_assert_int_lt(candidate_token(&candidates[i - 1]), candidate_token(&candidates[i]));
}

static struct candidate candidates[VOCAB], scratch[VOCAB];
static float logits[VOCAB];

START_TEST(keys_order_logits_then_ids)
{
    static const float values[] = {-INFINITY, -3e38f, -1, -1e-45f, 0, 1e-45f, 1, 3e38f};
    int count = (int)(sizeof values / sizeof *values);
    for (int i = 0; i < count; i++)
        for (int j = 0; j < count; j++) {
            uint64_t a = candidate_key(values[i], 5), b = candidate_key(values[j], 9);
            ck_assert_int_eq(a > b, i > j || i == j); /* the lower id is better among equals */
            struct candidate candidate = {.key = a};
            ck_assert_int_eq(candidate_token(&candidate), 5);
            ck_assert(candidate_logit(&candidate) == values[i]);
        }
    ck_assert_uint_eq(candidate_key(-0.0f, 1), candidate_key(0.0f, 1));
}
END_TEST

START_TEST(weights_are_exponentials)
{
    for (int i = 0; i <= 40000; i++) {
        float y = -(float)i / 1000;
        double expected = exp2((double)y);
        ck_assert_double_lt(fabs((double)exponential_float(y) - expected), expected * 3e-7);
        double fixed = (double)exponential_fixed(y) * 0x1p-40;
        ck_assert_double_lt(fabs(fixed - expected), expected * 3e-7 + 0x1p-40);
    }
    ck_assert_uint_eq(exponential_fixed(0), CANDIDATE_WEIGHT_ONE);
    ck_assert_uint_eq(exponential_fixed(-INFINITY), 0);
    ck_assert_float_eq(exponential_float(0), 1);
}
END_TEST

START_TEST(top_k_keeps_the_k_best)
{
    static const int32_t ks[] = {1, 2, 7, 50, 999, VOCAB - 1, VOCAB, VOCAB + 5};
    make_logits(logits, VOCAB, _i);
    struct reference *best = sorted(logits, VOCAB, 1);
    for (size_t j = 0; j < sizeof ks / sizeof *ks; j++) {
        int32_t all = candidates_gather(logits, VOCAB, best[0].logit, 1, candidates);
        int32_t count = candidates_top_k(candidates, all, ks[j], scratch);
        ck_assert_int_eq(count, ks[j] < all ? ks[j] : all);
        check_order(candidates, count);
        for (int32_t i = 0; i < count; i++)
            ck_assert(contains(candidates, count, best[i].token));
    }
    free(best);
}
END_TEST

START_TEST(top_p_keeps_the_smallest_nucleus)
{
    static const float ps[] = {0, 1e-6f, 0.1f, 0.5f, 0.9f, 0.95f, 0.999f, 1};
    make_logits(logits, VOCAB, _i);
    struct reference *best = sorted(logits, VOCAB, 0.7f);
    for (size_t j = 0; j < sizeof ps / sizeof *ps; j++) {
        int32_t all = candidates_gather(logits, VOCAB, best[0].logit, 0.7f, candidates);
        double total = (double)candidates_total(candidates, all);
        int32_t count = candidates_top_p(candidates, all, ps[j], scratch);
        check_order(candidates, count);
        ck_assert_int_ge(count, 1);
        if (ps[j] == 1) {
            ck_assert_int_eq(count, all);
            continue;
        }
        uint64_t mass = candidates_total(candidates, count);
        struct candidate worst = candidates[0];
        for (int32_t i = 0; i < count; i++) {
            ck_assert(contains(candidates, count, best[i].token)); /* a prefix of the sorted list */
            if (candidates[i].key < worst.key)
                worst = candidates[i];
        }
        ck_assert_double_ge((double)mass, (double)ps[j] * total * (1 - 1e-9));
        ck_assert(count == 1 || (double)(mass - worst.weight) < (double)ps[j] * total);
    }
    free(best);
}
END_TEST

START_TEST(min_p_keeps_the_likely)
{
    static const float ps[] = {0, 1e-4f, 0.05f, 0.5f, 1};
    make_logits(logits, VOCAB, _i);
    struct reference *best = sorted(logits, VOCAB, 1.5f);
    for (size_t j = 0; j < sizeof ps / sizeof *ps; j++) {
        int32_t all = candidates_gather(logits, VOCAB, best[0].logit, 1.5f, candidates);
        int32_t count = candidates_min_p(candidates, all, ps[j]);
        check_order(candidates, count);
        for (int32_t i = 0; i < VOCAB; i++) {
            /* A hair's breadth on either side of the limit may go either way: weights are rounded. */
            if (best[i].weight > ps[j] * (1 + 1e-5) + 1e-11)
                ck_assert(contains(candidates, count, best[i].token));
            if (best[i].weight < ps[j] * (1 - 1e-5))
                ck_assert(!contains(candidates, count, best[i].token));
        }
    }
    free(best);
}
END_TEST

START_TEST(crossing_agrees_with_sorting)
{
    make_logits(logits, VOCAB, _i);
    struct reference *best = sorted(logits, VOCAB, 1);
    int32_t all = candidates_gather(logits, VOCAB, best[0].logit, 1, candidates);
    for (int trial = 0; trial < 300; trial++) {
        uint64_t target =
            random_below(random_bits(4, (uint64_t)_i, (uint64_t)trial), candidates_total(candidates, all));
        uint64_t key = candidates_crossing(candidates, all, target, scratch);
        uint64_t before = 0, own = 0;
        for (int32_t i = 0; i < all; i++) {
            before += candidates[i].key > key ? candidates[i].weight : 0;
            own += candidates[i].key == key ? candidates[i].weight : 0;
        }
        ck_assert(before <= target && target < before + own);
    }
    free(best);
}
END_TEST

START_TEST(draw_walks_in_order_of_id)
{
    struct candidate three[3] = {{candidate_key(1, 4), 10}, {candidate_key(9, 5), 20}, {candidate_key(2, 8), 2}};
    ck_assert_int_eq(candidates_draw(three, 3, 0), 4);
    ck_assert_int_eq(candidates_draw(three, 3, UINT64_MAX), 8);
    ck_assert_int_eq(candidates_draw(three, 3, UINT64_MAX / 32 * 9), 4);
    ck_assert_int_eq(candidates_draw(three, 3, UINT64_MAX / 32 * 11), 5);
    ck_assert_int_eq(candidates_draw(three, 3, UINT64_MAX / 32 * 29), 5);
    ck_assert_int_eq(candidates_draw(three, 3, UINT64_MAX / 32 * 31), 8);
}
END_TEST

START_TEST(log_sum_agrees_with_doubles)
{
    make_logits(logits, VOCAB, _i);
    for (int32_t n = 1; n < VOCAB; n = n * 3 + 1) {
        float maximum;
        struct error error;
        if (logits_maximum(logits, n, &maximum, &error))
            continue;
        double sum = 0;
        for (int32_t i = 0; i < n; i++)
            sum += exp((double)logits[i]);
        ck_assert_double_lt(fabs(logits_log_sum(logits, n, maximum) - log(sum)), 2e-6);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sampler/filter");
    TCase *test = tcase_create("filter");
    tcase_add_test(test, keys_order_logits_then_ids);
    tcase_add_test(test, weights_are_exponentials);
    tcase_add_loop_test(test, top_k_keeps_the_k_best, 0, 10);
    tcase_add_loop_test(test, top_p_keeps_the_smallest_nucleus, 0, 10);
    tcase_add_loop_test(test, min_p_keeps_the_likely, 0, 10);
    tcase_add_loop_test(test, crossing_agrees_with_sorting, 0, 10);
    tcase_add_test(test, draw_walks_in_order_of_id);
    tcase_add_loop_test(test, log_sum_agrees_with_doubles, 0, 10);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
