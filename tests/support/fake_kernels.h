/* The fake model's step (fake_model.h) as kernels: one text, compiled as CUDA for GPUs (tests/gpu) and as C for the driver
   without one (fake_cuda.h), where a kernel is a function that does the whole grid's work. */
#ifndef LATHE_TEST_FAKE_KERNELS_H
#define LATHE_TEST_FAKE_KERNELS_H

#include "cuda_draw.h"
#include "cuda_step.h"

enum { FAKE_TRACES = 4 };

/* What other models have as constants. */
struct fake_layer {
    int32_t vocab, page, max_rows;
    uint64_t embedding, head; /* offsets of the weights; the embedding is packed as CUDA_PACKING_ROWS */
};

#ifdef __CUDACC__
#define KERNEL(name) extern "C" __global__ void name
#define FAKE_INLINE static __device__ inline
#define GRID_CONSTANT const __grid_constant__
#define FOR_EACH(type, i, count)                                                                                       \
    for (type i = (type)(blockIdx.x * blockDim.x + threadIdx.x); i < (type)(count); i += (type)(gridDim.x * blockDim.x))
#define BLOCK ((int)blockIdx.x)
#define FOR_EACH_OF_BLOCK(type, i, count) for (type i = (type)threadIdx.x; i < (type)(count); i += (type)blockDim.x)
/* Rule 4 of docs/cuda.md: dependents may start, and nothing is read or written before the predecessor is done. */
#if __CUDA_ARCH__ >= 900
#define AWAIT() asm volatile("griddepcontrol.launch_dependents;\n griddepcontrol.wait;" ::: "memory")
#else
#define AWAIT()
#endif
#else
#include <string.h>
#define KERNEL(name) static void name
#define FAKE_INLINE static inline
#define GRID_CONSTANT const
#define FOR_EACH(type, i, count) for (type i = 0; i < (type)(count); i++)
#define BLOCK fake_block
#define FOR_EACH_OF_BLOCK(type, i, count) FOR_EACH(type, i, count)
#define AWAIT()
static int fake_block; /* kernels that look at their block are called for one after the other */
#endif

FAKE_INLINE uint64_t fake_mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* The arena: for each row a hash, a trace of floats, and a trace of bf16 in fragment order. */
FAKE_INLINE uint64_t *fake_hashes(const struct cuda_step *step)
{
    return (uint64_t *)(void *)step->arena;
}

FAKE_INLINE float *fake_floats(const struct cuda_step *step, const struct fake_layer *layer)
{
    return (float *)(void *)(fake_hashes(step) + layer->max_rows);
}

FAKE_INLINE uint16_t *fake_pieces(const struct cuda_step *step, const struct fake_layer *layer)
{
    return (uint16_t *)(void *)(fake_floats(step, layer) + (size_t)layer->max_rows * FAKE_TRACES);
}

/* A slot's key (2 words of 8 bytes, a page apart) and position. */
FAKE_INLINE unsigned char *fake_slot(const struct cuda_step *step, const struct fake_layer *layer, int32_t slot)
{
    return step->state + (size_t)(slot / layer->page) * (size_t)layer->page * 20;
}

FAKE_INLINE int32_t fake_stored(const struct cuda_step *step, const struct fake_layer *layer,
                                const struct cuda_row *row, int32_t position)
{
    return step->pages[row->sequence * step->table + position / layer->page] * layer->page + position % layer->page;
}

KERNEL(fake_keys)(GRID_CONSTANT struct cuda_step step, GRID_CONSTANT struct fake_layer layer, int index)
{
    AWAIT();
    (void)index;
    FOR_EACH(int32_t, r, step.counts->rows)
    {
        const struct cuda_row *row = &step.row[r];
        int32_t token = row->token < 0 ? step.chosen[~row->token] : row->token;
        int32_t slot = row->scratch >= 0 ? step.pages_total * layer.page + row->scratch
                                         : fake_stored(&step, &layer, row, row->position);
        unsigned char *page = fake_slot(&step, &layer, slot);
        size_t place = (size_t)(slot % layer.page);
        uint64_t key = fake_mix(((uint64_t)(uint32_t)token + 1) << 32 | (uint32_t)row->position),
                 second = fake_mix(key);
        uint32_t position = (uint32_t)row->position;
        memcpy(page + place * 8, &key, 8);
        memcpy(page + ((size_t)layer.page + place) * 8, &second, 8);
        memcpy(page + (size_t)layer.page * 16 + place * 4, &position, 4);
        for (int c = 0; c < FAKE_TRACES; c++) {
            fake_floats(&step, &layer)[r * FAKE_TRACES + c] = (float)(token * FAKE_TRACES + c);
            fake_pieces(&step, &layer)[r / 8 * 512 + r % 8 * 8 + c] = (uint16_t)(0x3f80 + row->position);
        }
    }
}

/* What step.h promises of a row. */
FAKE_INLINE int fake_promised(const struct cuda_step *step, int32_t r)
{
    const struct cuda_row *row = &step->row[r];
    int32_t before = r - 1;
    while (before >= 0 && step->row[before].sequence != row->sequence)
        before--;
    if (row->scratch >= 0) {
        const struct cuda_row *above = row->parent >= 0 ? &step->row[row->parent] : row;
        return (above == row || (above->sequence == row->sequence && above->position + 1 == row->position)) &&
               row->shared == (above != row && above->scratch >= 0 ? above->shared : row->position) &&
               step->path[row->path + row->position - row->shared] == row->scratch && row->adapter == -1;
    }
    return row->parent == before && (before < 0 || step->row[before].position + 1 == row->position) &&
           row->shared == row->position + 1 && row->scratch == -1 && row->adapter == -1;
}

KERNEL(fake_hash)(GRID_CONSTANT struct cuda_step step, GRID_CONSTANT struct fake_layer layer, int index)
{
    AWAIT();
    (void)index;
    FOR_EACH(int32_t, r, step.counts->rows)
    {
        const struct cuda_row *row = &step.row[r];
        uint64_t hash = fake_promised(&step, r) ? 0 : 1;
        for (int32_t p = 0; p <= row->position; p++) {
            int32_t slot = p < row->shared ? fake_stored(&step, &layer, row, p)
                                           : step.pages_total * layer.page + step.path[row->path + (p - row->shared)];
            const unsigned char *page = fake_slot(&step, &layer, slot);
            size_t place = (size_t)(slot % layer.page);
            uint64_t key0, key1;
            uint32_t position;
            memcpy(&key0, page + place * 8, 8);
            memcpy(&key1, page + ((size_t)layer.page + place) * 8, 8);
            memcpy(&position, page + (size_t)layer.page * 16 + place * 4, 4);
            hash = fake_mix(hash ^ key0 ^ (key1 + position));
        }
        fake_hashes(&step)[r] = hash;
    }
}

FAKE_INLINE float fake_bf16(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, 4);
    return value;
}

KERNEL(fake_logits)(GRID_CONSTANT struct cuda_step step, GRID_CONSTANT struct fake_layer layer, int index)
{
    AWAIT();
    (void)index;
    const uint16_t *embedding = (const uint16_t *)(const void *)(step.weights + layer.embedding);
    const float *head = (const float *)(const void *)(step.weights + layer.head);
    FOR_EACH(int64_t, i, (int64_t)step.counts->outputs * layer.vocab)
    {
        int32_t output = (int32_t)(i / layer.vocab), v = (int32_t)(i % layer.vocab);
        uint64_t random = fake_mix(fake_hashes(&step)[step.output_row[output]] ^ fake_mix((uint64_t)v + 1));
        float uniform = (float)(random >> 40) * 0x1p-24f * 8.0f - 4.0f;
        /* Column 0 of row v: in tile v / 16 the first fragment, lane v % 8 * 4, a0 or a1. */
        size_t at = (size_t)(v / 16) * 4 * 256 + (size_t)(v % 8) * 4 * 8 + (size_t)(v % 16 / 8) * 2;
        step.logits[i] = uniform + head[v] + fake_bf16(embedding[at]);
    }
}

/* cuda_step.h says what these are given. */
KERNEL(fake_pack)(uint16_t *to, const uint16_t *from, int rows, int columns, int packing, int first_tile)
{
    (void)packing;
    int pieces = (columns + 63) / 64 * 4; /* fragments of a tile */
    int tile = first_tile + BLOCK;
    FOR_EACH_OF_BLOCK(int, i, pieces * 256)
    {
        int place = i % 8, lane = i / 8 % 32;
        int row = tile * 16 + lane / 4 + place / 2 % 2 * 8;
        int column = i / 256 * 16 + lane % 4 * 2 + place % 2 + place / 4 * 8;
        to[(size_t)tile * (size_t)pieces * 256 + (size_t)i] =
            row < rows && column < columns ? from[(int64_t)row * columns + column] : 0;
    }
}

KERNEL(fake_random)
(unsigned char *to, uint64_t first, uint64_t count, uint64_t key, float centre, float scale, int bf16)
{
    FOR_EACH(uint64_t, i, count)
    {
        uint64_t element = first + i, word = fake_mix(key + (element / 2 + 1) * 0x9e3779b97f4a7c15u);
        uint32_t bits = element % 2 ? (uint32_t)(word >> 8) & 0xffffff : (uint32_t)(word >> 40);
        float value = (float)((double)centre + (double)scale * ((double)bits * 0x1p-23 - 1.0));
        uint32_t wide;
        memcpy(&wide, &value, 4);
        uint16_t narrow = (uint16_t)((wide + 0x7fff + (wide >> 16 & 1)) >> 16);
        if (bf16)
            memcpy(to + i * 2, &narrow, 2);
        else
            memcpy(to + i * 4, &value, 4);
    }
}

#endif
