#include "fake_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "barrier.h"
#include "package.h"

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* What layer 0 stores for a token; layer 1 stores its mix. */
static uint64_t key_of(int32_t token, int32_t position)
{
    return mix(((uint64_t)(uint32_t)token + 1) << 32 | (uint32_t)position);
}

static uint64_t chain(uint64_t hash, uint64_t key0, uint64_t key1, uint32_t position)
{
    return mix(hash ^ key0 ^ (key1 + position));
}

static float bf16_to_float(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

static float logit_of(uint64_t hash, int32_t v, const float *head, const uint16_t *embedding)
{
    uint64_t random = mix(hash ^ mix((uint64_t)v + 1));
    float uniform = (float)(random >> 40) * 0x1p-24f * 8.0f - 4.0f;
    return uniform + head[v] + bf16_to_float(embedding[(size_t)v * FAKE_WIDTH]);
}

/* Generated code has its sizes as constants; the fake step finds them here, set by the last fake_model_init.
 */
static struct {
    int32_t vocab, page;
    uint64_t embedding, head; /* offsets in the payload */
} sizes;

static uint64_t align64(uint64_t value)
{
    return (value + 63) & ~(uint64_t)63;
}

struct place {
    unsigned char *key;      /* group 0: uint64 [2][page] in a page */
    unsigned char *position; /* group 1: uint32 [page] in a page */
};

static struct place place_of(const struct step *step, int64_t slot)
{
    int32_t page_size = sizes.page;
    int64_t page = slot / page_size, inside = slot % page_size;
    return (struct place){
        .key = step->state[0] + (size_t)(page * page_size * 16 + inside * 8),
        .position = step->state[1] + (size_t)(page * page_size * 4 + inside * 4),
    };
}

static int64_t stored_slot(const struct step *step, const struct row *row, int32_t position)
{
    return (int64_t)step->pages[row->sequence][position / sizes.page] * sizes.page + position % sizes.page;
}

struct arena_row {
    uint64_t hash;
    float trace0[FAKE_TRACE_COLUMNS];
    uint16_t trace1[FAKE_TRACE_COLUMNS];
};

static void fake_trace(const struct step *step, struct arena_row *arena)
{
    /* Traces are dense [rows, columns]: gathered at the end of the arena. */
    float *dense0 = (float *)(void *)(arena + step->rows);
    uint16_t *dense1 = (uint16_t *)(void *)(dense0 + (size_t)step->rows * FAKE_TRACE_COLUMNS);
    for (int r = 0; r < step->rows; r++) {
        memcpy(dense0 + (size_t)r * FAKE_TRACE_COLUMNS, arena[r].trace0, sizeof arena[r].trace0);
        memcpy(dense1 + (size_t)r * FAKE_TRACE_COLUMNS, arena[r].trace1, sizeof arena[r].trace1);
    }
    const struct trace *trace = step->trace;
    trace->tensor(trace->context, "key", 0, DTYPE_F32, dense0, step->rows, FAKE_TRACE_COLUMNS);
    trace->tensor(trace->context, "key", 1, DTYPE_BF16, dense1, step->rows, FAKE_TRACE_COLUMNS);
    if (step->outputs > 0)
        trace->tensor(trace->context, "logits", -1, DTYPE_F32, step->logits, step->outputs, sizes.vocab);
}

/* What step.h promises of a row. */
static bool as_promised(const struct step *step, int r)
{
    const struct row *row = &step->row[r];
    int before = r - 1;
    while (before >= 0 && step->row[before].sequence != row->sequence)
        before--;
    if (row->scratch >= 0) {
        const struct row *above = row->parent >= 0 ? &step->row[row->parent] : NULL;
        return (!above || (above->sequence == row->sequence && above->position + 1 == row->position)) &&
               row->shared == (above && above->scratch >= 0 ? above->shared : row->position) &&
               step->path[row->path + row->position - row->shared] == row->scratch && row->adapter == -1;
    }
    return row->parent == before && (before < 0 || step->row[before].position + 1 == row->position) &&
           row->shared == row->position + 1 && row->scratch == -1 && row->adapter == -1;
}

static void fake_step(const struct step *step, int thread)
{
    const uint16_t *embedding = (const uint16_t *)(const void *)(step->weights + sizes.embedding);
    const float *head = (const float *)(const void *)(step->weights + sizes.head);
    struct arena_row *arena = (struct arena_row *)(void *)step->arena;
    int threads = step->threads;

    for (int r = thread; r < step->rows; r += threads) {
        const struct row *row = &step->row[r];
        int64_t slot = row->scratch >= 0 ? (int64_t)step->pages_total * sizes.page + row->scratch
                                         : stored_slot(step, row, row->position);
        struct place place = place_of(step, slot);
        uint64_t key = key_of(row->token, row->position), second = mix(key);
        uint32_t position = (uint32_t)row->position;
        memcpy(place.key, &key, 8);
        memcpy(place.key + (size_t)sizes.page * 8, &second, 8);
        memcpy(place.position, &position, 4);
        for (int c = 0; c < FAKE_TRACE_COLUMNS; c++) {
            arena[r].trace0[c] = (float)(row->token * FAKE_TRACE_COLUMNS + c);
            arena[r].trace1[c] = (uint16_t)(0x3f80 + row->position); /* bf16 1.0 and its successors */
        }
    }
    barrier_wait(step->barrier);

    for (int r = thread; r < step->rows; r += threads) {
        const struct row *row = &step->row[r];
        uint64_t hash = as_promised(step, r) ? 0 : 1; /* a row that is not gives wrong logits */
        for (int32_t p = 0; p <= row->position; p++) {
            int64_t slot = p < row->shared
                               ? stored_slot(step, row, p)
                               : (int64_t)step->pages_total * sizes.page + step->path[row->path + (p - row->shared)];
            struct place place = place_of(step, slot);
            uint64_t key0, key1;
            uint32_t position;
            memcpy(&key0, place.key, 8);
            memcpy(&key1, place.key + (size_t)sizes.page * 8, 8);
            memcpy(&position, place.position, 4);
            hash = chain(hash, key0, key1, position);
        }
        arena[r].hash = hash;
        memset(step->scratch + (size_t)thread * 64, thread, 64);
    }
    barrier_wait(step->barrier);

    for (int64_t i = thread; i < (int64_t)step->outputs * sizes.vocab; i += threads) {
        int32_t output = (int32_t)(i / sizes.vocab), v = (int32_t)(i % sizes.vocab);
        step->logits[i] = logit_of(arena[step->output_row[output]].hash, v, head, embedding);
    }
    if (step->trace) {
        barrier_wait(step->barrier);
        if (thread == 0)
            fake_trace(step, arena);
        barrier_wait(step->barrier);
    }
}

static bool never(void)
{
    return false;
}

static bool always(void)
{
    return true;
}

static const char *const fake_traces[] = {"layer.*.key", "logits"};

void fake_model_init(struct fake_model *fake, const struct fake_options *options)
{
    memset(fake, 0, sizeof *fake);
    if (options)
        fake->options = *options;
    struct fake_options *o = &fake->options;
    o->vocab = o->vocab ? o->vocab : 32;
    o->max_seq = o->max_seq ? o->max_seq : 64;
    o->max_rows = o->max_rows ? o->max_rows : 16;
    o->max_outputs = o->max_outputs ? o->max_outputs : o->max_rows;
    o->page = o->page ? o->page : 4;

    uint64_t vocab = (uint64_t)o->vocab, page = (uint64_t)o->page, rows = (uint64_t)o->max_rows;
    uint64_t offset = 0;
    int count = 0;
    /* Bytes first, so that a package of random weights can carry them alone. */
    if (o->tokenizer_bytes) {
        fake->tensor[count++] = (struct tensor){.name = "tokenizer",
                                                .dtype = DTYPE_BYTES,
                                                .rows = 1,
                                                .columns = (int64_t)o->tokenizer_bytes,
                                                .bytes = o->tokenizer_bytes};
        offset = align64(o->tokenizer_bytes);
    }
    uint64_t payload = o->tokenizer_bytes; /* if random: the bytes sections alone */
    fake->tensor[count++] = (struct tensor){.name = "embedding",
                                            .dtype = DTYPE_BF16,
                                            .rows = o->vocab,
                                            .columns = FAKE_WIDTH,
                                            .offset = offset,
                                            .bytes = vocab * FAKE_WIDTH * 2,
                                            .random_scale = 0.5f};
    sizes.embedding = offset;
    offset += align64(vocab * FAKE_WIDTH * 2);
    fake->tensor[count++] = (struct tensor){.name = "head",
                                            .dtype = DTYPE_F32,
                                            .rows = 1,
                                            .columns = o->vocab,
                                            .offset = offset,
                                            .bytes = vocab * 4,
                                            .random_centre = 1,
                                            .random_scale = 0.25f};
    sizes.head = offset;
    if (!o->random)
        payload = offset + vocab * 4;
    sizes.vocab = o->vocab;
    sizes.page = o->page;

    fake->state[0] =
        (struct state_group){.name = "keys", .page_bytes = page * 16, .scratch_bytes = 16, .piece_bytes = 8};
    fake->state[1] =
        (struct state_group){.name = "positions", .page_bytes = page * 4, .scratch_bytes = 4, .piece_bytes = 4};
    fake->variant[0] = (struct variant){"unsupported", never, fake_step, NULL};
    fake->variant[1] = (struct variant){"scalar", NULL, fake_step, NULL};
    fake->variant[2] = (struct variant){"twin", always, fake_step, NULL};
    uint64_t shape[5] = {vocab, page, o->tokenizer_bytes, o->random, (uint64_t)o->max_seq};
    XXH128_hash_t layout = XXH3_128bits(shape, sizeof shape);
    snprintf(fake->layout, sizeof fake->layout, "%016llx%016llx", (unsigned long long)layout.high64,
             (unsigned long long)layout.low64);

    fake->model = (struct model){
        .name = "fake",
        .architecture = "FakeForCausalLM",
        .generator = "lathe test",
        .dtype = "bf16",
        .layout = fake->layout,
        .vocab = o->vocab,
        .hidden = FAKE_WIDTH,
        .layers = 2,
        .heads = 1,
        .kv_heads = 1,
        .head_dim = FAKE_WIDTH,
        .intermediate = FAKE_WIDTH,
        .max_seq = o->max_seq,
        .max_rows = o->max_rows,
        .max_outputs = o->max_outputs,
        .page = o->page,
        .parameters = vocab * (FAKE_WIDTH + 1),
        .tensors = fake->tensor,
        .tensor_count = count,
        .payload_bytes = payload,
        .random = o->random,
        .random_seed = o->random_seed,
        .states = fake->state,
        .state_count = 2,
        .arena_bytes = rows * (sizeof(struct arena_row) + FAKE_TRACE_COLUMNS * 6),
        .scratch_bytes = 64,
        .flops_per_row = vocab * 2,
        .weight_bytes_read = vocab * (FAKE_WIDTH * 2 + 4),
        .variants = fake->variant,
        .variant_count = 3,
        .traces = fake_traces,
        .trace_count = 2,
        .generation = o->generation,
    };
}

unsigned char *fake_model_payload(const struct fake_model *fake)
{
    const struct model *model = &fake->model;
    unsigned char *payload = calloc(1, model->payload_bytes ? model->payload_bytes : 1);
    if (!payload)
        return NULL;
    if (fake->options.tokenizer_bytes)
        memcpy(payload, fake->options.tokenizer, fake->options.tokenizer_bytes);
    if (model->random)
        return payload;
    const struct tensor *embedding = model_tensor(model, "embedding"), *head = model_tensor(model, "head");
    for (uint64_t i = 0; i < embedding->bytes / 2; i++) {
        uint16_t value = (uint16_t)(0x3e00 + mix(i) % 256); /* bf16 0.125 to 0.498 */
        memcpy(payload + embedding->offset + i * 2, &value, 2);
    }
    for (uint64_t i = 0; i < head->bytes / 4; i++) {
        float value = (float)(i % 7) * 0.125f;
        memcpy(payload + head->offset + i * 4, &value, 4);
    }
    return payload;
}

int fake_model_write(const struct fake_model *fake, const char *path, size_t prefix)
{
    unsigned char *payload = fake_model_payload(fake);
    FILE *file = payload ? fopen(path, "wb") : NULL;
    if (!file) {
        free(payload);
        return -1;
    }
    uint64_t bytes = fake->model.payload_bytes;
    uint64_t offset = (prefix + PACKAGE_ALIGNMENT - 1) / PACKAGE_ALIGNMENT * PACKAGE_ALIGNMENT;
    for (uint64_t i = 0; i < offset; i++)
        putc(i < prefix ? 'x' : 0, file);
    fwrite(payload, 1, bytes, file);

    struct package_trailer trailer = {
        .version = PACKAGE_VERSION,
        .trailer_bytes = sizeof trailer,
        .payload_offset = offset,
        .payload_bytes = bytes,
    };
    memcpy(trailer.magic, PACKAGE_MAGIC, sizeof trailer.magic);
    memcpy(trailer.layout, fake->layout, sizeof trailer.layout);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(payload, bytes));
    memcpy(trailer.payload_hash, canonical.digest, sizeof trailer.payload_hash);
    trailer.trailer_hash = XXH3_64bits(&trailer, offsetof(struct package_trailer, trailer_hash));
    fwrite(&trailer, 1, sizeof trailer, file);
    free(payload);
    int failed = ferror(file);
    return fclose(file) || failed ? -1 : 0;
}

void fake_model_logits(const struct fake_model *fake, const float *head, const uint16_t *embedding,
                       const int32_t *tokens, int count, float *logits)
{
    uint64_t hash = 0;
    for (int p = 0; p < count; p++) {
        uint64_t key = key_of(tokens[p], p);
        hash = chain(hash, key, mix(key), (uint32_t)p);
    }
    for (int32_t v = 0; v < fake->model.vocab; v++)
        logits[v] = logit_of(hash, v, head, embedding);
}
