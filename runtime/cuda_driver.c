#include "cuda_driver.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *cuda_result_text(const struct cuda_driver *driver, CUresult result, char text[160])
{
    const char *name = NULL, *words = NULL;
    if (!driver->cuGetErrorName || driver->cuGetErrorName(result, &name) || !name)
        name = "unknown error";
    if (!driver->cuGetErrorString || driver->cuGetErrorString(result, &words) || !words)
        words = "an error that this driver does not know";
    snprintf(text, 160, "%.100s (%.40s, %d)", words, name, result);
    return text;
}

int cuda_check(const struct cuda_driver *driver, CUresult result, const char *what, struct error *error)
{
    char text[160];
    if (result == CUDA_SUCCESS)
        return 0;
    return error_set(error, "CUDA: %s: %s", what, cuda_result_text(driver, result, text));
}

/* dlsym gives a data pointer; the copy makes a function of it without a cast that C forbids. */
#define LOAD(name, parameters)                                                                                         \
    {                                                                                                                  \
        void *symbol = dlsym(driver->library, #name);                                                                  \
        memcpy(&driver->name, &symbol, sizeof symbol);                                                                 \
        if (!symbol && !missing)                                                                                       \
            missing = #name;                                                                                           \
    }

/* The name of a function that the library lacks, or NULL. */
static const char *load_functions(struct cuda_driver *driver)
{
    const char *missing = NULL;
    CUDA_FUNCTIONS(LOAD)
    return missing;
}

static int explain_init(const struct cuda_driver *driver, CUresult result, const char *instead, struct error *error)
{
    char text[160];
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    switch (result) {
    case CUDA_ERROR_NO_DEVICE:
        if (visible)
            return error_set(error,
                             "no GPU: the NVIDIA driver finds none with CUDA_VISIBLE_DEVICES=%.100s; unset it, or %s",
                             visible, instead);
        return error_set(error,
                         "no GPU: the NVIDIA driver is installed and finds none (nvidia-smi shows what it sees); %s",
                         instead);
    case CUDA_ERROR_STUB_LIBRARY:
        return error_set(error,
                         "no NVIDIA driver: libcuda.so.1 is the CUDA toolkit's stub; install the driver (or take "
                         "the stub's folder out of LD_LIBRARY_PATH), or %s",
                         instead);
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
    case CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
        return error_set(error,
                         "the NVIDIA driver's library and kernel module do not fit together: %s; restart the "
                         "machine after an update, or install the driver again",
                         cuda_result_text(driver, result, text));
    default:
        return error_set(error, "the NVIDIA driver does not start: %s; nvidia-smi and dmesg may say why",
                         cuda_result_text(driver, result, text));
    }
}

/* What a driver must bring besides the functions: the compiler's own major version of CUDA. */
static int check_version(const struct cuda_driver *driver, int needed, const char *missing, struct error *error)
{
    int least = needed > 12030 ? needed / 1000 * 1000 : 12030; /* graphs with programmatic dependent launch */
    if (!missing && driver->version >= least)
        return 0;
    return error_set(
        error,
        "the NVIDIA driver is too old: it brings CUDA %d.%d%s%s, and this program needs CUDA %d.%d or later; "
        "update the driver, or build the package again with an older CUDA toolkit",
        driver->version / 1000, driver->version % 1000 / 10, missing ? " without " : "", missing ? missing : "",
        least / 1000, least % 1000 / 10);
}

int cuda_driver_open(struct cuda_driver *driver, int needed, const char *instead, struct error *error)
{
    memset(driver, 0, sizeof *driver);
    const char *other = getenv("LATHE_CUDA_DRIVER");
    const char *path = other && *other ? other : "libcuda.so.1";
    driver->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!driver->library)
        return error_set(error, "no NVIDIA driver: %.300s; install the driver, or %s", dlerror(), instead);
    const char *missing = load_functions(driver);
    int failed = -1;
    if (!driver->cuInit || !driver->cuDriverGetVersion) {
        error_set(error, "%.300s is no NVIDIA driver: it has no %s", path, missing);
    } else {
        (void)driver->cuDriverGetVersion(&driver->version); /* works without a device; 0 when it does not */
        CUresult result = missing ? CUDA_SUCCESS : driver->cuInit(0);
        failed = result != CUDA_SUCCESS ? explain_init(driver, result, instead, error)
                                        : check_version(driver, needed, missing, error);
    }
    if (failed)
        cuda_driver_close(driver);
    return failed;
}

void cuda_driver_close(struct cuda_driver *driver)
{
    /* The library stays: drivers do not like being unloaded, and another engine may follow. */
    memset(driver, 0, sizeof *driver);
}
