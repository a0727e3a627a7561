/* Times of the attention kernels: all layers of a step in a graph, over more state than the L2 cache holds.

   usage: bench_attention FOLDER READ.CUBIN */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch.h"
#include "shapes.cuh"
#include "support.h"

enum { CLASSES = sizeof CLASS / sizeof *CLASS, SETS = 4 };

static struct {
    struct cuda_step step[SETS];
    CUfunction kernel;
    unsigned blocks, shared;
    int sets;
} b;

static void enqueue(void *context)
{
    struct layer layer = {0};
    (void)context;
    for (int set = 0; set < b.sets; set++)
        for (int index = 0; index < LAYERS; index++) {
            struct gpu_launch launch = {b.kernel, {b.blocks}, 128, b.shared, set + index > 0};
            gpu_launch(&launch, (void *[]){&b.step[set], &layer, &index});
        }
}

static double roof; /* GB/s */

static struct {
    CUfunction kernel;
    void *from;
    unsigned long long count;
    void *sink;
} reader;

static void enqueue_read(void *context)
{
    (void)context;
    struct gpu_launch launch = {reader.kernel, {(unsigned)gpu.processors * 4}, 512, 0, 0};
    gpu_launch(&launch, (void *[]){&reader.from, &reader.count, &reader.sink});
}

/* `sequences` of `context` positions; rows consecutive rows each, the last at the context's end. */
static void measure(const char *folder, const char *what, int sequences, int context, int rows, unsigned blocks)
{
    static struct cuda_row row[SETS][MAX_ROWS];
    int total = sequences * rows, table = (context + PAGE - 1) / PAGE, class = 0;
    size_t bytes = (size_t)sequences * (size_t)table * PAGE_ELEMENTS * 2;
    b.sets = bytes > (size_t)1 << 30 ? 1 : SETS;
    while (CLASS[class].rows < total)
        class ++;
    char path[512], name[64];
    snprintf(name, sizeof name, "attention_%d", CLASS[class].rows);
    snprintf(path, sizeof path, "%s/%s.cubin", folder, name);
    b.kernel = gpu_kernel(path, name, CLASS[class].shared);
    b.shared = CLASS[class].shared;
    b.blocks = blocks;

    int pages = b.sets * sequences * table;
    int32_t *order = malloc((size_t)pages * sizeof *order);
    for (int i = 0; i < pages; i++)
        order[i] = (int)((int64_t)i * 7919 % pages); /* scattered, if 7919 does not divide */
    void *state = gpu_allocate((size_t)pages * PAGE_ELEMENTS * 2);
    gpu_check(
        gpu.driver.cuMemsetD8Async((CUdeviceptr)(uintptr_t)state, 0x3c, (size_t)pages * PAGE_ELEMENTS * 2, gpu.stream),
        "memset");
    struct activations *arena = gpu_allocate(sizeof *arena);
    gpu_zero(arena, sizeof *arena);
    struct cuda_counts counts = {.rows = total};
    void *counts_memory = gpu_allocate(sizeof counts), *page_memory = gpu_allocate((size_t)pages * sizeof *order);
    gpu_upload(counts_memory, &counts, sizeof counts);
    gpu_upload(page_memory, order, (size_t)pages * sizeof *order);
    for (int set = 0; set < b.sets; set++) {
        for (int r = 0; r < total; r++)
            row[set][r] = (struct cuda_row){.position = context - rows + r % rows,
                                            .sequence = set * sequences + r / rows,
                                            .adapter = -1,
                                            .parent = r % rows ? r - 1 : -1,
                                            .shared = context - rows + r % rows + 1,
                                            .scratch = -1};
        b.step[set] = (struct cuda_step){.counts = counts_memory,
                                         .row = gpu_allocate(sizeof row[set]),
                                         .pages = page_memory,
                                         .path = page_memory,
                                         .state = state,
                                         .arena = (unsigned char *)arena,
                                         .table = table,
                                         .pages_total = pages};
        gpu_upload((void *)b.step[set].row, row[set], sizeof row[set]);
    }
    double time = gpu_time(enqueue, NULL, 15) / b.sets;
    double read = (double)sequences * context * 2 * KEY * 2 * LAYERS;
    printf("%-34s %4u blocks: %8.3f ms a step, %7.2f us a layer, %6.0f GB/s, %3.0f %% of the roof's %.3f ms\n", what,
           blocks, time, time * 1e3 / LAYERS, read / time * 1e-6, read / roof * 1e-6 / time * 100, read / roof * 1e-6);
    for (int set = 0; set < b.sets; set++)
        gpu_free((void *)b.step[set].row);
    gpu_free(state);
    gpu_free(arena);
    gpu_free(counts_memory);
    gpu_free(page_memory);
    free(order);
}

int main(int count, char **arguments)
{
    if (count < 3)
        return 2;
    gpu_open();
    reader.kernel = gpu_kernel(arguments[2], "read_all", 0);
    reader.count = (unsigned long long)4 << 26;
    reader.from = gpu_allocate(reader.count * 16);
    reader.sink = gpu_allocate(4);
    roof = (double)reader.count * 16 / gpu_time(enqueue_read, NULL, 9) * 1e-6;
    gpu_free(reader.from);
    printf("%s, %d processors, %.0f GB/s; %d layers, %d heads, %d kv heads, head_dim %d\n", gpu.name, gpu.processors,
           roof, LAYERS, HEADS, KV_HEADS, HEAD_DIM);
    const char *folder = arguments[1];
    for (unsigned blocks = 264; blocks <= 264; blocks += 132) {
        measure(folder, "1 sequence, context 64", 1, 64, 1, blocks);
        measure(folder, "1 sequence, context 256", 1, 256, 1, blocks);
        measure(folder, "1 sequence, context 512", 1, 512, 1, blocks);
        measure(folder, "1 sequence, context 2048", 1, 2048, 1, blocks);
        measure(folder, "1 sequence, context 8192", 1, 8192, 1, blocks);
        measure(folder, "8 sequences, context 512", 8, 512, 1, blocks);
        measure(folder, "32 sequences, context 512", 32, 512, 1, blocks);
        measure(folder, "64 sequences, context 1000", 64, 1000, 1, blocks);
        measure(folder, "256 sequences, context 256", 256, 256, 1, blocks);
        measure(folder, "17 rows of 1 sequence, context 512", 1, 512, 17, blocks);
        measure(folder, "512 rows of 1 sequence, at 512", 1, 512, 512, blocks);
        measure(folder, "512 rows of 1 sequence, at 2048", 1, 2048, 512, blocks);
    }
    return 0;
}
