/* A CUDA driver without a GPU, for testing what calls one. The library (fake_cuda.so, built from fake_cuda.c) is named to
   the program with LATHE_CUDA_DRIVER; device memory is the host's, filled with 0xa5, and a kernel is a C function in the
   program under test.

   As on a GPU nothing happens when it is asked for: copies, kernels and events queue up in their streams and run only when
   somebody waits for them, and a copy reads its pinned source then. So what does not wait where it must, or overwrites what
   is still to be copied, gives wrong results here too.

   FAKE_CUDA in the environment, words with spaces between them:

       devices=N            GPUs there are (1)
       capability=9.0       compute capability of all of them
       version=13000        what cuDriverGetVersion says
       memory=BYTES         of the GPU (1 GiB)
       fail=NAME:CODE       the driver's function NAME returns CODE ...
       fail=NAME:CODE:N     ... from its N-th call on
       fault=KERNEL:CODE    running this kernel fails so, and everything after it
       log=FILE             a line for each launch of a kernel, and for each of a graph */
#ifndef LATHE_TEST_FAKE_CUDA_H
#define LATHE_TEST_FAKE_CUDA_H

#include <stdint.h>

enum { FAKE_CUDA_PARAMETERS = 8 };

/* What stands where a cubin would: data of struct cuda_image. */
struct fake_cuda_image {
    uint64_t magic; /* FAKE_CUDA_MAGIC */
    const char *name;
    void (*run)(void **parameters, const unsigned grid[3], unsigned threads);
    uint32_t bytes[FAKE_CUDA_PARAMETERS]; /* of each parameter; 0: no more */
};

#define FAKE_CUDA_MAGIC UINT64_C(0x66616b6563756461)

/* Exported by the library: live allocations, streams, events, modules, graphs and contexts. */
int fake_cuda_live(void);
/* How often the driver's function with this name has been called. */
int fake_cuda_calls(const char *name);

#endif
