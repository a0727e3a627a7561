/* Trees of rows in the engine, on the fake model, whose logits are a hash of everything that a row reads: what a row of a tree
   sees, what accepting a path keeps, what is left of the rest. On the CPU, and on a GPU that is none (fake_cuda.h). */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "fake_cuda_model.h"
#include "fake_model.h"

enum { VOCAB = 32, PAGE_BYTES = 80 };

static enum { CPU, GPU, GPU_WITHOUT_SAMPLING } device;

static void on_cpu(void)
{
    device = CPU;
}

static void on_gpu(void)
{
    device = GPU;
}

static void without_sampling(void)
{
    device = GPU_WITHOUT_SAMPLING;
}

struct bench {
    struct fake_model fake;
    struct fake_cuda gpu;
    struct engine *engine, *cpu; /* cpu: whose weights can be read */
    float *expected;             /* [vocab] */
};

static void bench_open(struct bench *bench, int32_t max_rows, int32_t pages)
{
    struct error error = {""};
    struct fake_options options = {.random = true, .max_rows = max_rows};
    fake_model_init(&bench->fake, &options);
    setenv("LATHE_CUDA_DRIVER", TEST_BINARY_DIR "/tests/fake_cuda.so", 1);
    if (device != CPU)
        fake_cuda_init(&bench->gpu, &bench->fake,
                       &(struct fake_cuda_options){.no_sample = device == GPU_WITHOUT_SAMPLING});
    struct engine_options engine_options = {.threads = 2, .kv_memory = (uint64_t)pages * PAGE_BYTES};
    bench->engine = engine_open(&bench->fake.model, &engine_options, &error);
    ck_assert_msg(bench->engine != NULL, "%s", error.message);
    engine_options.device = "cpu";
    bench->cpu = engine_open(&bench->fake.model, &engine_options, &error);
    ck_assert_msg(bench->cpu != NULL, "%s", error.message);
    bench->expected = malloc(VOCAB * sizeof(float));
}

static void bench_close(struct bench *bench)
{
    engine_close(bench->engine);
    engine_close(bench->cpu);
    free(bench->expected);
}

static uint64_t pages_used(struct bench *bench)
{
    uint64_t used;
    engine_memory(bench->engine, &used, NULL, NULL);
    return used / PAGE_BYTES;
}

/* A text that a sequence stands for. */
struct text {
    int32_t id[64];
    int count;
};

static const float *expected_logits(struct bench *bench, const struct text *text)
{
    const float *head = engine_section(bench->cpu, "head", NULL);
    const uint16_t *embedding = engine_section(bench->cpu, "embedding", NULL);
    fake_model_logits(&bench->fake, head, embedding, text->id, text->count, bench->expected);
    return bench->expected;
}

static void expect_row(struct bench *bench, int row, const struct text *text)
{
    const float *logits = engine_logits(bench->engine, row);
    ck_assert_ptr_nonnull(logits);
    ck_assert_msg(memcmp(logits, expected_logits(bench, text), VOCAB * sizeof(float)) == 0,
                  "row %d has other logits than its %d tokens in a plain sequence", row, text->count);
}

static struct text with(struct text text, int32_t token)
{
    text.id[text.count++] = token;
    return text;
}

static int plain(struct bench *bench, int sequence, struct text *text, int32_t token)
{
    struct error error;
    int row = engine_add(bench->engine, sequence, token, true, &error);
    ck_assert_msg(row >= 0, "%s", error.message);
    *text = with(*text, token);
    return row;
}

static int child(struct bench *bench, int sequence, int32_t parent, int32_t token)
{
    struct error error;
    int row = engine_add_child(bench->engine, sequence, parent, token, true, &error);
    ck_assert_msg(row >= 0, "%s", error.message);
    return row;
}

static void run(struct bench *bench)
{
    struct error error;
    ck_assert_msg(engine_run(bench->engine, &error) == 0, "%s", error.message);
}

static void accept(struct bench *bench, const int32_t *rows, int count)
{
    struct error error;
    ck_assert_msg(engine_accept(bench->engine, rows, count, &error) == 0, "%s", error.message);
}

static int open_text(struct bench *bench, struct text *text, int count, int32_t seed)
{
    struct error error;
    int sequence = sequence_open(bench->engine, -1, &error);
    text->count = 0;
    for (int i = 0; i < count; i++) {
        plain(bench, sequence, text, (seed + 7 * i) % VOCAB);
        if (engine_room(bench->engine) == 0)
            run(bench);
    }
    run(bench);
    return sequence;
}

/* The next token, plainly: everything that the sequence stores is right. */
static void expect_next(struct bench *bench, int sequence, struct text *text, int32_t token)
{
    ck_assert_int_eq(sequence_length(bench->engine, sequence), text->count);
    int row = plain(bench, sequence, text, token);
    run(bench);
    expect_row(bench, row, text);
}

/* root - a - c, d
        - b - e - f    with every length before it: pages end everywhere. */
START_TEST(rows_see_their_ancestors)
{
    struct bench bench;
    bench_open(&bench, 16, 64);
    for (int length = 1; length < 10; length++) {
        struct text text, a, b, c, d, e, f;
        int sequence = open_text(&bench, &text, length, _i);
        int root = plain(&bench, sequence, &text, 1);
        int row_a = child(&bench, sequence, _i ? root : -1, 2), row_b = child(&bench, sequence, root, 3);
        int row_c = child(&bench, sequence, row_a, 4), row_d = child(&bench, sequence, row_a, 5);
        int row_e = child(&bench, sequence, row_b, 4), row_f = child(&bench, sequence, row_e, 6);
        a = with(text, 2), b = with(text, 3), c = with(a, 4), d = with(a, 5), e = with(b, 4), f = with(e, 6);
        run(&bench);
        expect_row(&bench, root, &text);
        expect_row(&bench, row_a, &a);
        expect_row(&bench, row_b, &b);
        expect_row(&bench, row_c, &c);
        expect_row(&bench, row_d, &d);
        expect_row(&bench, row_e, &e);
        expect_row(&bench, row_f, &f);
        const int32_t path[] = {row_b, row_e, row_f};
        accept(&bench, path, _i);
        struct text *kept[] = {&text, &b, &e, &f};
        expect_next(&bench, sequence, kept[_i], 9);
        ck_assert_uint_eq(pages_used(&bench), (uint64_t)(kept[_i]->count + 3) / 4);
        sequence_close(bench.engine, sequence);
        ck_assert_uint_eq(pages_used(&bench), 0);
    }
    bench_close(&bench);
}
END_TEST

/* Without a plain row the tree hangs off what is stored. */
START_TEST(below_the_stored_state)
{
    struct bench bench;
    bench_open(&bench, 16, 64);
    struct text text, a, b;
    int sequence = open_text(&bench, &text, 7, 0);
    int row_a = child(&bench, sequence, -1, 8), row_b = child(&bench, sequence, row_a, 9);
    a = with(text, 8), b = with(a, 9);
    run(&bench);
    expect_row(&bench, row_a, &a);
    expect_row(&bench, row_b, &b);
    accept(&bench, &row_a, 1);
    expect_next(&bench, sequence, &a, 3);
    bench_close(&bench);
}
END_TEST

/* Several texts, each with a tree of its own, one with a prompt, their rows mixed. */
START_TEST(a_tree_each)
{
    enum { TEXTS = 3 };
    struct bench bench;
    bench_open(&bench, 24, 64);
    struct text text[TEXTS], prompt;
    int sequence[TEXTS], root[TEXTS], first[TEXTS], second[TEXTS], deep[TEXTS];
    for (int s = 0; s < TEXTS; s++)
        sequence[s] = open_text(&bench, &text[s], 3 + 5 * s, s);
    int other = open_text(&bench, &prompt, 2, 11);
    for (int s = 0; s < TEXTS; s++)
        root[s] = plain(&bench, sequence[s], &text[s], s);
    for (int s = 0; s < TEXTS; s++) {
        first[s] = child(&bench, sequence[s], root[s], 10 + s);
        int row = plain(&bench, other, &prompt, s);
        second[s] = child(&bench, sequence[s], root[s], 20 + s);
        deep[s] = child(&bench, sequence[s], first[s], 30);
        ck_assert_int_eq(row + 1, second[s]);
    }
    run(&bench);
    for (int s = 0; s < TEXTS; s++) {
        struct text a = with(text[s], 10 + s), b = with(text[s], 20 + s), c = with(a, 30);
        expect_row(&bench, first[s], &a);
        expect_row(&bench, second[s], &b);
        expect_row(&bench, deep[s], &c);
    }
    const int32_t path[] = {first[2], deep[2]};
    accept(&bench, path, 2);
    accept(&bench, &second[0], 1);
    text[0] = with(text[0], 20);
    text[2] = with(with(text[2], 12), 30);
    for (int s = 0; s < TEXTS; s++)
        expect_next(&bench, sequence[s], &text[s], 5);
    expect_next(&bench, other, &prompt, 6);
    bench_close(&bench);
}
END_TEST

/* A fork shares pages with what a tree is accepted into, before and after. */
START_TEST(forks)
{
    struct bench bench;
    struct error error;
    bench_open(&bench, 16, 64);
    for (int length = 1; length < 9; length++) {
        struct text text, forked;
        int sequence = open_text(&bench, &text, length, 5);
        int before = sequence_fork(bench.engine, sequence, &error);
        forked = text;
        int root = plain(&bench, sequence, &text, 1), row = child(&bench, sequence, root, 2);
        int assembled = sequence_fork(bench.engine, sequence, &error);
        int deep = child(&bench, sequence, row, 3);
        run(&bench);
        int undecided = sequence_fork(bench.engine, sequence, &error); /* with the root, without the tree */
        struct text rooted = text;
        const int32_t path[] = {row, deep};
        accept(&bench, path, 2);
        text = with(with(text, 2), 3);
        int after = sequence_fork(bench.engine, sequence, &error);
        struct text copy = text, again = forked;
        expect_next(&bench, before, &forked, 20);
        expect_next(&bench, assembled, &again, 21);
        expect_next(&bench, undecided, &rooted, 22);
        expect_next(&bench, after, &copy, 23);
        expect_next(&bench, sequence, &text, 24);
        int all[] = {before, assembled, undecided, after, sequence};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            sequence_close(bench.engine, all[i]);
        ck_assert_uint_eq(pages_used(&bench), 0);
    }
    bench_close(&bench);
}
END_TEST

/* What is not accepted leaves nothing: no page, no row. */
START_TEST(nothing_is_left)
{
    struct bench bench;
    struct error error;
    bench_open(&bench, 16, 8);
    struct text text;
    int sequence = open_text(&bench, &text, 4, 0), row = -1;
    for (int i = 0; i < 12; i++)
        row = child(&bench, sequence, row, i);
    ck_assert_uint_eq(pages_used(&bench), 4);
    engine_discard(bench.engine);
    ck_assert_uint_eq(pages_used(&bench), 1);
    expect_next(&bench, sequence, &text, 3);
    ck_assert_int_eq(child(&bench, sequence, -1, 4), 0);
    run(&bench);
    ck_assert_int_eq(sequence_length(bench.engine, sequence), text.count);
    ck_assert_int_eq(sequence_rollback(bench.engine, sequence, 4, &error), 0); /* forgets the tree */
    ck_assert_int_eq(engine_accept(bench.engine, (int32_t[]){0}, 1, &error), -1);
    text.count = 4;
    expect_next(&bench, sequence, &text, 1);
    /* Closed while it waits, or while it is in the step. */
    child(&bench, sequence, -1, 4);
    run(&bench);
    sequence_close(bench.engine, sequence);
    ck_assert_uint_eq(pages_used(&bench), 0);
    sequence = open_text(&bench, &text, 5, 0);
    child(&bench, sequence, -1, 4);
    sequence_close(bench.engine, sequence);
    ck_assert_uint_eq(pages_used(&bench), 2);
    run(&bench);
    sequence = open_text(&bench, &text, 1, 0);
    ck_assert_uint_eq(pages_used(&bench), 1);
    bench_close(&bench);
}
END_TEST

#define refused(call, words)                                                                                           \
    do {                                                                                                               \
        struct error why = {""};                                                                                       \
        struct error *error = &why;                                                                                    \
        ck_assert_int_eq(call, -1);                                                                                    \
        ck_assert_msg(strstr(why.message, words) != NULL, "expected \"%s\", found: %s", words, why.message);           \
    } while (0)

START_TEST(refusals)
{
    struct bench bench;
    struct text text, next;
    bench_open(&bench, 8, 4);
    struct engine *engine = bench.engine;
    int sequence = open_text(&bench, &text, 9, 0), other = open_text(&bench, &next, 1, 0);
    int root = plain(&bench, sequence, &text, 1), a = child(&bench, sequence, root, 1);
    int b = child(&bench, sequence, a, 2);
    refused(engine_add(engine, sequence, 1, false, error), "its plain rows come first");
    refused(engine_add_child(engine, sequence, root, 1, false, error), "level by level");
    refused(engine_add_child(engine, sequence, 7, 1, false, error), "row 7 can have no children");
    refused(engine_add_child(engine, other, a, 1, false, error), "can have no children in sequence");
    refused(engine_add_child(engine, sequence, b, VOCAB, false, error), "not in the vocabulary");
    refused(engine_add_child(engine, 9, b, 1, false, error), "sequence 9 is not open");
    /* Position 12 needs a fifth page. */
    refused(engine_add_child(engine, sequence, b, 1, false, error), "out of state pages");
    refused(sequence_rollback(engine, sequence, 1, error), "roll back");
    run(&bench);
    refused(engine_accept(engine, &root, 1, error), "expected a row of a tree");
    refused(engine_accept(engine, &b, 1, error), "does not follow");
    refused(engine_accept(engine, ((int32_t[]){a, a}), 2, error), "does not follow");
    refused(engine_accept(engine, ((int32_t[]){8}), 1, error), "expected a row of a tree");
    accept(&bench, &a, 1);
    refused(engine_accept(engine, &a, 1, error), "dealt with already");
    text = with(text, 1);
    ck_assert_int_eq(sequence_length(engine, sequence), text.count);
    ck_assert_int_eq(engine_submit(engine, NULL), 0); /* an empty step */
    ck_assert_int_eq(engine_collect(engine, NULL, NULL), 0);
    root = plain(&bench, other, &next, 1);
    child(&bench, other, root, 1);
    ck_assert_int_eq(engine_submit(engine, NULL), 0);
    refused(engine_add(engine, sequence, 1, false, error), "collect it first");
    refused(engine_submit(engine, error), "under way");
    ck_assert_int_eq(engine_collect(engine, NULL, NULL), 0);
    expect_next(&bench, other, &next, 4);
    bench_close(&bench);
}
END_TEST

/* A wide tree is full when its paths are; the step still runs. */
START_TEST(full_of_paths)
{
    struct bench bench;
    struct error error;
    bench_open(&bench, 300, 16);
    struct text text;
    int sequence = open_text(&bench, &text, 1, 0), row = plain(&bench, sequence, &text, 1);
    for (int i = 0; i < 50; i++)
        row = child(&bench, sequence, row, i % VOCAB);
    int count = 0, last = row;
    while ((row = engine_add_child(bench.engine, sequence, last, count % VOCAB, true, &error)) >= 0)
        count++;
    ck_assert_msg(strstr(error.message, "the paths of its trees") != NULL, "%s", error.message);
    run(&bench);
    for (int i = 0; i < 50; i++)
        text = with(text, i % VOCAB);
    expect_row(&bench, last, &text);
    text = with(text, (count - 1) % VOCAB);
    expect_row(&bench, last + count, &text);
    bench_close(&bench);
}
END_TEST

/* ---- draws */

static int open_slot(struct bench *bench, const struct sampler_options *options)
{
    struct error error;
    int slot = draw_open(bench->engine, options, &error);
    ck_assert_msg(slot >= 0, "%s", error.message);
    return slot;
}

/* The text that plain steps make of a prompt. */
static void continue_plainly(struct bench *bench, struct text *text, int prompt, const struct sampler_options *options,
                             int count, float *logprobs)
{
    struct error error;
    const struct drawn *drawn;
    int sequence = sequence_open(bench->engine, -1, &error), slot = open_slot(bench, options);
    ck_assert_int_eq(draw_see(bench->engine, slot, text->id, (size_t)prompt, false, &error), 0);
    text->count = prompt;
    for (int i = 0; i < prompt + count - 1; i++) {
        int row = engine_add(bench->engine, sequence, text->id[i], false, &error);
        ck_assert(row >= 0);
        if (i + 1 >= prompt)
            ck_assert_int_eq(engine_draw(bench->engine, row, slot, &error), 0);
        ck_assert_int_eq(engine_submit(bench->engine, &error), 0);
        ck_assert_int_eq(engine_collect(bench->engine, &drawn, &error), i + 1 >= prompt);
        if (i + 1 < prompt)
            continue;
        logprobs[text->count] = drawn->logprob;
        *text = with(*text, drawn->token);
    }
    sequence_close(bench->engine, sequence);
    draw_close(bench->engine, slot);
}

static void draw_at(struct bench *bench, int row, int slot)
{
    struct error error;
    ck_assert_msg(engine_draw(bench->engine, row, slot, &error) == 0, "%s", error.message);
}

static const struct sampler_options choices[] = {
    {.top_p = 1, .repetition_penalty = 1},
    {.temperature = 1.5f, .top_p = 1, .repetition_penalty = 1, .seed = 7},
    {.temperature = 0.8f, .top_p = 0.9f, .top_k = 8, .min_p = 0.01f, .repetition_penalty = 1.3f, .seed = 3},
    {.temperature = 2,
     .top_p = 1,
     .repetition_penalty = 1.5f,
     .presence_penalty = 1,
     .frequency_penalty = 0.7f,
     .seed = 5,
     .min_tokens = 9,
     .stop = (const int32_t[]){1, 2, 3, 4, 5, 6, 7},
     .stop_count = 7},
};

/* Trees whose tokens are right as far as `right` says and wrong from there on: the same tokens and log-probabilities as
   plainly, and as many in a step as were right, and one. */
START_TEST(draws_down_a_tree)
{
    enum { PROMPT = 5, COUNT = 24, DEEP = 4 };
    struct bench bench;
    bench_open(&bench, 16, 64);
    const struct sampler_options *options = &choices[_i];
    struct text plainly = {.id = {3, 1, 4, 1, 5}}, text = plainly;
    struct error error;
    const struct drawn *drawn;
    float logprobs[64];
    continue_plainly(&bench, &plainly, PROMPT, options, COUNT, logprobs);
    int sequence = sequence_open(bench.engine, -1, &error), slot = open_slot(&bench, options);
    ck_assert_int_eq(draw_see(bench.engine, slot, text.id, PROMPT, false, &error), 0);
    for (int i = 0; i + 1 < PROMPT; i++)
        plain(&bench, sequence, &text, text.id[text.count]);
    run(&bench);
    text.count = PROMPT;
    for (int cycle = 0; text.count < plainly.count; cycle++) {
        int right = cycle % (DEEP + 1), left = plainly.count - text.count;
        int deep = left - 1 < DEEP ? left - 1 : DEEP;
        deep = cycle % 7 == 5 ? 0 : deep; /* a plain step between trees */
        right = right < deep ? right : deep;
        int32_t last = cycle % 2 ? ENGINE_DRAWN(slot) : text.id[text.count - 1];
        int row = engine_add(bench.engine, sequence, last, false, &error);
        draw_at(&bench, row, slot);
        for (int i = 0; i < deep; i++) {
            int32_t token = plainly.id[text.count + i], wrong = (token + 1) % VOCAB;
            int first = engine_add_child(bench.engine, sequence, row, wrong, false, &error);
            draw_at(&bench, first, slot);
            int second = i < right ? engine_add_child(bench.engine, sequence, row, token, i % 2, &error) : first;
            if (i < right)
                draw_at(&bench, second, slot);
            row = second;
        }
        ck_assert_int_eq(engine_submit(bench.engine, &error), 0);
        ck_assert_int_eq(engine_collect(bench.engine, &drawn, &error), right + 1);
        for (int i = 0; i <= right; i++) {
            ck_assert_int_eq(drawn[i].slot, slot);
            ck_assert_int_eq(drawn[i].position, text.count);
            ck_assert_int_eq(drawn[i].token, plainly.id[text.count]);
            ck_assert_msg(memcmp(&drawn[i].logprob, &logprobs[text.count], sizeof(float)) == 0, "%g, plainly %g",
                          (double)drawn[i].logprob, (double)logprobs[text.count]);
            text = with(text, drawn[i].token);
        }
        ck_assert_int_eq(sequence_length(bench.engine, sequence), text.count - 1);
    }
    ck_assert_uint_eq(pages_used(&bench), (uint64_t)(text.count + 2) / 4);
    sequence_close(bench.engine, sequence);
    ck_assert_uint_eq(pages_used(&bench), 0);
    bench_close(&bench);
}
END_TEST

START_TEST(draws_that_are_refused)
{
    struct bench bench;
    struct text text;
    bench_open(&bench, 8, 8);
    struct engine *engine = bench.engine;
    int sequence = open_text(&bench, &text, 3, 0), slot = open_slot(&bench, choices),
        other = open_slot(&bench, choices);
    int root = plain(&bench, sequence, &text, 1);
    draw_at(&bench, root, slot);
    refused(engine_draw(engine, root, slot, error), "a draw in this step already");
    int a = child(&bench, sequence, root, 1);
    refused(engine_draw(engine, a, other, error), "has none at the row above");
    child(&bench, sequence, root, 2);
    refused(engine_draw(engine, a, slot, error), "only the row added last");
    int below = child(&bench, sequence, a, 2);
    refused(engine_draw(engine, below, slot, error), "has none at the row above");
    engine_discard(engine);
    bench_close(&bench);
}
END_TEST

static TCase *cases(const char *name, void (*where)(void))
{
    TCase *tree = tcase_create(name);
    tcase_set_timeout(tree, 60);
    tcase_add_checked_fixture(tree, where, NULL);
    tcase_add_loop_test(tree, rows_see_their_ancestors, 0, 4);
    tcase_add_test(tree, below_the_stored_state);
    tcase_add_test(tree, a_tree_each);
    tcase_add_test(tree, forks);
    tcase_add_test(tree, nothing_is_left);
    tcase_add_test(tree, refusals);
    tcase_add_test(tree, full_of_paths);
    tcase_add_loop_test(tree, draws_down_a_tree, 0, (int)(sizeof choices / sizeof *choices));
    tcase_add_test(tree, draws_that_are_refused);
    return tree;
}

int main(void)
{
    Suite *suite = suite_create("runtime/tree");
    suite_add_tcase(suite, cases("cpu", on_cpu));
    suite_add_tcase(suite, cases("gpu", on_gpu));
    suite_add_tcase(suite, cases("gpu without sampling", without_sampling));
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
