/* For tests of single kernels on a GPU: memory, modules, launches and times, through the runtime's own driver table. Every
   function ends the program with a message on an error: a test needs no more. */
#ifndef LATHE_GPU_SUPPORT_H
#define LATHE_GPU_SUPPORT_H

#include <stddef.h>
#include <stdint.h>

#include "cuda_driver.h"

struct gpu {
    struct cuda_driver driver;
    CUdevice device;
    CUstream stream;
    char name[128];
    int processors;
};

extern struct gpu gpu;

void gpu_open(void);
void gpu_check(CUresult result, const char *what);

/* Memory, every byte 0xff at first: floats and bf16 read as NaN. */
void *gpu_allocate(size_t bytes);
void gpu_free(void *memory);
void gpu_poison(void *memory, size_t bytes);
void gpu_zero(void *memory, size_t bytes);
void gpu_upload(void *to, const void *from, size_t bytes);
void gpu_download(void *to, const void *from, size_t bytes);
void gpu_finish(void);

/* The kernel `name` of the cubin in `path`. */
CUfunction gpu_kernel(const char *path, const char *name, unsigned shared_bytes);

struct gpu_launch {
    CUfunction function;
    unsigned grid[3], threads, shared_bytes;
    int overlaps; /* programmatic dependent launch behind the one before */
};

void gpu_launch(const struct gpu_launch *launch, void **parameters);

/* Milliseconds of one replay of what `enqueue` launches, captured in a graph: the median of `repeats` after a warm-up. */
double gpu_time(void (*enqueue)(void *context), void *context, int repeats);

/* splitmix64 */
uint64_t random_next(uint64_t *state);
/* Uniform in [-1, 1). */
float random_float(uint64_t *state);

uint16_t bf16_of(float value);
float bf16_to_float(uint16_t value);

/* Counts of the program: checked things, and those that failed, whose messages are printed (the first few). */
void test_check(int right, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints the counts; the exit status. */
int test_result(const char *program);

#endif
