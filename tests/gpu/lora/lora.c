/* Adapters on a GPU, with random ones made here: the main program of a package (in place of src/main.c).

       NAME test                                            against the CPU, and bit by bit in any company
       NAME sanitize                                        a few small steps, for compute-sanitizer
       NAME bench RANK CONTEXT STEPS ROUNDS BATCH...        decode steps without adapters, and each sequence with its own */
#define _GNU_SOURCE
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "adapter.h"
#include "bandwidth.h"
#include "engine.h"
#include "model.h"
#include "sampler.h"

extern const struct model package_model;

static int checks, failures;

static void check(bool right, const char *what, int number)
{
    checks++;
    if (!right && failures++ < 20)
        printf("failed: %s (%d)\n", what, number);
}

static void must(bool right, const struct error *error)
{
    if (right)
        return;
    printf("error: %s\n", error->message);
    exit(1);
}

/* ---- Random adapters ------------------------------------------------------------------------------------------------ */

static uint64_t seed = 88172645463325252ull;

static uint64_t next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static float uniform(void)
{
    return (float)(int64_t)next() * 0x1p-63f;
}

static uint16_t element(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* What adapter number `kind` does at a site. */
struct shape {
    int rank;
    bool row_scale, bias, full;
};

static struct shape shape_of(const struct model *model, int kind, int site)
{
    static const int ranks[] = {8, 16, 32, 64};
    int end = model->site_count - 2, module = site % 7;
    struct shape shape = {0};
    if (kind % 4 == 0) { /* everything, one rank */
        shape.rank = 16;
    } else if (kind % 4 == 1) { /* queries and values of some layers */
        shape.rank = site < end && (module == 0 || module == 2) && site / 7 % 2 == 0 ? 8 : 0;
    } else if (kind % 4 == 2) { /* DoRA, biases, the largest rank */
        shape.rank = site < end ? 64 : 0;
        shape.row_scale = site < end;
        shape.bias = site < end && module % 2 == 0;
    } else { /* a rank for each site; a bias alone somewhere */
        shape.rank = ranks[(site + kind) % 4];
        shape.rank = site % 5 == 3 && site < end ? 0 : shape.rank;
        shape.bias = site % 5 == 3 && site < end;
    }
    if (shape.rank > model->adapter_max_rank)
        shape.rank = model->adapter_max_rank;
    return shape;
}

static void fill(unsigned char *blob, uint64_t at, uint64_t count, float scale)
{
    uint16_t *to = (uint16_t *)(void *)(blob + at);
    for (uint64_t i = 0; i < count; i++)
        to[i] = element(uniform() * scale);
}

static void fill_floats(unsigned char *blob, uint64_t at, uint64_t count, float centre, float scale)
{
    float *to = (float *)(void *)(blob + at);
    for (uint64_t i = 0; i < count; i++)
        to[i] = centre + uniform() * scale;
}

static uint64_t placed(uint64_t *end, uint64_t bytes)
{
    uint64_t at = *end;
    *end = (at + bytes + 63) / 64 * 64;
    return at;
}

/* rank > 0: that at all linear layers of the decoder (kind is not looked at). */
static unsigned char *random_blob(const struct model *model, int kind, int rank, uint64_t *bytes)
{
    size_t sites = (size_t)model->site_count;
    struct adapter_entry *entries = calloc(sites, sizeof *entries);
    struct shape *shapes = calloc(sites, sizeof *shapes);
    uint64_t end = 0;
    placed(&end, sites * sizeof *entries);
    for (int i = 0; i < model->site_count; i++) {
        const struct adapter_site *site = &model->sites[i];
        bool embedding = i == model->site_count - 1;
        uint64_t rows = (uint64_t)site->rows, columns = (uint64_t)site->columns, outputs = embedding ? columns : rows;
        struct shape shape =
            rank > 0 ? (struct shape){.rank = i < model->site_count - 2 ? rank : 0} : shape_of(model, kind, i);
        uint64_t r = (uint64_t)shape.rank;
        shapes[i] = shape;
        entries[i].rank = shape.rank;
        entries[i].scale = shape.rank ? 2.0f : 0.0f;
        entries[i].a = r ? placed(&end, r * (embedding ? rows : columns) * 2) : 0;
        entries[i].b = r ? placed(&end, r * outputs * 2) : 0;
        entries[i].row_scale = shape.row_scale ? placed(&end, outputs * 4) : 0;
        entries[i].bias = shape.bias ? placed(&end, outputs * 4) : 0;
    }
    unsigned char *blob = aligned_alloc(64, end);
    memset(blob, 0, end);
    memcpy(blob, entries, sites * sizeof *entries);
    for (int i = 0; i < model->site_count; i++) {
        const struct adapter_site *site = &model->sites[i];
        bool embedding = i == model->site_count - 1;
        uint64_t rows = (uint64_t)site->rows, columns = (uint64_t)site->columns, outputs = embedding ? columns : rows;
        uint64_t r = (uint64_t)shapes[i].rank;
        /* B A changes as much as a tenth of the base's weights. */
        if (r)
            fill(blob, entries[i].a, r * (embedding ? rows : columns), embedding ? 1.0f : sqrtf(3.0f / (float)columns));
        if (r)
            fill(blob, entries[i].b, r * outputs, 0.2f / sqrtf((float)r) * (embedding ? 0.05f : 1.0f));
        if (entries[i].row_scale)
            fill_floats(blob, entries[i].row_scale, outputs, 1.0f, 0.2f);
        if (entries[i].bias)
            fill_floats(blob, entries[i].bias, outputs, 0.0f, 0.1f);
    }
    free(entries);
    free(shapes);
    *bytes = end;
    return blob;
}

static void add_adapter(struct engine *engine, int number, const unsigned char *blob, uint64_t bytes)
{
    struct error error;
    char name[16];
    unsigned char *own = aligned_alloc(64, bytes);
    memcpy(own, blob, bytes);
    snprintf(name, sizeof name, "a%d", number);
    int slot = engine_add_adapter(engine, name, own, bytes, &error);
    must(slot >= 0, &error);
    check(slot == number, "an adapter's slot", slot);
}

/* ---- Texts ---------------------------------------------------------------------------------------------------------- */

enum { TEXT = 600, FEW = 40 };

static int32_t token_of(const struct model *model, int text, int place)
{
    return (int32_t)(((uint32_t)(text * 7919 + place) * 2654435761u >> 8) % (uint32_t)model->vocab);
}

/* Reads `length` tokens of a text with an adapter, `chunk` rows a step; logits of every row into `logits`. */
static void read_text(struct engine *engine, int adapter, int text, int length, int chunk, float *logits)
{
    const struct model *model = engine_model(engine);
    size_t vocab = (size_t)model->vocab;
    struct error error;
    int sequence = sequence_open(engine, adapter, &error);
    must(sequence >= 0, &error);
    for (int first = 0; first < length; first += chunk) {
        int rows = length - first < chunk ? length - first : chunk;
        for (int i = 0; i < rows; i++)
            must(engine_add(engine, sequence, token_of(model, text, first + i), true, &error) == i, &error);
        must(engine_run(engine, &error) == 0, &error);
        for (int i = 0; i < rows; i++)
            memcpy(logits + (size_t)(first + i) * vocab, engine_logits(engine, i), vocab * sizeof(float));
    }
    sequence_close(engine, sequence);
}

static double error_of(const float *expected, const float *found, size_t count)
{
    double difference = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)found[i] - (double)expected[i];
        difference += d * d;
        size += (double)expected[i] * (double)expected[i];
    }
    return sqrt(difference / size);
}

static struct engine *open_engine(const char *device)
{
    struct error error;
    struct engine_options options = {.device = device, .exact = true, .kv_memory = 0, .kv_wanted = 1ull << 32};
    struct engine *engine = engine_open(&package_model, &options, &error);
    must(engine != NULL, &error);
    return engine;
}

static void test(void)
{
    const struct model *model = &package_model;
    static const int chunks[] = {1, 2, 8, 31, 64, 200, 512};
    size_t vocab = (size_t)model->vocab, bytes = (size_t)TEXT * vocab * sizeof(float);
    struct engine *gpu = open_engine("cuda"), *cpu = open_engine("cpu");
    float *expected = malloc(bytes), *whole = malloc(bytes), *found = malloc(bytes), *base = malloc(bytes);
    struct error error;
    for (int i = 0; i < model->adapter_slots; i++) {
        uint64_t length;
        unsigned char *blob = random_blob(model, i, 0, &length);
        add_adapter(gpu, i, blob, length);
        add_adapter(cpu, i, blob, length);
        free(blob);
    }
    double worst = 0, least = 1e9;
    read_text(gpu, -1, 0, TEXT, 512, base);
    for (int adapter = -1; adapter < 8; adapter++) {
        read_text(gpu, adapter, 0, TEXT, 512, whole);
        read_text(cpu, adapter, 0, TEXT, 512, expected);
        double difference = error_of(expected, whole, (size_t)TEXT * vocab);
        double effect = adapter < 0 ? 1 : error_of(base, whole, (size_t)TEXT * vocab);
        check(difference <= 1e-2, "logits with an adapter, beside the CPU's", adapter);
        check(effect > 5 * difference, "an adapter that changes nothing", adapter);
        worst = difference > worst ? difference : worst;
        least = effect < least ? effect : least;
        for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
            read_text(gpu, adapter, 0, TEXT, chunks[i], found);
            check(memcmp(found, whole, bytes) == 0, "bits of a text with an adapter, in steps of other sizes",
                  adapter * 1000 + chunks[i]);
        }
    }
    printf("logits differ from the CPU's by at most %.2e; adapters change them by at least %.2e\n", worst, least);

    /* Sequences with adapters of their own, and some without, in one step: as each alone. */
    static int sequence[FEW], length[FEW], adapter[FEW];
    static float *alone[FEW];
    for (int s = 0; s < FEW; s++) {
        length[s] = 5 + s % 7;
        adapter[s] = s % 9 == 4 ? -1 : s % model->adapter_slots;
        alone[s] = malloc((size_t)length[s] * vocab * sizeof(float));
        read_text(gpu, adapter[s], s, length[s], 512, alone[s]);
    }
    for (int few = 1; few <= FEW; few = few < 32 ? 2 * few : few + 8) {
        for (int s = 0; s < few; s++)
            must((sequence[s] = sequence_open(gpu, adapter[s], &error)) >= 0, &error);
        for (int place = 0; place < 11; place++) {
            int row[FEW];
            for (int s = 0; s < few; s++)
                row[s] = place < length[s]
                             ? engine_add(gpu, sequence[s], token_of(model, s, place), place % 3 != s % 3, &error)
                             : -1;
            must(engine_run(gpu, &error) == 0, &error);
            for (int s = 0; s < few; s++) {
                const float *logits = row[s] >= 0 ? engine_logits(gpu, row[s]) : NULL;
                if (logits)
                    check(memcmp(logits, alone[s] + (size_t)place * vocab, vocab * sizeof(float)) == 0,
                          "a row beside others with other adapters", few * 1000 + s);
            }
        }
        for (int s = 0; s < few; s++)
            sequence_close(gpu, sequence[s]);
    }
    /* All texts at once, in one step. */
    int first[FEW], rows = 0;
    for (int s = 0; s < FEW; s++) {
        must((sequence[s] = sequence_open(gpu, adapter[s], &error)) >= 0, &error);
        first[s] = rows;
        for (int i = 0; i < length[s]; i++)
            must(engine_add(gpu, sequence[s], token_of(model, s, i), true, &error) == rows++, &error);
    }
    must(engine_run(gpu, &error) == 0, &error);
    for (int s = 0; s < FEW; s++)
        for (int i = 0; i < length[s]; i++)
            check(memcmp(engine_logits(gpu, first[s] + i), alone[s] + (size_t)i * vocab, vocab * sizeof(float)) == 0,
                  "prompts with other adapters in one step", s * 100 + i);
    engine_close(gpu);
    engine_close(cpu);
    printf("%d checks, %d failures\n", checks, failures);
}

static void sanitize(void)
{
    const struct model *model = &package_model;
    struct engine *gpu = open_engine("cuda");
    float *logits = malloc(100 * (size_t)model->vocab * sizeof(float));
    for (int i = 0; i < model->adapter_slots && i < 8; i++) {
        uint64_t length;
        unsigned char *blob = random_blob(model, i, 0, &length);
        add_adapter(gpu, i, blob, length);
        free(blob);
    }
    for (int adapter = -1; adapter < 4; adapter++) {
        read_text(gpu, adapter, 0, 70, 70, logits);
        read_text(gpu, adapter, 0, 20, 13, logits);
        read_text(gpu, adapter, 0, 3, 1, logits);
    }
    engine_close(gpu);
    printf("%d checks, %d failures\n", checks, failures);
}

/* ---- How fast ------------------------------------------------------------------------------------------------------- */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* A prompt for each sequence. */
static void begin(struct engine *engine, int batch, int context, bool adapters, int *sequence, int *slot)
{
    struct error error;
    struct sampler_options greedy = sampler_defaults();
    for (int s = 0; s < batch; s++) {
        must((sequence[s] = sequence_open(engine, adapters ? s : -1, &error)) >= 0, &error);
        must((slot[s] = draw_open(engine, &greedy, &error)) >= 0, &error);
        for (int i = 0; i < context;) {
            for (int rows = engine_room(engine); rows > 0 && i < context; rows--, i++) {
                int row = engine_add(engine, sequence[s], token_of(&package_model, s, i), false, &error);
                must(row >= 0 && (i + 1 < context || engine_draw(engine, row, slot[s], &error) == 0), &error);
            }
            must(engine_run(engine, &error) == 0, &error);
        }
    }
}

static void submit(struct engine *engine, int batch, const int *sequence, const int *slot)
{
    struct error error;
    for (int s = 0; s < batch; s++) {
        int row = engine_add(engine, sequence[s], ENGINE_DRAWN(slot[s]), false, &error);
        must(row >= 0 && engine_draw(engine, row, slot[s], &error) == 0, &error);
    }
    must(engine_submit(engine, &error) == 0, &error);
}

/* Seconds of a decode step, of `steps`. */
static double decode(struct engine *engine, int batch, int steps, const int *sequence, const int *slot)
{
    struct error error;
    double start = 0;
    for (int submitted = 0, collected = 0; collected < steps + 4; collected++) {
        if (collected == 4)
            start = now();
        for (; submitted < steps + 4 && engine_under_way(engine) < engine_depth(engine); submitted++)
            submit(engine, batch, sequence, slot);
        must(engine_collect(engine, NULL, &error) >= 0, &error);
    }
    return (now() - start) / steps;
}

/* What each stage takes, one at a time, without overlapping with the others: microseconds of a launch. */
static void print_stages(struct engine *engine, int batch, bool with, const int *sequence, const int *slot)
{
    struct error error;
    const struct stage_time *times;
    must(engine_time_stages(engine, true, &error) == 0, &error);
    for (int i = 0; i < 3; i++) {
        submit(engine, batch, sequence, slot);
        must(engine_collect(engine, NULL, &error) >= 0, &error);
    }
    int32_t stages = engine_stage_times(engine, &times);
    printf("stages of %d rows%s:", batch, with ? " with adapters" : "");
    for (int32_t i = 0; i < stages; i++)
        printf(" %s %.2f", times[i].stage, times[i].seconds / times[i].launches * 1e6);
    printf("\n");
    must(engine_time_stages(engine, false, &error) == 0, &error);
}

static int by_size(const void *a, const void *b)
{
    return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b;
}

static void bench(int rank, int context, int steps, int rounds, const int *batches, int batch_count)
{
    enum { MOST = 64 };
    static int sequence[MOST], slot[MOST];
    const struct model *model = &package_model;
    struct engine *engine = open_engine("cuda");
    struct bandwidth bandwidth;
    struct error error;
    uint64_t length = 0;
    if (rank > 0) {
        unsigned char *blob = random_blob(model, 0, rank, &length);
        for (int i = 0; i < model->adapter_slots; i++)
            add_adapter(engine, i, blob, length);
        free(blob);
    }
    must(engine_bandwidth(engine, 0.3, &bandwidth, &error) == 0, &error);
    printf("measured lora %s: reads at %.0f GB/s; an adapter of rank %d has %.1f MB\n", model->name,
           bandwidth.bytes_per_second / 1e9, rank, (double)length / 1e6);
    for (int b = 0; b < batch_count; b++) {
        double samples[2][32];
        int batch = batches[b];
        for (int round = 0; round < rounds; round++)
            for (int with = 0; with <= (rank > 0); with++) {
                begin(engine, batch, context, with, sequence, slot);
                samples[with][round] = decode(engine, batch, steps, sequence, slot);
                if (round == 0)
                    print_stages(engine, batch, with, sequence, slot);
                for (int s = 0; s < batch; s++) {
                    draw_close(engine, slot[s]);
                    sequence_close(engine, sequence[s]);
                }
            }
        for (int with = 0; with <= (rank > 0); with++)
            qsort(samples[with], (size_t)rounds, sizeof(double), by_size);
        double plain = samples[0][rounds / 2] * 1e3, spread = (samples[0][rounds - 1] - samples[0][0]) * 1e3;
        if (rank == 0) {
            printf("measured lora %s: batch %d: %.4f ms without adapters (spread %.4f)\n", model->name, batch, plain,
                   spread);
            continue;
        }
        double with = samples[1][rounds / 2] * 1e3;
        double floor = plain + (double)length * batch / bandwidth.bytes_per_second * 1e3;
        printf("measured lora %s: batch %d, rank %d: %.4f ms without adapters (spread %.4f), %.4f with one a sequence: "
               "%.4f "
               "times, %.4f times the step and the adapters' bytes\n",
               model->name, batch, rank, plain, spread, with, with / plain, with / floor);
    }
    engine_close(engine);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 2 && strcmp(argv[1], "test") == 0) {
        test();
    } else if (argc == 2 && strcmp(argv[1], "sanitize") == 0) {
        sanitize();
    } else if (argc > 6 && strcmp(argv[1], "bench") == 0) {
        int batches[8], count = 0;
        for (int i = 6; i < argc && count < 8; i++)
            batches[count++] = atoi(argv[i]);
        bench(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), batches, count);
    } else {
        printf("usage: test | sanitize | bench RANK CONTEXT STEPS ROUNDS BATCH...\n");
        return 2;
    }
    return failures > 0;
}
