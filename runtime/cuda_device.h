/* A GPU with a package's kernels loaded: the first one that a target of the package fits. */
#ifndef LATHE_CUDA_DEVICE_H
#define LATHE_CUDA_DEVICE_H

#include "cuda_driver.h"
#include "cuda_model.h"
#include "error.h"

struct cuda_device {
    struct cuda_driver driver;
    const struct cuda_model *model;
    const struct cuda_target *target; /* whose images are loaded */
    CUdevice device;
    CUcontext context; /* NULL: not retained */
    char name[96];     /* "NVIDIA H100 80GB HBM3" */
    int major, minor;  /* compute capability */
    int processors;
    CUmodule *module;     /* [model.kernel_count] */
    CUfunction *function; /* [model.kernel_count] */
};

/* Opens the driver, chooses the GPU and its target, and loads all kernels. The environment variable LATHE_CUDA_TARGET
   ("ptx80") forces a target that the GPU can run. PTX is announced through `notice` (may be NULL). 0, or -1 and a
   message; cuda_device_close is right in both cases. */
int cuda_device_open(struct cuda_device *device, const struct cuda_model *model, const char *package_name,
                     const char *instead, void (*notice)(void *context, const char *message),
                     void (*progress)(void *context, const char *what, uint64_t done, uint64_t total), void *context,
                     struct error *error);
void cuda_device_close(struct cuda_device *device);

/* Whether kernels of this target can do this. */
bool cuda_target_has(const struct cuda_target *target, const struct cuda_kernel *kernel);

/* "sm_90a" or "ptx80": what the target's name is called elsewhere. */
const char *cuda_target_text(const struct cuda_target *target, char text[32]);

#endif
