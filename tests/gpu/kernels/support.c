#include "support.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gpu gpu;
static int checked, failed;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "error: %s: %s\n", what, why);
    exit(1);
}

void gpu_check(CUresult result, const char *what)
{
    char text[160];
    if (result != CUDA_SUCCESS)
        fail(what, cuda_result_text(&gpu.driver, result, text));
}

void gpu_open(void)
{
    struct error error = {0};
    CUcontext context;
    if (cuda_driver_open(&gpu.driver, 0, "run this test on one", &error))
        fail("opening the driver", error.message);
    gpu_check(gpu.driver.cuDeviceGet(&gpu.device, 0), "cuDeviceGet");
    gpu_check(gpu.driver.cuDeviceGetName(gpu.name, sizeof gpu.name, gpu.device), "cuDeviceGetName");
    gpu_check(gpu.driver.cuDeviceGetAttribute(&gpu.processors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, gpu.device),
              "cuDeviceGetAttribute");
    gpu_check(gpu.driver.cuDevicePrimaryCtxRetain(&context, gpu.device), "cuDevicePrimaryCtxRetain");
    gpu_check(gpu.driver.cuCtxSetCurrent(context), "cuCtxSetCurrent");
    gpu_check(gpu.driver.cuStreamCreate(&gpu.stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
}

void *gpu_allocate(size_t bytes)
{
    CUdeviceptr memory;
    gpu_check(gpu.driver.cuMemAlloc_v2(&memory, bytes ? bytes : 1), "cuMemAlloc");
    gpu_poison((void *)(uintptr_t)memory, bytes);
    return (void *)(uintptr_t)memory;
}

void gpu_free(void *memory)
{
    gpu_check(gpu.driver.cuMemFree_v2((CUdeviceptr)(uintptr_t)memory), "cuMemFree");
}

void gpu_poison(void *memory, size_t bytes)
{
    gpu_check(gpu.driver.cuMemsetD8Async((CUdeviceptr)(uintptr_t)memory, 0xff, bytes, gpu.stream), "cuMemsetD8Async");
}

void gpu_zero(void *memory, size_t bytes)
{
    gpu_check(gpu.driver.cuMemsetD8Async((CUdeviceptr)(uintptr_t)memory, 0, bytes, gpu.stream), "cuMemsetD8Async");
}

void gpu_upload(void *to, const void *from, size_t bytes)
{
    gpu_check(gpu.driver.cuMemcpyHtoDAsync_v2((CUdeviceptr)(uintptr_t)to, from, bytes, gpu.stream),
              "cuMemcpyHtoDAsync");
    gpu_finish();
}

void gpu_download(void *to, const void *from, size_t bytes)
{
    gpu_check(gpu.driver.cuMemcpyDtoHAsync_v2(to, (CUdeviceptr)(uintptr_t)from, bytes, gpu.stream),
              "cuMemcpyDtoHAsync");
    gpu_finish();
}

void gpu_finish(void)
{
    gpu_check(gpu.driver.cuStreamSynchronize(gpu.stream), "cuStreamSynchronize");
}

CUfunction gpu_kernel(const char *path, const char *name, unsigned shared_bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        fail(path, "cannot be opened");
    static char image[16 << 20];
    size_t bytes = fread(image, 1, sizeof image - 1, file);
    image[bytes] = 0;
    fclose(file);
    CUmodule module;
    CUfunction function;
    gpu_check(gpu.driver.cuModuleLoadDataEx(&module, image, 0, NULL, NULL), path);
    gpu_check(gpu.driver.cuModuleGetFunction(&function, module, name), name);
    if (shared_bytes > 0)
        gpu_check(
            gpu.driver.cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)shared_bytes),
            "cuFuncSetAttribute");
    return function;
}

void gpu_launch(const struct gpu_launch *launch, void **parameters)
{
    struct cuda_launch_attribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                                              .value.flag = 1};
    struct cuda_launch_config config = {
        .grid_x = launch->grid[0],
        .grid_y = launch->grid[1] ? launch->grid[1] : 1,
        .grid_z = launch->grid[2] ? launch->grid[2] : 1,
        .block_x = launch->threads,
        .block_y = 1,
        .block_z = 1,
        .shared_bytes = launch->shared_bytes,
        .stream = gpu.stream,
        .attributes = &attribute,
        .attribute_count = launch->overlaps ? 1 : 0,
    };
    gpu_check(gpu.driver.cuLaunchKernelEx(&config, launch->function, parameters, NULL), "cuLaunchKernelEx");
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double gpu_time(void (*enqueue)(void *context), void *context, int repeats)
{
    CUgraph graph;
    CUgraphExec executable;
    CUevent begin, end;
    gpu_check(gpu.driver.cuStreamBeginCapture_v2(gpu.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "capture");
    enqueue(context);
    gpu_check(gpu.driver.cuStreamEndCapture(gpu.stream, &graph), "cuStreamEndCapture");
    gpu_check(gpu.driver.cuGraphInstantiateWithFlags(&executable, graph, 0), "cuGraphInstantiate");
    gpu_check(gpu.driver.cuEventCreate(&begin, CU_EVENT_DEFAULT), "cuEventCreate");
    gpu_check(gpu.driver.cuEventCreate(&end, CU_EVENT_DEFAULT), "cuEventCreate");
    double times[64];
    for (int i = -2; i < repeats && i < 64; i++) {
        float milliseconds;
        gpu_check(gpu.driver.cuEventRecord(begin, gpu.stream), "cuEventRecord");
        gpu_check(gpu.driver.cuGraphLaunch(executable, gpu.stream), "cuGraphLaunch");
        gpu_check(gpu.driver.cuEventRecord(end, gpu.stream), "cuEventRecord");
        gpu_finish();
        gpu_check(gpu.driver.cuEventElapsedTime(&milliseconds, begin, end), "cuEventElapsedTime");
        if (i >= 0)
            times[i] = (double)milliseconds;
    }
    gpu_check(gpu.driver.cuGraphExecDestroy(executable), "cuGraphExecDestroy");
    gpu_check(gpu.driver.cuGraphDestroy(graph), "cuGraphDestroy");
    repeats = repeats < 64 ? repeats : 64;
    qsort(times, (size_t)repeats, sizeof *times, by_value);
    return times[repeats / 2];
}

uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

float random_float(uint64_t *state)
{
    return (float)(random_next(state) >> 40) * 0x1p-23f - 1.0f;
}

uint16_t bf16_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return value == value ? (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16) : 0x7fc0;
}

float bf16_to_float(uint16_t value)
{
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

void test_check(int right, const char *format, ...)
{
    checked++;
    if (right)
        return;
    if (++failed <= 20) {
        va_list arguments;
        va_start(arguments, format);
        printf("FAILED: ");
        vprintf(format, arguments);
        printf("\n");
        va_end(arguments);
    }
}

int test_result(const char *program)
{
    printf("%s: %d checks, %d failed\n", program, checked, failed);
    return failed > 0 || checked == 0;
}
