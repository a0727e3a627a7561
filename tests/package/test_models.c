/* Small checkpoints of every family against transformers: logits within a relative error of 1e-2 (bf16 packages) and
   2e-5 (f32), 64 greedy tokens the same (f32). tests/fixtures/make_models.py made the checkpoints and the references.
 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "fixture.h"
#include "process.h"

static const double tolerance_bf16 = 1e-2, tolerance_f32 = 2e-5;

/* The logits of every position of the prompt, from `score`, on the best instruction set or on `cpu`. */
static void score(struct npy *logits, const char *program, const char *cpu, const struct fixture *fixture)
{
    struct process_result result;
    const char *file = text("%s.npy", program);
    char *ids = ids_text(fixture->prompt.id, fixture->prompt.count);
    process_ok(&result, program, "score", "--ids", ids, "--logits", file, "--json", cpu ? "--cpu" : NULL, cpu, NULL);
    process_free(&result);
    free(ids);
    npy_read(logits, file);
    ck_assert_msg(logits->rows == fixture->prompt.count && logits->columns == fixture->logits.columns,
                  "%s: score wrote [%zu, %zu] logits, expected [%zu, %zu]", fixture->name, logits->rows,
                  logits->columns, fixture->prompt.count, fixture->logits.columns);
}

/* The error over all the reference's rows together; *worst: of the worst single row. */
static double logits_error(const char *program, const char *cpu, const struct fixture *fixture, double *worst)
{
    struct npy logits;
    size_t columns = fixture->logits.columns, count = fixture->positions.count;
    score(&logits, program, cpu, fixture);
    float *rows = malloc(count * columns * sizeof *rows);
    ck_assert_ptr_nonnull(rows);
    *worst = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(rows + i * columns, logits.data + (size_t)fixture->positions.id[i] * columns, columns * sizeof *rows);
        *worst = fmax(*worst, relative_error(rows + i * columns, fixture->logits.data + i * columns, columns));
    }
    double error = relative_error(rows, fixture->logits.data, count * columns);
    free(rows);
    npy_free(&logits);
    return error;
}

/* Every instruction set that the package was compiled for, against the reference. */
static void every_variant(const char *program, const struct fixture *fixture, double tolerance)
{
    const char *names[MOST_VARIANTS];
    int count = package_variants(program, names);
    printf("%-15s %s", "", tolerance == tolerance_f32 ? "f32 " : "bf16");
    for (int v = 0; v < count; v++) {
        double worst, error = logits_error(program, names[v], fixture, &worst);
        printf("  %s %.2e", names[v], error);
        ck_assert_msg(error <= tolerance, "%s: --cpu %s: logits differ by %.3e, at most %.0e allowed", fixture->name,
                      names[v], error, tolerance);
    }
    printf("\n");
    fflush(stdout);
}

/* Runs the greedy prompt; returns how many tokens agree with the reference before the first that does not. */
static size_t greedy_agreement(const char *program, const struct fixture *fixture)
{
    struct process_result result;
    char *prompt = ids_text(fixture->greedy_prompt.id, fixture->greedy_prompt.count);
    process_ok(&result, program, "run", "--ids", prompt, "-n", "64", "--temp", "0", "--ignore-eos", "--json", NULL);
    cJSON *json = json_parse(result.out, "run --json");
    struct ids ids = json_ids(json, "ids", "run --json");
    size_t same = 0;
    while (same < fixture->greedy.count && same < ids.count && ids.id[same] == fixture->greedy.id[same])
        same++;
    ck_assert_uint_eq(ids.count, fixture->greedy.count);
    free(ids.id);
    free(prompt);
    cJSON_Delete(json);
    process_free(&result);
    return same;
}

START_TEST(agrees_with_transformers)
{
    struct fixture fixture;
    fixture_load(&fixture, fixture_names[_i]);
    /* One checkpoint of each family, for every instruction set that this processor has. */
    bool sets = _i % 3 == 2;
    const char *(*build)(const char *, const char *, ...) = sets ? lathe_build_sets : lathe_build;
    const char *f32 = build(fixture.folder, temporary_path("%s-f32", fixture.name), "--dtype", "f32", NULL);
    const char *bf16 = build(fixture.folder, temporary_path("%s-bf16", fixture.name), NULL);
    double worst_f32, worst_bf16;
    double error_f32 = logits_error(f32, NULL, &fixture, &worst_f32);
    double error_bf16 = logits_error(bf16, NULL, &fixture, &worst_bf16);
    size_t same = greedy_agreement(f32, &fixture), same_bf16 = greedy_agreement(bf16, &fixture);
    double estimate = json_member(fixture.json, "bf16_estimate", fixture.name)->valuedouble;
    printf("%-15s f32 error %.2e (worst row %.2e)  bf16 error %.2e (worst row %.2e, estimated %.2e)  "
           "greedy f32 %zu/64, bf16 %zu/64\n",
           fixture.name, error_f32, worst_f32, error_bf16, worst_bf16, estimate, same, same_bf16);
    fflush(stdout);
    ck_assert_msg(error_f32 <= tolerance_f32, "%s: f32 logits differ by %.3e, at most %.0e allowed", fixture.name,
                  error_f32, tolerance_f32);
    ck_assert_msg(same == fixture.greedy.count, "%s: greedy token %zu differs (f32)", fixture.name, same);
    ck_assert_msg(error_bf16 <= tolerance_bf16, "%s: bf16 logits differ by %.3e, at most %.0e allowed", fixture.name,
                  error_bf16, tolerance_bf16);
    every_variant(f32, &fixture, tolerance_f32);
    every_variant(bf16, &fixture, tolerance_bf16);
    fixture_free(&fixture);
}
END_TEST

/* The reference alone: with one feature left out it is far outside the tolerances, so the test above can fail. */
START_TEST(fixtures_notice_every_feature)
{
    struct fixture fixture;
    fixture_load(&fixture, fixture_names[_i]);
    const cJSON *effect, *effects = json_member(fixture.json, "effects", fixture.name);
    ck_assert_int_ge(cJSON_GetArraySize(effects), 6);
    cJSON_ArrayForEach(effect, effects)
    {
        bool slip = strcmp(effect->string, "sliding_window_plus_1") == 0; /* for the f32 package to notice */
        ck_assert_msg(effect->valuedouble >= (slip ? 100 * tolerance_f32 : 10 * tolerance_bf16),
                      "%s: leaving out '%s' changes the logits by %g only", fixture.name, effect->string,
                      effect->valuedouble);
    }
    fixture_free(&fixture);
}
END_TEST

/* config.json as transformers 5 writes it, as 4 did, and as it was before: the same package but for the input's hash.
 */
START_TEST(key_styles_mean_the_same)
{
    static const char *const styles[] = {"config_new.json", "config_oldest.json"};
    struct fixture fixture;
    fixture_load(&fixture, "llama-llama3");
    const char *plain = lathe_build(fixture.folder, temporary_path("plain/llama3"), "--thin", NULL);
    double worst, error = logits_error(plain, NULL, &fixture, &worst);
    for (int i = 0; i < 2; i++) {
        const char *model = temporary_path("llama-llama3");
        if (!file_exists(model))
            file_copy(fixture.folder, model);
        file_copy(text("%s/reference/%s", fixture.folder, styles[i]), text("%s/config.json", model));
        const char *output = temporary_path("style%d/llama3", i);
        const char *other = lathe_build(model, output, "--thin", NULL);
        const char *weights = text("%s/weights.bin", output);
        struct process_result result;
        process_ok(&result, "cmp", weights, temporary_path("plain/llama3/weights.bin"), NULL);
        process_free(&result);
        double other_error = logits_error(other, NULL, &fixture, &worst);
        ck_assert_msg(other_error == error, "%s gives other logits than config.json", styles[i]);
    }
    fixture_free(&fixture);
}
END_TEST

/* Text in, text out: the tokenizer of the package is that of the checkpoint. */
START_TEST(text_goes_through_the_tokenizer)
{
    struct fixture fixture;
    struct process_result result;
    fixture_load(&fixture, "llama-text");
    const char *program = lathe_build(fixture.folder, temporary_path("text"), "--dtype", "f32", NULL);
    const cJSON *expected = json_member(fixture.json, "text", "case.json");
    struct ids ids = json_ids(expected, "ids", "case.json");
    process_ok(&result, program, "run", json_member(expected, "text", "case.json")->valuestring, "-n", "4", "--temp",
               "0", "--json", NULL);
    cJSON *json = json_parse(result.out, "run --json");
    struct ids found = json_ids(json, "prompt_ids", "run --json");
    ck_assert_msg(ids.count == found.count && memcmp(ids.id, found.id, ids.count * sizeof *ids.id) == 0,
                  "the prompt's ids are %s, expected %s", ids_text(found.id, found.count), ids_text(ids.id, ids.count));
    cJSON_Delete(json);
    process_free(&result);

    char *prompt = ids_text(fixture.greedy_prompt.id, fixture.greedy_prompt.count);
    process_ok(&result, program, "run", "--ids", prompt, "-n", "64", "--temp", "0", "--ignore-eos", "--json", NULL);
    json = json_parse(result.out, "run --json");
    ck_assert_str_eq(json_member(json, "text", "run --json")->valuestring,
                     json_member(expected, "greedy", "case.json")->valuestring);
    cJSON_Delete(json);
    process_free(&result);
    free(prompt);
    free(ids.id);
    free(found.id);
    fixture_free(&fixture);
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("package/models");
    TCase *models = tcase_create("models");
    tcase_set_timeout(models, 300);
    tcase_add_loop_test(models, agrees_with_transformers, 0, FIXTURE_COUNT);
    tcase_add_loop_test(models, fixtures_notice_every_feature, 0, FIXTURE_COUNT);
    tcase_add_test(models, key_styles_mean_the_same);
    tcase_add_test(models, text_goes_through_the_tokenizer);
    suite_add_tcase(suite, models);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
