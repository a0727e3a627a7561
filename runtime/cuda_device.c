#include "cuda_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *cuda_target_text(const struct cuda_target *target, char text[32])
{
    snprintf(text, 32, "%s%.24s", target->ptx ? "" : "sm_", target->name);
    return text;
}

bool cuda_target_has(const struct cuda_target *target, const struct cuda_kernel *kernel)
{
    return !kernel->only || strcmp(kernel->only, target->name) == 0;
}

static bool fits(const struct cuda_target *target, int major, int minor)
{
    if (target->exact)
        return target->major == major && target->minor == minor;
    if (target->ptx)
        return target->major < major || (target->major == major && target->minor <= minor);
    return target->major == major && target->minor <= minor;
}

/* The first target for this compute capability, or the forced one; NULL: none. */
static const struct cuda_target *choose_target(const struct cuda_model *model, int major, int minor)
{
    const char *forced = getenv("LATHE_CUDA_TARGET");
    for (int32_t i = 0; i < model->target_count; i++) {
        const struct cuda_target *target = &model->targets[i];
        if (fits(target, major, minor) && (!forced || !*forced || strcmp(forced, target->name) == 0))
            return target;
    }
    return NULL;
}

/* Appends to a text that may be full. */
static void append(char *text, size_t size, const char *more)
{
    size_t length = strlen(text);
    snprintf(text + length, size - length, "%s%s", length ? ", " : "", more);
}

static int explain_targets(const struct cuda_model *model, const char *package_name, const char *found,
                           const char *instead, struct error *error)
{
    char built[256] = "", text[32];
    for (int32_t i = 0; i < model->target_count; i++)
        append(built, sizeof built, cuda_target_text(&model->targets[i], text));
    const char *forced = getenv("LATHE_CUDA_TARGET");
    if (forced && *forced)
        return error_set(error, "LATHE_CUDA_TARGET=%.32s: \"%.100s\" was built for %s, and the GPU is %s: unset it",
                         forced, package_name, built, found);
    return error_set(error,
                     "\"%.100s\" was built for %s, and this machine has %s: build it again with a --target cuda:SM "
                     "for this GPU (8.0 is the least that lathe knows), or %s",
                     package_name, built, found, instead);
}

static int ask(const struct cuda_driver *driver, int attribute, CUdevice device, int *value, struct error *error)
{
    return cuda_check(driver, driver->cuDeviceGetAttribute(value, attribute, device),
                      "asking for a device's properties", error);
}

static int choose_device(struct cuda_device *device, const char *package_name, const char *instead, struct error *error)
{
    const struct cuda_driver *driver = &device->driver;
    char found[384] = "";
    int count = 0;
    if (cuda_check(driver, driver->cuDeviceGetCount(&count), "counting GPUs", error))
        return -1;
    for (int i = 0; i < count; i++) {
        CUdevice candidate;
        if (cuda_check(driver, driver->cuDeviceGet(&candidate, i), "opening a GPU", error) ||
            cuda_check(driver, driver->cuDeviceGetName(device->name, sizeof device->name, candidate), "a GPU's name",
                       error) ||
            ask(driver, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, candidate, &device->major, error) ||
            ask(driver, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, candidate, &device->minor, error) ||
            ask(driver, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, candidate, &device->processors, error))
            return -1;
        device->device = candidate;
        device->target = choose_target(device->model, device->major, device->minor);
        if (device->target)
            return 0;
        char text[128];
        snprintf(text, sizeof text, "%.90s (compute capability %d.%d)", device->name, device->major, device->minor);
        append(found, sizeof found, text);
    }
    if (count == 0)
        return error_set(error, "no GPU: the NVIDIA driver is installed and finds none; %s", instead);
    return explain_targets(device->model, package_name, found, instead, error);
}

static int explain_load(const struct cuda_device *device, CUresult result, const struct cuda_kernel *kernel,
                        const char *log, struct error *error)
{
    const struct cuda_driver *driver = &device->driver;
    char text[160], target[32];
    const char *next = "build the package again";
    if (result == CUDA_ERROR_UNSUPPORTED_PTX_VERSION || result == CUDA_ERROR_INVALID_IMAGE ||
        result == CUDA_ERROR_NO_BINARY_FOR_GPU || result == CUDA_ERROR_INVALID_PTX)
        next = "the driver may be older than the compiler: update it, or build the package again";
    return error_set(error, "CUDA: loading kernel \"%s\" (%s) with a driver for CUDA %d.%d: %s%s%.200s; %s",
                     kernel->name, cuda_target_text(device->target, target), driver->version / 1000,
                     driver->version % 1000 / 10, cuda_result_text(driver, result, text), *log ? ": " : "", log, next);
}

static int load_kernel(struct cuda_device *device, int32_t i, int shared_limit, struct error *error)
{
    const struct cuda_driver *driver = &device->driver;
    const struct cuda_kernel *kernel = &device->model->kernels[i];
    if (!cuda_target_has(device->target, kernel))
        return 0;
    char log[1024] = "";
    int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    CUresult result =
        driver->cuModuleLoadDataEx(&device->module[i], device->target->images[i].data, 2, options, values);
    if (result == CUDA_SUCCESS)
        result = driver->cuModuleGetFunction(&device->function[i], device->module[i], kernel->name);
    if (result != CUDA_SUCCESS) {
        for (char *c = log; *c; c++)
            *c = *c == '\n' ? ' ' : *c;
        return explain_load(device, result, kernel, log, error);
    }
    if (kernel->shared_bytes > (uint32_t)shared_limit)
        return error_set(error,
                         "kernel \"%s\" wants %u bytes of shared memory and a block of this GPU (%s) has %d: build the "
                         "package again with a --target cuda:SM for this GPU",
                         kernel->name, kernel->shared_bytes, device->name, shared_limit);
    if (kernel->shared_bytes == 0)
        return 0;
    return cuda_check(driver,
                      driver->cuFuncSetAttribute(device->function[i], CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                                 (int)kernel->shared_bytes),
                      kernel->name, error);
}

static int load_kernels(struct cuda_device *device,
                        void (*progress)(void *context, const char *what, uint64_t done, uint64_t total), void *context,
                        struct error *error)
{
    int32_t count = device->model->kernel_count;
    int shared_limit;
    if (ask(&device->driver, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device->device, &shared_limit,
            error))
        return -1;
    device->module = calloc((size_t)count + 1, sizeof(CUmodule));
    device->function = calloc((size_t)count + 1, sizeof(CUfunction));
    if (!device->module || !device->function)
        return error_set(error, "out of memory for %d kernels", count);
    for (int32_t i = 0; i < count; i++) {
        if (load_kernel(device, i, shared_limit, error))
            return -1;
        if (progress)
            progress(context, device->target->ptx ? "compiling kernels (PTX)" : "loading kernels", (uint64_t)i + 1,
                     (uint64_t)count);
    }
    return 0;
}

int cuda_device_open(struct cuda_device *device, const struct cuda_model *model, const char *package_name,
                     const char *instead, void (*notice)(void *context, const char *message),
                     void (*progress)(void *context, const char *what, uint64_t done, uint64_t total), void *context,
                     struct error *error)
{
    memset(device, 0, sizeof *device);
    device->model = model;
    if (cuda_driver_open(&device->driver, model->cuda_version, instead, error) ||
        choose_device(device, package_name, instead, error))
        return -1;
    const struct cuda_driver *driver = &device->driver;
    if (device->target->ptx && notice) {
        char message[256];
        snprintf(
            message, sizeof message,
            "this package has no kernels for %s (%d.%d): the driver compiles its PTX, which is slower; build it with "
            "--target cuda:%d%d",
            device->name, device->major, device->minor, device->major, device->minor);
        notice(context, message);
    }
    if (cuda_check(driver, driver->cuDevicePrimaryCtxRetain(&device->context, device->device), device->name, error) ||
        cuda_check(driver, driver->cuCtxSetCurrent(device->context), device->name, error))
        return -1;
    return load_kernels(device, progress, context, error);
}

void cuda_device_close(struct cuda_device *device)
{
    const struct cuda_driver *driver = &device->driver;
    if (device->context) {
        for (int32_t i = 0; device->module && i < device->model->kernel_count; i++)
            if (device->module[i])
                (void)driver->cuModuleUnload(device->module[i]);
        (void)driver->cuDevicePrimaryCtxRelease_v2(device->device);
    }
    free(device->module);
    free(device->function);
    cuda_driver_close(&device->driver);
    memset(device, 0, sizeof *device);
}
