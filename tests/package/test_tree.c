/* Trees of rows, on the kernels alone: a row of a tree has the bits that it would have at the end of a plain sequence,
   whatever else is in the step; page size and step size change no bit. The packages have a main of their own
   (templates/c/main.c), which makes the steps and compares. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "process.h"

/* Builds the package with the driver, runs it, and returns what it printed: a hash for each instruction set. */
static const char *run_driver(const char *model, const char *name, const char *dtype, const char *rows,
                              const char *page)
{
    struct process_result result;
    const char *program =
        lathe_build_sets(fixture_folder(model), temporary_path("%s", name), "--dtype", dtype, "--max-rows", rows,
                         "--page", page, "--templates", TEST_SOURCE_DIR "/tests/package/templates", NULL);
    process(&result, program, NULL);
    ck_assert_msg(result.status == 0 && !result.timed_out, "%s, %s, %s rows, pages of %s: status %d:\n%.3000s", model,
                  dtype, rows, page, result.status, result.err);
    ck_assert_msg(strstr(result.out, "scalar ") != NULL, "no hash: %s", result.out);
    printf("%s, %s, %s rows, pages of %s: %s", model, dtype, rows, page, result.out);
    const char *hashes = text("%s", result.out);
    process_free(&result);
    return hashes;
}

START_TEST(head_norms)
{
    run_driver("qwen3-ratio3", "norms", "bf16", "512", "64");
}
END_TEST

/* Biases, and a window in one layer of two. 20 rows are no multiple of any page: the scratch slots end inside one. */
START_TEST(pages_and_steps_of_any_size)
{
    static const struct {
        const char *rows, *page;
    } sizes[] = {{"512", "64"}, {"20", "16"}, {"20", "128"}};
    const char *first = NULL;
    for (int i = 0; i < 3; i++) {
        const char *hashes = run_driver("qwen2-window", text("size-%d", i), "f32", sizes[i].rows, sizes[i].page);
        first = first ? first : hashes;
        ck_assert_msg(strcmp(hashes, first) == 0, "%s rows and pages of %s change the logits:\n%sexpected:\n%s",
                      sizes[i].rows, sizes[i].page, hashes, first);
    }
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("package/tree");
    TCase *tree = tcase_create("tree");
    tcase_set_timeout(tree, 300);
    tcase_add_test(tree, head_norms);
    tcase_add_test(tree, pages_and_steps_of_any_size);
    suite_add_tcase(suite, tree);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
