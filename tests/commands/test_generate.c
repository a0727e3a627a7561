/* The generation loop on the fake model, whose logits can be computed beside it. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fake_model.h"
#include "generate.h"
#include "logits.h"

static struct fake_model fake;
static struct engine *engine;
static const int32_t prompt[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6};
enum { PROMPT = sizeof prompt / sizeof *prompt, VOCAB = 32, CONTEXT = 64 };

static void setup(void)
{
    struct fake_options options = {.random = true, .random_seed = 5, .max_outputs = 2};
    struct error error = {""};
    fake_model_init(&fake, &options);
    engine = engine_open(&fake.model, NULL, &error);
    ck_assert_msg(engine != NULL, "%s", error.message);
}

static void teardown(void)
{
    engine_close(engine);
}

/* The logits after these tokens. */
static void expected_logits(const int32_t *tokens, int count, float *logits)
{
    fake_model_logits(&fake, engine_section(engine, "head", NULL), engine_section(engine, "embedding", NULL), tokens,
                      count, logits);
}

static double expected_logprob(const float *logits, int32_t token)
{
    double sum = 0;
    for (int i = 0; i < VOCAB; i++)
        sum += exp((double)logits[i]);
    return (double)logits[token] - log(sum);
}

static struct sampler_options greedy;

static struct generate_options plain_options(void)
{
    greedy = sampler_defaults();
    return (struct generate_options){.max_tokens = 20, .sampler = &greedy, .adapter = -1};
}

static struct generation run_prompt(const struct generate_options *options, size_t count)
{
    struct generation generation;
    struct error error = {""};
    ck_assert_msg(generate(engine, prompt, count, options, &generation, &error) == 0, "%s", error.message);
    return generation;
}

START_TEST(greedy_follows_the_logits)
{
    struct generate_options options = plain_options();
    options.alternatives = 3;
    struct generation generation = run_prompt(&options, PROMPT);
    ck_assert_uint_eq(generation.ids.count, 20);
    ck_assert_int_eq(generation.finish, FINISH_LENGTH);
    ck_assert_int_eq(generation.prefill_steps, 2); /* 21 rows, 16 a step */
    ck_assert_int_eq(generation.decode_steps, 19); /* the last token needs no step */
    int32_t tokens[PROMPT + 20];
    memcpy(tokens, prompt, sizeof prompt);
    for (int i = 0; i < 20; i++) {
        float logits[VOCAB];
        expected_logits(tokens, PROMPT + i, logits);
        int32_t best, second;
        logits_best_two(logits, VOCAB, &best, &second);
        ck_assert_int_eq(generation.ids.id[i], best);
        ck_assert_double_eq_tol((double)generation.logprobs[i], expected_logprob(logits, best), 5e-6);
        const struct alternative *alternatives = &generation.alternatives[i * 3];
        ck_assert_int_eq(alternatives[0].token, best);
        ck_assert_int_eq(alternatives[1].token, second);
        ck_assert_float_eq(alternatives[0].logprob, generation.logprobs[i]);
        ck_assert(alternatives[1].logprob >= alternatives[2].logprob);
        tokens[PROMPT + i] = best;
    }
    generation_free(&generation);
}
END_TEST

START_TEST(chunks_change_nothing)
{
    struct generate_options options = plain_options();
    struct generation whole = run_prompt(&options, PROMPT);
    for (int32_t chunk = 1; chunk <= 20; chunk += 3) {
        options.chunk = chunk;
        struct generation cut = run_prompt(&options, PROMPT);
        int32_t rows = chunk < 16 ? chunk : 16;
        ck_assert_int_eq(cut.prefill_steps, (PROMPT + rows - 1) / rows);
        ck_assert_int_eq(memcmp(cut.ids.id, whole.ids.id, 20 * sizeof(int32_t)), 0);
        ck_assert_int_eq(memcmp(cut.logprobs, whole.logprobs, 20 * sizeof(float)), 0);
        generation_free(&cut);
    }
    generation_free(&whole);
}
END_TEST

START_TEST(context_ends_the_text)
{
    struct generate_options options = plain_options();
    options.max_tokens = -1;
    struct generation generation = run_prompt(&options, PROMPT);
    ck_assert_int_eq(generation.finish, FINISH_CONTEXT);
    ck_assert_uint_eq(generation.ids.count, CONTEXT - PROMPT);
    generation_free(&generation);
    int32_t full[CONTEXT + 1] = {0};
    struct error error = {""};
    ck_assert_int_eq(generate(engine, full, CONTEXT, &options, &generation, &error), 0);
    ck_assert_int_eq(generation.finish, FINISH_CONTEXT);
    ck_assert_uint_eq(generation.ids.count, 0);
    generation_free(&generation);
    ck_assert_int_eq(generate(engine, full, CONTEXT + 1, &options, &generation, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "65 tokens"));
    ck_assert_ptr_nonnull(strstr(error.message, "holds 64"));
    generation_free(&generation);
}
END_TEST

START_TEST(bad_prompts_are_errors)
{
    struct generate_options options = plain_options();
    struct generation generation;
    struct error error = {""};
    static const int32_t outside[] = {1, VOCAB}, negative[] = {-1};
    ck_assert_int_eq(generate(engine, prompt, 0, &options, &generation, &error), -1);
    generation_free(&generation);
    ck_assert_int_eq(generate(engine, outside, 2, &options, &generation, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "prompt token 2 is id 32: expected 0 to 31"));
    generation_free(&generation);
    ck_assert_int_eq(generate(engine, negative, 1, &options, &generation, &error), -1);
    generation_free(&generation);
}
END_TEST

START_TEST(stop_ids_end_the_text)
{
    struct generate_options options = plain_options();
    struct generation free_run = run_prompt(&options, PROMPT);
    int32_t stop = free_run.ids.id[7];
    size_t first = 0;
    while (free_run.ids.id[first] != stop)
        first++;
    greedy.stop = &stop;
    greedy.stop_count = 1;
    struct generation stopped = run_prompt(&options, PROMPT);
    ck_assert_int_eq(stopped.finish, FINISH_STOP);
    ck_assert_uint_eq(stopped.ids.count, first + 1); /* the stop id is among the ids */
    ck_assert_int_eq(stopped.ids.id[first], stop);
    generation_free(&stopped);
    greedy.min_tokens = 20;
    stopped = run_prompt(&options, PROMPT);
    ck_assert_int_eq(stopped.finish, FINISH_LENGTH);
    for (size_t i = 0; i < 20; i++)
        ck_assert_int_ne(stopped.ids.id[i], stop);
    generation_free(&stopped);
    generation_free(&free_run);
}
END_TEST

static int looks;

static bool third_look(void)
{
    return ++looks >= 6;
}

static bool at_once(void)
{
    return true;
}

START_TEST(interruption_keeps_what_there_is)
{
    struct generate_options options = plain_options();
    struct generation whole = run_prompt(&options, PROMPT);
    looks = 0;
    options.interrupted = third_look; /* twice in the prompt, then before each token */
    struct generation cut = run_prompt(&options, PROMPT);
    ck_assert_int_eq(cut.finish, FINISH_INTERRUPTED);
    ck_assert_uint_eq(cut.ids.count, 3);
    ck_assert_int_eq(memcmp(cut.ids.id, whole.ids.id, 3 * sizeof(int32_t)), 0);
    generation_free(&cut);
    options.interrupted = at_once;
    cut = run_prompt(&options, PROMPT);
    ck_assert_int_eq(cut.finish, FINISH_INTERRUPTED);
    ck_assert_uint_eq(cut.ids.count, 0);
    generation_free(&cut);
    generation_free(&whole);
}
END_TEST

/* Sequences are closed in every case: the state of one sequence is enough for any number of runs. */
START_TEST(nothing_is_left_behind)
{
    uint64_t used;
    for (int i = 0; i < 20; i++) {
        struct generate_options options = plain_options();
        options.max_tokens = i % 2 ? -1 : 0;
        struct generation generation = run_prompt(&options, PROMPT);
        generation_free(&generation);
    }
    engine_memory(engine, &used, NULL, NULL);
    ck_assert_uint_eq(used, 0);
}
END_TEST

/* The token at a place depends on seed and position alone: the same whether the prompt ends before or after. */
START_TEST(random_numbers_belong_to_positions)
{
    struct generate_options options = plain_options();
    greedy.temperature = 1.5f;
    greedy.seed = 99;
    struct generation whole = run_prompt(&options, 5);
    int32_t longer[10];
    memcpy(longer, prompt, 5 * sizeof *longer);
    memcpy(longer + 5, whole.ids.id, 5 * sizeof *longer);
    struct generation rest;
    struct error error = {""};
    options.max_tokens = 15;
    ck_assert_int_eq(generate(engine, longer, 10, &options, &rest, &error), 0);
    ck_assert_int_eq(memcmp(rest.ids.id, whole.ids.id + 5, 15 * sizeof *longer), 0);
    generation_free(&rest);
    generation_free(&whole);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("commands/generate");
    TCase *test = tcase_create("generate");
    tcase_add_checked_fixture(test, setup, teardown);
    tcase_add_test(test, greedy_follows_the_logits);
    tcase_add_test(test, chunks_change_nothing);
    tcase_add_test(test, context_ends_the_text);
    tcase_add_test(test, bad_prompts_are_errors);
    tcase_add_test(test, stop_ids_end_the_text);
    tcase_add_test(test, interruption_keeps_what_there_is);
    tcase_add_test(test, nothing_is_left_behind);
    tcase_add_test(test, random_numbers_belong_to_positions);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
