/* Draft heads, on the kernels alone. The default model's: what they draft after known texts is what the PyTorch reference drafts
   (tests/fixtures/default, made by models/training/stage4_measure.py and stage5_eagle1.py). Small random heads of each published
   layout (tests/fixtures/heads): their logits are the reference's. The packages have a main of their
   own (draft_driver/c/main.c), which makes the steps. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "fixture.h"
#include "npy.h"
#include "process.h"

enum { TEXTS = 32, CHAIN = 5, LEVELS = 5, TOP_K = 4, TOTAL = 16, MOST_WORDS = 64, MOST_CYCLES = 512 };

/* Scores are kept with four digits. */
static const double score_tolerance = 1e-4;

struct text_case {
    int32_t id[512];
    int start, length; /* the prompt's tokens; with what the model wrote after it */
};

static struct text_case texts[TEXTS];

static cJSON **load_lines(const char *name)
{
    static cJSON *lines[TEXTS];
    char *source = file_read(text("%s/tests/fixtures/default/%s", TEST_SOURCE_DIR, name), NULL);
    int count = 0;
    for (char *line = strtok(source, "\n"); line && count < TEXTS; line = strtok(NULL, "\n"))
        lines[count++] = json_parse(line, name);
    ck_assert_int_eq(count, TEXTS);
    free(source);
    return lines;
}

static void load_texts(const char *name)
{
    cJSON **lines = load_lines(name);
    for (int i = 0; i < TEXTS; i++) {
        struct ids prompt = json_ids(lines[i], "prompt_ids", name), ids = json_ids(lines[i], "ids", name);
        ck_assert_uint_le(prompt.count + ids.count, 512);
        texts[i].start = (int)prompt.count;
        texts[i].length = (int)(prompt.count + ids.count);
        memcpy(texts[i].id, prompt.id, prompt.count * sizeof *prompt.id);
        memcpy(texts[i].id + prompt.count, ids.id, ids.count * sizeof *ids.id);
        free(prompt.id);
        free(ids.id);
        cJSON_Delete(lines[i]);
    }
}

/* The package of a head, built once. */
static const char *program_of(const char *head, const char *dtype)
{
    const char *program = executable(temporary_path("%s-%s", head, dtype));
    if (file_exists(program))
        return program;
    return lathe_build(TEST_SOURCE_DIR "/models/default", temporary_path("%s-%s", head, dtype), "--dtype", dtype,
                       "--eagle", text("%s/models/default/%s", TEST_SOURCE_DIR, head), "--eagle-gap", "1",
                       "--templates", TEST_SOURCE_DIR "/tests/package/draft_driver", NULL);
}

/* Commands for the driver, and what it says. */
static FILE *commands;
static char *command_text;
static size_t command_bytes;

static void begin_commands(void)
{
    commands = open_memstream(&command_text, &command_bytes);
    ck_assert_ptr_nonnull(commands);
}

static void give_text(const struct text_case *given)
{
    fprintf(commands, "text %d", given->length);
    for (int i = 0; i < given->length; i++)
        fprintf(commands, " %d", given->id[i]);
    fputc('\n', commands);
}

/* The driver's lines; free them. */
static char *run_commands(const char *program, const char *variant)
{
    struct process_result result;
    fclose(commands);
    const char *arguments[] = {program, variant, NULL};
    process_run(&result, &(struct process_options){.input = command_text, .seconds = 240}, arguments);
    ck_assert_msg(result.status == 0 && !result.timed_out, "%s %s: status %d: %.2000s", program, variant, result.status,
                  result.err);
    free(command_text);
    char *out = strdup(result.out);
    process_free(&result);
    return out;
}

/* The numbers of the next line of `*from`, which moves behind it; how many. */
static int next_numbers(char **from, double *numbers, int most)
{
    int count = 0;
    char *end = *from + strcspn(*from, "\n");
    ck_assert_msg(*end == '\n', "the driver said too little");
    for (char *at = *from; at < end && count < most; count++)
        numbers[count] = strtod(at, &at);
    *from = end + 1;
    return count;
}

/* Column `column` of `columns` must be the whole numbers of `expected`. */
static bool same_ids(const double *numbers, int count, int columns, int column, const cJSON *expected)
{
    if (cJSON_GetArraySize(expected) * columns != count)
        return false;
    for (int i = 0; i < count / columns; i++)
        if ((int)numbers[i * columns + column] != cJSON_GetArrayItem(expected, i)->valueint)
            return false;
    return true;
}

static double largest_difference(const double *numbers, int count, int columns, int column, const cJSON *expected)
{
    double largest = 0;
    for (int i = 0; i < count / columns; i++)
        largest = fmax(largest, fabs(numbers[i * columns + column] - cJSON_GetArrayItem(expected, i)->valuedouble));
    return largest;
}

struct tally {
    int chains, trees;
    double worst; /* score */
};

static void check_chain(char **out, const cJSON *cycle, struct tally *tally, const char *what)
{
    double numbers[MOST_WORDS];
    int count = next_numbers(out, numbers, MOST_WORDS);
    const cJSON *scores = cJSON_GetObjectItem(cycle, "scores");
    ck_assert_msg(same_ids(numbers, count, 2, 0, json_member(cycle, "chain", what)),
                  "%s: another chain than the reference's after %d tokens", what,
                  json_member(cycle, "at", what)->valueint);
    if (scores)
        tally->worst = fmax(tally->worst, largest_difference(numbers, count, 2, 1, scores));
    tally->chains++;
}

static void check_tree(char **out, const cJSON *tree, int at, struct tally *tally, const char *what)
{
    double numbers[MOST_WORDS];
    int count = next_numbers(out, numbers, MOST_WORDS);
    ck_assert_msg(same_ids(numbers, count, 3, 0, json_member(tree, "tokens", what)) &&
                      same_ids(numbers, count, 3, 1, json_member(tree, "parents", what)),
                  "%s: another tree than the reference's after %d tokens", what, at);
    tally->worst = fmax(tally->worst, largest_difference(numbers, count, 3, 2, json_member(tree, "scores", what)));
    tally->trees++;
}

/* All cycles of a fixture, on one instruction set. EAGLE-1's lines have one list of cycles, EAGLE-3's two. */
static void compare_drafts(const char *program, const char *variant, const char *fixture)
{
    cJSON **lines = load_lines(fixture);
    struct tally tally = {0};
    begin_commands();
    for (int i = 0; i < TEXTS; i++) {
        const cJSON *cycles = cJSON_GetObjectItem(lines[i], "cycles"), *cycle;
        const cJSON *chains = cycles ? cycles : json_member(lines[i], "chains", fixture);
        const cJSON *trees = cycles ? cycles : json_member(lines[i], "trees", fixture);
        give_text(&texts[i]);
        cJSON_ArrayForEach(cycle, chains)
            fprintf(commands, "chain %d %d\n", json_member(cycle, "at", fixture)->valueint, CHAIN);
        cJSON_ArrayForEach(cycle, trees)
            fprintf(commands, "tree %d %d %d %d\n", json_member(cycle, "at", fixture)->valueint, LEVELS, TOP_K, TOTAL);
    }
    char *out = run_commands(program, variant), *at = out;
    for (int i = 0; i < TEXTS; i++) {
        const cJSON *cycles = cJSON_GetObjectItem(lines[i], "cycles"), *cycle;
        const cJSON *chains = cycles ? cycles : json_member(lines[i], "chains", fixture);
        const cJSON *trees = cycles ? cycles : json_member(lines[i], "trees", fixture);
        const char *what = text("%s, %s, text %d", fixture, variant, i);
        cJSON_ArrayForEach(cycle, chains) check_chain(&at, cycle, &tally, what);
        cJSON_ArrayForEach(cycle, trees) check_tree(&at, cycles ? json_member(cycle, "tree", what) : cycle,
                                                    json_member(cycle, "at", what)->valueint, &tally, what);
        cJSON_Delete(lines[i]);
    }
    free(out);
    printf("%s, %s: %d chains and %d trees the same, scores within %.1e\n", fixture, variant, tally.chains, tally.trees,
           tally.worst);
    ck_assert_int_gt(tally.chains, 90);
    ck_assert_int_eq(tally.chains, tally.trees);
    ck_assert_double_le(tally.worst, score_tolerance);
}

static const char *const variants[] = {"scalar", "avx2", "avx512", "bf16"};

/* Whether this processor has it. */
static bool can_run(const char *program, const char *variant)
{
    struct process_result result;
    const char *arguments[] = {program, variant, NULL};
    process_run(&result, &(struct process_options){.input = ""}, arguments);
    bool can = result.status == 0;
    process_free(&result);
    return can;
}

static void compare_on_all(const char *head, const char *fixture)
{
    char program[512];
    int ran = 0;
    snprintf(program, sizeof program, "%s", program_of(head, "f32"));
    for (int v = 0; v < 3; v++)
        if (can_run(program, variants[v])) {
            compare_drafts(program, variants[v], fixture);
            ran++;
        }
    ck_assert_int_gt(ran, 0);
}

START_TEST(eagle3_drafts_are_the_reference_s)
{
    compare_on_all("eagle3", "base.eagle3.jsonl");
}
END_TEST

START_TEST(eagle1_drafts_are_the_reference_s)
{
    compare_on_all("eagle1", "base.eagle1.jsonl");
}
END_TEST

/* Chains over the whole of the texts: how many tokens each gave. In f32 the reference's numbers; in bf16 their mean. */
static double walk_texts(const char *program, bool exact, double *reference)
{
    static const char fixture[] = "base.eagle3.jsonl";
    cJSON **lines = load_lines(fixture);
    int cycles = 0, expected_cycles = 0, gained = 0, expected_gained = 0;
    begin_commands();
    for (int i = 0; i < TEXTS; i++) {
        give_text(&texts[i]);
        fprintf(commands, "walk %d %d\n", texts[i].start, CHAIN);
    }
    char *out = run_commands(program, NULL), *at = out;
    for (int i = 0; i < TEXTS; i++) {
        double numbers[MOST_CYCLES];
        const cJSON *expected = json_member(lines[i], "chain_lengths", fixture), *one;
        int count = next_numbers(&at, numbers, MOST_CYCLES);
        ck_assert_msg(!exact || same_ids(numbers, count, 1, 0, expected),
                      "text %d: chains give other lengths than the reference's", i);
        for (int c = 0; c < count; c++)
            gained += (int)numbers[c];
        cJSON_ArrayForEach(one, expected) expected_gained += one->valueint;
        cycles += count;
        expected_cycles += cJSON_GetArraySize(expected);
        cJSON_Delete(lines[i]);
    }
    free(out);
    *reference = (double)expected_gained / expected_cycles;
    return (double)gained / cycles;
}

START_TEST(accepted_lengths_are_the_reference_s)
{
    double reference, mean = walk_texts(program_of("eagle3", "f32"), true, &reference);
    printf("f32: %.4f tokens a chain of %d, the reference %.4f\n", mean, CHAIN, reference);
    mean = walk_texts(program_of("eagle3", "bf16"), false, &reference);
    printf("bf16: %.4f tokens a chain of %d, the reference %.4f\n", mean, CHAIN, reference);
    ck_assert_double_le(fabs(mean / reference - 1), 0.02);
}
END_TEST

/* Published layouts. */
static const char *const layouts[] = {"safeailab-eagle1", "safeailab-eagle1-qwen", "safeailab-eagle3", "specforge",
                                      "speculators"};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static const double tolerance_f32 = 2e-5;

static void compare_logits(const char *program, const char *variant, const char *name, const cJSON *json,
                           const struct npy *expected)
{
    struct ids ids = json_ids(json, "ids", name);
    struct process_result result;
    char *list = ids_text(ids.id, ids.count);
    for (char *comma = strchr(list, ','); comma; comma = strchr(comma, ','))
        *comma = ' ';
    const char *input = text("text %zu %s\nunroll %d\n", ids.count, list, json_member(json, "steps", name)->valueint);
    const char *arguments[] = {program, variant, NULL};
    process_run(&result, &(struct process_options){.input = input}, arguments);
    ck_assert_msg(result.status == 0, "%s %s: %.1000s", name, variant, result.err);
    size_t count = expected->rows * expected->columns;
    ck_assert_uint_eq(result.out_length, count * sizeof(float));
    double error = relative_error((const float *)(const void *)result.out, expected->data, count);
    printf("%s, %s: draft logits within %.1e\n", name, variant, error);
    ck_assert_msg(error <= tolerance_f32, "%s, %s: draft logits differ by %.3e, at most %.0e allowed", name, variant,
                  error, tolerance_f32);
    process_free(&result);
    free(list);
    free(ids.id);
}

START_TEST(every_layout_gives_the_reference_s_logits)
{
    const char *name = layouts[_i], *heads = TEST_SOURCE_DIR "/tests/fixtures/heads";
    struct npy expected;
    npy_read(&expected, text("%s/%s.npy", heads, name));
    char *source = file_read(text("%s/%s.json", heads, name), NULL);
    cJSON *json = json_parse(source, name);
    char program[512];
    /* For every instruction set once. */
    const char *(*build)(const char *, const char *, ...) = _i == 2 ? lathe_build_sets : lathe_build;
    snprintf(program, sizeof program, "%s",
             build(text("%s/target", heads), temporary_path("layout/%s", name), "--dtype", "f32", "--eagle",
                   text("%s/%s", heads, name), "--templates", TEST_SOURCE_DIR "/tests/package/draft_driver", NULL));
    int ran = 0;
    for (int v = 0; v < 3; v++)
        if (can_run(program, variants[v])) {
            compare_logits(program, variants[v], name, json, &expected);
            ran++;
        }
    ck_assert_int_gt(ran, 0);
    cJSON_Delete(json);
    free(source);
    npy_free(&expected);
}
END_TEST

static void load(void)
{
    load_texts("base.jsonl");
}

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("package/draft");
    TCase *drafts = tcase_create("drafts");
    tcase_set_timeout(drafts, 600);
    tcase_add_unchecked_fixture(drafts, load, NULL);
    tcase_add_test(drafts, accepted_lengths_are_the_reference_s);
    tcase_add_test(drafts, eagle3_drafts_are_the_reference_s);
    tcase_add_test(drafts, eagle1_drafts_are_the_reference_s);
    suite_add_tcase(suite, drafts);
    TCase *small = tcase_create("layouts");
    tcase_set_timeout(small, 300);
    tcase_add_loop_test(small, every_layout_gives_the_reference_s_logits, 0, LAYOUTS);
    suite_add_tcase(suite, small);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
