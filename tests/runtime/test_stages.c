/* Stages: the work that they are credited with, and the time, on a watch that is called as a step calls it. */
#include <check.h>
#include <time.h>

#include "stages.h"

static const struct stage table[] = {
    {.name = "product", .layers = 3, .weight_bytes = 1000, .flops_per_row = 10},
    {.name = "attention", .layers = 3, .window = 4, .flops_per_position = 2, .state_bytes_per_position = 5},
    {.name = "head", .layers = 1, .outputs_only = true, .weight_bytes = 70, .flops_per_row = 7},
};
static const struct model model = {.name = "counted", .stages = table, .stage_count = 3};

enum { THREADS = 2 };

static void sleep_ms(int ms)
{
    struct timespec time = {.tv_nsec = ms * 1000000L};
    nanosleep(&time, NULL);
}

/* Two rows of sequence 0 (positions 2 and 5: they see 3 and, by the window, 4), one of sequence 1 (position 0). */
static void run(struct stages *stages, int outputs)
{
    static const struct row rows[] = {{.position = 2}, {.position = 5}, {.sequence = 1}};
    struct step step = {.rows = 3, .outputs = outputs, .row = rows, .threads = THREADS};
    const struct stopwatch *watch = stages_watch(stages);
    for (int t = 0; t < THREADS; t++)
        watch->lap(watch->context, &step, t, -1, true);
    for (int stage = 0; stage < 3; stage++) {
        watch->lap(watch->context, &step, 0, stage, false); /* the first has nothing to do, the second has */
        sleep_ms(4);
        for (int t = 1; t < THREADS; t++)
            watch->lap(watch->context, &step, t, stage, false);
        for (int t = 0; t < THREADS; t++)
            watch->lap(watch->context, &step, t, stage, true);
    }
}

START_TEST(work_is_counted)
{
    struct stages *stages = stages_open(&model, THREADS);
    ck_assert_ptr_nonnull(stages);
    run(stages, 2);
    run(stages, 0); /* no logits: the head is not run and reads nothing */
    struct stage_work product = stages_time(stages, 0), attention = stages_time(stages, 1);
    struct stage_work head = stages_time(stages, 2), all = stages_total(stages);
    ck_assert_double_eq(product.flops, 2 * 3 * 10);
    ck_assert_double_eq(product.bytes, 2 * 1000);
    ck_assert_double_eq(attention.flops, 2 * 2 * (3 + 4 + 1));
    ck_assert_double_eq(attention.bytes, 2 * 5 * (4 + 1)); /* once a sequence */
    ck_assert_double_eq(head.flops, 2 * 7);
    ck_assert_double_eq(head.bytes, 70);
    ck_assert_double_eq(all.flops, product.flops + attention.flops + head.flops);
    ck_assert_double_eq(all.bytes, product.bytes + attention.bytes + head.bytes);
    stages_close(stages);
}
END_TEST

START_TEST(time_and_waiting)
{
    struct stages *stages = stages_open(&model, THREADS);
    ck_assert_ptr_nonnull(stages);
    run(stages, 1);
    for (int stage = 0; stage < 3; stage++) {
        struct stage_work time = stages_time(stages, stage);
        ck_assert_double_ge(time.seconds, 0.0039);
        ck_assert_double_ge(time.waiting, 0.0019); /* one of two threads, all the time */
        ck_assert_double_le(time.waiting, 0.75 * time.seconds);
    }
    stages_reset(stages);
    struct stage_work none = stages_total(stages);
    ck_assert(none.seconds == 0 && none.waiting == 0 && none.flops == 0 && none.bytes == 0);
    stages_close(stages);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("runtime/stages");
    TCase *stages = tcase_create("stages");
    tcase_add_test(stages, work_is_counted);
    tcase_add_test(stages, time_and_waiting);
    suite_add_tcase(suite, stages);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
