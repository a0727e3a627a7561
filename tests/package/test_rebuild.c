/* Building into a place that holds something already: from edited sources, interrupted, without space or permission.
   The old package stays whole until the new one is. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compare.h"
#include "fixture.h"
#include "process.h"
#include "refusal.h"

static const char model[] = "llama-text", other_model[] = "mistral-full";
static const char prompt[] = "5,6,7,8,9,10,11,12";

static char old_package[512], new_package[512];

/* Two packages with the same name: the one that is there, and the one that is to replace it. */
static void build_both(void)
{
    struct process_result result;
    process_ok(&result, "mkdir", "-p", temporary_path("old"), temporary_path("new"), NULL);
    process_free(&result);
    snprintf(old_package, sizeof old_package, "%s", temporary_path("old/package"));
    snprintf(new_package, sizeof new_package, "%s", temporary_path("new/package"));
    lathe_build(fixture_folder(other_model), old_package, "--cpu", "scalar", NULL);
    lathe_build(fixture_folder(model), new_package, "--cpu", "scalar", NULL);
}

static void mkdir_p(const char *path)
{
    struct process_result result;
    process_ok(&result, "mkdir", "-p", path, NULL);
    process_free(&result);
}

/* The logits of `prompt`. */
static void score(struct npy *logits, const char *program)
{
    struct process_result result;
    const char *file = temporary_path("logits.npy");
    process_ok(&result, program, "score", "--ids", prompt, "--logits", file, "--json", NULL);
    process_free(&result);
    npy_read(logits, file);
}

/* Replaces the only occurrence of `from` in the file. */
static void edit(const char *path, const char *from, const char *to)
{
    size_t length;
    char *source = file_read(path, &length), *place = strstr(source, from);
    ck_assert_msg(place && !strstr(place + 1, from), "%s: expected '%s' once", path, from);
    char *edited = malloc(length + strlen(to) + 1);
    ck_assert_ptr_nonnull(edited);
    int size = sprintf(edited, "%.*s%s%s", (int)(place - source), source, to, place + strlen(from));
    file_write(path, edited, (size_t)size);
    free(edited);
    free(source);
}

static bool manifest_says_edited(const char *package)
{
    char *source = file_read(text("%s/MANIFEST.json", package), NULL);
    cJSON *json = json_parse(source, "MANIFEST.json");
    bool edited = cJSON_IsTrue(json_member(json, "sources_edited", "MANIFEST.json"));
    cJSON_Delete(json);
    free(source);
    return edited;
}

START_TEST(from_unchanged_sources)
{
    const char *package = temporary_path("again/package");
    struct process_result result;
    mkdir_p(temporary_path("again"));
    file_copy(new_package, package);
    process_ok(&result, lathe(), "build", package, "--quiet", NULL);
    process_free(&result);
    ck_assert_msg(!manifest_says_edited(package), "the manifest says that the sources were edited");
    const char *difference = folders_differ(new_package, package);
    ck_assert_msg(!difference, "rebuilt from its own sources: %s", difference);
}
END_TEST

/* A kernel changed by hand: all logits come out doubled, exactly, fat and thin. */
START_TEST(from_edited_sources)
{
    const char *package = temporary_path("edited%d/package", _i), *built = temporary_path("elsewhere%d", _i);
    struct process_result result;
    struct npy before, after;
    mkdir_p(temporary_path("edited%d", _i));
    mkdir_p(built);
    if (_i == 0)
        file_copy(new_package, package);
    else
        lathe_build(fixture_folder(model), package, "--thin", "--cpu", "scalar", NULL);
    score(&before, executable(package));
    edit(text("%s/src/head.c", package), "splat(in.scale[unit.first + r])", "splat(in.scale[unit.first + r] * 2.0f)");
    process_ok(&result, lathe(), "build", package, "--quiet", NULL);
    process_free(&result);
    score(&after, executable(package));
    ck_assert_uint_eq(before.rows * before.columns, after.rows * after.columns);
    for (size_t i = 0; i < before.rows * before.columns; i++)
        ck_assert_msg(after.data[i] == 2.0f * before.data[i], "logit %zu was %g and is %g", i, (double)before.data[i],
                      (double)after.data[i]);
    ck_assert_msg(manifest_says_edited(package), "the manifest does not say that the sources were edited");
    ck_assert(file_exists(text("%s/weights.bin", package)) == (_i == 1));
    process_ok(&result, executable(package), "info", "--json", NULL);
    ck_assert_msg(strstr(result.out, "edited") != NULL, "info --json does not mention edited sources: %s", result.out);
    process_free(&result);

    /* To another place: the edited package itself stays as it was. */
    process_ok(&result, lathe(), "build", package, "-o", text("%s/package", built), "--quiet", NULL);
    process_free(&result);
    const char *difference = folders_differ(package, text("%s/package", built));
    ck_assert_msg(!difference, "%s", difference);
    npy_free(&before);
    npy_free(&after);
}
END_TEST

START_TEST(sources_that_do_not_compile)
{
    const char *package = temporary_path("broken/package"), *before = temporary_path("broken-before");
    struct process_result result;
    mkdir_p(temporary_path("broken"));
    file_copy(new_package, package);
    edit(text("%s/src/head.c", package), "splat(in.scale[unit.first + r])", "splat(in.scale[unit.first + r] oops)");
    file_copy(package, before);
    process(&result, lathe(), "build", package, "--quiet", NULL);
    expect_refusal(&result, "a kernel with a syntax error", "head.c", NULL);
    process_free(&result);
    const char *difference = folders_differ(before, package);
    ck_assert_msg(!difference, "a failed build changed the package: %s", difference);
}
END_TEST

/* What `parent` holds: nothing but "package", which is the old one or the new one, whole. Returns true for the new one.
 */
static bool old_or_new(const char *what, const char *parent, bool leftovers_allowed)
{
    struct process_result result;
    const char *package = text("%s/package", parent);
    bool is_new = folders_differ(package, new_package) == NULL;
    const char *difference = is_new ? NULL : folders_differ(package, old_package);
    ck_assert_msg(!difference, "%s: the package is neither the old nor the new one: %s", what, difference);
    process_ok(&result, "ls", "-A", parent, NULL);
    ck_assert_msg(leftovers_allowed || strcmp(result.out, "package\n") == 0, "%s: left behind: %s", what, result.out);
    process_free(&result);
    return is_new;
}

/* Files that a build makes one after the other in the folder beside the package's place. */
static const char *const moments[] = {
    "", "/package/src/*.c", "/work/*.o", "/work/liblathe.a", "/package/package", "/package/MANIFEST.json"};

#define MOMENTS (sizeof moments / sizeof *moments)

static void interrupted(int signal_number, bool leftovers_allowed, size_t step)
{
    const char *parent = temporary_path("signal%d", signal_number);
    unsigned replaced = 0, ended = 0;
    mkdir_p(parent);
    file_copy(old_package, text("%s/package", parent));
    for (size_t i = 0; i < MOMENTS; i += step) {
        struct process_result result;
        const char *output = text("%s/package", parent), *moment = text("%s/.package.*%s", parent, moments[i]);
        const char *arguments[] = {lathe(),  "build", fixture_folder(model), "-o", output, "--quiet", "--cpu",
                                   "scalar", NULL};
        struct process_options options = {.signal = signal_number, .signal_when = moment};
        process_run(&result, &options, arguments);
        const char *what = text("signal %d at %s", signal_number, moment);
        bool is_new = old_or_new(what, parent, leftovers_allowed);
        ck_assert_msg(is_new || result.status != 0, "%s: status 0, but the package is the old one", what);
        ck_assert_msg(result.status == 0 || result.status == 128 + signal_number, "%s: status %d", what, result.status);
        ended += result.status != 0;
        replaced += is_new;
        process_free(&result);

        process_ok(&result, "rm", "-rf", parent, NULL); /* what SIGKILL left would be a moment of the next build */
        process_free(&result);
        mkdir_p(parent);
        file_copy(old_package, text("%s/package", parent));
    }
    printf("  signal %d at %zu moments: %u builds ended by it, %u packages replaced\n", signal_number, MOMENTS / step,
           ended, replaced);
    fflush(stdout);
    ck_assert_msg(ended + 2 >= MOMENTS / step, "only %u builds were interrupted",
                  ended); /* the last moments are short */
}

START_TEST(killed)
{
    interrupted(SIGKILL, true, 1);
}
END_TEST

/* The next build clears what a killed one left. */
START_TEST(killed_and_built_again)
{
    struct process_result result;
    const char *parent = temporary_path("cleared"), *output = text("%s/package", parent);
    mkdir_p(parent);
    const char *arguments[] = {lathe(),  "build", fixture_folder(model), "-o", output, "--quiet", "--cpu",
                               "scalar", NULL};
    struct process_options options = {.signal = SIGKILL, .signal_when = text("%s/.package.*/work/*.o", parent)};
    process_run(&result, &options, arguments);
    process_free(&result);
    process_ok(&result, "ls", "-A", parent, NULL);
    ck_assert_msg(result.out_length > 0, "nothing was left to clear");
    process_free(&result);
    lathe_build(fixture_folder(model), output, "--cpu", "scalar", NULL);
    ck_assert(old_or_new("the next build", parent, false));
}
END_TEST

START_TEST(interrupted_by_the_user)
{
    interrupted(SIGINT, false, 1);
}
END_TEST

START_TEST(terminated)
{
    interrupted(SIGTERM, false, 2);
}
END_TEST

/* No file may be larger than the limit: the weights, an object or the executable cannot be written. */
START_TEST(no_space_by_limit)
{
    static const uint64_t limits[] = {1000, 40000, 150000, 400000};
    const char *parent = temporary_path("limited");
    mkdir_p(parent);
    file_copy(old_package, text("%s/package", parent));
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct process_options options = {.file_limit = limits[i]};
        const char *output = text("%s/package", parent);
        const char *arguments[] = {lathe(),  "build", fixture_folder(model), "-o", output, "--quiet", "--cpu",
                                   "scalar", NULL};
        struct process_result result;
        process_run(&result, &options, arguments);
        const char *what = text("files limited to %d bytes", (int)limits[i]);
        expect_refusal(&result, what, NULL);
        process_free(&result);
        ck_assert_msg(!old_or_new(what, parent, false), "%s: the package was replaced", what);
    }
}
END_TEST

START_TEST(full_disk)
{
    static const char *const sizes[] = {"size=64k", "size=400k", "size=900k"};
    const char *parent = temporary_path("full");
    mkdir_p(parent);
    for (int i = 0; i < 3; i++) {
        if (mount("lathe-test", parent, "tmpfs", 0, sizes[i]) != 0) {
            printf("  tmpfs cannot be mounted here: skipped\n");
            return;
        }
        const char *output = text("%s/package", parent);
        const char *arguments[] = {lathe(),  "build", fixture_folder(model), "-o", output, "--quiet", "--cpu",
                                   "scalar", NULL};
        struct process_result result, listing;
        process_run(&result, NULL, arguments);
        process(&listing, "ls", "-A", parent, NULL);
        umount2(parent, MNT_DETACH);
        expect_refusal(&result, text("a disk of %s", sizes[i]), NULL);
        ck_assert_msg(listing.out_length == 0, "a full disk leaves %s", listing.out);
        process_free(&result);
        process_free(&listing);
    }
}
END_TEST

START_TEST(read_only_folder)
{
    struct process_options options = {.unprivileged = true};
    const char *parent = temporary_path("closed"), *output = text("%s/package", parent);
    struct process_result result;
    mkdir_p(parent);
    file_copy(old_package, output);
    chmod(parent, 0555);
    const char *version[] = {lathe(), "build", "/nonexistent/model", NULL};
    process_run(&result, &options, version);
    bool reachable = result.status == 1;
    process_free(&result);
    if (!reachable) {
        printf("  lathe cannot be run by another user here: skipped\n");
        return;
    }
    const char *copy = temporary_path("readable");
    file_copy(fixture_folder(model), copy);
    process_ok(&result, "chmod", "-R", "a+rX", copy, NULL);
    process_free(&result);
    const char *arguments[] = {lathe(), "build", copy, "-o", output, "--quiet", "--cpu", "scalar", NULL};
    process_run(&result, &options, arguments);
    expect_refusal(&result, "a read-only folder", "closed", NULL);
    process_free(&result);
    chmod(parent, 0755);
    ck_assert_msg(!old_or_new("a read-only folder", parent, false), "the package was replaced");
}
END_TEST

/* What is not a package is never replaced. */
START_TEST(places_that_hold_something_else)
{
    struct process_result result;
    const char *parent = temporary_path("places");
    mkdir_p(text("%s/photos", parent));
    file_write(text("%s/photos/cat.jpg", parent), "miau", 4);
    file_write(text("%s/file", parent), "text", 4);
    static const struct {
        const char *place, *fragment;
    } cases[] = {{"photos", "photos"}, {"file", "file"}, {"file/package", "expected a folder, found a file"}};
    for (int i = 0; i < 3; i++) {
        process(&result, lathe(), "build", fixture_folder(model), "-o", text("%s/%s", parent, cases[i].place),
                "--quiet", NULL);
        expect_refusal(&result, text("-o %s", cases[i].place), cases[i].fragment, NULL);
        process_free(&result);
    }
    free(file_read(text("%s/photos/cat.jpg", parent), NULL));
    free(file_read(text("%s/file", parent), NULL));
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("package/rebuild");
    TCase *rebuild = tcase_create("rebuild");
    tcase_set_timeout(rebuild, 300);
    tcase_add_unchecked_fixture(rebuild, build_both, NULL);
    tcase_add_test(rebuild, from_unchanged_sources);
    tcase_add_loop_test(rebuild, from_edited_sources, 0, 2);
    tcase_add_test(rebuild, sources_that_do_not_compile);
    tcase_add_test(rebuild, killed);
    tcase_add_test(rebuild, killed_and_built_again);
    tcase_add_test(rebuild, interrupted_by_the_user);
    tcase_add_test(rebuild, terminated);
    tcase_add_test(rebuild, no_space_by_limit);
    tcase_add_test(rebuild, full_disk);
    tcase_add_test(rebuild, read_only_folder);
    tcase_add_test(rebuild, places_that_hold_something_else);
    suite_add_tcase(suite, rebuild);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
