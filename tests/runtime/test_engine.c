/* The engine on the fake model, whose logits are a hash of everything read back through the page tables. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "fake_model.h"

/* A fake model in an engine that needs no file, and what it should answer. */
struct bench {
    struct fake_model fake;
    struct engine *engine;
    float *expected; /* [vocab] */
};

static void bench_open(struct bench *bench, struct fake_options options, struct engine_options engine_options)
{
    struct error error = {""};
    options.random = true;
    fake_model_init(&bench->fake, &options);
    bench->engine = engine_open(&bench->fake.model, &engine_options, &error);
    ck_assert_msg(bench->engine != NULL, "%s", error.message);
    bench->expected = malloc((size_t)bench->fake.model.vocab * sizeof(float));
}

static void bench_close(struct bench *bench)
{
    engine_close(bench->engine);
    free(bench->expected);
}

static int open_sequence(struct bench *bench)
{
    struct error error;
    int sequence = sequence_open(bench->engine, -1, &error);
    ck_assert_msg(sequence >= 0, "%s", error.message);
    return sequence;
}

static int add(struct bench *bench, int sequence, int32_t token, bool logits)
{
    struct error error;
    int row = engine_add(bench->engine, sequence, token, logits, &error);
    ck_assert_msg(row >= 0, "%s", error.message);
    return row;
}

static void run(struct bench *bench)
{
    struct error error;
    ck_assert_int_eq(engine_run(bench->engine, &error), 0);
}

/* Do the logits of `row` follow from `tokens` [count]? */
static bool right(struct bench *bench, int row, const int32_t *tokens, int count)
{
    const float *head = engine_section(bench->engine, "head", NULL);
    const uint16_t *embedding = engine_section(bench->engine, "embedding", NULL);
    const float *logits = engine_logits(bench->engine, row);
    if (!logits)
        return false;
    fake_model_logits(&bench->fake, head, embedding, tokens, count, bench->expected);
    return memcmp(logits, bench->expected, (size_t)bench->fake.model.vocab * sizeof(float)) == 0;
}

/* tokens [count] in steps of `chunk` rows; checks the logits of the last. */
static void feed(struct bench *bench, int sequence, const int32_t *tokens, int from, int count, int chunk)
{
    int row = -1;
    for (int i = from; i < count; i++) {
        row = add(bench, sequence, tokens[i], i == count - 1);
        if ((i - from + 1) % chunk == 0 || i == count - 1)
            run(bench);
    }
    ck_assert_int_eq(sequence_length(bench->engine, sequence), count);
    ck_assert_msg(right(bench, row, tokens, count), "%d tokens from %d in chunks of %d", count, from, chunk);
}

static void make_tokens(int32_t *tokens, int count, unsigned seed)
{
    for (int i = 0; i < count; i++) {
        seed = seed * 1103515245u + 12345u;
        tokens[i] = (int32_t)(seed >> 16) % 32;
    }
}

static const int thread_counts[] = {1, 2, 3, 8};

START_TEST(chunking)
{
    static const int chunks[] = {1, 2, 3, 4, 5, 7, 16};
    struct bench bench;
    bench_open(&bench, (struct fake_options){0}, (struct engine_options){.threads = thread_counts[_i]});
    ck_assert_int_eq(engine_threads(bench.engine), thread_counts[_i]);
    int32_t tokens[64];
    make_tokens(tokens, 64, 1);
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
        int sequence = open_sequence(&bench);
        feed(&bench, sequence, tokens, 0, 64, chunks[c]);
        sequence_close(bench.engine, sequence);
    }
    uint64_t used;
    engine_memory(bench.engine, &used, NULL, NULL);
    ck_assert_uint_eq(used, 0);
    bench_close(&bench);
}
END_TEST

START_TEST(rows_of_many_sequences)
{
    enum { SEQUENCES = 5, LENGTH = 20 };
    struct bench bench;
    bench_open(&bench, (struct fake_options){.max_rows = 13},
               (struct engine_options){.threads = thread_counts[_i], .kv_memory = SEQUENCES * 5 * 80});
    int32_t tokens[SEQUENCES][LENGTH];
    int sequence[SEQUENCES], done[SEQUENCES] = {0};
    for (int s = 0; s < SEQUENCES; s++) {
        make_tokens(tokens[s], LENGTH, 7u + (unsigned)s);
        sequence[s] = open_sequence(&bench);
    }
    /* Interleaved, every sequence at its own pace, every row checked. */
    for (int step = 0; step < LENGTH; step++) {
        int row[13], owner[13], length[13], rows = 0;
        for (int turn = 0; turn < 3; turn++)
            for (int s = 0; s < SEQUENCES && engine_room(bench.engine) > 0; s++)
                if (turn <= s % 3 && done[s] < LENGTH) {
                    row[rows] = add(&bench, sequence[s], tokens[s][done[s]], true);
                    ck_assert_int_eq(row[rows], rows);
                    owner[rows] = s;
                    length[rows++] = ++done[s];
                }
        run(&bench);
        ck_assert_int_eq(engine_room(bench.engine), 13);
        for (int r = 0; r < rows; r++)
            ck_assert(right(&bench, row[r], tokens[owner[r]], length[r]));
    }
    bench_close(&bench);
}
END_TEST

START_TEST(fork_then_diverge)
{
    struct bench bench;
    bench_open(&bench, (struct fake_options){0}, (struct engine_options){.threads = 2, .kv_memory = 64 * 80});
    int32_t tokens[2][40];
    for (int length = 1; length <= 9; length++) { /* in the middle of a page and at its end */
        make_tokens(tokens[0], 40, 3);
        memcpy(tokens[1], tokens[0], sizeof tokens[0]);
        make_tokens(tokens[1] + length, 40 - length, 99);
        int first = open_sequence(&bench);
        feed(&bench, first, tokens[0], 0, length, 4);
        uint64_t before, after;
        engine_memory(bench.engine, &before, NULL, NULL);
        struct error error;
        int fork = sequence_fork(bench.engine, first, &error);
        ck_assert_int_ge(fork, 0);
        ck_assert_int_eq(sequence_length(bench.engine, fork), length);
        engine_memory(bench.engine, &after, NULL, NULL);
        ck_assert_msg(before == after, "a fork takes pages before it is written to");
        /* Both write to the shared page in one step, the fork first. */
        int fork_row = add(&bench, fork, tokens[1][length], true);
        int first_row = add(&bench, first, tokens[0][length], true);
        run(&bench);
        ck_assert(right(&bench, fork_row, tokens[1], length + 1));
        ck_assert(right(&bench, first_row, tokens[0], length + 1));
        feed(&bench, first, tokens[0], length + 1, 40, 5);
        feed(&bench, fork, tokens[1], length + 1, 40, 3);
        sequence_close(bench.engine, first);
        sequence_close(bench.engine, fork);
    }
    uint64_t used;
    engine_memory(bench.engine, &used, NULL, NULL);
    ck_assert_uint_eq(used, 0);
    bench_close(&bench);
}
END_TEST

START_TEST(fork_outlives_its_origin)
{
    struct bench bench;
    bench_open(&bench, (struct fake_options){0}, (struct engine_options){.threads = 2, .kv_memory = 64 * 80});
    int32_t tokens[30], other[30];
    make_tokens(tokens, 30, 5);
    make_tokens(other, 30, 6);
    int first = open_sequence(&bench);
    feed(&bench, first, tokens, 0, 10, 10);
    struct error error;
    int fork = sequence_fork(bench.engine, first, &error);
    sequence_close(bench.engine, first);
    int third = open_sequence(&bench); /* takes what the first gave back */
    feed(&bench, third, other, 0, 30, 16);
    feed(&bench, fork, tokens, 10, 30, 16);
    bench_close(&bench);
}
END_TEST

START_TEST(fork_between_add_and_run)
{
    struct bench bench;
    bench_open(&bench, (struct fake_options){0}, (struct engine_options){.threads = 2, .kv_memory = 64 * 80});
    int32_t tokens[2][16];
    make_tokens(tokens[0], 16, 11);
    memcpy(tokens[1], tokens[0], sizeof tokens[0]);
    make_tokens(tokens[1] + 5, 11, 12);
    int first = open_sequence(&bench);
    feed(&bench, first, tokens[0], 0, 5, 5);
    /* The first has two rows of the shared page in the step when it is forked, then one more. */
    add(&bench, first, tokens[0][5], false);
    add(&bench, first, tokens[0][6], false);
    struct error error;
    int fork = sequence_fork(bench.engine, first, &error);
    ck_assert_int_eq(sequence_length(bench.engine, fork), 5);
    int fork_row = add(&bench, fork, tokens[1][5], true);
    int first_row = add(&bench, first, tokens[0][7], true);
    run(&bench);
    ck_assert(right(&bench, first_row, tokens[0], 8));
    ck_assert(right(&bench, fork_row, tokens[1], 6));
    feed(&bench, first, tokens[0], 8, 16, 3);
    feed(&bench, fork, tokens[1], 6, 16, 3);
    bench_close(&bench);
}
END_TEST

START_TEST(rollback_equals_never_added)
{
    struct bench bench;
    bench_open(&bench, (struct fake_options){0}, (struct engine_options){.threads = 2});
    int32_t tokens[24], wrong[24];
    make_tokens(tokens, 24, 21);
    for (int keep = 0; keep <= 12; keep++) {
        memcpy(wrong, tokens, sizeof tokens);
        make_tokens(wrong + keep, 24 - keep, 22);
        int sequence = open_sequence(&bench);
        feed(&bench, sequence, wrong, 0, 20, 7);
        struct error error;
        ck_assert_int_eq(sequence_rollback(bench.engine, sequence, keep, &error), 0);
        ck_assert_int_eq(sequence_length(bench.engine, sequence), keep);
        uint64_t used;
        engine_memory(bench.engine, &used, NULL, NULL);
        ck_assert_uint_eq(used, (uint64_t)((keep + 3) / 4) * 80);
        feed(&bench, sequence, tokens, keep, 24, 5);
        sequence_close(bench.engine, sequence);
    }
    bench_close(&bench);
}
END_TEST

START_TEST(rollback_of_a_fork_leaves_the_origin)
{
    struct bench bench;
    bench_open(&bench, (struct fake_options){0}, (struct engine_options){.threads = 2, .kv_memory = 64 * 80});
    int32_t tokens[2][24];
    make_tokens(tokens[0], 24, 31);
    memcpy(tokens[1], tokens[0], sizeof tokens[0]);
    make_tokens(tokens[1] + 6, 18, 32);
    int first = open_sequence(&bench);
    feed(&bench, first, tokens[0], 0, 11, 11);
    struct error error;
    int fork = sequence_fork(bench.engine, first, &error);
    /* Position 6 lies in a whole page that both share: writing there must copy it. */
    ck_assert_int_eq(sequence_rollback(bench.engine, fork, 6, &error), 0);
    feed(&bench, fork, tokens[1], 6, 24, 4);
    feed(&bench, first, tokens[0], 11, 24, 4);
    bench_close(&bench);
}
END_TEST

START_TEST(discard_forgets_the_step)
{
    struct bench bench;
    bench_open(&bench, (struct fake_options){0}, (struct engine_options){.threads = 2});
    int32_t tokens[16];
    make_tokens(tokens, 16, 41);
    int sequence = open_sequence(&bench);
    feed(&bench, sequence, tokens, 0, 6, 6);
    uint64_t before, after;
    engine_memory(bench.engine, &before, NULL, NULL);
    for (int i = 0; i < 8; i++)
        add(&bench, sequence, 31 - i, true);
    struct error error;
    ck_assert_int_eq(sequence_rollback(bench.engine, sequence, 2, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "discard"));
    engine_discard(bench.engine);
    engine_memory(bench.engine, &after, NULL, NULL);
    ck_assert_uint_eq(before, after);
    ck_assert_int_eq(engine_room(bench.engine), 16);
    feed(&bench, sequence, tokens, 6, 16, 4);
    bench_close(&bench);
}
END_TEST

START_TEST(close_with_rows_in_the_step)
{
    struct bench bench;
    bench_open(&bench, (struct fake_options){0}, (struct engine_options){.threads = 2, .kv_memory = 64 * 80});
    int32_t tokens[16];
    make_tokens(tokens, 16, 51);
    for (int discard = 0; discard < 2; discard++) {
        int stays = open_sequence(&bench), ends = open_sequence(&bench);
        int row = add(&bench, stays, tokens[0], true);
        add(&bench, ends, 5, true);
        sequence_close(bench.engine, ends);
        struct error error;
        ck_assert_int_eq(engine_add(bench.engine, ends, 5, false, &error), -1);
        int third = open_sequence(&bench);
        ck_assert_msg(third != ends, "the number of a sequence that still has rows was given away");
        row = discard ? row : row;
        if (discard) {
            engine_discard(bench.engine);
            row = add(&bench, stays, tokens[0], true);
        }
        run(&bench);
        ck_assert(right(&bench, row, tokens, 1));
        sequence_close(bench.engine, third);
        ck_assert_int_eq(open_sequence(&bench), ends < third ? ends : third);
        sequence_close(bench.engine, ends < third ? ends : third);
        feed(&bench, stays, tokens, 1, 16, 4);
        sequence_close(bench.engine, stays);
        uint64_t used;
        engine_memory(bench.engine, &used, NULL, NULL);
        ck_assert_uint_eq(used, 0);
    }
    bench_close(&bench);
}
END_TEST

START_TEST(out_of_pages)
{
    struct bench bench;
    bench_open(&bench, (struct fake_options){0}, (struct engine_options){.threads = 2, .kv_memory = 3 * 80 + 79});
    int32_t tokens[16];
    make_tokens(tokens, 16, 61);
    int first = open_sequence(&bench), second = open_sequence(&bench);
    feed(&bench, first, tokens, 0, 8, 8);
    for (int i = 0; i < 4; i++)
        add(&bench, second, tokens[i], i == 3);
    struct error error;
    ck_assert_int_eq(engine_add(bench.engine, first, tokens[8], true, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "--kv-memory"));
    ck_assert_ptr_nonnull(strstr(error.message, "3 pages"));
    ck_assert_ptr_nonnull(strstr(error.message, "240 bytes"));
    ck_assert_int_eq(engine_add(bench.engine, second, tokens[4], true, &error), -1);
    /* What was added before still runs, and freed pages serve again. */
    run(&bench);
    ck_assert(right(&bench, 3, tokens, 4));
    sequence_close(bench.engine, second);
    feed(&bench, first, tokens, 8, 12, 4);
    bench_close(&bench);
}
END_TEST

START_TEST(out_of_pages_for_a_copy)
{
    struct bench bench;
    bench_open(&bench, (struct fake_options){0}, (struct engine_options){.threads = 2, .kv_memory = 2 * 80});
    int32_t tokens[16];
    make_tokens(tokens, 16, 62);
    int first = open_sequence(&bench);
    feed(&bench, first, tokens, 0, 6, 6);
    struct error error;
    int fork = sequence_fork(bench.engine, first, &error);
    ck_assert_int_eq(engine_add(bench.engine, fork, 1, true, &error), -1);
    ck_assert_int_eq(engine_add(bench.engine, first, 1, true, &error), -1);
    sequence_close(bench.engine, fork);
    feed(&bench, first, tokens, 6, 8, 1);
    bench_close(&bench);
}
END_TEST

START_TEST(limits)
{
    struct bench bench;
    bench_open(&bench, (struct fake_options){.max_seq = 10, .max_rows = 4, .max_outputs = 2},
               (struct engine_options){.threads = 1});
    struct error error;
    int sequence = open_sequence(&bench);
    ck_assert_int_eq(engine_add(bench.engine, sequence, -1, false, &error), -1);
    ck_assert_int_eq(engine_add(bench.engine, sequence, 32, false, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "32"));
    ck_assert_int_eq(engine_add(bench.engine, sequence + 1, 0, false, &error), -1);
    ck_assert_int_eq(engine_add(bench.engine, -1, 0, false, &error), -1);
    ck_assert_int_eq(engine_add(bench.engine, 1000, 0, false, &error), -1);
    ck_assert_int_eq(sequence_open(bench.engine, 0, &error), -1);
    int32_t tokens[10] = {0};
    ck_assert_int_eq(add(&bench, sequence, 0, true), 0);
    ck_assert_int_eq(add(&bench, sequence, 0, false), 1);
    ck_assert_int_eq(add(&bench, sequence, 0, true), 2);
    ck_assert_int_eq(engine_add(bench.engine, sequence, 0, true, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "2 rows with logits"));
    ck_assert_int_eq(add(&bench, sequence, 0, false), 3);
    ck_assert_int_eq(engine_room(bench.engine), 0);
    ck_assert_int_eq(engine_add(bench.engine, sequence, 0, false, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "4 rows"));
    run(&bench);
    ck_assert_ptr_null(engine_logits(bench.engine, 1));
    ck_assert_ptr_null(engine_logits(bench.engine, 4));
    ck_assert_ptr_null(engine_logits(bench.engine, -1));
    ck_assert(right(&bench, 0, tokens, 1));
    ck_assert(right(&bench, 2, tokens, 3));
    /* The logits stay while the next step is assembled. */
    add(&bench, sequence, 0, true);
    ck_assert(right(&bench, 2, tokens, 3));
    engine_discard(bench.engine);
    feed(&bench, sequence, tokens, 4, 10, 4);
    ck_assert_int_eq(engine_add(bench.engine, sequence, 0, true, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "10 positions"));
    ck_assert_int_eq(sequence_rollback(bench.engine, sequence, 11, &error), -1);
    ck_assert_int_eq(sequence_rollback(bench.engine, sequence, -1, &error), -1);
    ck_assert_int_eq(engine_run(bench.engine, &error), 0);
    bench_close(&bench);
}
END_TEST

START_TEST(options_that_cannot_be)
{
    struct fake_model fake;
    struct error error;
    fake_model_init(&fake, &(struct fake_options){.random = true});
    ck_assert_ptr_null(engine_open(&fake.model, &(struct engine_options){.kv_memory = 79}, &error));
    ck_assert_ptr_nonnull(strstr(error.message, "--kv-memory 79"));
    ck_assert_ptr_nonnull(strstr(error.message, "80 bytes"));
    ck_assert_ptr_null(engine_open(&fake.model, &(struct engine_options){.kv_memory = UINT64_MAX}, &error));
    ck_assert_ptr_nonnull(strstr(error.message, "--kv-memory"));
    ck_assert_ptr_null(engine_open(&fake.model, &(struct engine_options){.cpu = "unsupported"}, &error));
    ck_assert_ptr_nonnull(strstr(error.message, "does not have"));
    ck_assert_ptr_null(engine_open(&fake.model, &(struct engine_options){.cpu = "quantum"}, &error));
    ck_assert_ptr_nonnull(strstr(error.message, "unsupported, scalar, twin"));
    ck_assert_ptr_null(engine_open(&fake.model, &(struct engine_options){.threads = -1}, &error));
    ck_assert_ptr_null(engine_open(&fake.model, &(struct engine_options){.threads = 100000}, &error));
    ck_assert_ptr_nonnull(strstr(error.message, "--threads 100000"));
    ck_assert_ptr_null(engine_open(&fake.model, &(struct engine_options){.weights = "/no/such"}, &error));
    struct engine *engine = engine_open(&fake.model, NULL, &error);
    ck_assert_ptr_nonnull(engine);
    ck_assert_str_eq(engine_variant(engine), "scalar");
    ck_assert_ptr_eq(engine_model(engine), &fake.model);
    ck_assert_ptr_null(engine_section(engine, "nothing", NULL));
    engine_close(engine);
    engine = engine_open(&fake.model, &(struct engine_options){.cpu = "twin"}, &error);
    ck_assert_str_eq(engine_variant(engine), "twin");
    engine_close(engine);
    engine_close(NULL);
}
END_TEST

/* Random adds, runs, forks, roll backs, discards and closes, against plain arrays. */
START_TEST(random_walk)
{
    enum { MOST = 12, LENGTH = 48, STEPS = 8000 };
    struct bench bench;
    bench_open(&bench, (struct fake_options){.max_seq = LENGTH, .max_rows = 9, .page = _i + 1},
               (struct engine_options){.threads = 2, .kv_memory = (uint64_t)(30 / (_i + 1)) * 20 * (uint64_t)(_i + 1)});
    struct {
        int id, stored, added;
        int32_t token[LENGTH];
    } own[MOST];
    int count = 0;
    unsigned random = 77u + (unsigned)_i;
    int refused = 0, checked = 0;
    struct {
        int row, length;
        int32_t token[LENGTH];
    } wanted[9];
    int wants = 0;
    for (int step = 0; step < STEPS; step++) {
        random = random * 1664525u + 1013904223u;
        unsigned what = random >> 28, which = count ? (random >> 8) % (unsigned)count : 0;
        struct error error;
        if (count == 0 || (what == 0 && count < MOST)) {
            own[count].id = open_sequence(&bench);
            own[count].stored = own[count].added = 0;
            count++;
        } else if (what == 1 && count < MOST) {
            own[count] = own[which];
            own[count].added = 0;
            own[count].id = sequence_fork(bench.engine, own[which].id, &error);
            ck_assert_int_ge(own[count].id, 0);
            count++;
        } else if (what == 2 && own[which].added == 0) {
            int length = own[which].stored ? (int)(random >> 16) % (own[which].stored + 1) : 0;
            ck_assert_int_eq(sequence_rollback(bench.engine, own[which].id, length, &error), 0);
            own[which].stored = length;
        } else if (what == 3 && count > 1) {
            sequence_close(bench.engine, own[which].id);
            own[which] = own[--count];
        } else if (what == 4) {
            engine_discard(bench.engine);
            wants = 0;
            for (int s = 0; s < count; s++)
                own[s].added = 0;
        } else if (what <= 6 || engine_room(bench.engine) == 0) {
            run(&bench);
            for (int w = 0; w < wants; w++, checked++)
                ck_assert(right(&bench, wanted[w].row, wanted[w].token, wanted[w].length));
            wants = 0;
            for (int s = 0; s < count; s++) {
                own[s].stored += own[s].added;
                own[s].added = 0;
                ck_assert_int_eq(sequence_length(bench.engine, own[s].id), own[s].stored);
            }
        } else {
            int length = own[which].stored + own[which].added;
            int32_t token = (int32_t)(random >> 12) % 32;
            int row = engine_add(bench.engine, own[which].id, token, true, &error);
            if (row < 0) {
                refused++;
                continue;
            }
            own[which].token[length] = token;
            own[which].added++;
            wanted[wants].row = row;
            wanted[wants].length = length + 1;
            memcpy(wanted[wants].token, own[which].token, sizeof own[which].token);
            wants++;
        }
    }
    ck_assert_int_gt(checked, 500);
    ck_assert_int_gt(refused, 0);
    engine_discard(bench.engine);
    while (count > 0)
        sequence_close(bench.engine, own[--count].id);
    uint64_t used;
    engine_memory(bench.engine, &used, NULL, NULL);
    ck_assert_uint_eq(used, 0);
    bench_close(&bench);
}
END_TEST

START_TEST(payload_from_a_file)
{
    static const char tokenizer[] = "not a tokenizer, but bytes";
    struct error error;
    char path[] = "/tmp/lathe_engine_XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    for (int random = 0; random < 2; random++) {
        struct bench bench;
        struct fake_options options = {
            .random = random, .random_seed = 9, .tokenizer = tokenizer, .tokenizer_bytes = sizeof tokenizer};
        fake_model_init(&bench.fake, &options);
        ck_assert_int_eq(fake_model_write(&bench.fake, path, random ? 5000 : 0), 0);
        bench.engine = engine_open(&bench.fake.model, &(struct engine_options){.weights = path}, &error);
        ck_assert_msg(bench.engine != NULL, "%s", error.message);
        bench.expected = malloc((size_t)bench.fake.model.vocab * sizeof(float));
        uint64_t bytes;
        const char *section = engine_section(bench.engine, "tokenizer", &bytes);
        ck_assert_uint_eq(bytes, sizeof tokenizer);
        ck_assert_str_eq(section, tokenizer);
        int32_t tokens[20];
        make_tokens(tokens, 20, 71);
        feed(&bench, open_sequence(&bench), tokens, 0, 20, 16);
        bench_close(&bench);
    }
    unlink(path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine");
    TCase *test = tcase_create("steps");
    tcase_set_timeout(test, 120);
    tcase_add_loop_test(test, chunking, 0, 4);
    tcase_add_loop_test(test, rows_of_many_sequences, 0, 4);
    tcase_add_test(test, fork_then_diverge);
    tcase_add_test(test, fork_outlives_its_origin);
    tcase_add_test(test, fork_between_add_and_run);
    tcase_add_test(test, rollback_equals_never_added);
    tcase_add_test(test, rollback_of_a_fork_leaves_the_origin);
    tcase_add_test(test, discard_forgets_the_step);
    tcase_add_test(test, close_with_rows_in_the_step);
    tcase_add_test(test, out_of_pages);
    tcase_add_test(test, out_of_pages_for_a_copy);
    tcase_add_test(test, limits);
    tcase_add_test(test, options_that_cannot_be);
    tcase_add_loop_test(test, random_walk, 0, 5);
    tcase_add_test(test, payload_from_a_file);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
