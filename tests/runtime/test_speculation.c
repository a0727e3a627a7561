/* Speculation on the fake model, whose logits are a hash of everything that a row reads: the same tokens as plain steps for
   the same seed, and the same distribution over many. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "draft_ngram.h"
#include "engine.h"
#include "fake_cuda_model.h"
#include "fake_model.h"
#include "share.h"
#include "speculate.h"

struct bench {
    struct fake_model fake;
    struct fake_cuda gpu;
    struct engine *engine;
};

static void bench_open(struct bench *bench, struct fake_options options, uint64_t kv_memory, bool gpu)
{
    struct error error = {""};
    options.random = true;
    fake_model_init(&bench->fake, &options);
    setenv("LATHE_CUDA_DRIVER", TEST_BINARY_DIR "/tests/fake_cuda.so", 1);
    if (gpu)
        fake_cuda_init(&bench->gpu, &bench->fake, NULL);
    struct engine_options engine_options = {.threads = 1, .kv_memory = kv_memory};
    bench->engine = engine_open(&bench->fake.model, &engine_options, &error);
    ck_assert_msg(bench->engine != NULL, "%s", error.message);
}

static int ok(int outcome, const struct error *error)
{
    ck_assert_msg(outcome >= 0, "%s", error->message);
    return outcome;
}

/* ---- n-grams */

struct guess {
    int32_t text[12];
    int32_t count, longest, most;
    int32_t guess[8];
    int32_t guesses;
};

START_TEST(ngrams)
{
    static const struct guess guesses[] = {
        {{1, 2, 3, 9, 1, 2}, 6, 4, 3, {3, 9, 1}, 3},
        {{1, 2, 3, 9, 1, 2}, 6, 4, 1, {3}, 1},
        {{1, 2, 3, 9, 1, 2}, 6, 1, 2, {3, 9}, 2},
        {{1, 2, 3, 9, 5, 2}, 6, 4, 3, {0}, 0},                 /* one token alone is too little */
        {{1, 2, 3, 9, 5, 2}, 6, 1, 3, {3, 9, 5}, 3},           /* unless it is asked for */
        {{1, 2, 5, 1, 2, 6, 1, 2}, 8, 4, 1, {6}, 1},           /* the last time counts */
        {{7, 1, 2, 5, 1, 2, 6, 7, 1, 2}, 10, 4, 2, {5, 1}, 2}, /* the longest comes first */
        {{7, 1, 2, 5, 1, 2, 6, 7, 1, 2}, 10, 2, 2, {6, 7}, 2},
        {{4, 4, 4}, 3, 4, 5, {4, 4, 4, 4, 4}, 5}, /* a loop goes on */
        {{1, 2, 1, 2, 1}, 5, 4, 5, {2, 1, 2, 1, 2}, 5},
        {{1}, 1, 4, 5, {0}, 0},
        {{0}, 0, 4, 5, {0}, 0},
    };
    const struct guess *g = &guesses[_i];
    int32_t token[8], parent[8];
    struct draft_tree tree = {.token = token, .parent = parent, .most = g->most, .depth = 8};
    struct draft_text text = {g->text, (size_t)g->count};
    draft_ngram(&text, g->longest < 2 ? g->longest : 2, g->longest, &tree);
    ck_assert_int_eq(tree.count, g->guesses);
    for (int32_t i = 0; i < tree.count; i++) {
        ck_assert_int_eq(tree.token[i], g->guess[i]);
        ck_assert_int_eq(tree.parent[i], i - 1);
    }
}
END_TEST

/* ---- the same tokens */

enum { PROMPT = 6, COUNT = 40, TEXTS = 4 };

static const struct sampler_options choices[] = {
    {.top_p = 1, .repetition_penalty = 1},
    {.temperature = 1, .top_p = 1, .repetition_penalty = 1},
    {.temperature = 2, .top_k = 5, .top_p = 0.95f, .min_p = 0.02f, .repetition_penalty = 1.2f},
    {.temperature = 1.5f,
     .top_p = 1,
     .repetition_penalty = 0.7f,
     .presence_penalty = 0.5f,
     .frequency_penalty = 0.25f,
     .min_tokens = 20,
     .bias = (const struct logit_bias[]){{2, 1.5f}, {3, -INFINITY}},
     .bias_count = 2,
     .stop = (const int32_t[]){0, 1},
     .stop_count = 2},
};

static int32_t prompt_of(int text, int place)
{
    return (text * 5 + place * place) % 8;
}

struct text {
    int sequence, slot;
    int32_t id[COUNT];
    float logprob[COUNT];
    int count;
};

/* Reads the prompt and draws the first token. */
static void begin(struct bench *bench, struct text *text, int number, const struct sampler_options *options,
                  struct speculation *speculation)
{
    struct error error;
    struct sampler_options own = *options;
    const struct drawn *drawn;
    own.seed = 3;
    own.sequence = (uint64_t)number;
    text->sequence = ok(sequence_open(bench->engine, -1, &error), &error);
    text->slot = ok(draw_open(bench->engine, &own, &error), &error);
    if (speculation)
        speculation_begin(speculation, number, text->sequence, text->slot);
    int row = 0;
    for (int i = 0; i < PROMPT; i++) {
        int32_t token = prompt_of(number, i);
        ok(draw_see(bench->engine, text->slot, &token, 1, false, &error), &error);
        if (speculation)
            ok(speculation_see(speculation, number, &token, 1, &error), &error);
        row = ok(engine_add(bench->engine, text->sequence, token, false, &error), &error);
    }
    ok(engine_draw(bench->engine, row, text->slot, &error), &error);
    ok(engine_submit(bench->engine, &error), &error);
    ck_assert_int_eq(engine_collect(bench->engine, &drawn, &error), 1);
    text->id[0] = drawn->token;
    text->logprob[0] = drawn->logprob;
    text->count = 1;
    if (speculation)
        ok(speculation_see(speculation, number, text->id, 1, &error), &error);
}

static void end(struct bench *bench, struct text *text)
{
    sequence_close(bench->engine, text->sequence);
    draw_close(bench->engine, text->slot);
}

static void continue_plainly(struct bench *bench, struct text *text)
{
    struct error error;
    const struct drawn *drawn;
    for (; text->count < COUNT; text->count++) {
        int row = ok(engine_add(bench->engine, text->sequence, ENGINE_DRAWN(text->slot), false, &error), &error);
        ok(engine_draw(bench->engine, row, text->slot, &error), &error);
        ok(engine_submit(bench->engine, &error), &error);
        ck_assert_int_eq(engine_collect(bench->engine, &drawn, &error), 1);
        text->id[text->count] = drawn->token;
        text->logprob[text->count] = drawn->logprob;
    }
}

/* Texts beside each other, each with guesses of its own; on a CPU and a GPU; with many and with few rows and pages. */
static void expect_the_same(bool gpu, struct fake_options options, uint64_t kv_memory, bool accepts)
{
    for (size_t c = 0; c < sizeof choices / sizeof *choices; c++) {
        struct bench bench;
        struct error error;
        struct text plain[TEXTS], text[TEXTS];
        options.vocab = 8;
        bench_open(&bench, options, kv_memory, gpu);
        for (int t = 0; t < TEXTS; t++) {
            begin(&bench, &plain[t], t, &choices[c], NULL);
            continue_plainly(&bench, &plain[t]);
            end(&bench, &plain[t]);
        }
        struct draft_options drafts = {.kind = DRAFT_NGRAM, .ngram = 3 - (int32_t)c % 3, .tokens = 2 + (int32_t)c};
        struct speculation *speculation = speculation_open(bench.engine, &drafts, TEXTS, &error);
        ck_assert_msg(speculation != NULL, "%s", error.message);
        int32_t limit[TEXTS], left = TEXTS;
        for (int t = 0; t < TEXTS; t++)
            begin(&bench, &text[t], t, &choices[c], speculation);
        for (int cycle = 0; left > 0; cycle++) {
            for (int t = 0; t < TEXTS; t++) /* some wait for a turn now and then */
                limit[t] = (cycle + t) % 5 ? COUNT - text[t].count : 0;
            ok(speculation_cycle(speculation, limit, cycle % 2, &error), &error);
            left = 0;
            for (int t = 0; t < TEXTS; t++) {
                const struct drawn *drawn;
                int32_t count = speculation_drawn(speculation, t, &drawn);
                ck_assert_int_eq(count > 0, limit[t] > 0);
                ck_assert_int_le(count, limit[t]);
                for (int32_t i = 0; i < count; i++) {
                    ck_assert_int_eq(drawn[i].position, PROMPT + text[t].count);
                    text[t].id[text[t].count] = drawn[i].token;
                    text[t].logprob[text[t].count++] = drawn[i].logprob;
                }
                left += text[t].count < COUNT;
            }
        }
        for (int t = 0; t < TEXTS; t++) {
            ck_assert_mem_eq(text[t].id, plain[t].id, sizeof plain[t].id);
            ck_assert_mem_eq(text[t].logprob, plain[t].logprob, sizeof plain[t].logprob);
            end(&bench, &text[t]);
        }
        struct speculation_counts counts = speculation_counts(speculation);
        ck_assert_int_eq(counts.cycles + counts.accepted, TEXTS * (COUNT - 1));
        ck_assert(!accepts || (counts.accepted > 5 && counts.drafted > counts.accepted));
        uint64_t used;
        engine_memory(bench.engine, &used, NULL, NULL);
        ck_assert_uint_eq(used, 0);
        speculation_close(speculation);
        engine_close(bench.engine);
    }
}

START_TEST(same_tokens)
{
    expect_the_same(_i, (struct fake_options){.max_rows = 40}, 64 * 80, true);
}
END_TEST

/* Not all guesses fit into a step. */
START_TEST(few_rows)
{
    expect_the_same(_i, (struct fake_options){.max_rows = 9}, 64 * 80, true);
    expect_the_same(_i, (struct fake_options){.max_rows = 9, .max_outputs = 4}, 64 * 80, false);
}
END_TEST

/* Nor into the pages: 12 for each text is what plain steps need. */
START_TEST(few_pages)
{
    expect_the_same(_i, (struct fake_options){.max_rows = 40}, TEXTS * 12 * 80, true);
}
END_TEST

/* The context ends at the last token. */
START_TEST(end_of_the_context)
{
    expect_the_same(_i, (struct fake_options){.max_rows = 40, .max_seq = PROMPT + COUNT - 1}, 64 * 80, true);
}
END_TEST

/* ---- the same distribution */

enum { TOKENS = 4, LENGTH = 3, PLACES = 64, SAMPLES = 200000 };

/* How often each continuation came. */
struct histogram {
    double of[PLACES];
};

/* Continuations of LENGTH tokens after a stored prompt, from so many seeds. `bias`: in one of a hundred, the second token,
   which is a guess as often as not, is 0 whatever was drawn. */
static void sample(struct bench *bench, int prompt, int32_t last, uint64_t first_seed, struct speculation *speculation,
                   struct histogram *plain, struct histogram *biased)
{
    static const int32_t text[] = {1, 2, 0, 3, 1};
    struct error error;
    const struct drawn *drawn;
    for (uint64_t seed = first_seed; seed < first_seed + SAMPLES; seed++) {
        struct sampler_options options = sampler_defaults();
        options.temperature = 4;
        options.seed = seed;
        int sequence = ok(sequence_fork(bench->engine, prompt, &error), &error);
        int slot = ok(draw_open(bench->engine, &options, &error), &error);
        int32_t token[LENGTH], count = 0;
        if (speculation) {
            speculation_begin(speculation, 0, sequence, slot);
            ok(speculation_see(speculation, 0, text, 5, &error), &error);
            ok(speculation_see(speculation, 0, &last, 1, &error), &error);
        }
        while (count < LENGTH) {
            int32_t limit = LENGTH - count, found = 1;
            if (speculation) {
                ok(speculation_cycle(speculation, &limit, false, &error), &error);
                found = speculation_drawn(speculation, 0, &drawn);
            } else {
                int32_t next = count ? token[count - 1] : last;
                int row = ok(engine_add(bench->engine, sequence, next, false, &error), &error);
                ok(engine_draw(bench->engine, row, slot, &error), &error);
                ok(engine_submit(bench->engine, &error), &error);
                ok(engine_collect(bench->engine, &drawn, &error), &error);
            }
            for (int32_t i = 0; i < found; i++)
                token[count++] = drawn[i].token;
        }
        plain->of[(token[0] * TOKENS + token[1]) * TOKENS + token[2]]++;
        token[1] = seed % 100 ? token[1] : 0;
        if (biased)
            biased->of[(token[0] * TOKENS + token[1]) * TOKENS + token[2]]++;
        sequence_close(bench->engine, sequence);
        draw_close(bench->engine, slot);
    }
}

/* The distance of two samples of one size, over `groups` groups of continuations: those with the same (place / divide) %
   groups. Chi-square with groups - 1 degrees of freedom if they have one distribution. */
static double distance(const struct histogram *a, const struct histogram *b, int divide, int groups)
{
    double sum = 0, of_a[PLACES] = {0}, of_b[PLACES] = {0};
    for (int i = 0; i < PLACES; i++) {
        of_a[i / divide % groups] += a->of[i];
        of_b[i / divide % groups] += b->of[i];
    }
    for (int i = 0; i < groups; i++)
        if (of_a[i] + of_b[i] > 0)
            sum += (of_a[i] - of_b[i]) * (of_a[i] - of_b[i]) / (of_a[i] + of_b[i]);
    return sum;
}

/* What chi-square exceeds once in a thousand times (Wilson and Hilferty). */
static double critical(int freedom)
{
    double k = 2.0 / (9.0 * freedom);
    return freedom * pow(1 - k + 3.09 * sqrt(k), 3);
}

START_TEST(same_distribution)
{
    struct bench bench;
    struct error error;
    struct histogram plain = {{0}}, guessed = {{0}}, biased = {{0}};
    bench_open(&bench, (struct fake_options){.vocab = TOKENS}, 64 * 80, false);
    int prompt = ok(sequence_open(bench.engine, -1, &error), &error);
    static const int32_t text[] = {1, 2, 0, 3, 1};
    for (int i = 0; i < 5; i++)
        ok(engine_add(bench.engine, prompt, text[i], false, &error), &error);
    ok(engine_run(bench.engine, &error), &error);
    struct draft_options drafts = {.kind = DRAFT_NGRAM, .ngram = 1, .tokens = 2};
    struct speculation *speculation = speculation_open(bench.engine, &drafts, 1, &error);
    sample(&bench, prompt, 2, 0, NULL, &plain, NULL);
    sample(&bench, prompt, 2, SAMPLES, speculation, &guessed, &biased);
    struct speculation_counts counts = speculation_counts(speculation);
    printf("%lld of %lld guesses accepted\n", (long long)counts.accepted, (long long)counts.drafted);
    ck_assert_int_gt(counts.accepted, SAMPLES / 10);
    ck_assert_int_lt(counts.accepted, counts.drafted);
    static const int divides[] = {16, 4, 1, 1}, groups[] = {4, 4, 4, 64};
    for (int i = 0; i < 4; i++) {
        double found = distance(&plain, &guessed, divides[i], groups[i]), most = critical(groups[i] - 1);
        printf("chi-square, %d groups: %.1f, at most %.1f; biased %.1f\n", groups[i], found, most,
               distance(&plain, &biased, divides[i], groups[i]));
        ck_assert_msg(found < most, "%d groups: chi-square is %g, expected less than %g", groups[i], found, most);
    }
    ck_assert_double_gt(distance(&plain, &biased, 4, 4), critical(3));
    speculation_close(speculation);
    engine_close(bench.engine);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("runtime/speculation");
    TCase *test = tcase_create("speculation");
    tcase_set_timeout(test, 300);
    tcase_add_loop_test(test, ngrams, 0, 12);
    tcase_add_loop_test(test, same_tokens, 0, 2);
    tcase_add_loop_test(test, few_rows, 0, 2);
    tcase_add_loop_test(test, few_pages, 0, 2);
    tcase_add_loop_test(test, end_of_the_context, 0, 2);
    if (!SANITIZED) /* which look for nothing that a distribution shows */
        tcase_add_test(test, same_distribution);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
