#include "cuda_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_blas.h"

int cuda_stream_open(struct cuda_stream *stream, struct cuda_device *device, struct error *error)
{
    memset(stream, 0, sizeof *stream);
    stream->device = device;
    /* Kernels of older targets do not wait for their predecessors themselves. */
    stream->programmatic = device->target->major >= 9;
    const char *serial = getenv("LATHE_CUDA_SERIAL");
    stream->serial = serial && *serial && strcmp(serial, "0") != 0;
    const struct cuda_driver *driver = &device->driver;
    return cuda_check(driver, driver->cuStreamCreate(&stream->handle, CU_STREAM_NON_BLOCKING), "making a stream",
                      error);
}

void cuda_stream_close(struct cuda_stream *stream)
{
    if (stream->handle)
        (void)stream->device->driver.cuStreamDestroy_v2(stream->handle);
    memset(stream, 0, sizeof *stream);
}

static void fail(struct cuda_stream *stream, const char *stage, int index, CUresult result)
{
    char text[160], layer[32] = "";
    if (index >= 0)
        snprintf(layer, sizeof layer, " of layer %d", index);
    stream->failed = true;
    error_set(&stream->error, "CUDA: stage \"%s\"%s failed on %s: %s", stage, layer, stream->device->name,
              cuda_result_text(&stream->device->driver, result, text));
}

static void observe(struct cuda_stream *stream, int (*observer)(void *, struct cuda_stream *, const char *, int),
                    const char *stage, int index)
{
    if (!stream->failed && observer)
        stream->failed = observer(stream->observer->context, stream, stage, index) != 0;
}

void cuda_stream_launch(struct cuda_stream *stream, int kernel, const char *stage, int index, const unsigned grid[3],
                        void **parameters)
{
    struct cuda_device *device = stream->device;
    const struct cuda_observer *observer = stream->observer;
    if (observer)
        observe(stream, observer->before, stage, index);
    if (stream->failed)
        return;
    if (kernel < 0 || kernel >= device->model->kernel_count) {
        fail(stream, stage, index, CUDA_ERROR_INVALID_VALUE);
        return;
    }
    struct cuda_launch_attribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                                              .value.flag = 1};
    struct cuda_launch_config config = {
        .grid_x = grid[0],
        .grid_y = grid[1],
        .grid_z = grid[2],
        .block_x = (unsigned)device->model->kernels[kernel].threads,
        .block_y = 1,
        .block_z = 1,
        .shared_bytes = device->model->kernels[kernel].shared_bytes,
        .stream = stream->handle,
        .attributes = &attribute,
        .attribute_count = stream->programmatic && stream->capturing && stream->follows && !observer,
    };
    CUresult result = device->driver.cuLaunchKernelEx(&config, device->function[kernel], parameters, NULL);
    if (result == CUDA_SUCCESS && stream->serial)
        result = device->driver.cuStreamSynchronize(stream->handle);
    if (result != CUDA_SUCCESS)
        fail(stream, stage, index, result);
    stream->follows = true;
    if (observer)
        observe(stream, observer->after, stage, index);
}

bool cuda_can_launch(const struct cuda_stream *stream, int kernel)
{
    const struct cuda_device *device = stream->device;
    return cuda_target_has(device->target, &device->model->kernels[kernel]);
}

void cuda_launch(struct cuda_stream *stream, int kernel, const char *stage, int x, int y, int z,
                 const struct cuda_step *step, const void *layer, int layer_bytes, int index)
{
    (void)layer_bytes; /* the driver knows the size of each parameter from the kernel */
    struct cuda_step copy = *step;
    void *parameters[] = {&copy, (void *)(uintptr_t)layer, &index};
    cuda_stream_launch(stream, kernel, stage, index, (unsigned[]){(unsigned)x, (unsigned)y, (unsigned)z}, parameters);
}

void cuda_product(struct cuda_stream *stream, const char *stage, int index, const struct cuda_product *product)
{
    const struct cuda_blas_shape shape = {.rows = product->rows,
                                          .outputs = product->outputs,
                                          .depth = product->depth,
                                          .f32 = product->f32,
                                          .accumulate = product->accumulate};
    const struct cuda_observer *observer = stream->observer;
    if (observer)
        observe(stream, observer->before, stage, index);
    if (stream->failed)
        return;
    const struct cuda_blas_product *known = cuda_blas_product(stream->blas, &shape, &stream->error);
    stream->failed = !known || cuda_blas_run(stream->blas, known, (uint64_t)(uintptr_t)product->weight,
                                             (uint64_t)(uintptr_t)product->input, (uint64_t)(uintptr_t)product->output,
                                             stream->handle, &stream->error) != 0;
    stream->follows = false; /* the library's kernels do not say when the next one may begin */
    if (observer)
        observe(stream, observer->after, stage, index);
}

CUgraphExec cuda_stream_capture(struct cuda_stream *stream, void (*enqueue)(void *context, struct cuda_stream *stream),
                                void *context, struct error *error)
{
    const struct cuda_driver *driver = &stream->device->driver;
    CUgraph graph = NULL;
    CUgraphExec executable = NULL;
    if (cuda_check(driver, driver->cuStreamBeginCapture_v2(stream->handle, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
                   "capturing a step", error))
        return NULL;
    stream->capturing = true;
    stream->follows = false;
    enqueue(context, stream);
    stream->capturing = false;
    /* A failed launch has ended the capture too; its own message says more. */
    CUresult result = driver->cuStreamEndCapture(stream->handle, &graph);
    if (cuda_stream_take_error(stream, error) == 0 && cuda_check(driver, result, "capturing a step", error) == 0)
        (void)cuda_check(driver, driver->cuGraphInstantiateWithFlags(&executable, graph, 0), "making a graph of a step",
                         error);
    if (graph)
        (void)driver->cuGraphDestroy(graph);
    return executable;
}

int cuda_stream_take_error(struct cuda_stream *stream, struct error *error)
{
    if (!stream->failed)
        return 0;
    stream->failed = false;
    if (error)
        *error = stream->error;
    return -1;
}

int cuda_stream_finish(struct cuda_stream *stream, const char *what, struct error *error)
{
    const struct cuda_driver *driver = &stream->device->driver;
    CUresult result = driver->cuStreamSynchronize(stream->handle);
    if (cuda_stream_take_error(stream, error))
        return -1;
    return cuda_check(driver, result, what, error);
}
