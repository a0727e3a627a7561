/* --dump: which tensors, and what stands in their files. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"
#include "fake_model.h"
#include "npy.h"
#include "trace.h"

static struct fake_model fake;
static struct engine *engine;
static char directory[64];

static void setup(void)
{
    struct error error;
    fake_model_init(&fake, &(struct fake_options){.random = true});
    engine = engine_open(&fake.model, &(struct engine_options){.threads = 3}, &error);
    ck_assert_ptr_nonnull(engine);
    strcpy(directory, "/tmp/lathe_trace_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s.npy", directory, name);
    return path;
}

static const char *const all_names[] = {"layer.0.key", "layer.1.key", "logits"};

static void teardown(void)
{
    engine_close(engine);
    for (int i = 0; i < 3; i++)
        unlink(path_of(all_names[i]));
    rmdir(directory);
}

/* A step of `rows` rows of the sequence, logits of the last two. */
static void step(int sequence, int first_token, int rows)
{
    struct error error;
    for (int i = 0; i < rows; i++)
        ck_assert_int_ge(engine_add(engine, sequence, first_token + i, i >= rows - 2, &error), 0);
    ck_assert_int_eq(engine_run(engine, &error), 0);
}

START_TEST(rows_of_successive_steps)
{
    struct error error;
    struct trace_dump *dump =
        trace_dump_open(&fake.model, fake.model.traces, fake.model.trace_count, "all", directory, &error);
    ck_assert_msg(dump != NULL, "%s", error.message);
    engine_set_trace(engine, trace_dump_trace(dump));
    int sequence = sequence_open(engine, -1, &error);
    float logits[2][32];
    step(sequence, 0, 5);
    step(sequence, 5, 1);
    memcpy(logits[0], engine_logits(engine, 0), sizeof logits[0]);
    step(sequence, 6, 7);
    memcpy(logits[1], engine_logits(engine, 6), sizeof logits[1]);
    engine_set_trace(engine, NULL);
    step(sequence, 13, 2);
    ck_assert_int_eq(trace_dump_close(dump, &error), 0);

    struct npy array;
    npy_read(&array, path_of("layer.0.key"));
    ck_assert_uint_eq(array.rows, 13);
    ck_assert_uint_eq(array.columns, 4);
    for (int i = 0; i < 13 * 4; i++)
        ck_assert_float_eq(array.data[i], (float)i);
    npy_free(&array);
    npy_read(&array, path_of("layer.1.key"));
    ck_assert_uint_eq(array.rows, 13);
    for (int i = 0; i < 13 * 4; i++) /* bf16 successors of 1: 2^-7 apart */
        ck_assert_float_eq(array.data[i], 1.0f + (float)(i / 4) / 128.0f);
    npy_free(&array);
    npy_read(&array, path_of("logits"));
    ck_assert_uint_eq(array.rows, 5);
    ck_assert_uint_eq(array.columns, 32);
    ck_assert_mem_eq(array.data + 2 * 32, logits[0], sizeof logits[0]);
    ck_assert_mem_eq(array.data + 4 * 32, logits[1], sizeof logits[1]);
    npy_free(&array);
}
END_TEST

/* What each selection writes: a bit for each of all_names. */
static const struct {
    const char *selection;
    int written;
} selections[] = {
    {"logits", 4}, {"layer.0.key", 1},      {"layer.1.key", 2}, {"layer.*.key", 3},
    {"*.1.*", 2},  {"layer.*.*,logits", 7}, {"logits,all", 7},  {"layer.1.key,layer.1.key", 2},
};

START_TEST(selects)
{
    struct error error;
    struct trace_dump *dump = trace_dump_open(&fake.model, fake.model.traces, fake.model.trace_count,
                                              selections[_i].selection, directory, &error);
    ck_assert_msg(dump != NULL, "%s", error.message);
    engine_set_trace(engine, trace_dump_trace(dump));
    step(sequence_open(engine, -1, &error), 0, 2);
    ck_assert_int_eq(trace_dump_close(dump, &error), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(access(path_of(all_names[i]), F_OK) == 0, selections[_i].written >> i & 1);
}
END_TEST

static const char *const unknown[] = {
    "",
    "logit",
    "logits.0",
    "layer.2.key",
    "layer.99999999999999999999.key",
    "layer.00.key",
    "layer..key",
    "layer.0",
    "key",
    "*.*.*.*",
    "layer.-1.key",
    "logits,nothing",
    "logits,",
    "layer.x.key",
};

START_TEST(refuses_unknown_names)
{
    struct error error = {""};
    ck_assert_msg(
        trace_dump_open(&fake.model, fake.model.traces, fake.model.trace_count, unknown[_i], directory, &error) == NULL,
        "\"%s\"", unknown[_i]);
    ck_assert_ptr_nonnull(strstr(error.message, "layer.*.key, logits, all"));
}
END_TEST

/* The generator lists layers by pattern. */
START_TEST(patterns_in_the_model)
{
    static const char *const patterns[] = {"embed", "layer.*.key", "logits"};
    struct error error;
    fake.model.traces = patterns;
    struct trace_dump *dump =
        trace_dump_open(&fake.model, fake.model.traces, fake.model.trace_count, "layer.1.key", directory, &error);
    ck_assert_msg(dump != NULL, "%s", error.message);
    ck_assert_int_eq(trace_dump_close(dump, &error), 0);
    ck_assert_ptr_null(
        trace_dump_open(&fake.model, fake.model.traces, fake.model.trace_count, "layer.2.key", directory, &error));
    ck_assert_ptr_null(
        trace_dump_open(&fake.model, fake.model.traces, fake.model.trace_count, "layer.1.keys", directory, &error));
}
END_TEST

START_TEST(errors_of_the_disk)
{
    struct error error;
    ck_assert_ptr_null(
        trace_dump_open(&fake.model, fake.model.traces, fake.model.trace_count, "all", "/no/such/place", &error));
    ck_assert_ptr_nonnull(strstr(error.message, "/no/such/place"));
    ck_assert_ptr_null(
        trace_dump_open(&fake.model, fake.model.traces, fake.model.trace_count, "all", "/dev/null", &error));
    ck_assert_ptr_nonnull(strstr(error.message, "not a directory"));

    /* A full disk: the run goes on, closing tells. */
    ck_assert_int_eq(symlink("/dev/full", path_of("logits")), 0);
    struct trace_dump *dump =
        trace_dump_open(&fake.model, fake.model.traces, fake.model.trace_count, "logits", directory, &error);
    engine_set_trace(engine, trace_dump_trace(dump));
    step(sequence_open(engine, -1, &error), 0, 2);
    ck_assert_int_eq(trace_dump_close(dump, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "No space left"));
    ck_assert_ptr_nonnull(strstr(error.message, "logits.npy"));
    ck_assert_int_eq(trace_dump_close(NULL, &error), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trace");
    TCase *test = tcase_create("dump");
    tcase_add_checked_fixture(test, setup, teardown);
    tcase_add_test(test, rows_of_successive_steps);
    tcase_add_loop_test(test, selects, 0, sizeof selections / sizeof *selections);
    tcase_add_loop_test(test, refuses_unknown_names, 0, sizeof unknown / sizeof *unknown);
    tcase_add_test(test, patterns_in_the_model);
    tcase_add_test(test, errors_of_the_disk);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
