/* The two forms of a package, fat and thin: moved, pointed at, and damaged. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"
#include "process.h"
#include "refusal.h"

static char fat[512], thin[512], weights[512], expected[512];

/* The hash of some logits, or NULL with the result left in *result for expect_refusal. */
static const char *hash_of(struct process_result *result, const char *program, const char *option, const char *value)
{
    process(result, program, "score", "--ids", "5,6,7,8,9,10,11,12", "--json", option, value, NULL);
    if (result->status != 0)
        return NULL;
    cJSON *json = json_parse(result->out, "score --json");
    const char *hash = text("%s", json_member(json, "logits_hash", "score --json")->valuestring);
    cJSON_Delete(json);
    return hash;
}

static void expect_works(const char *what, const char *program, const char *option, const char *value)
{
    struct process_result result;
    const char *hash = hash_of(&result, program, option, value);
    ck_assert_msg(hash != NULL, "%s: status %d: %.500s", what, result.status, result.err);
    ck_assert_msg(strcmp(hash, expected) == 0, "%s: other logits than before", what);
    process_free(&result);
}

static void expect_fails(const char *what, const char *program, const char *option, const char *value,
                         const char *fragment)
{
    struct process_result result;
    const char *hash = hash_of(&result, program, option, value);
    ck_assert_msg(hash == NULL, "%s: runs all the same", what);
    expect_refusal(&result, what, fragment, NULL);
    process_free(&result);
}

static void build_both(void)
{
    struct process_result result;
    snprintf(fat, sizeof fat, "%s", lathe_build(fixture_folder("llama-text"), temporary_path("fat"), NULL));
    snprintf(thin, sizeof thin, "%s",
             lathe_build(fixture_folder("llama-text"), temporary_path("thin"), "--thin", NULL));
    snprintf(weights, sizeof weights, "%s", temporary_path("thin/weights.bin"));
    const char *hash = hash_of(&result, fat, NULL, NULL);
    ck_assert_msg(hash != NULL, "%s: %.500s", fat, result.err);
    snprintf(expected, sizeof expected, "%s", hash);
    process_free(&result);
}

START_TEST(one_copy_of_the_weights)
{
    ck_assert_msg(!file_exists(temporary_path("fat/weights.bin")), "a fat package has weights.bin too");
    ck_assert_msg(file_exists(weights), "a thin package has no weights.bin");
    ck_assert(file_exists(temporary_path("fat/MANIFEST.json")) && file_exists(temporary_path("fat/src")));
    expect_works("thin", thin, NULL, NULL);
}
END_TEST

START_TEST(moved)
{
    struct process_result result;
    process_ok(&result, "mkdir", "-p", temporary_path("moved far/away"), NULL);
    process_free(&result);
    file_copy(fat, temporary_path("moved far/fat program"));
    expect_works("fat, the file alone", temporary_path("moved far/fat program"), NULL, NULL);
    file_copy(thin, temporary_path("moved far/away/thin"));
    expect_fails("thin without its weights", temporary_path("moved far/away/thin"), NULL, NULL, "weights.bin");
    expect_works("thin with --weights", temporary_path("moved far/away/thin"), "--weights", weights);
    file_copy(weights, temporary_path("moved far/away/weights.bin"));
    expect_works("thin with its weights", temporary_path("moved far/away/thin"), NULL, NULL);
    expect_works("fat with --weights", fat, "--weights", weights);
    expect_works("thin with the fat one's weights", temporary_path("moved far/away/thin"), "--weights", fat);

    /* Found through PATH and through a link, it finds itself. */
    ck_assert_int_eq(symlink(fat, temporary_path("link")), 0);
    expect_works("through a link", temporary_path("link"), NULL, NULL);
}
END_TEST

START_TEST(wrong_weights)
{
    lathe_build(fixture_folder("mistral-full"), temporary_path("other"), "--thin", NULL);
    expect_fails("weights of another model", thin, "--weights", temporary_path("other/weights.bin"), "weights.bin");
    expect_fails("weights that are a folder", thin, "--weights", temporary_folder(), temporary_folder());
    expect_fails("weights that are not there", thin, "--weights", "/nonexistent/w.bin", "/nonexistent/w.bin");
    file_write(temporary_path("empty.bin"), "", 0);
    expect_fails("an empty file", thin, "--weights", temporary_path("empty.bin"), "empty.bin");
    expect_fails("a text file", thin, "--weights", temporary_path("thin/MANIFEST.json"), "MANIFEST.json");
}
END_TEST

START_TEST(stripped)
{
    struct process_result result;
    const char *copy = temporary_path("stripped");
    file_copy(fat, copy);
    process(&result, "strip", copy, NULL);
    if (result.status == 127) {
        printf("  no strip here: skipped\n");
    } else {
        ck_assert_msg(result.status == 0, "strip: %s", result.err);
        expect_fails("stripped", copy, NULL, NULL, "stripped");
        /* What is left still runs when told where the weights are. */
        expect_works("stripped with --weights", copy, "--weights", weights);
    }
    process_free(&result);
}
END_TEST

START_TEST(truncated)
{
    static const long cut[] = {1, 8, 95, 96, 97, 4096, 100000};
    size_t length;
    char *data = file_read(fat, &length);
    const char *copy = temporary_path("cut");
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        file_copy(fat, copy);
        ck_assert_int_eq(truncate(copy, (off_t)length - cut[i]), 0);
        expect_fails(text("%ld bytes short", cut[i]), copy, NULL, NULL, "cut");
    }
    file_copy(weights, copy);
    ck_assert_int_eq(truncate(copy, 5000), 0);
    expect_fails("weights.bin cut to 5000 bytes", thin, "--weights", copy, "cut");

    /* Bytes after the trailer: a file that grew is as damaged as one that shrank. */
    char *longer = malloc(length + 1);
    ck_assert_ptr_nonnull(longer);
    memcpy(longer, data, length);
    longer[length] = 0;
    file_copy(fat, copy);
    file_write(copy, longer, length + 1);
    expect_fails("one byte longer", copy, NULL, NULL, "cut");
    free(longer);
    free(data);
}
END_TEST

START_TEST(altered)
{
    size_t length;
    char *data = file_read(fat, &length);
    const char *copy = temporary_path("altered");
    size_t payload;
    file_read(weights, &payload);
    payload -= 96;
    const struct {
        const char *what;
        size_t from_end;
    } places[] = {{"first byte of the payload", payload + 96},
                  {"a byte in the middle", payload / 2 + 96},
                  {"last byte of the payload", 97},
                  {"magic", 96},
                  {"version", 88},
                  {"payload offset", 80},
                  {"payload length", 72},
                  {"layout", 60},
                  {"payload hash", 30},
                  {"trailer hash", 4}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        file_copy(fat, copy);
        data[length - places[i].from_end] ^= 0x10;
        file_write(copy, data, length);
        data[length - places[i].from_end] ^= 0x10;
        expect_fails(places[i].what, copy, NULL, NULL, "altered");
    }
    file_write(copy, data, length);
    expect_works("unaltered", copy, NULL, NULL);
    free(data);
}
END_TEST

START_TEST(wrong_use)
{
    struct process_result result;
    static const char *const lines[][6] = {
        {"frobnicate"},
        {"run", "--frobnicate"},
        {"run", "--temp", "hot", "hello"},
        {"run", "--temp", "-1", "hello"},
        {"run", "-n", "12x", "hello"},
        {"run", "--ids", "1,2,99999"},
        {"run", "--ids", "1,-2"},
        {"run", "--ids", "1,x"},
        {"run", "--cpu", "z80", "hello"},
        {"score", "/nonexistent/text"},
        {"score", "--ids", "1,2", "--batch", "0"},
        {"score", "--ids", "1,2", "--chunk", "-1"},
        {"run", "--threads", "-3", "hello"},
        {"run", "--kv-memory", "1", "hello"},
        {"run", "--device", "cuda", "hello"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const char *const *word = lines[i];
        process(&result, fat, word[0], word[1], word[2], word[3], word[4], word[5], NULL);
        char what[64];
        snprintf(what, sizeof what, "%s %s %s %s", word[0], word[1] ? word[1] : "", word[2] ? word[2] : "",
                 word[3] ? word[3] : "");
        expect_refusal(&result, what, NULL);
        process_free(&result);
    }
}
END_TEST

/* The fixture's context is 128 positions. */
START_TEST(longer_than_the_context)
{
    struct process_result result;
    int32_t ids[129];
    for (int i = 0; i < 129; i++)
        ids[i] = 3 + i;
    char *line = ids_text(ids, 129);
    process(&result, fat, "run", "--ids", line, "-n", "1", NULL);
    expect_refusal(&result, "a prompt of 129 tokens", "128", NULL);
    process_free(&result);
    process_ok(&result, fat, "score", "--ids", line, "--json", NULL); /* scores it in two windows */
    cJSON *score = json_parse(result.out, "score --json");
    ck_assert_int_eq(json_member(score, "tokens", "score --json")->valueint, 129);
    ck_assert_int_eq(json_member(score, "windows", "score --json")->valueint, 2);
    cJSON_Delete(score);
    process_free(&result);
    free(line);

    line = ids_text(ids, 128);
    process_ok(&result, fat, "score", "--ids", line, "--json", NULL);
    process_free(&result);
    free(line);

    /* Generation ends where the context does. */
    line = ids_text(ids, 120);
    process_ok(&result, fat, "run", "--ids", line, "-n", "50", "--temp", "0", "--ignore-eos", "--json", NULL);
    cJSON *json = json_parse(result.out, "run --json");
    int count = cJSON_GetArraySize(json_member(json, "ids", "run --json"));
    ck_assert_msg(count == 8 || count == 9, "%d tokens after a prompt of 120 in a context of 128", count);
    ck_assert_str_eq(json_member(json, "finish", "run --json")->valuestring, "context");
    cJSON_Delete(json);
    process_free(&result);
    free(line);
}
END_TEST

START_TEST(without_a_tokenizer)
{
    struct process_result result;
    const char *program = lathe_build(fixture_folder("mistral-full"), temporary_path("mute"), NULL);
    process(&result, program, "run", "Hello", NULL);
    expect_refusal(&result, "text without a tokenizer", "tokenizer", NULL);
    process_free(&result);
    process(&result, program, "tokenize", NULL);
    expect_refusal(&result, "tokenize without a tokenizer", "tokenizer", NULL);
    process_free(&result);
    process_ok(&result, program, "run", "--ids", "4,5,6", "-n", "3", "--json", NULL);
    process_free(&result);
}
END_TEST

static double sum_of(const cJSON *stages, const char *key, const char *left_out)
{
    double sum = 0;
    const cJSON *stage;
    cJSON_ArrayForEach(stage, stages)
    {
        if (strcmp(json_member(stage, "name", "stage")->valuestring, left_out) != 0)
            sum += json_member(stage, key, "stage")->valuedouble;
    }
    return sum;
}

/* The stages do the work that `info` speaks of, and take the time of the step. */
START_TEST(bench_shows_the_stages)
{
    struct process_result result;
    process_ok(&result, fat, "info", "--json", NULL);
    cJSON *info = json_parse(result.out, "info --json");
    double flops = json_member(info, "flops_per_row", "info")->valuedouble;
    double bytes = json_member(info, "weight_bytes_read", "info")->valuedouble;
    process_free(&result);
    process_ok(&result, fat, "bench", "--stages", "-p", "40", "-n", "5", "-r", "2", "-t", "1", "--json", NULL);
    cJSON *bench = json_parse(result.out, "bench --json");
    const cJSON *stages = json_member(bench, "stages", "bench");
    const cJSON *prefill = json_member(stages, "prefill", "stages"), *decode = json_member(stages, "decode", "stages");
    ck_assert_int_eq(cJSON_GetArraySize(decode), cJSON_GetArraySize(prefill));
    ck_assert_double_eq(sum_of(decode, "flops", "attention"), flops);
    ck_assert_double_eq(sum_of(decode, "bytes", "attention"), bytes);
    ck_assert_double_eq(sum_of(prefill, "bytes", "attention"), bytes);
    ck_assert_double_gt(sum_of(prefill, "flops", ""), 30 * flops); /* logits of the last row only */
    ck_assert_double_eq(sum_of(prefill, "flops", ""), json_member(bench, "prefill_flops", "bench")->valuedouble);
    ck_assert_double_gt(sum_of(decode, "seconds", ""), 0);
    ck_assert_double_gt(json_member(bench, "peak_flops_per_second", "bench")->valuedouble, 1e8);
    ck_assert_double_gt(json_member(bench, "prefill_peak_share", "bench")->valuedouble, 0);
    ck_assert_double_le(json_member(bench, "prefill_peak_share", "bench")->valuedouble, 1.5);
    cJSON_Delete(bench);
    cJSON_Delete(info);
    process_free(&result);
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("package/forms");
    TCase *forms = tcase_create("forms");
    tcase_set_timeout(forms, 200);
    tcase_add_unchecked_fixture(forms, build_both, NULL);
    tcase_add_test(forms, one_copy_of_the_weights);
    tcase_add_test(forms, moved);
    tcase_add_test(forms, wrong_weights);
    tcase_add_test(forms, stripped);
    tcase_add_test(forms, truncated);
    tcase_add_test(forms, altered);
    tcase_add_test(forms, wrong_use);
    tcase_add_test(forms, longer_than_the_context);
    tcase_add_test(forms, without_a_tokenizer);
    tcase_add_test(forms, bench_shows_the_stages);
    suite_add_tcase(suite, forms);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
