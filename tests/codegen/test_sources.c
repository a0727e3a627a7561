/* What `lathe generate` writes: compared with a golden copy, and formatted as clang-format leaves it. package/warnings
   compiles it. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "host.h"
#include "process.h"

/* A window and biases, head norms, all biases and slots for adapters, none; the last one for a GPU: head norms. */
static const struct package {
    const char *model, *dtype, *target, *rows, *slots;
} packages[] = {{"qwen2-window", "bf16", "c", "512", "0"},
                {"qwen3-ratio3", "f32", "c", "512", "0"},
                {"llama-bias", "bf16", "c", "512", "2"},
                {"llama-text", "f32", "c", "512", "0"},
                {"qwen3-ratio3", "bf16", "cuda", "8", "0"}};

enum { PACKAGES = sizeof packages / sizeof *packages, FOR_CPU = 4 };

/* One for the CPU with a draft head, whose sources have a folder of their own. */
static const char *head_folder(void)
{
    return temporary_path("draft-head");
}

/* Packages with a golden copy. The first: two runs of layers, biases, a window in one layer of two; the last: adapters. */
static const int golden_packages[] = {0, 4, 2};

static const char *made_folder(const struct package *package)
{
    return temporary_path("%s-%s/%s", package->target, package->dtype, package->model);
}

/* Copies of runtime/, which have a test of their own. */
static bool is_copy(const char *path)
{
    return strncmp(path, "src/runtime/", 12) == 0 || strcmp(path, "lathe.h") == 0;
}

/* As tests/golden/refresh.sh: for the GPU, few rows make few kernels. */
static void generate(const struct package *package)
{
    const char *option = strcmp(package->slots, "0") == 0 ? NULL : "--lora-slots";
    lathe_generate(fixture_folder(package->model), made_folder(package), "--dtype", package->dtype, "--target",
                   package->target, "--max-rows", package->rows, option, package->slots, NULL);
}

static void generate_all(void)
{
    for (int i = 0; i < PACKAGES; i++)
        generate(&packages[i]);
    lathe_generate(TEST_SOURCE_DIR "/tests/fixtures/heads/target", head_folder(), "--eagle",
                   TEST_SOURCE_DIR "/tests/fixtures/heads/safeailab-eagle3", NULL);
}

/* The files of a folder, a path a line, sorted; free it. */
static char *list(const char *folder)
{
    struct process_result result;
    const char *arguments[] = {"sh", "-c", "find . -type f | sed 's/^..//' | LC_ALL=C sort", NULL};
    process_run(&result, &(struct process_options){.directory = folder}, arguments);
    ck_assert_msg(result.status == 0, "%s: %s", folder, result.err);
    char *paths = strdup(result.out);
    process_free(&result);
    return paths;
}

/* The end of the line, and of the lines after it that stand in the manifest for copies. */
static char *next_line(char *line)
{
    do {
        line += strcspn(line, "\n");
        line += *line == '\n';
    } while (strstr(line, "    \"src/runtime/") == line || strstr(line, "    \"lathe.h\"") == line);
    return line;
}

static void compare_lines(const char *path, char *expected, char *found)
{
    for (int line = 1; *expected || *found; line++) {
        int left = (int)strcspn(expected, "\n"), right = (int)strcspn(found, "\n");
        ck_assert_msg(*expected && *found && left == right && memcmp(expected, found, (size_t)left) == 0,
                      "%s:%d:\n  expected %s%.*s\n  found    %s%.*s\nIf the change is meant, run "
                      "tests/golden/refresh.sh and look at its difference.",
                      path, line, *expected ? "" : "(the end)", left, expected, *found ? "" : "(the end)", right,
                      found);
        expected = next_line(expected);
        found = next_line(found);
    }
}

START_TEST(golden)
{
    const struct package *package = &packages[golden_packages[_i]];
    /* More files are read than `text` keeps. */
    char *folder = strdup(text("%s/tests/golden/%s", TEST_SOURCE_DIR, package->model));
    char *made = strdup(made_folder(package));
    char *expected = list(folder), *found = list(made), *rest = expected;
    int compared = 0;
    for (char *path = strtok(found, "\n"); path; path = strtok(NULL, "\n")) {
        if (is_copy(path))
            continue;
        size_t length = strcspn(rest, "\n");
        ck_assert_msg(length == strlen(path) && strncmp(rest, path, length) == 0,
                      "tests/golden/%s: expected the file %.*s, found %s", package->model, (int)length, rest, path);
        rest += length + (rest[length] == '\n');
        char *left = file_read(text("%s/%s", folder, path), NULL), *right = file_read(text("%s/%s", made, path), NULL);
        compare_lines(path, left, right);
        free(left);
        free(right);
        compared++;
    }
    ck_assert_msg(*rest == '\0', "tests/golden/%s: expected the file %s, found no more", package->model, rest);
    ck_assert_int_ge(compared, 15);
    free(folder);
    free(made);
    free(expected);
    free(found);
}
END_TEST

/* The headers that a package carries are those of the runtime. */
START_TEST(copies_of_the_runtime)
{
    const char *made = made_folder(&packages[golden_packages[_i]]);
    char *paths = list(made);
    int compared = 0;
    for (char *path = strtok(paths, "\n"); path; path = strtok(NULL, "\n")) {
        if (!is_copy(path))
            continue;
        char *copy = file_read(text("%s/%s", made, path), NULL);
        char *own = file_read(text("%s/runtime/%s", TEST_SOURCE_DIR, strrchr(text("/%s", path), '/') + 1), NULL);
        ck_assert_msg(strcmp(copy, own) == 0, "%s is not the runtime's", path);
        free(copy);
        free(own);
        compared++;
    }
    ck_assert_int_ge(compared, 4);
    free(paths);
}
END_TEST

START_TEST(is_formatted)
{
    struct process_result result;
    process(&result, "sh", "-c", "clang-format --version", NULL);
    bool usable = result.status == 0 && strstr(result.out, "version 14.");
    process_free(&result);
    if (!usable) {
        printf("  clang-format 14 is not here: skipped\n");
        return;
    }
    const char *folder = _i < FOR_CPU ? made_folder(&packages[_i]) : head_folder();
    file_copy(TEST_SOURCE_DIR "/.clang-format", text("%s/.clang-format", folder));
    const char *arguments[] = {"sh", "-c", "clang-format --dry-run -Werror *.c *.h $(find . -path './draft/*.[ch]')",
                               NULL};
    process_run(&result, &(struct process_options){.directory = text("%s/src", folder)}, arguments);
    ck_assert_msg(result.status == 0, "%s: %.1500s", folder, result.err);
    process_free(&result);
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("codegen/sources");
    TCase *sources = tcase_create("sources");
    tcase_set_timeout(sources, 180);
    tcase_add_unchecked_fixture(sources, generate_all, NULL);
    tcase_add_loop_test(sources, golden, 0, sizeof golden_packages / sizeof *golden_packages);
    tcase_add_loop_test(sources, copies_of_the_runtime, 0, sizeof golden_packages / sizeof *golden_packages);
    tcase_add_loop_test(sources, is_formatted, 0, FOR_CPU + 1);
    suite_add_tcase(suite, sources);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
