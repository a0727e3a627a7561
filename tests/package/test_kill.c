/* Builds that are killed (SIGKILL) at random moments over a package that is in use: at every moment the name stands for
   the whole old package or the whole new one, which runs; and the next build succeeds and clears what was left.

   10 moments; LATHE_KILLS=N for N, each with the next build run to its end. The moments are the same every time. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "fixture.h"
#include "process.h"
#include "random.h"

#define SEED 20261124
#define FEW 10

/* Two packages with the same name, and what they print. */
static struct package {
    const char *model;
    char folder[512];
    char *output;
} old_package = {.model = "mistral-full"}, new_package = {.model = "llama-text"};

static double build_seconds; /* of the last build that came to its end */

/* What it generates, without how long that took. */
static char *run(const char *package)
{
    struct process_result result;
    process_ok(&result, executable(package), "run", "--ids", "5,6,7,8", "-n", "16", "--temp", "0", "--ignore-eos",
               "--json", NULL);
    char *output = strdup(result.out), *timings = strstr(output, "\"prefill_steps\"");
    ck_assert_ptr_nonnull(timings);
    *timings = '\0';
    process_free(&result);
    return output;
}

/* lathe build, killed after so many seconds (0: not). Returns whether it came to its end. */
static bool build(const struct package *package, const char *place, double seconds)
{
    struct process_result result;
    const char *arguments[] = {lathe(),  "build", fixture_folder(package->model), "-o", place, "--quiet", "--cpu",
                               "scalar", NULL};
    struct process_options options = {.signal_after = seconds, .signal = SIGKILL};
    process_run(&result, &options, arguments);
    ck_assert_msg(result.status == 0 || (seconds > 0 && result.status == 128 + SIGKILL), "status %d: %s", result.status,
                  result.err);
    bool ended = result.status == 0;
    if (ended)
        build_seconds = result.seconds;
    process_free(&result);
    return ended;
}

static void build_both(void)
{
    use_a_quick_compiler();
    snprintf(old_package.folder, sizeof old_package.folder, "%s", temporary_path("old/package"));
    snprintf(new_package.folder, sizeof new_package.folder, "%s", temporary_path("new/package"));
    build(&old_package, old_package.folder, 0);
    build(&new_package, new_package.folder, 0);
    old_package.output = run(old_package.folder);
    new_package.output = run(new_package.folder);
    ck_assert_str_ne(old_package.output, new_package.output);
}

/* Fails unless the place is one of the packages, whole, and works; returns whether it is the new one. */
static bool check_whole(const char *place, const char *what)
{
    bool is_new = folders_differ(place, new_package.folder) == NULL;
    const char *difference = is_new ? NULL : folders_differ(place, old_package.folder);
    ck_assert_msg(!difference, "%s: the package is neither the old nor the new one: %s", what, difference);
    char *output = run(place);
    ck_assert_msg(strcmp(output, is_new ? new_package.output : old_package.output) == 0, "%s: it says %s", what,
                  output);
    free(output);
    return is_new;
}

/* How many entries the folder has. */
static int count_entries(const char *folder)
{
    struct process_result result;
    int count = 0;
    process_ok(&result, "ls", "-A", folder, NULL);
    for (const char *at = result.out; (at = strchr(at, '\n')) != NULL; at++)
        count++;
    process_free(&result);
    return count;
}

static void put_old(const char *place)
{
    struct process_result result;
    process_ok(&result, "rm", "-rf", place, NULL);
    process_free(&result);
    file_copy(old_package.folder, place);
}

START_TEST(killed_at_random_moments)
{
    const char *given = getenv("LATHE_KILLS");
    int kills = given && given[0] ? atoi(given) : FEW, attempts = 0, killed = 0, replaced = 0, left = 0, cleared = 0;
    char parent[512], place[600];
    struct process_result result;
    snprintf(parent, sizeof parent, "%s", temporary_path("place"));
    snprintf(place, sizeof place, "%s/package", parent);
    process_ok(&result, "mkdir", parent, NULL);
    process_free(&result);
    put_old(place);
    ck_assert_int_gt(kills, 0);
    for (; killed < kills; attempts++) {
        uint64_t bits = random_bits(SEED, 0, (uint64_t)attempts);
        double moment = build_seconds * ((double)random_below(bits, 1000000) + 1) / 1e6;
        const char *what = text("kill after %.3f of about %.1f s", moment, build_seconds);
        ck_assert_msg(attempts < 3 * kills, "only %d of %d builds were killed", killed, attempts);
        bool ended = build(&new_package, place, moment), is_new = check_whole(place, what);
        ck_assert_msg(is_new || !ended, "%s: the build came to its end, and the package is the old one", what);
        killed += !ended;
        replaced += is_new && !ended;
        left += count_entries(parent) > 1;
        if (!ended && ((given && given[0]) || killed % 5 == 0)) { /* clears what all kills since the last one left */
            build(&new_package, place, 0);
            is_new = check_whole(place, what);
            ck_assert_msg(is_new, "%s: the next build did not replace the package", what);
            ck_assert_msg(count_entries(parent) == 1, "%s: the next build leaves something beside the package", what);
            cleared++;
        }
        if (is_new)
            put_old(place);
    }
    printf(
        "  %d builds killed at random moments of about %.1f s (%d more came to their end first): %d had replaced the "
        "package already, %d left something beside it; %d further builds succeeded and cleared that\n",
        killed, build_seconds, attempts - killed, replaced, left, cleared);
    fflush(stdout);
    ck_assert_msg(left > 0, "no build was killed while it had files beside the package");
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("package/kill");
    TCase *tests = tcase_create("kill");
    tcase_set_timeout(tests, 2400);
    tcase_add_unchecked_fixture(tests, build_both, NULL);
    tcase_add_test(tests, killed_at_random_moments);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
