/* The page accounting below the engine: who has which page, when it is copied, when it comes back. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "state.h"

/* Two groups of different sizes; 4 positions a page. */
static const struct state_group groups[] = {
    {.name = "a", .page_bytes = 40, .scratch_bytes = 10},
    {.name = "b", .page_bytes = 4096, .scratch_bytes = 1024},
};
static const struct model model = {
    .name = "pages", .max_seq = 22, .max_rows = 5, .page = 4, .states = groups, .state_count = 2};

enum { PAGE_BYTES = 40 + 4096 };

static struct state *open_state(uint64_t pages)
{
    struct error error;
    struct state *state = state_open(&model, pages * PAGE_BYTES, &error);
    ck_assert_msg(state != NULL, "%s", error.message);
    return state;
}

static void append(struct state *state, int sequence, int count)
{
    struct error error;
    for (int i = 0; i < count; i++)
        ck_assert_msg(state_append(state, sequence, &error) >= 0, "%s", error.message);
}

static void store(struct state *state, int sequence, int count)
{
    append(state, sequence, count);
    state_commit(state, sequence);
}

START_TEST(sizes)
{
    struct error error;
    struct state *state = state_open(&model, 0, &error);
    ck_assert_int_eq(state_pages_total(state), 6); /* one sequence of max_seq */
    ck_assert_uint_eq(state_page_bytes(state), PAGE_BYTES);
    /* Slots 24 to 28 of each group, in whole pages: two. */
    ck_assert_uint_eq(state_scratch_bytes(state), 2 * PAGE_BYTES);
    for (int group = 0; group < 2; group++) {
        unsigned char *base = state_bases(state)[group];
        ck_assert_uint_eq((uintptr_t)base % 64, 0);
        for (uint64_t i = 0; i < groups[group].page_bytes * 8; i++)
            ck_assert_uint_eq(base[i], 0);
        memset(base, 0xff, groups[group].page_bytes * 8);
    }
    state_close(state);
    state_close(NULL);
    ck_assert_ptr_null(state_open(&model, PAGE_BYTES - 1, &error));
    ck_assert_ptr_nonnull(strstr(error.message, "--kv-memory 4135"));
    ck_assert_ptr_nonnull(strstr(error.message, "4136"));
    state = open_state(1);
    ck_assert_int_eq(state_pages_total(state), 1);
    state_close(state);
}
END_TEST

START_TEST(slot_state_is_refused)
{
    static const struct state_group slot = {.name = "recurrent", .kind = STATE_SLOT, .page_bytes = 64};
    struct model recurrent = model;
    struct error error;
    recurrent.states = &slot;
    recurrent.state_count = 1;
    ck_assert_ptr_null(state_open(&recurrent, 0, &error));
    ck_assert_ptr_nonnull(strstr(error.message, "recurrent"));
}
END_TEST

START_TEST(numbers_are_reused)
{
    struct state *state = open_state(10);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(state_sequence_open(state, i, NULL), i);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(state_adapter(state, i), i);
    ck_assert(!state_sequence_valid(state, -1) && !state_sequence_valid(state, 100) &&
              !state_sequence_valid(state, 1 << 30));
    state_sequence_close(state, 40);
    state_sequence_close(state, 7);
    ck_assert(!state_sequence_valid(state, 7) && state_sequence_valid(state, 8));
    ck_assert_int_eq(state_sequence_open(state, -1, NULL), 7);
    ck_assert_int_eq(state_fork(state, 99, NULL), 40);
    ck_assert_int_eq(state_adapter(state, 40), 99);
    ck_assert_int_eq(state_sequence_open(state, -1, NULL), 100);
    state_close(state);
}
END_TEST

START_TEST(pages_come_and_go)
{
    struct state *state = open_state(3);
    struct error error;
    int s = state_sequence_open(state, -1, NULL);
    ck_assert_int_eq(state_pages_used(state), 0);
    ck_assert_int_eq(state_append(state, s, NULL), 0);
    ck_assert_int_eq(state_append(state, s, NULL), 1);
    ck_assert_int_eq(state_pages_used(state), 1);
    ck_assert_int_eq(state_stored(state, s), 0);
    ck_assert_int_eq(state_appended(state, s), 2);
    state_commit(state, s);
    ck_assert_int_eq(state_stored(state, s), 2);
    append(state, s, 10);
    ck_assert_int_eq(state_pages_used(state), 3);
    ck_assert_int_eq(state_append(state, s, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "--kv-memory"));
    ck_assert_int_eq(state_appended(state, s), 10);
    state_drop(state, s);
    ck_assert_int_eq(state_pages_used(state), 1);
    ck_assert_int_eq(state_stored(state, s), 2);
    store(state, s, 10);
    const int32_t *table = state_pages(state)[s];
    ck_assert(table[0] != table[1] && table[1] != table[2] && table[0] != table[2]);
    for (int i = 0; i < 3; i++)
        ck_assert(table[i] >= 0 && table[i] < 3);
    for (int length = 12; length >= 0; length--) {
        ck_assert_int_eq(state_rollback(state, s, length, &error), 0);
        ck_assert_int_eq(state_pages_used(state), (length + 3) / 4);
    }
    ck_assert_int_eq(state_rollback(state, s, 1, &error), -1);
    state_close(state);
}
END_TEST

START_TEST(max_seq)
{
    struct state *state = open_state(10);
    struct error error;
    int s = state_sequence_open(state, -1, NULL);
    store(state, s, 20);
    append(state, s, 2);
    ck_assert_int_eq(state_append(state, s, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "22 positions"));
    state_close(state);
}
END_TEST

/* What a sequence's position holds in both groups. */
static void write_page(struct state *state, int s, int index, unsigned char value)
{
    int32_t page = state_pages(state)[s][index];
    for (int group = 0; group < 2; group++)
        memset(state_bases(state)[group] + (size_t)page * groups[group].page_bytes, value, groups[group].page_bytes);
}

static bool page_holds(struct state *state, int s, int index, unsigned char value)
{
    int32_t page = state_pages(state)[s][index];
    for (int group = 0; group < 2; group++)
        for (size_t i = 0; i < groups[group].page_bytes; i++)
            if (state_bases(state)[group][(size_t)page * groups[group].page_bytes + i] != value)
                return false;
    return true;
}

START_TEST(copy_on_write)
{
    struct state *state = open_state(6);
    int s = state_sequence_open(state, -1, NULL);
    store(state, s, 6);
    write_page(state, s, 0, 10);
    write_page(state, s, 1, 11);
    int fork = state_fork(state, s, NULL), third = state_fork(state, s, NULL);
    ck_assert_int_eq(state_pages_used(state), 2);
    ck_assert_int_eq(state_pages(state)[fork][1], state_pages(state)[s][1]);
    append(state, fork, 1);
    ck_assert_int_eq(state_pages_used(state), 3); /* the half-full page was copied, the whole one was not */
    ck_assert_int_eq(state_pages(state)[fork][0], state_pages(state)[s][0]);
    ck_assert_int_ne(state_pages(state)[fork][1], state_pages(state)[s][1]);
    ck_assert(page_holds(state, fork, 1, 11));
    write_page(state, fork, 1, 22);
    ck_assert(page_holds(state, s, 1, 11) && page_holds(state, third, 1, 11));
    append(state, fork, 1); /* its own by now */
    ck_assert_int_eq(state_pages_used(state), 3);
    append(state, s, 1);
    ck_assert_int_eq(state_pages_used(state), 4);
    append(state, third, 1); /* the last one left has it alone */
    ck_assert_int_eq(state_pages_used(state), 4);
    /* A roll back into a shared whole page, then a write. */
    state_commit(state, third);
    ck_assert_int_eq(state_rollback(state, third, 3, NULL), 0);
    append(state, third, 1);
    ck_assert(page_holds(state, third, 0, 10));
    write_page(state, third, 0, 33);
    ck_assert(page_holds(state, s, 0, 10) && page_holds(state, fork, 0, 10) && page_holds(state, fork, 1, 22));
    state_drop(state, s);
    state_drop(state, fork);
    state_drop(state, third);
    state_sequence_close(state, s);
    ck_assert(page_holds(state, fork, 0, 10));
    state_sequence_close(state, fork);
    state_sequence_close(state, third);
    ck_assert_int_eq(state_pages_used(state), 0);
    state_close(state);
}
END_TEST

START_TEST(close_waits_for_the_step)
{
    struct state *state = open_state(6);
    for (int drop = 0; drop < 2; drop++) {
        int s = state_sequence_open(state, -1, NULL);
        store(state, s, 3);
        append(state, s, 3);
        state_sequence_close(state, s);
        ck_assert(!state_sequence_valid(state, s));
        ck_assert_int_eq(state_pages_used(state), 2);
        ck_assert_int_ne(state_sequence_open(state, -1, NULL), s);
        if (drop)
            state_drop(state, s);
        else
            state_commit(state, s);
        ck_assert_int_eq(state_pages_used(state), 0);
        ck_assert_int_eq(state_sequence_open(state, -1, NULL), s);
    }
    state_close(state);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("state");
    TCase *test = tcase_create("pages");
    tcase_add_test(test, sizes);
    tcase_add_test(test, slot_state_is_refused);
    tcase_add_test(test, numbers_are_reused);
    tcase_add_test(test, pages_come_and_go);
    tcase_add_test(test, max_seq);
    tcase_add_test(test, copy_on_write);
    tcase_add_test(test, close_waits_for_the_step);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
