/* The engine on a GPU with the fake model (tests/support/fake_model.h), whose logits are a hash of everything that is read
   back through the page tables: whatever pages, forks, roll backs, chunks, draws and steps under way get wrong shows in
   them, bit by bit, beside the same engine on the CPU.

       engine FOLDER [load MEGABYTES]     FOLDER has fake_90a.cubin, fake_80.cubin and fake.ptx */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda_driver.h"
#include "engine.h"
#include "fake_cuda_model.h"
#include "fake_model.h"
#include "progress.h"

static int checks, failures;

static void check(bool right, const char *what, int number)
{
    checks++;
    if (right)
        return;
    if (failures++ < 10)
        printf("engine: failed: %s (%d)\n", what, number);
}

static void must(bool right, const struct error *error)
{
    if (right)
        return;
    printf("engine: error: %s\n", error->message);
    exit(1);
}

static struct cuda_image read_image(const char *folder, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    unsigned char *data = calloc(1, 4 << 20);
    struct cuda_image image = {.data = data};
    if (file && data)
        image.bytes = fread(data, 1, (4 << 20) - 1, file);
    if (!image.bytes) {
        printf("engine: error: %s: cannot read it\n", path);
        exit(1);
    }
    fclose(file);
    return image;
}

/* All kernels are in one file for each target. */
static struct cuda_target targets[3] = {
    {.name = "90a", .major = 9, .exact = true}, {.name = "80", .major = 8}, {.name = "ptx80", .major = 8, .ptx = true}};

static void read_targets(const char *folder)
{
    static const char *const files[] = {"fake_90a.cubin", "fake_80.cubin", "fake.ptx"};
    static struct cuda_image images[3][FAKE_KERNELS];
    for (int t = 0; t < 3; t++) {
        images[t][0] = read_image(folder, files[t]);
        for (int k = 1; k < FAKE_KERNELS; k++)
            images[t][k] = images[t][0];
        targets[t].images = images[t];
    }
}

struct pair {
    struct fake_model fake;
    struct fake_cuda gpu;
    struct engine *cpu, *cuda;
};

static void pair_open(struct pair *pair, struct fake_options options, uint64_t kv_memory)
{
    struct error error;
    options.random = true;
    options.random_seed = 5;
    fake_model_init(&pair->fake, &options);
    /* The sampling kernel is another's: here the engine draws. */
    fake_cuda_init(&pair->gpu, &pair->fake,
                   &(struct fake_cuda_options){.no_sample = true, .targets = targets, .target_count = 3});
    struct engine_options how = {.device = "cpu", .threads = 2, .kv_memory = kv_memory};
    must((pair->cpu = engine_open(&pair->fake.model, &how, &error)) != NULL, &error);
    how.device = "cuda";
    must((pair->cuda = engine_open(&pair->fake.model, &how, &error)) != NULL, &error);
}

static void pair_close(struct pair *pair)
{
    engine_close(pair->cpu);
    engine_close(pair->cuda);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return *seed >> 16;
}

static void compare_logits(struct pair *pair, int row)
{
    const float *expected = engine_logits(pair->cpu, row), *found = engine_logits(pair->cuda, row);
    check((expected == NULL) == (found == NULL), "who has logits", row);
    if (expected && found)
        check(memcmp(expected, found, (size_t)pair->fake.model.vocab * sizeof(float)) == 0, "logits of a row", row);
}

/* Random work on many sequences. */
static void same_logits(int32_t page, uint32_t seed, int rounds)
{
    enum { MOST = 300, ROWS = 64 };
    static int sequence[MOST];
    struct pair pair;
    struct error error;
    pair_open(&pair, (struct fake_options){.page = page, .max_rows = ROWS, .max_outputs = 40, .max_seq = 200}, 400000);
    int open = 0;
    for (int round = 0; round < rounds; round++) {
        uint32_t what = next_random(&seed) % 16;
        if (open == 0 || (what == 0 && open < MOST)) {
            sequence[open] = sequence_open(pair.cpu, -1, &error);
            check(sequence[open] == sequence_open(pair.cuda, -1, &error), "a sequence's number", round);
            open++;
            continue;
        }
        int at = (int)(next_random(&seed) % (uint32_t)open), s = sequence[at];
        if (what == 1 && open < MOST) {
            sequence[open] = sequence_fork(pair.cpu, s, &error);
            check(sequence[open] == sequence_fork(pair.cuda, s, &error), "a fork's number", round);
            open++;
        } else if (what == 2) {
            int32_t length = sequence_length(pair.cpu, s);
            length = length > 0 ? (int32_t)(next_random(&seed) % (uint32_t)length) : 0;
            sequence_rollback(pair.cpu, s, length, &error);
            sequence_rollback(pair.cuda, s, length, &error);
        } else if (what == 3 && open > MOST / 2) {
            sequence_close(pair.cpu, s);
            sequence_close(pair.cuda, s);
            sequence[at] = sequence[--open];
        } else {
            int rows = 1 + (int)(next_random(&seed) % ROWS);
            for (int r = 0; r < rows; r++) {
                int to = sequence[next_random(&seed) % (uint32_t)open];
                int32_t token = (int32_t)(next_random(&seed) % 32);
                bool logits = next_random(&seed) % 3 == 0;
                int cpu = engine_add(pair.cpu, to, token, logits, &error);
                check(cpu == engine_add(pair.cuda, to, token, logits, &error), "a row's number", round);
            }
            must(engine_run(pair.cpu, &error) == 0, &error);
            must(engine_run(pair.cuda, &error) == 0, &error);
            for (int r = 0; r < rows; r++)
                compare_logits(&pair, r);
        }
    }
    pair_close(&pair);
}

static size_t free_memory(void)
{
    struct cuda_driver driver;
    struct error error;
    size_t free_bytes = 0, total;
    must(cuda_driver_open(&driver, 0, "", &error) == 0, &error);
    driver.cuMemGetInfo_v2(&free_bytes, &total);
    cuda_driver_close(&driver);
    return free_bytes;
}

/* Thousands of steps with sequences and slots coming and going take no more memory than the first hundred. */
static void no_leak(int steps)
{
    struct pair pair;
    struct error error;
    struct sampler_options options = sampler_defaults();
    size_t before = 0;
    pair_open(&pair, (struct fake_options){.max_seq = 400}, 400000);
    int s = -1, slot = -1;
    for (int step = 0; step < steps; step++) {
        if (step == 400)
            before = free_memory();
        if (step % 200 == 0) {
            sequence_close(pair.cuda, s);
            draw_close(pair.cuda, slot);
            s = sequence_open(pair.cuda, -1, &error);
            options.repetition_penalty = step % 400 ? 1.1f : 1.0f;
            slot = draw_open(pair.cuda, &options, &error);
            must(s >= 0 && slot >= 0, &error);
        }
        int row = engine_add(pair.cuda, s, step % 200 ? ENGINE_DRAWN(slot) : 1, false, &error);
        must(row >= 0 && engine_draw(pair.cuda, row, slot, &error) == 0 && engine_run(pair.cuda, &error) == 0, &error);
    }
    size_t after = free_memory();
    check(after >= before, "memory after thousands of steps", steps);
    pair_close(&pair);
}

/* When the weights began to come, and when they were there. */
struct clock {
    double first, last;
};

static void note_progress(void *context, const char *what, uint64_t done, uint64_t total)
{
    struct clock *clock = context;
    (void)done, (void)total;
    if (strcmp(what, "loading weights") != 0)
        return;
    clock->last = clock_seconds();
    clock->first = clock->first > 0 ? clock->first : clock->last;
}

/* How fast weights come from a file in the system's cache. */
static void load_speed(const char *folder, int32_t megabytes)
{
    char path[512];
    struct fake_model fake;
    struct fake_cuda gpu;
    struct error error;
    struct fake_options options = {.vocab = megabytes * 50000, .max_rows = 1, .max_outputs = 1};
    snprintf(path, sizeof path, "%s/load.%d.bin", folder, (int)getpid());
    fake_model_init(&fake, &options);
    fake_cuda_init(&gpu, &fake, &(struct fake_cuda_options){.no_sample = true, .targets = targets, .target_count = 3});
    must(fake_model_write(&fake, path, 0) == 0, &(struct error){"cannot write the file"});
    double bytes = (double)fake.model.payload_bytes;
    for (int i = 0; i < 4; i++) {
        struct clock clock = {0};
        struct engine_options how = {.device = "cuda",
                                     .weights = path,
                                     .skip_verify = i % 2,
                                     .progress = note_progress,
                                     .progress_context = &clock};
        double start = clock_seconds();
        struct engine *engine = engine_open(&fake.model, &how, &error);
        double seconds = clock_seconds() - start;
        must(engine != NULL, &error);
        printf("load: %.0f MB: %.3f s to open, weights %.2f GB/s, %s\n", bytes / 1e6, seconds,
               bytes / (clock.last - clock.first) / 1e9, i % 2 ? "not checked" : "checked");
        engine_close(engine);
    }
    unlink(path);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    read_targets(argv[1]);
    if (argc > 3 && strcmp(argv[2], "load") == 0) {
        load_speed(argv[1], (int32_t)atoi(argv[3]));
        return 0;
    }
    int rounds = argc > 2 ? atoi(argv[2]) : 1500;
    static const int32_t pages[] = {4, 3, 1, 16};
    for (int i = 0; i < 4; i++)
        same_logits(pages[i], 11u + (uint32_t)i, rounds);
    no_leak(rounds * 5);
    printf("engine: %d checks, %d failed\n", checks, failures);
    return failures != 0;
}
