/* Batch invariance, bitwise: the logits of a sequence do not depend on the rows computed beside it, on how its prompt
   is cut into chunks, or on the number of threads. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "process.h"

/* One model a kind of arithmetic: rope scaling and tied head in bf16; a window and eight heads a state; biases, sizes
   that are no multiple of anything, in f32. */
static const struct {
    const char *fixture, *dtype;
} packages[] = {{"llama-llama3", "bf16"}, {"mistral-window", "bf16"}, {"qwen3-128", "bf16"}, {"llama-bias", "f32"}};

#define PACKAGES (sizeof packages / sizeof *packages)

static char programs[PACKAGES][512];

static void build_all(void)
{
    for (size_t i = 0; i < PACKAGES; i++)
        snprintf(programs[i], sizeof programs[i], "%s",
                 lathe_build_sets(fixture_folder(packages[i].fixture), temporary_path("%s", packages[i].fixture),
                                  "--dtype", packages[i].dtype, NULL));
}

/* The hash of all the logits of the fixture's prompt, as `score --json` prints it. `cpu`, the option and the flag may be
   NULL. */
static const char *hash_of(int package, const char *cpu, const char *option, const char *value, const char *flag)
{
    struct fixture fixture;
    struct process_result result;
    fixture_load(&fixture, packages[package].fixture);
    char *ids = ids_text(fixture.prompt.id, fixture.prompt.count);
    const char *arguments[12] = {programs[package], "score", "--ids", ids, "--json"};
    int count = 5;
    if (cpu) {
        arguments[count++] = "--cpu";
        arguments[count++] = cpu;
    }
    if (option) {
        arguments[count++] = option;
        arguments[count++] = value;
    }
    arguments[count] = flag;
    process_run(&result, NULL, arguments);
    ck_assert_msg(result.status == 0, "%s score --cpu %s %s %s: %s", programs[package], cpu ? cpu : "",
                  option ? option : "", value ? value : "", result.err);
    cJSON *json = json_parse(result.out, "score --json");
    const char *hash = text("%s", json_member(json, "logits_hash", "score --json")->valuestring);
    ck_assert_msg(strlen(hash) >= 16, "logits_hash is '%s'", hash);
    cJSON_Delete(json);
    free(ids);
    process_free(&result);
    fixture_free(&fixture);
    return hash;
}

/* The same bits with each of the option's values, and `flag` if it is not NULL. */
static void expect_same(int package, const char *option, const char *const *values, int count, const char *flag)
{
    const char *plain = hash_of(package, NULL, NULL, NULL, NULL);
    printf("%-15s %-12s plain %.16s", packages[package].fixture, flag ? flag : option, plain);
    for (int i = 0; i < count; i++) {
        const char *hash = hash_of(package, NULL, option, values[i], flag);
        printf("  %s %s", values[i], strcmp(hash, plain) == 0 ? "same" : "DIFFERS");
        fflush(stdout);
        ck_assert_msg(strcmp(hash, plain) == 0, "%s: %s %s changes the logits (%s, plain %s)",
                      packages[package].fixture, option, values[i], hash, plain);
    }
    printf("\n");
    fflush(stdout);
}

START_TEST(beside_other_sequences)
{
    static const char *const batches[] = {"1", "2", "8", "32"};
    expect_same(_i, "--batch", batches, 4, NULL);
}
END_TEST

START_TEST(beside_random_sequences)
{
    static const char *const batches[] = {"2", "8", "32"};
    expect_same(_i, "--batch", batches, 3, "--neighbours");
}
END_TEST

START_TEST(in_chunks)
{
    static const char *const chunks[] = {"1", "5", "64", "96"};
    expect_same(_i, "--chunk", chunks, 4, NULL);
}
END_TEST

START_TEST(on_several_threads)
{
    static const char *const threads[] = {"1", "2", "3", "7"};
    expect_same(_i, "--threads", threads, 4, NULL);
}
END_TEST

/* Each instruction set has its own bits (avx2 and avx512 the same), and the same in every chunking, beside any rows and on
   any number of threads. */
START_TEST(each_instruction_set)
{
    static const char *const options[][3] = {
        {"--chunk", "1", NULL},   {"--chunk", "7", NULL},           {"--chunk", "20", NULL},
        {"--threads", "3", NULL}, {"--batch", "9", "--neighbours"}, {"--batch", "32", NULL},
    };
    const char *names[MOST_VARIANTS];
    char hashes[MOST_VARIANTS][32];
    int count = package_variants(programs[_i], names);
    bool has_bf16 = false;
    for (int v = 0; v < count; v++) {
        snprintf(hashes[v], sizeof hashes[v], "%s", hash_of(_i, names[v], NULL, NULL, NULL));
        printf("%-15s --cpu %-7s plain %.16s", packages[_i].fixture, names[v], hashes[v]);
        for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
            const char *hash = hash_of(_i, names[v], options[i][0], options[i][1], options[i][2]);
            printf("  %s %s %s", options[i][0], options[i][1], strcmp(hash, hashes[v]) == 0 ? "same" : "DIFFERS");
            fflush(stdout);
            ck_assert_msg(strcmp(hash, hashes[v]) == 0, "%s: --cpu %s %s %s changes the logits (%s, plain %s)",
                          packages[_i].fixture, names[v], options[i][0], options[i][1], hash, hashes[v]);
        }
        printf("\n");
        has_bf16 |= strcmp(names[v], "bf16") == 0;
        if (v > 0 && strcmp(names[v], "avx2") == 0 && strcmp(names[v - 1], "avx512") == 0)
            ck_assert_str_eq(hashes[v], hashes[v - 1]);
    }
    fflush(stdout);
    ck_assert_msg(!has_bf16 || strcmp(packages[_i].dtype, "bf16") == 0, "an f32 package multiplies bfloat16");
    ck_assert_str_eq(hashes[0], hash_of(_i, NULL, NULL, NULL, NULL)); /* the best one is the default */
}
END_TEST

/* Only bf16 packages have the instruction set that multiplies bfloat16. */
START_TEST(bf16_is_for_bf16_packages)
{
    struct process_result result;
    for (size_t i = 0; i < PACKAGES; i++) {
        if (strcmp(packages[i].dtype, "bf16") == 0)
            continue;
        process(&result, programs[i], "score", "--ids", "1,2,3", "--cpu", "bf16", NULL);
        ck_assert_int_eq(result.status, 1);
        ck_assert_msg(strstr(result.err, "--cpu bf16: it multiplies bfloat16") && strstr(result.err, "holds f32"), "%s",
                      result.err);
        process_free(&result);
    }
}
END_TEST

/* The hash is of the logits: another prompt and another package give another one. */
START_TEST(hash_depends_on_the_logits)
{
    struct process_result result;
    process_ok(&result, programs[0], "score", "--ids", "5,6,7,8", "--json", NULL);
    cJSON *json = json_parse(result.out, "score --json");
    ck_assert_str_ne(json_member(json, "logits_hash", "score --json")->valuestring, hash_of(0, NULL, NULL, NULL, NULL));
    ck_assert_str_ne(hash_of(1, NULL, NULL, NULL, NULL), hash_of(0, NULL, NULL, NULL, NULL));
    cJSON_Delete(json);
    process_free(&result);
}
END_TEST

/* Decoding token by token (run) chooses what scoring in one pass says is the most probable (bf16 too). */
START_TEST(decoding_agrees_with_scoring)
{
    struct fixture fixture;
    struct process_result result;
    fixture_load(&fixture, packages[_i].fixture);
    size_t prompt = fixture.greedy_prompt.count;
    char *ids = ids_text(fixture.greedy_prompt.id, prompt);
    process_ok(&result, programs[_i], "run", "--ids", ids, "-n", "64", "--temp", "0", "--ignore-eos", "--json", NULL);
    cJSON *json = json_parse(result.out, "run --json");
    struct ids out = json_ids(json, "ids", "run --json");
    cJSON_Delete(json);
    process_free(&result);
    free(ids);

    int32_t all[128];
    ck_assert(prompt + out.count <= 128);
    memcpy(all, fixture.greedy_prompt.id, prompt * sizeof *all);
    memcpy(all + prompt, out.id, out.count * sizeof *all);
    ids = ids_text(all, prompt + out.count);
    const char *file = temporary_path("decoding.npy");
    process_ok(&result, programs[_i], "score", "--ids", ids, "--logits", file, "--json", NULL);
    struct npy logits;
    npy_read(&logits, file);
    for (size_t i = 0; i < out.count; i++) {
        const float *row = logits.data + (prompt + i - 1) * logits.columns;
        size_t best = 0;
        for (size_t j = 1; j < logits.columns; j++)
            best = row[j] > row[best] ? j : best;
        ck_assert_msg((int32_t)best == out.id[i], "%s: token %zu is %d, scoring says %zu", packages[_i].fixture, i,
                      out.id[i], best);
    }
    npy_free(&logits);
    free(ids);
    free(out.id);
    process_free(&result);
    fixture_free(&fixture);
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("package/invariance");
    TCase *bits = tcase_create("bits");
    tcase_set_timeout(bits, 300);
    tcase_add_unchecked_fixture(bits, build_all, NULL);
    tcase_add_loop_test(bits, beside_other_sequences, 0, PACKAGES);
    tcase_add_loop_test(bits, beside_random_sequences, 0, PACKAGES);
    tcase_add_loop_test(bits, in_chunks, 0, PACKAGES);
    tcase_add_loop_test(bits, on_several_threads, 0, PACKAGES);
    tcase_add_loop_test(bits, each_instruction_set, 0, PACKAGES);
    tcase_add_test(bits, bf16_is_for_bf16_packages);
    tcase_add_test(bits, hash_depends_on_the_logits);
    tcase_add_loop_test(bits, decoding_agrees_with_scoring, 0, PACKAGES);
    suite_add_tcase(suite, bits);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
