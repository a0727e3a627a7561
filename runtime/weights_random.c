#include <stddef.h>
#include <string.h>

#include "pool.h"
#include "weights.h"

#define GOLDEN 0x9e3779b97f4a7c15u

enum { BLOCK = 1 << 20 }; /* elements that a thread fills at a time: even, so that no word is made twice */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint64_t weights_random_key(uint64_t seed, const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return mix(mix(seed + GOLDEN) ^ hash);
}

static uint64_t word_of(uint64_t key, uint64_t pair)
{
    return mix(key + (pair + 1) * GOLDEN);
}

static float value_of(uint32_t bits24, double centre, double scale)
{
    double u = (double)bits24 * 0x1p-23 - 1.0;
    return (float)(centre + scale * u);
}

float weights_random_value(uint64_t key, uint64_t element, float centre, float scale)
{
    uint64_t word = word_of(key, element / 2);
    uint32_t bits = element % 2 ? (uint32_t)(word >> 8) & 0xffffff : (uint32_t)(word >> 40);
    return value_of(bits, centre, scale);
}

uint16_t weights_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint64_t weights_region_bytes(const struct model *model)
{
    uint64_t end = model->payload_bytes;
    for (int32_t i = 0; i < model->tensor_count; i++) {
        uint64_t last = model->tensors[i].offset + model->tensors[i].bytes;
        end = last > end ? last : end;
    }
    return end;
}

struct fill {
    const struct tensor *tensor;
    unsigned char *data;
    uint64_t key, first, count; /* elements first <= e < count are to be filled */
    int threads;
};

static void fill_block(const struct fill *fill, uint64_t from, uint64_t to)
{
    const struct tensor *tensor = fill->tensor;
    double centre = tensor->random_centre, scale = tensor->random_scale;
    uint16_t *bf16 = (uint16_t *)(void *)fill->data;
    float *f32 = (float *)(void *)fill->data;
    for (uint64_t e = from; e < to; e += 2) {
        uint64_t word = word_of(fill->key, e / 2);
        float even = value_of((uint32_t)(word >> 40), centre, scale);
        float odd = value_of((uint32_t)(word >> 8) & 0xffffff, centre, scale);
        if (tensor->dtype == DTYPE_BF16) {
            bf16[e] = weights_bf16(even);
            if (e + 1 < to)
                bf16[e + 1] = weights_bf16(odd);
        } else {
            f32[e] = even;
            if (e + 1 < to)
                f32[e + 1] = odd;
        }
    }
}

static void fill_share(void *context, int thread)
{
    const struct fill *fill = context;
    for (uint64_t from = fill->first + (uint64_t)thread * BLOCK; from < fill->count;
         from += (uint64_t)fill->threads * BLOCK)
        fill_block(fill, from, fill->count - from < BLOCK ? fill->count : from + BLOCK);
}

void weights_random(const struct model *model, unsigned char *region, struct pool *pool,
                    void (*progress)(void *context, const char *what, uint64_t done, uint64_t total),
                    void *progress_context)
{
    enum { ROUND_BLOCKS = 64 }; /* blocks a thread between two reports of progress */
    uint64_t total = 0, done = 0;
    for (int32_t i = 0; i < model->tensor_count; i++)
        if (model->tensors[i].dtype != DTYPE_BYTES)
            total += model->tensors[i].bytes;
    for (int32_t i = 0; i < model->tensor_count; i++) {
        const struct tensor *tensor = &model->tensors[i];
        if (tensor->dtype == DTYPE_BYTES)
            continue;
        uint64_t width = tensor->dtype == DTYPE_BF16 ? 2 : 4, elements = tensor->bytes / width;
        struct fill fill = {
            .tensor = tensor,
            .data = region + tensor->offset,
            .key = weights_random_key(model->random_seed, tensor->name),
            .threads = pool_threads(pool),
        };
        uint64_t round = (uint64_t)fill.threads * ROUND_BLOCKS * BLOCK;
        for (uint64_t from = 0; from < elements; from += round) {
            fill.first = from;
            fill.count = elements - from < round ? elements : from + round;
            pool_run(pool, fill_share, &fill);
            done += (fill.count - from) * width;
            if (progress)
                progress(progress_context, "making random weights", done, total);
        }
    }
}
