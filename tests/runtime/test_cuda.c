/* The engine on a GPU that is none (fake_cuda.h): the same logits and tokens as on the CPU, and every error of the driver. */
#include <check.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda_driver.h"
#include "cuda_trace.h"
#include "engine.h"
#include "fake_cuda.h"
#include "fake_cuda_model.h"
#include "fake_model.h"

#define DRIVER TEST_BINARY_DIR "/tests/fake_cuda.so"

/* The same model on the CPU and on the GPU. */
struct pair {
    struct fake_model fake;
    struct fake_cuda gpu;
    struct engine *cpu, *cuda;
};

static void use_driver(const char *settings)
{
    setenv("LATHE_CUDA_DRIVER", DRIVER, 1);
    setenv("FAKE_CUDA", settings, 1);
}

static struct engine *open_or_fail(const struct model *model, struct engine_options options)
{
    struct error error = {""};
    struct engine *engine = engine_open(model, &options, &error);
    ck_assert_msg(engine != NULL, "%s", error.message);
    return engine;
}

static void pair_init(struct pair *pair, struct fake_options options, const struct fake_cuda_options *cuda)
{
    options.random = true;
    options.random_seed = 5;
    fake_model_init(&pair->fake, &options);
    fake_cuda_init(&pair->gpu, &pair->fake, cuda);
}

static void pair_open(struct pair *pair, struct fake_options options, uint64_t kv_memory)
{
    use_driver("");
    pair_init(pair, options, NULL);
    pair->cpu =
        open_or_fail(&pair->fake.model, (struct engine_options){.device = "cpu", .threads = 1, .kv_memory = kv_memory});
    pair->cuda = open_or_fail(&pair->fake.model, (struct engine_options){.kv_memory = kv_memory});
    ck_assert_str_eq(engine_device(pair->cuda), "cuda");
    ck_assert_str_eq(engine_variant(pair->cuda), "sm_90a");
    ck_assert_str_eq(engine_device(pair->cpu), "cpu");
}

/* A function of the library under the program's feet. */
static int live(void)
{
    void *library = dlopen(DRIVER, RTLD_NOW);
    int (*function)(void);
    void *symbol = dlsym(library, "fake_cuda_live");
    memcpy(&function, &symbol, sizeof symbol);
    return function();
}

static int calls(const char *name)
{
    void *library = dlopen(DRIVER, RTLD_NOW);
    int (*function)(const char *);
    void *symbol = dlsym(library, "fake_cuda_calls");
    memcpy(&function, &symbol, sizeof symbol);
    return function(name);
}

static void pair_close(struct pair *pair)
{
    engine_close(pair->cpu);
    engine_close(pair->cuda);
    ck_assert_int_eq(live(), 0);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return *seed >> 16;
}

/* Both engines do it, with the same outcome. */
static int both(int cpu, int cuda)
{
    ck_assert_int_eq(cpu, cuda);
    return cpu;
}

static void compare_logits(struct pair *pair, int row)
{
    const float *expected = engine_logits(pair->cpu, row), *found = engine_logits(pair->cuda, row);
    ck_assert_int_eq(expected == NULL, found == NULL);
    if (expected)
        ck_assert_mem_eq(expected, found, (size_t)pair->fake.model.vocab * sizeof(float));
}

/* Random work on many sequences: rows, forks, roll backs, closes; every logit compared. */
START_TEST(same_logits)
{
    enum { MOST = 100 };
    static const int32_t pages[] = {4, 3, 1, 7};
    struct pair pair;
    struct error error;
    pair_open(&pair, (struct fake_options){.page = pages[_i], .max_rows = 13, .max_outputs = 6}, 64 * 1024);
    int sequence[MOST], open = 0;
    uint32_t seed = 17u + (uint32_t)_i;
    for (int round = 0; round < 3000; round++) {
        uint32_t what = next_random(&seed) % 16;
        if (open == 0 || (what == 0 && open < MOST)) {
            sequence[open] = both(sequence_open(pair.cpu, -1, &error), sequence_open(pair.cuda, -1, &error));
            open++;
            continue;
        }
        int at = (int)(next_random(&seed) % (uint32_t)open), s = sequence[at];
        if (what == 1 && open < MOST) {
            int fork = both(sequence_fork(pair.cpu, s, &error), sequence_fork(pair.cuda, s, &error));
            sequence[open++] = fork;
        } else if (what == 2) {
            int32_t length = sequence_length(pair.cpu, s);
            length = length > 0 ? (int32_t)(next_random(&seed) % (uint32_t)length) : 0;
            both(sequence_rollback(pair.cpu, s, length, &error), sequence_rollback(pair.cuda, s, length, &error));
        } else if (what == 3 && open > MOST / 2) {
            sequence_close(pair.cpu, s);
            sequence_close(pair.cuda, s);
            sequence[at] = sequence[--open];
        } else {
            int rows = 1 + (int)(next_random(&seed) % 13);
            for (int r = 0; r < rows; r++) {
                int to = sequence[next_random(&seed) % (uint32_t)open];
                int32_t token = (int32_t)(next_random(&seed) % 32);
                bool logits = next_random(&seed) % 3 == 0;
                both(engine_add(pair.cpu, to, token, logits, &error), engine_add(pair.cuda, to, token, logits, &error));
            }
            both(engine_run(pair.cpu, &error), engine_run(pair.cuda, &error));
            for (int r = 0; r < rows; r++)
                compare_logits(&pair, r);
        }
    }
    pair_close(&pair);
}
END_TEST

/* Samplers of all kinds, and what the CPU's are given too. */
static struct sampler_options options_of(int kind)
{
    static const struct logit_bias bias[] = {{3, 2.5f}, {7, -3.0f}};
    static const int32_t stop[] = {1, 2, 4};
    struct sampler_options options = sampler_defaults();
    options.seed = 11;
    options.sequence = (uint64_t)kind;
    if (kind % 2)
        options.temperature = 0.9f;
    if (kind % 3 == 1)
        options.top_k = 7, options.top_p = 0.9f;
    if (kind % 3 == 2)
        options.repetition_penalty = 1.3f, options.frequency_penalty = 0.25f;
    if (kind % 5 == 2)
        options.bias = bias, options.bias_count = 2;
    if (kind % 5 == 3)
        options.stop = stop, options.stop_count = 3, options.min_tokens = 6;
    return options;
}

/* One engine's text of each sampler: all in one step, tokens fed back by their slots, `depth` steps under way. */
static void make_texts(struct engine *engine, int depth, int32_t *token, float *logprob, int texts, int length)
{
    struct error error = {""};
    int sequence[16], slot[16];
    for (int t = 0; t < texts; t++) {
        int32_t prompt[5];
        for (int i = 0; i < 5; i++)
            prompt[i] = (t * 7 + i * 3) % 32;
        struct sampler_options options = options_of(t);
        sequence[t] = sequence_open(engine, -1, &error);
        slot[t] = draw_open(engine, &options, &error);
        ck_assert_msg(slot[t] >= 0, "%s", error.message);
        ck_assert_int_eq(draw_see(engine, slot[t], prompt, 5, false, &error), 0);
        for (int i = 0; i < 5; i++) {
            int row = engine_add(engine, sequence[t], prompt[i], false, &error);
            if (i < 4)
                continue;
            ck_assert_int_eq(engine_draw(engine, row, slot[t], &error), 0);
            ck_assert_int_lt(engine_draw(engine, row, slot[t], &error), 0);
        }
    }
    int submitted = 0;
    for (int step = 0; step < length;) {
        while (submitted < length && engine_under_way(engine) < depth) {
            for (int t = 0; t < texts && submitted > 0; t++) {
                int row = engine_add(engine, sequence[t], ENGINE_DRAWN(slot[t]), t == 0, &error);
                ck_assert_msg(row >= 0, "%s", error.message);
                ck_assert_int_eq(engine_draw(engine, row, slot[t], &error), 0);
            }
            ck_assert_msg(engine_submit(engine, &error) == 0, "%s", error.message);
            submitted++;
        }
        const struct drawn *drawn;
        ck_assert_msg(engine_collect(engine, &drawn, &error) == texts, "%s", error.message);
        for (int t = 0; t < texts; t++) {
            ck_assert_int_eq(drawn[t].slot, slot[t]);
            ck_assert_int_eq(drawn[t].position, 5 + step);
            ck_assert_int_eq(drawn[t].row, step ? t : t * 5 + 4);
            token[step * texts + t] = drawn[t].token;
            logprob[step * texts + t] = drawn[t].logprob;
        }
        step++;
    }
    for (int t = 0; t < texts; t++) {
        sequence_close(engine, sequence[t]);
        draw_close(engine, slot[t]);
    }
}

START_TEST(same_tokens)
{
    enum { TEXTS = 15, LENGTH = 40 };
    static int32_t expected[TEXTS * LENGTH], found[TEXTS * LENGTH];
    static float expected_logprob[TEXTS * LENGTH], found_logprob[TEXTS * LENGTH];
    struct pair pair;
    pair_open(&pair, (struct fake_options){.max_rows = 80}, 64 * 1024);
    ck_assert_int_eq(engine_depth(pair.cpu), 1);
    ck_assert_int_eq(engine_depth(pair.cuda), 2);
    make_texts(pair.cpu, 1, expected, expected_logprob, TEXTS, LENGTH);
    for (int depth = 1; depth <= 2; depth++)
        for (int again = 0; again < 2; again++) { /* slots are used again */
            make_texts(pair.cuda, depth, found, found_logprob, TEXTS, LENGTH);
            ck_assert_mem_eq(expected, found, sizeof expected);
            ck_assert_mem_eq(expected_logprob, found_logprob, sizeof expected_logprob);
        }
    pair_close(&pair);
}
END_TEST

/* Without a sampling kernel the engine draws, on logits that it fetches. */
START_TEST(draws_on_the_host)
{
    enum { TEXTS = 6, LENGTH = 20 };
    static int32_t expected[TEXTS * LENGTH], found[TEXTS * LENGTH];
    static float logprob[TEXTS * LENGTH];
    struct pair pair;
    use_driver("");
    pair_init(&pair, (struct fake_options){.max_rows = 80}, &(struct fake_cuda_options){.no_sample = true});
    pair.cpu = open_or_fail(&pair.fake.model, (struct engine_options){.device = "cpu", .kv_memory = 16384});
    pair.cuda = open_or_fail(&pair.fake.model, (struct engine_options){.device = "cuda", .kv_memory = 16384});
    ck_assert_int_eq(engine_depth(pair.cuda), 1);
    make_texts(pair.cpu, 1, expected, logprob, TEXTS, LENGTH);
    make_texts(pair.cuda, 1, found, logprob, TEXTS, LENGTH);
    ck_assert_mem_eq(expected, found, sizeof expected);
    pair_close(&pair);
}
END_TEST

START_TEST(draw_refusals)
{
    struct pair pair;
    struct error error;
    pair_open(&pair, (struct fake_options){.max_outputs = 2}, 16384);
    struct engine *engines[] = {pair.cpu, pair.cuda};
    for (int i = 0; i < 2; i++) {
        struct engine *engine = engines[i];
        struct sampler_options options = sampler_defaults();
        int s = sequence_open(engine, -1, &error), slot = draw_open(engine, &options, &error);
        options.top_p = 2;
        ck_assert_int_lt(draw_open(engine, &options, &error), 0);
        ck_assert_ptr_nonnull(strstr(error.message, "--top-p"));
        ck_assert_int_lt(engine_add(engine, s, ENGINE_DRAWN(slot + 1), false, &error), 0);
        ck_assert_ptr_nonnull(strstr(error.message, "not open"));
        ck_assert_int_lt(engine_draw(engine, 0, slot, &error), 0);
        ck_assert_int_lt(engine_collect(engine, NULL, &error), 0);
        ck_assert_ptr_nonnull(strstr(error.message, "no step is under way"));
        /* A token that is not drawn yet. */
        ck_assert_int_eq(engine_add(engine, s, ENGINE_DRAWN(slot), false, &error), 0);
        ck_assert_int_lt(engine_submit(engine, &error), 0);
        ck_assert_ptr_nonnull(strstr(error.message, "has drawn nothing yet"));
        engine_discard(engine);
        /* More rows with draws than outputs. */
        for (int r = 0; r < 3; r++) {
            ck_assert_int_eq(engine_add(engine, s, 1, r < 2, &error), r);
        }
        ck_assert_int_lt(engine_draw(engine, 2, slot, &error), 0);
        ck_assert_ptr_nonnull(strstr(error.message, "rows with logits"));
        engine_discard(engine);
        /* As many under way as there can be, and then the tokens in order. */
        for (int step = 0; step < engine_depth(engine); step++) {
            int row = engine_add(engine, s, step ? ENGINE_DRAWN(slot) : 1, false, &error);
            ck_assert_int_eq(engine_draw(engine, row, slot, &error), 0);
            ck_assert_int_eq(engine_submit(engine, &error), 0);
        }
        ck_assert_int_eq(engine_add(engine, s, 1, false, &error), 0);
        ck_assert_int_lt(engine_submit(engine, &error), 0);
        ck_assert_ptr_nonnull(strstr(error.message, "collect one first"));
        ck_assert_int_eq(engine_run(engine, &error), 0); /* collects them itself */
        ck_assert_int_eq(engine_under_way(engine), 0);
        int32_t token = 1;
        ck_assert_int_lt(draw_see(engine, slot, &token, 1, false, &error), 0);
    }
    pair_close(&pair);
}
END_TEST

/* What was submitted too much is rolled back, and the sequence goes on as if nothing had been. */
START_TEST(surplus)
{
    struct pair pair;
    struct error error;
    pair_open(&pair, (struct fake_options){0}, 16384);
    struct sampler_options options = sampler_defaults();
    int s = both(sequence_open(pair.cpu, -1, &error), sequence_open(pair.cuda, -1, &error));
    int slot = draw_open(pair.cuda, &options, &error);
    for (int32_t i = 0; i < 6; i++)
        both(engine_add(pair.cpu, s, i, false, &error), engine_add(pair.cuda, s, i, false, &error));
    both(engine_run(pair.cpu, &error), 0);
    ck_assert_int_eq(engine_draw(pair.cuda, 5, slot, &error), 0);
    ck_assert_int_eq(engine_submit(pair.cuda, &error), 0);
    int row = engine_add(pair.cuda, s, ENGINE_DRAWN(slot), false, &error);
    ck_assert_int_eq(engine_draw(pair.cuda, row, slot, &error), 0);
    ck_assert_int_eq(engine_submit(pair.cuda, &error), 0);
    ck_assert_int_eq(engine_collect(pair.cuda, NULL, &error), 1); /* "the end" */
    ck_assert_int_eq(sequence_rollback(pair.cuda, s, 6, &error), 0);
    both(engine_add(pair.cpu, s, 9, true, &error), engine_add(pair.cuda, s, 9, true, &error));
    both(engine_run(pair.cpu, &error), engine_run(pair.cuda, &error));
    compare_logits(&pair, 0);
    pair_close(&pair);
}
END_TEST

/* An engine that one thread has opened, in the hands of another. */
static void *other_thread(void *context)
{
    struct pair *pair = context;
    struct error error;
    struct sampler_options options = options_of(5);
    int s = both(sequence_open(pair->cpu, -1, &error), sequence_open(pair->cuda, -1, &error));
    ck_assert_int_ge(draw_open(pair->cuda, &options, &error), 0);
    for (int32_t i = 0; i < 6; i++)
        both(engine_add(pair->cpu, s, i, true, &error), engine_add(pair->cuda, s, i, true, &error));
    ck_assert_msg(both(engine_run(pair->cpu, &error), engine_run(pair->cuda, &error)) == 0, "%s", error.message);
    compare_logits(pair, 5);
    pair_close(pair);
    return NULL;
}

START_TEST(another_thread)
{
    struct pair pair;
    pthread_t thread;
    pair_open(&pair, (struct fake_options){0}, 16384);
    ck_assert_int_eq(pthread_create(&thread, NULL, other_thread, &pair), 0);
    pthread_join(thread, NULL);
}
END_TEST

/* Weights of a file: streamed, packed and checked on the way. */
START_TEST(weights_of_a_file)
{
    static const int32_t vocabs[] = {32, 33, 1000, 70001}; /* the last: more than one chunk, and a ragged tile */
    char path[] = "/tmp/test_cuda_XXXXXX";
    close(mkstemp(path));
    use_driver("");
    struct pair pair;
    struct error error;
    struct fake_options options = {.vocab = vocabs[_i], .tokenizer = "tokenizer", .tokenizer_bytes = 10};
    fake_model_init(&pair.fake, &options);
    fake_cuda_init(&pair.gpu, &pair.fake, NULL);
    ck_assert_int_eq(fake_model_write(&pair.fake, path, 100), 0);
    pair.cpu = open_or_fail(&pair.fake.model, (struct engine_options){.device = "cpu", .weights = path});
    pair.cuda = open_or_fail(&pair.fake.model, (struct engine_options){.weights = path});
    int s = both(sequence_open(pair.cpu, -1, &error), sequence_open(pair.cuda, -1, &error));
    for (int32_t i = 0; i < 10; i++)
        both(engine_add(pair.cpu, s, i, i > 7, &error), engine_add(pair.cuda, s, i, i > 7, &error));
    both(engine_run(pair.cpu, &error), engine_run(pair.cuda, &error));
    compare_logits(&pair, 8);
    compare_logits(&pair, 9);
    uint64_t bytes;
    ck_assert_mem_eq(engine_section(pair.cuda, "tokenizer", &bytes), "tokenizer", 10);
    pair_close(&pair);
    /* A byte of the embedding changes. */
    FILE *file = fopen(path, "r+b");
    fseek(file, 4096 + 64 + 5, SEEK_SET);
    fputc(0x55, file);
    fclose(file);
    ck_assert_ptr_null(engine_open(&pair.fake.model, &(struct engine_options){.weights = path}, &error));
    ck_assert_ptr_nonnull(strstr(error.message, "its weights are damaged"));
    ck_assert_int_eq(live(), 0);
    engine_close(open_or_fail(&pair.fake.model, (struct engine_options){.weights = path, .skip_verify = true}));
    unlink(path);
}
END_TEST

/* Both targets' dumps of the same step. */
struct seen {
    char name[64];
    int rows, columns, dtype;
    unsigned char data[4096];
};

struct dump {
    struct seen seen[8];
    int count;
};

static void on_tensor(void *context, const char *name, int layer, int dtype, const void *data, int rows, int columns)
{
    struct dump *dump = context;
    struct seen *seen = &dump->seen[dump->count++];
    snprintf(seen->name, sizeof seen->name, "%d.%s", layer, name);
    seen->rows = rows;
    seen->columns = columns;
    seen->dtype = dtype;
    memcpy(seen->data, data, (size_t)rows * (size_t)columns * (dtype == DTYPE_F32 ? 4 : 2));
}

START_TEST(dumps)
{
    struct pair pair;
    struct error error;
    static struct dump dumps[2];
    pair_open(&pair, (struct fake_options){0}, 16384);
    struct engine *engines[] = {pair.cpu, pair.cuda};
    for (int i = 0; i < 2; i++) {
        struct trace trace = {on_tensor, &dumps[i]};
        engine_set_trace(engines[i], &trace);
        ck_assert_int_eq(engine_depth(engines[i]), 1);
        int s = sequence_open(engines[i], -1, &error);
        for (int32_t r = 0; r < 11; r++)
            ck_assert_int_eq(engine_add(engines[i], s, r, r > 8, &error), r);
        ck_assert_int_eq(engine_run(engines[i], &error), 0);
        engine_set_trace(engines[i], NULL);
    }
    ck_assert_int_eq(dumps[0].count, 3);
    ck_assert_mem_eq(&dumps[0], &dumps[1], sizeof dumps[0]);
    pair_close(&pair);
}
END_TEST

/* docs/cuda.md's formula, place by place. */
START_TEST(pieces)
{
    enum { ROWS = 11, COLUMNS = 70, ACROSS = 16 };
    static uint16_t packed[16 * ACROSS * 8], rows[ROWS * COLUMNS];
    for (int i = 0; i < 16 * ACROSS * 8; i++)
        packed[i] = (uint16_t)i;
    cuda_trace_unpack(rows, packed, ROWS, COLUMNS);
    ck_assert_int_eq(rows[0], 0);
    ck_assert_int_eq(rows[7], 7);
    ck_assert_int_eq(rows[8], 64);           /* the next piece */
    ck_assert_int_eq(rows[COLUMNS + 2], 10); /* row 1 */
    ck_assert_int_eq(rows[7 * COLUMNS + 69], 8 * 64 + 7 * 8 + 5);
    ck_assert_int_eq(rows[8 * COLUMNS + 65], ACROSS * 64 + 8 * 64 + 1); /* the next rows */
}
END_TEST

static void expect_error(const struct fake_model *fake, struct engine_options options, const char *const *parts)
{
    struct error error = {""};
    struct engine *engine = engine_open(&fake->model, &options, &error);
    ck_assert_ptr_null(engine);
    ck_assert_ptr_null(strchr(error.message, '\n'));
    for (; *parts; parts++)
        ck_assert_msg(strstr(error.message, *parts) != NULL, "no \"%s\" in: %s", *parts, error.message);
}

struct refusal {
    const char *settings; /* of FAKE_CUDA; NULL: no driver at all */
    bool only;            /* a package for GPUs alone */
    uint64_t kv_memory;
    const char *parts[6];
};

static const struct refusal refusals[] = {
    {NULL, false, 0, {"no NVIDIA driver", "/nowhere/libcuda.so", "install the driver", "--device cpu"}},
    {NULL, true, 0, {"no NVIDIA driver", "build the package with --target c"}},
    {"devices=0", false, 0, {"no GPU", "nvidia-smi", "--device cpu"}},
    {"fail=cuInit:34", false, 0, {"stub", "LD_LIBRARY_PATH"}},
    {"fail=cuInit:803", false, 0, {"do not fit together", "restart"}},
    {"fail=cuInit:999", false, 0, {"does not start", "999"}},
    {"version=12040", false, 0, {"too old", "CUDA 12.4", "CUDA 13.0 or later", "update the driver"}},
    {"capability=7.0", false, 0, {"sm_90a, sm_80, ptx80", "Fake GPU 0 (compute capability 7.0)", "--target cuda:SM"}},
    {"capability=7.5 devices=2", true, 0, {"Fake GPU 0", "Fake GPU 1", "--target c"}},
    {"memory=50000", false, 0, {"too little GPU memory", "Fake GPU 0", "weights", "one page", "end other programs"}},
    {"", false, 1 << 30, {"too little GPU memory", "--kv-memory 1024", "ask for less --kv-memory"}},
    {"", false, 79, {"--kv-memory 79", "one page", "80 bytes"}},
    {"fail=cuModuleLoadDataEx:222", false, 0, {"loading kernel \"fake_keys\" (sm_90a)", "older than the compiler"}},
    {"fail=cuModuleGetFunction:500", false, 0, {"loading kernel \"fake_keys\"", "500", "build the package again"}},
    {"fail=cuMemAlloc_v2:2", false, 0, {"memory for weights", "out of memory (CUDA_ERROR_OUT_OF_MEMORY, 2)"}},
    {"fault=fake_random:700", false, 0, {"loading weights", "illegal memory access", "700"}},
};

START_TEST(refused)
{
    const struct refusal *refusal = &refusals[_i];
    struct fake_model fake;
    struct fake_cuda gpu;
    use_driver(refusal->settings ? refusal->settings : "");
    if (!refusal->settings)
        setenv("LATHE_CUDA_DRIVER", "/nowhere/libcuda.so", 1);
    fake_model_init(&fake, &(struct fake_options){.random = true});
    fake_cuda_init(&gpu, &fake, &(struct fake_cuda_options){.only = refusal->only});
    expect_error(&fake, (struct engine_options){.kv_memory = refusal->kv_memory}, refusal->parts);
    ck_assert_int_eq(live(), 0);
}
END_TEST

START_TEST(device_words)
{
    struct fake_model fake;
    struct fake_cuda gpu;
    use_driver("");
    fake_model_init(&fake, &(struct fake_options){.random = true});
    expect_error(&fake, (struct engine_options){.device = "cuda"},
                 (const char *const[]){"--device cuda", "built for cpu only", "--target cuda", NULL});
    fake_cuda_init(&gpu, &fake, &(struct fake_cuda_options){.only = true});
    expect_error(&fake, (struct engine_options){.device = "cpu"},
                 (const char *const[]){"--device cpu", "built for cuda only", "--target c", NULL});
    expect_error(&fake, (struct engine_options){.device = "tpu"},
                 (const char *const[]){"expected cpu or cuda, found 'tpu'", NULL});
    expect_error(&fake, (struct engine_options){.cpu = "avx2"},
                 (const char *const[]){"--cpu avx2", "computes on a GPU", NULL});
}
END_TEST

static void keep_notice(void *context, const char *message)
{
    snprintf(context, 300, "%s", message);
}

START_TEST(targets)
{
    struct fake_model fake;
    struct fake_cuda gpu;
    static const char *const cases[][4] = {
        /* settings, LATHE_CUDA_TARGET, variant, notice */
        {"capability=9.0", "", "sm_90a", ""},    {"capability=8.0", "", "sm_80", ""},
        {"capability=8.9", "", "sm_80", ""},     {"capability=10.0", "", "ptx80", "--target cuda:100"},
        {"capability=12.0", "", "ptx80", "PTX"}, {"capability=9.0", "ptx80", "ptx80", "compiles its PTX"},
    };
    char notice[300] = "";
    use_driver(cases[_i][0]);
    setenv("LATHE_CUDA_TARGET", cases[_i][1], 1);
    fake_model_init(&fake, &(struct fake_options){.random = true});
    fake_cuda_init(&gpu, &fake, NULL);
    struct engine *engine =
        open_or_fail(&fake.model, (struct engine_options){.notice = keep_notice, .progress_context = notice});
    ck_assert_str_eq(engine_variant(engine), cases[_i][2]);
    if (cases[_i][3][0])
        ck_assert_ptr_nonnull(strstr(notice, cases[_i][3]));
    else
        ck_assert_str_eq(notice, "");
    engine_close(engine);
    setenv("LATHE_CUDA_TARGET", "80", 1);
    if (_i == 0)
        expect_error(&fake, (struct engine_options){0},
                     (const char *const[]){"LATHE_CUDA_TARGET=80", "Fake GPU 0", "unset it", NULL});
}
END_TEST

/* State takes what is wanted, or what is left, which is announced; an explicit size must fit. */
START_TEST(memory_for_state)
{
    struct fake_model fake;
    struct fake_cuda gpu;
    char notice[300] = "";
    uint64_t total;
    use_driver("memory=4000000");
    fake_model_init(&fake, &(struct fake_options){.random = true, .max_seq = 4096});
    fake_cuda_init(&gpu, &fake, NULL);
    struct engine_options options = {.notice = keep_notice, .progress_context = notice, .kv_wanted = 8000};
    struct engine *engine = open_or_fail(&fake.model, options);
    engine_memory(engine, NULL, &total, NULL);
    ck_assert_uint_eq(total, 8000);
    ck_assert_str_eq(notice, "");
    engine_close(engine);
}
END_TEST

START_TEST(less_state_than_wanted)
{
    struct fake_model fake;
    struct fake_cuda gpu;
    char notice[300] = "";
    uint64_t total;
    struct error error;
    use_driver("memory=1000000");
    fake_model_init(&fake, &(struct fake_options){.random = true, .max_seq = 4096});
    fake_cuda_init(&gpu, &fake, NULL);
    struct engine_options options = {.notice = keep_notice, .progress_context = notice, .kv_wanted = 1 << 20};
    struct engine *engine = open_or_fail(&fake.model, options);
    engine_memory(engine, NULL, &total, NULL);
    ck_assert_uint_lt(total, 900000);
    ck_assert_uint_gt(total, 100000);
    ck_assert_ptr_nonnull(strstr(notice, "positions of state"));
    /* It runs out before the step, not in it. */
    int s = 0, failed = 0;
    for (int n = 0; n < 50 && !failed; n++) {
        s = sequence_open(engine, -1, &error);
        for (int r = 0; r < 4096 && !failed; r++) {
            failed = engine_add(engine, s, 1, false, &error) < 0;
            if (engine_room(engine) == 0)
                ck_assert_int_eq(engine_run(engine, &error), 0);
        }
    }
    ck_assert_ptr_nonnull(strstr(error.message, "out of state pages"));
    ck_assert_int_eq(engine_run(engine, &error), 0);
    engine_close(engine);
    ck_assert_int_eq(live(), 0);
}
END_TEST

/* A kernel that fails in a graph, and stage by stage. */
START_TEST(failing_kernel)
{
    struct fake_model fake;
    struct fake_cuda gpu;
    struct error error = {""};
    use_driver("fault=fake_hash:700");
    if (_i)
        setenv("LATHE_CUDA_SERIAL", "1", 1);
    fake_model_init(&fake, &(struct fake_options){.random = true});
    fake_cuda_init(&gpu, &fake, NULL);
    struct engine *engine = open_or_fail(&fake.model, (struct engine_options){0});
    int s = sequence_open(engine, -1, &error);
    ck_assert_int_eq(engine_add(engine, s, 1, true, &error), 0);
    ck_assert_int_lt(engine_run(engine, &error), 0);
    ck_assert_ptr_nonnull(
        strstr(error.message, "an illegal memory access was encountered (CUDA_ERROR_ILLEGAL_ADDRESS, 700)"));
    ck_assert_ptr_nonnull(
        strstr(error.message, _i ? "stage \"hash\" of layer 1 failed on Fake GPU 0" : "LATHE_CUDA_SERIAL=1"));
    engine_close(engine);
}
END_TEST

/* Opens, runs a few steps of all kinds, closes. 0, or -1 when any of it failed, with a message. */
static int whole_life(const struct model *model, struct error *error)
{
    struct engine *engine = engine_open(model, NULL, error);
    if (!engine)
        return -1;
    struct sampler_options options = options_of(5);
    int s = sequence_open(engine, -1, error), slot = draw_open(engine, &options, error), failed = s < 0 || slot < 0;
    for (int step = 0; step < 4 && !failed; step++) {
        int row = engine_add(engine, s, 3, step == 1, error);
        failed = row < 0 || (step < 2 && engine_draw(engine, row, slot, error)) || engine_submit(engine, error) ||
                 engine_collect(engine, NULL, error) < 0;
        if (step == 2 && !failed) { /* the next row copies a page */
            int fork = sequence_fork(engine, s, error);
            failed = fork < 0;
        }
    }
    engine_close(engine);
    return failed ? -1 : 0;
}

static const char *const fallible[] = {
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuCtxSetCurrent",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemHostAlloc",
    "cuMemHostGetDevicePointer_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemsetD8Async",
    "cuStreamCreate",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuModuleLoadDataEx",
    "cuModuleGetFunction",
    "cuLaunchKernelEx",
};

/* Every call of this function fails once: an error with its name, and nothing is left behind. */
START_TEST(every_call_fails)
{
    const char *name = fallible[_i];
    struct fake_model fake;
    struct fake_cuda gpu;
    struct error error = {""};
    fake_model_init(&fake, &(struct fake_options){.random = true});
    fake_cuda_init(&gpu, &fake, NULL);
    char settings[128] = "";
    int count = 1;
    for (int call = 0; call <= count; call++) {
        /* Each in a process of its own: the library keeps its settings. The first counts the calls. */
        int ends[2];
        ck_assert_int_eq(pipe(ends), 0);
        if (call)
            snprintf(settings, sizeof settings, "fail=%s:1:%d", name, call);
        pid_t child = fork();
        if (child == 0) {
            use_driver(settings);
            int outcome = whole_life(&fake.model, &error);
            int report[3] = {outcome, live(), calls(name)};
            bool spoken = strstr(error.message, "CUDA") != NULL && !strchr(error.message, '\n');
            /* Closing waits for what runs, and goes on whatever comes of it. */
            bool closing = strcmp(name, "cuStreamSynchronize") == 0 || strcmp(name, "cuCtxSetCurrent") == 0;
            bool at_the_end = outcome == 0 && closing && call == count;
            if (call && (!spoken || outcome == 0) && !at_the_end)
                fprintf(stderr, "%s, call %d: \"%s\"\n", name, call, error.message);
            report[0] = call ? (outcome < 0 && spoken) || at_the_end : outcome == 0;
            ssize_t written = write(ends[1], report, sizeof report);
            _exit(written == sizeof report ? 0 : 1);
        }
        int report[3] = {0};
        close(ends[1]);
        ck_assert_int_eq(read(ends[0], report, sizeof report), sizeof report);
        close(ends[0]);
        ck_assert_msg(report[0], "%s, call %d", name, call);
        /* What cannot be done fails from the call on, so streams may keep what they were to do; memory goes. */
        ck_assert_msg(report[1] == 0, "%s, call %d: %d things were left", name, call, report[1]);
        if (call == 0)
            count = report[2];
        ck_assert_int_gt(count, 0);
    }
}
END_TEST

/* Kernels after the first of a graph overlap on a target that can; graphs are made once for each bucket and record. */
START_TEST(graphs)
{
    char log[] = "/tmp/test_cuda_log_XXXXXX", settings[64], line[128];
    close(mkstemp(log));
    struct fake_model fake;
    struct fake_cuda gpu;
    struct error error = {""};
    snprintf(settings, sizeof settings, "log=%s capability=%s", log, _i ? "8.0" : "9.0");
    use_driver(settings);
    fake_model_init(&fake, &(struct fake_options){.random = true});
    fake_cuda_init(&gpu, &fake, NULL);
    struct engine *engine = open_or_fail(&fake.model, (struct engine_options){0});
    int s = sequence_open(engine, -1, &error);
    for (int step = 0; step < 6; step++) {
        ck_assert_int_eq(engine_add(engine, s, 1, true, &error), 0);
        ck_assert_int_eq(engine_run(engine, &error), 0);
    }
    engine_close(engine);
    int graphs = 0, keys = 0, overlapping = 0;
    FILE *file = fopen(log, "r");
    while (fgets(line, sizeof line, file)) {
        graphs += strncmp(line, "graph", 5) == 0;
        keys += strncmp(line, "kernel fake_keys", 16) == 0;
        overlapping += strncmp(line, "overlapping", 11) == 0;
    }
    fclose(file);
    unlink(log);
    ck_assert_int_eq(graphs, 6);
    ck_assert_int_eq(keys, 2); /* two records */
    ck_assert_int_eq(overlapping, _i ? 0 : 4);
}
END_TEST

static Suite *suite(void)
{
    Suite *suite = suite_create("cuda");
    TCase *same = tcase_create("as on the CPU");
    tcase_set_timeout(same, 120);
    tcase_add_loop_test(same, same_logits, 0, 4);
    tcase_add_test(same, same_tokens);
    tcase_add_test(same, draws_on_the_host);
    tcase_add_test(same, draw_refusals);
    tcase_add_test(same, surplus);
    tcase_add_test(same, another_thread);
    tcase_add_loop_test(same, weights_of_a_file, 0, 4);
    tcase_add_test(same, dumps);
    tcase_add_test(same, pieces);
    tcase_add_loop_test(same, graphs, 0, 2);
    suite_add_tcase(suite, same);
    TCase *errors = tcase_create("errors");
    tcase_set_timeout(errors, 120);
    tcase_add_loop_test(errors, refused, 0, (int)(sizeof refusals / sizeof *refusals));
    tcase_add_test(errors, device_words);
    tcase_add_loop_test(errors, targets, 0, 6);
    tcase_add_test(errors, memory_for_state);
    tcase_add_test(errors, less_state_than_wanted);
    tcase_add_loop_test(errors, failing_kernel, 0, 2);
    tcase_add_loop_test(errors, every_call_fails, 0, (int)(sizeof fallible / sizeof *fallible));
    suite_add_tcase(suite, errors);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
