/* SmolLM2-135M-Instruct, a real model: 20 prompts x 64 tokens teacher-forced and the perplexity of a fixed text,
   against transformers on the same rounded weights (tests/fixtures/make_smollm2.py). Skipped, with a message, where the
   model's file is not: $LATHE_SMOLLM2 or .cache/models/SmolLM2-135M-Instruct.Q4_1.gguf, which ./bootstrap downloads. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "process.h"

static const char *model_file(void)
{
    const char *given = getenv("LATHE_SMOLLM2");
    return given && given[0] ? given : TEST_SOURCE_DIR "/.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

static char program[512];
static cJSON *reference;

static void build(void)
{
    char *source = file_read(TEST_SOURCE_DIR "/tests/fixtures/smollm2/reference.json", NULL);
    reference = json_parse(source, "reference.json");
    free(source);
    struct process_result result;
    const char *output = temporary_path("smollm2"), *sets[MOST_VARIANTS];
    processor_sets("bf16", sets);
    process_ok(&result, lathe(), "build", model_file(), "-o", output, "--max-seq", "2048", "--cpu", sets[0], NULL);
    printf("%s", result.out);
    process_free(&result);
    snprintf(program, sizeof program, "%s", executable(output));
}

/* One step of the reference: the best tokens and their logits, and what the package says of them. */
struct step {
    int prompt, at;
    int32_t expected, found;
    double gap;
};

enum { TOP = 4 };

/* Over all the logits that the reference keeps. */
struct error_sum {
    double squares, largest, logprob_largest;
    size_t count;
};

/* Compares one step; adds to *sum. */
static struct step compare(const float *row, size_t vocab, const cJSON *top, struct error_sum *sum)
{
    struct step step = {0};
    double logits[TOP];
    for (int i = 0; i < TOP; i++) {
        const cJSON *pair = cJSON_GetArrayItem(top, i);
        int32_t id = cJSON_GetArrayItem(pair, 0)->valueint;
        logits[i] = cJSON_GetArrayItem(pair, 1)->valuedouble;
        double error = fabs((double)row[id] - logits[i]);
        sum->squares += error * error;
        sum->largest = fmax(sum->largest, error);
        sum->count++;
        step.expected = i ? step.expected : id;
    }
    step.gap = logits[0] - logits[1];
    size_t best = 0;
    for (size_t j = 1; j < vocab; j++)
        best = row[j] > row[best] ? j : best;
    step.found = (int32_t)best;
    double total = 0;
    for (size_t j = 0; j < vocab; j++)
        total += exp((double)row[j] - (double)row[best]);
    double logprob = (double)row[step.expected] - (double)row[best] - log(total);
    sum->logprob_largest = fmax(sum->logprob_largest, fabs(logprob - cJSON_GetArrayItem(top, TOP)->valuedouble));
    return step;
}

/* The logits of prompt and continuation; fails unless the tokenizer finds the same ids in the text. */
static struct npy teacher_forced(const cJSON *entry, struct ids *prompt, struct ids *continuation)
{
    struct npy logits;
    struct process_result result;
    const char *file = temporary_path("logits.npy");
    *prompt = json_ids(entry, "ids", "reference.json");
    *continuation = json_ids(entry, "continuation", "reference.json");
    size_t count = prompt->count + continuation->count - 1;
    int32_t *all = malloc(count * sizeof *all);
    ck_assert_ptr_nonnull(all);
    memcpy(all, prompt->id, prompt->count * sizeof *all);
    memcpy(all + prompt->count, continuation->id, (continuation->count - 1) * sizeof *all);
    char *line = ids_text(all, count);
    process_ok(&result, program, "score", "--ids", line, "--logits", file, "--json", NULL);
    process_free(&result);
    free(line);
    free(all);
    npy_read(&logits, file);
    ck_assert_uint_eq(logits.rows, count);
    return logits;
}

/* The design's rule: the arg-max is the reference's wherever the gap between the reference's best two logits exceeds
   four times the measured error (root mean square over the best four logits of every step). The other differences are
   listed. */
START_TEST(same_argmax_where_it_is_sure)
{
    enum { STEPS = 20 * 64 };
    static struct step steps[STEPS];
    struct error_sum sum = {0};
    const cJSON *entry, *prompts = json_member(reference, "prompts", "reference.json");
    int count = 0, prompt = 0, sure = 0, wrong = 0, exceptions = 0;
    cJSON_ArrayForEach(entry, prompts)
    {
        struct ids ids, continuation;
        struct npy logits = teacher_forced(entry, &ids, &continuation);
        const cJSON *top = json_member(entry, "top", "reference.json");
        for (size_t i = 0; i < continuation.count && count < STEPS; i++, count++) {
            const float *row = logits.data + (ids.count - 1 + i) * logits.columns;
            steps[count] = compare(row, logits.columns, cJSON_GetArrayItem(top, (int)i), &sum);
            steps[count].prompt = prompt;
            steps[count].at = (int)i;
        }
        free(ids.id);
        free(continuation.id);
        npy_free(&logits);
        prompt++;
    }
    double error = sqrt(sum.squares / (double)sum.count);
    for (int i = 0; i < count; i++) {
        bool is_sure = steps[i].gap > 4 * error, same = steps[i].expected == steps[i].found;
        sure += is_sure;
        wrong += is_sure && !same;
        exceptions += !is_sure && !same;
        if (!same)
            printf("  %s: prompt %d token %d: %d, reference %d, gap %.4f\n", is_sure ? "WRONG" : "exception",
                   steps[i].prompt, steps[i].at, steps[i].found, steps[i].expected, steps[i].gap);
    }
    printf("teacher-forced: %d steps, error of the logits %.4f (largest %.3f; of the log-probability %.3f), %d steps "
           "with a "
           "gap above %.3f, %d of them wrong, %d exceptions below it\n",
           count, error, sum.largest, sum.logprob_largest, sure, 4 * error, wrong, exceptions);
    fflush(stdout);
    ck_assert_int_eq(count, STEPS);
    ck_assert_msg(error < 0.25, "the logits are off by %.3f", error);
    ck_assert_msg(sure > STEPS / 2, "only %d steps are sure", sure);
    ck_assert_msg(wrong == 0, "%d steps have another arg-max in spite of their gap", wrong);
}
END_TEST

START_TEST(perplexity_of_a_text)
{
    struct process_result result;
    const cJSON *expected = json_member(reference, "text", "reference.json");
    double right = json_member(expected, "perplexity", "reference.json")->valuedouble;
    process_ok(&result, program, "score", TEST_SOURCE_DIR "/tests/fixtures/smollm2/text.txt", "--json", NULL);
    cJSON *json = json_parse(result.out, "score --json");
    double found = json_member(json, "perplexity", "score --json")->valuedouble;
    printf("perplexity %.4f, reference %.4f: %+.3f%%; %.1f s\n", found, right, 100 * (found / right - 1),
           result.seconds);
    fflush(stdout);
    ck_assert_int_eq(json_member(json, "tokens", "score --json")->valueint,
                     cJSON_GetArraySize(json_member(expected, "ids", "reference.json")));
    ck_assert_msg(fabs(found / right - 1) <= 0.005, "perplexity %.4f, reference %.4f", found, right);
    cJSON_Delete(json);
    process_free(&result);
}
END_TEST

/* The GGUF's tokenizer finds the reference's ids in all the texts, special tokens and the long text included. */
START_TEST(same_tokens)
{
    const cJSON *entry, *prompts = json_member(reference, "prompts", "reference.json");
    int count = 0;
    cJSON_ArrayForEach(entry, prompts)
    {
        struct process_result result;
        struct ids expected = json_ids(entry, "ids", "reference.json");
        process_ok(&result, program, "run", json_member(entry, "text", "reference.json")->valuestring, "-n", "1",
                   "--temp", "0", "--json", NULL);
        cJSON *json = json_parse(result.out, "run --json");
        struct ids found = json_ids(json, "prompt_ids", "run --json");
        ck_assert_msg(found.count == expected.count &&
                          memcmp(found.id, expected.id, found.count * sizeof *found.id) == 0,
                      "prompt %d: ids %s, expected %s", count, ids_text(found.id, found.count),
                      ids_text(expected.id, expected.count));
        free(expected.id);
        free(found.id);
        cJSON_Delete(json);
        process_free(&result);
        count++;
    }
}
END_TEST

/* Invariance on a real model: bits beside 31 others and in chunks. */
START_TEST(same_bits_in_company)
{
    static const char *const options[][2] = {
        {NULL, NULL}, {"--batch", "32"}, {"--chunk", "1"}, {"--chunk", "5"}, {"--threads", "1"}};
    const cJSON *entry = cJSON_GetArrayItem(json_member(reference, "prompts", "reference.json"), 1);
    struct ids ids = json_ids(entry, "ids", "reference.json");
    char *line = ids_text(ids.id, ids.count), first[64] = "";
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        struct process_result result;
        process_ok(&result, program, "score", "--ids", line, "--json", options[i][0], options[i][1], NULL);
        cJSON *json = json_parse(result.out, "score --json");
        const char *hash = json_member(json, "logits_hash", "score --json")->valuestring;
        if (i == 0)
            snprintf(first, sizeof first, "%s", hash);
        ck_assert_msg(strcmp(hash, first) == 0, "%s %s: other bits", options[i][0], options[i][1]);
        cJSON_Delete(json);
        process_free(&result);
    }
    printf("logits_hash %s alone, beside 31 others, in chunks of 1 and 5, on one thread\n", first);
    free(line);
    free(ids.id);
}
END_TEST

int main(void)
{
    if (!file_exists(model_file())) {
        printf("package/smollm2: skipped: %s is not there; ./bootstrap downloads it, or set LATHE_SMOLLM2\n",
               model_file());
        return 0;
    }
    temporary_folder();
    Suite *suite = suite_create("package/smollm2");
    TCase *smollm2 = tcase_create("smollm2");
    tcase_set_timeout(smollm2, 500);
    tcase_add_unchecked_fixture(smollm2, build, NULL);
    tcase_add_test(smollm2, same_argmax_where_it_is_sure);
    tcase_add_test(smollm2, perplexity_of_a_text);
    tcase_add_test(smollm2, same_tokens);
    tcase_add_test(smollm2, same_bits_in_company);
    suite_add_tcase(suite, smollm2);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
