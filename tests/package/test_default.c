/* The default model (models/default) in f32 against transformers: tests/fixtures/default/base.jsonl, made by
   models/training/stage4_measure.py. Greedy tokens must agree until the reference itself is undecided. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "process.h"

enum { CASES = 32 };

/* Below this distance between the two best logits, rounding decides which is taken. */
static const double undecided = 1e-3;

/* Of the first log-probabilities; the reference was made on a GPU. */
static const double logprob_tolerance = 1e-4;

static char program[512];
static cJSON *cases[CASES];

static void load(void)
{
    char *lines = file_read(TEST_SOURCE_DIR "/tests/fixtures/default/base.jsonl", NULL);
    int count = 0;
    for (char *line = strtok(lines, "\n"); line && count < CASES; line = strtok(NULL, "\n"))
        cases[count++] = json_parse(line, "base.jsonl");
    ck_assert_int_eq(count, CASES);
    free(lines);
    const char *output = temporary_path("story");
    snprintf(program, sizeof program, "%s",
             lathe_build(TEST_SOURCE_DIR "/models/default", output, "--dtype", "f32", NULL));
}

/* Runs one case's prompt; the parsed output. */
static cJSON *run(const struct ids *prompt, size_t tokens)
{
    struct process_result result;
    char *ids = ids_text(prompt->id, prompt->count);
    process_ok(&result, program, "run", "--ids", ids, "-n", text("%zu", tokens), "--temp", "0", "--json", NULL);
    cJSON *json = json_parse(result.out, "run --json");
    process_free(&result);
    free(ids);
    return json;
}

/* The largest difference of the log-probabilities that both have, up to `count`. */
static double logprob_difference(const cJSON *reference, const cJSON *found, size_t count)
{
    double largest = 0;
    const cJSON *a = json_member(reference, "logprobs", "base.jsonl")->child;
    const cJSON *b = json_member(found, "logprobs", "run --json")->child;
    for (size_t i = 0; a && b && i < count; i++, a = a->next, b = b->next)
        largest = fmax(largest, fabs(a->valuedouble - b->valuedouble));
    return largest;
}

START_TEST(greedy_text_is_the_reference_s)
{
    const cJSON *reference = cases[_i];
    struct ids prompt = json_ids(reference, "prompt_ids", "base.jsonl");
    struct ids expected = json_ids(reference, "ids", "base.jsonl");
    cJSON *json = run(&prompt, expected.count);
    struct ids found = json_ids(json, "ids", "run --json");
    size_t same = 0;
    while (same < expected.count && same < found.count && found.id[same] == expected.id[same])
        same++;
    const cJSON *gap = cJSON_GetArrayItem(json_member(reference, "gaps", "base.jsonl"), (int)same);
    double difference = logprob_difference(reference, json, same);
    printf("default %2d: %zu of %zu tokens the same, log-probabilities within %.1e\n", _i, same, expected.count,
           difference);
    ck_assert_msg(same == expected.count || (gap && gap->valuedouble < undecided),
                  "case %d: token %zu of %zu differs from the reference's, which was decided", _i, same,
                  expected.count);
    ck_assert_msg(difference <= logprob_tolerance, "case %d: log-probabilities differ by %g", _i, difference);
    free(prompt.id);
    free(expected.id);
    free(found.id);
    cJSON_Delete(json);
}
END_TEST

START_TEST(text_and_tokens_are_the_reference_s)
{
    const cJSON *reference = cases[_i];
    struct process_result result;
    char *prompt = cJSON_PrintUnformatted(json_member(reference, "prompt", "base.jsonl"));
    struct process_options options = {.input = text("%s\n", prompt)};
    const char *const arguments[] = {program, "tokenize", "--jsonl", NULL};
    process_run(&result, &options, arguments);
    ck_assert_int_eq(result.status, 0);
    const char *found = text("{\"ids\":%s}", result.out);
    cJSON *json = json_parse(found, "tokenize --jsonl");
    struct ids ids = json_ids(json, "ids", "tokenize --jsonl");
    struct ids expected = json_ids(reference, "prompt_ids", "base.jsonl");
    ck_assert_uint_eq(ids.count, expected.count);
    ck_assert_int_eq(memcmp(ids.id, expected.id, ids.count * sizeof *ids.id), 0);
    process_free(&result);
    cJSON_Delete(json);
    free(ids.id);
    free(expected.id);
    cJSON_free(prompt);
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("package/default");
    TCase *greedy = tcase_create("default");
    tcase_set_timeout(greedy, 300);
    tcase_add_unchecked_fixture(greedy, load, NULL);
    tcase_add_loop_test(greedy, greedy_text_is_the_reference_s, 0, CASES);
    tcase_add_loop_test(greedy, text_and_tokens_are_the_reference_s, 0, CASES);
    suite_add_tcase(suite, greedy);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
