/* The NVIDIA driver, opened when a program wants a GPU: nothing of CUDA is linked, and no CUDA header is needed. The few
   functions and types of the driver API (cuda.h) that the runtime uses are declared here, under the driver's names.

   The library is libcuda.so.1; the environment variable LATHE_CUDA_DRIVER names another (tests do). */
#ifndef LATHE_CUDA_DRIVER_H
#define LATHE_CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;

enum {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_STUB_LIBRARY = 34,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_IMAGE = 200,
    CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
    CUDA_ERROR_INVALID_PTX = 218,
    CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222,
    CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_ILLEGAL_ADDRESS = 700,
    CUDA_ERROR_LAUNCH_FAILED = 719,
    CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803,
    CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE = 804,
};

enum {
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,
    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8,
    CU_STREAM_NON_BLOCKING = 1,
    CU_EVENT_DEFAULT = 0,
    CU_EVENT_DISABLE_TIMING = 2,
    CU_EVENT_RECORD_EXTERNAL = 1,
    CU_MEMHOSTALLOC_PORTABLE = 1,
    CU_MEMHOSTALLOC_DEVICEMAP = 2,
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1,
    CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION = 6,
    CU_JIT_ERROR_LOG_BUFFER = 5,
    CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES = 6,
};

/* CUlaunchAttribute: its value is a union of 64 bytes, of which a flag is all we need. */
struct cuda_launch_attribute {
    int id, padding;
    union {
        char bytes[64];
        int flag;
    } value;
};

/* CUlaunchConfig. */
struct cuda_launch_config {
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z;
    unsigned shared_bytes;
    CUstream stream;
    struct cuda_launch_attribute *attributes;
    unsigned attribute_count;
};

/* CUDA_MEMCPY2D. */
enum { CU_MEMORYTYPE_DEVICE = 2 };
struct cuda_place_2d {
    size_t x, y;
    int type;
    void *host;
    CUdeviceptr device;
    void *array;
    size_t pitch;
};
struct cuda_copy_2d {
    struct cuda_place_2d from, to;
    size_t width, height; /* bytes of a line; lines, `pitch` bytes from each other */
};

/* Result, name and parameters of every function: a member of struct cuda_driver each. */
#define CUDA_FUNCTIONS(F)                                                                                              \
    F(cuInit, (unsigned flags))                                                                                        \
    F(cuDriverGetVersion, (int *version))                                                                              \
    F(cuGetErrorName, (CUresult result, const char **name))                                                            \
    F(cuGetErrorString, (CUresult result, const char **text))                                                          \
    F(cuDeviceGetCount, (int *count))                                                                                  \
    F(cuDeviceGet, (CUdevice * device, int ordinal))                                                                   \
    F(cuDeviceGetName, (char *name, int length, CUdevice device))                                                      \
    F(cuDeviceGetAttribute, (int *value, int attribute, CUdevice device))                                              \
    F(cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice device))                                                \
    F(cuDevicePrimaryCtxRelease_v2, (CUdevice device))                                                                 \
    F(cuCtxSetCurrent, (CUcontext context))                                                                            \
    F(cuMemGetInfo_v2, (size_t * free, size_t * total))                                                                \
    F(cuMemAlloc_v2, (CUdeviceptr * memory, size_t bytes))                                                             \
    F(cuMemFree_v2, (CUdeviceptr memory))                                                                              \
    F(cuMemHostAlloc, (void **memory, size_t bytes, unsigned flags))                                                   \
    F(cuMemHostGetDevicePointer_v2, (CUdeviceptr * device, void *memory, unsigned flags))                              \
    F(cuMemFreeHost, (void *memory))                                                                                   \
    F(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t bytes, CUstream stream))                         \
    F(cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t bytes, CUstream stream))                               \
    F(cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream))                         \
    F(cuMemcpy2DAsync_v2, (const struct cuda_copy_2d *copy, CUstream stream))                                          \
    F(cuMemsetD8Async, (CUdeviceptr memory, unsigned char value, size_t bytes, CUstream stream))                       \
    F(cuStreamCreate, (CUstream * stream, unsigned flags))                                                             \
    F(cuStreamDestroy_v2, (CUstream stream))                                                                           \
    F(cuStreamSynchronize, (CUstream stream))                                                                          \
    F(cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned flags))                                             \
    F(cuStreamBeginCapture_v2, (CUstream stream, int mode))                                                            \
    F(cuStreamEndCapture, (CUstream stream, CUgraph * graph))                                                          \
    F(cuGraphInstantiateWithFlags, (CUgraphExec * executable, CUgraph graph, unsigned long long flags))                \
    F(cuGraphLaunch, (CUgraphExec executable, CUstream stream))                                                        \
    F(cuGraphExecDestroy, (CUgraphExec executable))                                                                    \
    F(cuGraphDestroy, (CUgraph graph))                                                                                 \
    F(cuEventCreate, (CUevent * event, unsigned flags))                                                                \
    F(cuEventDestroy_v2, (CUevent event))                                                                              \
    F(cuEventRecord, (CUevent event, CUstream stream))                                                                 \
    F(cuEventRecordWithFlags, (CUevent event, CUstream stream, unsigned flags))                                        \
    F(cuEventSynchronize, (CUevent event))                                                                             \
    F(cuEventElapsedTime, (float *milliseconds, CUevent from, CUevent to))                                             \
    F(cuModuleLoadDataEx, (CUmodule * module, const void *image, unsigned count, int *options, void **values))         \
    F(cuModuleUnload, (CUmodule module))                                                                               \
    F(cuModuleGetFunction, (CUfunction * function, CUmodule module, const char *name))                                 \
    F(cuFuncSetAttribute, (CUfunction function, int attribute, int value))                                             \
    F(cuLaunchKernelEx, (const struct cuda_launch_config *config, CUfunction function, void **parameters, void **extra))

#define CUDA_MEMBER(name, parameters) CUresult(*name) parameters;

struct cuda_driver {
    void *library;
    int version; /* 13000: CUDA 13.0 */
    CUDA_FUNCTIONS(CUDA_MEMBER)
};

/* Opens the library and initialises it. `instead`: what to do on a machine without a GPU, the end of the messages that
   say so. 0, or -1 and a message: no driver, no GPU, a driver older than `needed` (as cuDriverGetVersion counts). A
   driver that could not be opened is all zero. */
int cuda_driver_open(struct cuda_driver *driver, int needed, const char *instead, struct error *error);
/* All zero, or closed before, is allowed. */
void cuda_driver_close(struct cuda_driver *driver);

/* 0 if `result` is success; else -1 and "CUDA: WHAT: out of memory (CUDA_ERROR_OUT_OF_MEMORY, 2)". */
int cuda_check(const struct cuda_driver *driver, CUresult result, const char *what, struct error *error);

/* "out of memory (CUDA_ERROR_OUT_OF_MEMORY, 2)" in `text`, which it returns. */
const char *cuda_result_text(const struct cuda_driver *driver, CUresult result, char text[160]);

#endif
