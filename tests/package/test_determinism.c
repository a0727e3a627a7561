/* The same inputs give the same bytes: in another folder, from another working directory, a second time; and nothing of
   the machine gets into the files. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compare.h"
#include "fixture.h"
#include "process.h"

static const char *const models[] = {"llama-text", "mistral-window", "llama-linear"};

/* lathe VERB MODEL -o OUTPUT, run in `directory` with other settings of the environment each time. */
static void make(const char *verb, const char *model, const char *output, const char *directory,
                 const char *environment)
{
    struct process_options options = {.directory = directory, .environment = environment};
    struct process_result result;
    const char *sets[MOST_VARIANTS];
    processor_sets("bf16", sets);
    const char *arguments[] = {lathe(), verb, model, "-o", output, "--quiet", "--cpu", sets[0], NULL};
    process_run(&result, &options, arguments);
    ck_assert_msg(result.status == 0, "lathe %s %s: %.1000s", verb, model, result.err);
    process_free(&result);
}

/* Fails when any file below `folder` holds `word`. */
static void expect_absent(const char *folder, const char *word)
{
    struct process_result result;
    if (strlen(word) < 4)
        return;
    process(&result, "grep", "-rlaF", "--", word, folder, NULL);
    ck_assert_msg(result.status == 1, "'%s' is in %s", word, result.out);
    process_free(&result);
}

static void expect_clean(const char *folder)
{
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    expect_absent(folder, temporary_folder());
    expect_absent(folder, TEST_SOURCE_DIR "/");
    expect_absent(folder, TEST_BINARY_DIR "/");
    if (strcmp(host, "localhost") != 0)
        expect_absent(folder, host);
}

static void in_two_folders(const char *verb, const char *name)
{
    const char *left = temporary_path("%s-left/%s", verb, name);
    const char *right = temporary_path("%s right/deeper/%s", verb, name);
    const char *copy = temporary_path("%s elsewhere/%s", verb, name);
    struct process_result result;
    process_ok(&result, "mkdir", "-p", temporary_path("%s right/deeper", verb), temporary_path("%s elsewhere", verb),
               temporary_path("%s-left", verb), NULL);
    process_free(&result);
    file_copy(fixture_folder(name), copy);
    make(verb, fixture_folder(name), left, "/", "TZ=Asia/Tokyo");
    make(verb, text("../%s elsewhere/%s/", verb, name), text("deeper/%s", name), temporary_path("%s right", verb),
         "LC_ALL=tr_TR.UTF-8");
    const char *difference = folders_differ(left, right);
    ck_assert_msg(!difference, "lathe %s %s in two folders: %s", verb, name, difference);
    expect_clean(left);
    make(verb, copy, left, NULL, "LANG=C");
    difference = folders_differ(left, right);
    ck_assert_msg(!difference, "lathe %s %s over itself: %s", verb, name, difference);
    if (strcmp(verb, "build") == 0) { /* compiling leaves the sources as `generate` writes them */
        process_ok(&result, "mkdir", temporary_path("generated"), NULL);
        process_free(&result);
        make("generate", copy, temporary_path("generated/%s", name), NULL, NULL);
        difference = folders_differ(text("%s/src", left), temporary_path("generated/%s/src", name));
        ck_assert_msg(!difference, "built and generated sources: %s", difference);
    }
    printf("%s %s: identical\n", verb, name);
    fflush(stdout);
}

START_TEST(generate_in_two_folders)
{
    in_two_folders("generate", models[_i]);
}
END_TEST

START_TEST(build_in_two_folders)
{
    in_two_folders("build", "llama-text");
}
END_TEST

/* lathe build with a compiler of this script's making, which does not optimise; the executable's bytes, to be freed. */
static char *built_with(const char *name, const char *script, size_t *length)
{
    const char *path = temporary_path("%s-cc", name), *output = temporary_path("%s/package", name);
    struct process_result result;
    file_write(path, script, strlen(script));
    ck_assert_int_eq(chmod(path, 0755), 0);
    process_ok(&result, "mkdir", temporary_path("%s", name), NULL);
    process_free(&result);
    make("build", fixture_folder("llama-text"), output, NULL, text("CC=%s", path));
    return file_read(executable(output), length);
}

/* What a compiler keeps of the headers changes nothing; one that keeps nothing does as well. */
START_TEST(with_and_without_kept_headers)
{
    size_t lengths[2];
    char *with = built_with("keeps", "#!/bin/sh\nexec cc \"$@\" -O0\n", &lengths[0]);
    char *without = built_with(
        "forgets", "#!/bin/sh\ncase \"$*\" in *' c-header '*) exit 1;; esac\nexec cc \"$@\" -O0\n", &lengths[1]);
    ck_assert_uint_eq(lengths[0], lengths[1]);
    ck_assert_int_eq(memcmp(with, without, lengths[0]), 0);
    free(with);
    free(without);
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("package/determinism");
    TCase *same = tcase_create("same bytes");
    tcase_set_timeout(same, 300);
    tcase_add_loop_test(same, generate_in_two_folders, 0, 3);
    tcase_add_test(same, build_in_two_folders);
    tcase_add_test(same, with_and_without_kept_headers);
    suite_add_tcase(suite, same);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
