/* Rows with different adapters in one step, bitwise: each has the bits that it has alone, whatever stands beside it, in any
   chunking, on any number of threads; rows without an adapter have those of a package without adapters. The packages have a main
   of their own (adapter_driver/main.c), which makes random adapters and compares. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "process.h"

/* Biases and sizes that are no multiple of anything, in f32; a tied head and rope scaling, in bf16. */
static const struct {
    const char *model, *dtype;
} packages[] = {{"llama-bias", "f32"}, {"llama-llama3", "bf16"}};

#define PACKAGES (sizeof packages / sizeof *packages)

/* A folder of templates with the driver, which includes the runtime's headers by their whole paths. */
static const char *driver_templates(void)
{
    const char *folder = text("%s", temporary_path("templates"));
    struct process_result result;
    process_ok(&result, "mkdir", "-p", text("%s/c", folder), NULL);
    process_free(&result);
    char *driver = file_read(TEST_SOURCE_DIR "/tests/package/adapter_driver/main.c", NULL);
    char *include = strstr(driver, "\"engine.h\"");
    ck_assert_ptr_nonnull(include);
    FILE *file = fopen(text("%s/c/main.c", folder), "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "%.*s\"" TEST_SOURCE_DIR "/runtime/engine.h\"%s", (int)(include - driver), driver,
            include + strlen("\"engine.h\""));
    fclose(file);
    free(driver);
    return folder;
}

START_TEST(beside_each_other)
{
    struct process_result result;
    const char *program = lathe_build_sets(fixture_folder(packages[_i].model), temporary_path("%s", packages[_i].model),
                                           "--dtype", packages[_i].dtype, "--lora-slots", "32", "--lora-max-rank", "64",
                                           "--templates", driver_templates(), NULL);
    process(&result, program, NULL);
    ck_assert_msg(result.status == 0 && !result.timed_out, "%s, %s: status %d:\n%.3000s", packages[_i].model,
                  packages[_i].dtype, result.status, result.err);
    ck_assert_msg(strstr(result.out, "scalar ") != NULL, "no hash: %s", result.out);
    printf("%s, %s:\n%s", packages[_i].model, packages[_i].dtype, result.out);
    process_free(&result);
}
END_TEST

static const char *hash_of(const char *program, const char *cpu)
{
    struct process_result result;
    process_ok(&result, program, "score", "--ids", "1,2,3,4,5,6,7,8,9", "--json", "--cpu", cpu, NULL);
    cJSON *json = json_parse(result.out, "score --json");
    const char *hash = text("%s", json_member(json, "logits_hash", "score --json")->valuestring);
    cJSON_Delete(json);
    process_free(&result);
    return hash;
}

START_TEST(slots_change_nothing)
{
    char plain[512], slots[512];
    const char *model = fixture_folder("llama-text"), *names[MOST_VARIANTS];
    snprintf(plain, sizeof plain, "%s", lathe_build_sets(model, temporary_path("plain"), NULL));
    snprintf(slots, sizeof slots, "%s", lathe_build_sets(model, temporary_path("slots"), "--lora-slots", "2", NULL));
    int count = package_variants(plain, names);
    for (int v = 0; v < count; v++)
        ck_assert_str_eq(hash_of(slots, names[v]), hash_of(plain, names[v]));
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("package/adapter_rows");
    TCase *rows = tcase_create("rows");
    tcase_set_timeout(rows, 600);
    tcase_add_loop_test(rows, beside_each_other, 0, PACKAGES);
    tcase_add_test(rows, slots_change_nothing);
    suite_add_tcase(suite, rows);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
