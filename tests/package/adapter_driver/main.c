/* Built into packages in place of the commands by tests/package/test_adapter_rows.c: fills all slots with random adapters, runs
 * every sequence alone, then many beside each other, and compares the bits of their logits. Prints a hash of the logits for each
 * instruction set; says what differs and exits with 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "model.h"

extern const struct model package_model;
static const struct model *const model = &package_model;

enum { PLAIN = 4, LENGTH = 12, LONG = 120, MOST = 64 };

static const char *variant_name;
static int slots, sequences; /* each slot's, then PLAIN without an adapter */
static int32_t tokens[LONG];
static float *expected[MOST]; /* [LENGTH][vocab] of each sequence alone */
static float *expected_long;  /* [LONG][vocab] of slot 0's adapter */

static void stop(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s: %s\n", variant_name ? variant_name : "start", what, why);
    exit(1);
}

static uint64_t seed = 1;

static uint32_t draw(uint32_t below)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed >> 33) % below;
}

static float uniform(float scale)
{
    return scale * ((float)draw(1 << 20) / (1 << 19) - 1.0f);
}

/* ---- random blobs */

struct blob {
    unsigned char *bytes;
    uint64_t length, capacity;
};

static uint64_t append(struct blob *blob, uint64_t count, uint64_t size, float centre, float scale)
{
    uint64_t at = (blob->length + 63) / 64 * 64, need = at + count * size;
    if (need > blob->capacity) {
        uint64_t capacity = (2 * need + 63) / 64 * 64;
        unsigned char *bytes = aligned_alloc(64, capacity);
        if (!bytes)
            stop("blob", "out of memory");
        memset(bytes, 0, capacity);
        if (blob->bytes)
            memcpy(bytes, blob->bytes, blob->length);
        free(blob->bytes);
        blob->bytes = bytes;
        blob->capacity = capacity;
    }
    for (uint64_t i = 0; i < count; i++) {
        float value = centre + uniform(scale);
        uint32_t bits;
        memcpy(&bits, &value, 4);
        uint16_t half = (uint16_t)(bits >> 16);
        memcpy(blob->bytes + at + i * size, size == 2 ? (void *)&half : (void *)&value, size);
    }
    blob->length = need;
    return at;
}

/* Something at most sites: ranks of every class that there is room for, biases, row scales, whole matrices. Adapter 0 has only a
   low-rank part, at all sites. */
static struct blob random_blob(int number)
{
    static const int32_t ranks[] = ADAPTER_RANKS;
    struct blob blob = {0};
    uint64_t size = strcmp(model->dtype, "f32") == 0 ? 4 : 2;
    append(&blob, (uint64_t)model->site_count * sizeof(struct adapter_entry), 1, 0, 0);
    memset(blob.bytes, 0, blob.length);
    for (int i = 0; i < model->site_count; i++) {
        const struct adapter_site *site = &model->sites[i];
        struct adapter_entry entry = {0};
        int embedding = i + 1 == model->site_count;
        uint64_t rows = (uint64_t)site->rows, columns = (uint64_t)site->columns;
        int kind = number == 0 ? 1 : (int)draw(8);
        if (kind == 0) {
            entry.full = append(&blob, rows * columns, size, 0, 0.1f);
        } else if (kind < 7) {
            int most = 0;
            while (most + 1 < 6 && ranks[most + 1] <= model->adapter_max_rank)
                most++;
            entry.rank = number == 0 ? 16 : ranks[draw((uint32_t)most + 1)];
            entry.scale = 0.5f + uniform(0.4f);
            uint64_t rank = (uint64_t)entry.rank;
            entry.a = append(&blob, (embedding ? rows : columns) * rank, size, 0, 0.1f);
            entry.b = append(&blob, (embedding ? columns : rows) * rank, size, 0, 0.1f);
        }
        if (number && !embedding && draw(4) == 0)
            entry.row_scale = append(&blob, rows, 4, 1, 0.1f);
        if (number && !embedding && draw(4) == 0)
            entry.bias = append(&blob, rows, 4, 0, 0.1f);
        memcpy(blob.bytes + (size_t)i * sizeof entry, &entry, sizeof entry);
    }
    return blob;
}

/* ---- engines and rows */

static struct engine *open_engine(const char *variant, int threads)
{
    struct error error;
    struct engine_options options = {.cpu = variant, .threads = threads, .kv_memory = 1 << 26, .device = "cpu"};
    struct engine *engine = engine_open(model, &options, &error);
    if (!engine)
        stop("engine_open", error.message);
    for (int i = 0; i < slots; i++) {
        char name[20];
        seed = (uint64_t)i + 1;
        struct blob blob = random_blob(i);
        snprintf(name, sizeof name, "a%d", i);
        if (engine_add_adapter(engine, name, blob.bytes, blob.length, &error) != i)
            stop("engine_add_adapter", error.message);
        if (engine_adapter(engine, name, &error) != i)
            stop("engine_adapter", "another slot");
    }
    return engine;
}

static int open_sequence(struct engine *engine, int number)
{
    struct error error;
    int sequence = sequence_open(engine, number < slots ? number : -1, &error);
    if (sequence < 0)
        stop("sequence_open", error.message);
    return sequence;
}

static int add(struct engine *engine, int sequence, int place)
{
    struct error error;
    int row = engine_add(engine, sequence, tokens[place], true, &error);
    if (row < 0)
        stop("engine_add", error.message);
    return row;
}

static void run(struct engine *engine)
{
    struct error error;
    if (engine_run(engine, &error))
        stop("engine_run", error.message);
}

static void compare(struct engine *engine, int row, const float *wanted, int place, const char *what)
{
    const float *found = engine_logits(engine, row);
    size_t vocab = (size_t)model->vocab;
    if (!found || memcmp(found, wanted + (size_t)place * vocab, vocab * sizeof *found) != 0) {
        fprintf(stderr, "place %d: ", place);
        stop(what, "the logits differ");
    }
}

/* A sequence alone, a row a step. */
static float *alone(struct engine *engine, int number, int length)
{
    size_t vocab = (size_t)model->vocab;
    float *logits = malloc((size_t)length * vocab * sizeof *logits);
    int sequence = open_sequence(engine, number);
    for (int place = 0; place < length; place++) {
        int row = add(engine, sequence, place);
        run(engine);
        memcpy(logits + (size_t)place * vocab, engine_logits(engine, row), vocab * sizeof *logits);
    }
    sequence_close(engine, sequence);
    return logits;
}

/* All sequences in steps of `chunk` places each, one place after the other (by_place) or one sequence after the other. */
static void together(struct engine *engine, int chunk, int by_place, const char *what)
{
    int sequence[MOST], row[MOST][LENGTH];
    for (int s = 0; s < sequences; s++)
        sequence[s] = open_sequence(engine, s);
    for (int first = 0; first < LENGTH; first += chunk) {
        int count = LENGTH - first < chunk ? LENGTH - first : chunk;
        for (int i = 0; i < count * sequences; i++) {
            int s = by_place ? i % sequences : i / count, place = by_place ? i / sequences : i % count;
            row[s][place] = add(engine, sequence[s], first + place);
        }
        run(engine);
        for (int s = 0; s < sequences; s++)
            for (int place = 0; place < count; place++)
                compare(engine, row[s][place], expected[s], first + place, what);
    }
    for (int s = 0; s < sequences; s++)
        sequence_close(engine, sequence[s]);
}

/* A long prompt of slot 0's adapter, beside a plain row that comes first, so that runs do not begin where blocks do; then a fork
   of it. */
static void long_run(struct engine *engine)
{
    struct error error;
    int plain = open_sequence(engine, slots), sequence = open_sequence(engine, 0), row[LONG];
    int first = add(engine, plain, 0);
    for (int place = 0; place < LONG - 1; place++)
        row[place] = add(engine, sequence, place);
    run(engine);
    compare(engine, first, expected[slots], 0, "a plain row beside a long prompt");
    for (int place = 0; place < LONG - 1; place++)
        compare(engine, row[place], expected_long, place, "a long prompt");
    int fork = sequence_fork(engine, sequence, &error);
    int last = add(engine, fork, LONG - 1);
    run(engine);
    compare(engine, last, expected_long, LONG - 1, "a fork");
    sequence_close(engine, fork);
    sequence_close(engine, sequence);
    sequence_close(engine, plain);
}

static void check_variant(const struct variant *variant)
{
    static const int threads[] = {1, 2, 7};
    size_t bytes = (size_t)LENGTH * (size_t)model->vocab * sizeof(float);
    struct engine *engine = open_engine(variant->name, 1);
    uint64_t hash = 0;
    variant_name = variant->name;
    for (int s = 0; s < sequences; s++) {
        expected[s] = alone(engine, s, LENGTH);
        for (int other = 0; other < s && other < slots; other++)
            if (memcmp(expected[s], expected[other], bytes) == 0)
                stop("adapters", "two have the same logits");
        for (size_t i = 0; i < bytes / 4; i++)
            hash = hash * 31 + ((const uint32_t *)(const void *)expected[s])[i];
        if (s > slots && memcmp(expected[s], expected[slots], bytes) != 0)
            stop("rows without an adapter", "they differ");
    }
    expected_long = alone(engine, 0, LONG);
    engine_close(engine);
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        engine = open_engine(variant->name, threads[t]);
        together(engine, 1, 1, "a row of each");
        together(engine, 1, 0, "a row of each");
        together(engine, 5, 0, "5 rows of each");
        together(engine, 5, 1, "5 rows of each in turn");
        together(engine, LENGTH, 0, "all rows of each");
        long_run(engine);
        engine_close(engine);
    }
    for (int s = 0; s < sequences; s++)
        free(expected[s]);
    free(expected_long);
    printf("%s %016llx\n", variant->name, (unsigned long long)hash);
}

int main(void)
{
    slots = model->adapter_slots;
    sequences = slots + PLAIN;
    if (sequences > MOST || model->max_seq < LONG || model->max_rows < sequences * LENGTH)
        stop("package", "expected more room");
    for (int place = 0; place < LONG; place++)
        tokens[place] = (int32_t)draw((uint32_t)model->vocab);
    for (int32_t v = 0; v < model->variant_count; v++)
        if (model->variants[v].supported())
            check_variant(&model->variants[v]);
    return 0;
}
