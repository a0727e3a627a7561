#include "cuda_trace.h"

#include <stdlib.h>
#include <string.h>

void cuda_trace_unpack(uint16_t *to, const uint16_t *pieces, int32_t rows, int32_t columns)
{
    int32_t across = (columns + 63) / 64 * 8;
    for (int32_t r = 0; r < rows; r++)
        for (int32_t c = 0; c < columns; c++) {
            size_t piece = (size_t)(r / 8) * (size_t)across + (size_t)(c / 8);
            to[(size_t)r * (size_t)columns + (size_t)c] = pieces[piece * 64 + (size_t)(r % 8 * 8 + c % 8)];
        }
}

bool cuda_trace_shows(const struct cuda_model *cuda, const char *name)
{
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    bool found = strcmp(name, "logits") == 0;
    for (int32_t i = 0; i < cuda->trace_count && !found; i++)
        found = strcmp(cuda->traces[i].name, last) == 0;
    return found;
}

/* Bytes from the device, newly allocated. */
static void *fetch(struct cuda_stream *stream, const void *from, size_t bytes, const char *what)
{
    const struct cuda_driver *driver = &stream->device->driver;
    void *data = malloc(bytes ? bytes : 1);
    if (!data) {
        error_set(&stream->error, "out of memory for --dump");
        return NULL;
    }
    if (cuda_check(driver, driver->cuMemcpyDtoHAsync_v2(data, (CUdeviceptr)(uintptr_t)from, bytes, stream->handle),
                   what, &stream->error) ||
        cuda_check(driver, driver->cuStreamSynchronize(stream->handle), what, &stream->error)) {
        free(data);
        return NULL;
    }
    return data;
}

/* A trace's tensor as rows, newly allocated; NULL: the stream has the error. */
static void *fetch_tensor(struct cuda_stream *stream, const struct cuda_tracer *tracer, const struct cuda_trace *what)
{
    size_t rows = (size_t)tracer->rows, columns = (size_t)what->columns;
    size_t width = what->dtype == DTYPE_F32 ? sizeof(float) : sizeof(uint16_t);
    const unsigned char *from = tracer->step->arena + what->offset;
    if (what->order == CUDA_ORDER_ROWS)
        return fetch(stream, from, rows * columns * width, what->name);
    uint16_t *pieces =
        fetch(stream, from, (rows + 7) / 8 * 8 * ((columns + 63) / 64 * 64) * sizeof *pieces, what->name);
    uint16_t *data = pieces ? malloc(rows * columns * sizeof *data) : NULL;
    if (data)
        cuda_trace_unpack(data, pieces, tracer->rows, what->columns);
    else if (pieces)
        error_set(&stream->error, "out of memory for --dump");
    free(pieces);
    return data;
}

int cuda_trace_stage(void *context, struct cuda_stream *stream, const char *stage, int index)
{
    const struct cuda_tracer *tracer = context;
    const struct cuda_model *cuda = tracer->model->cuda;
    for (int32_t i = 0; i < cuda->trace_count; i++) {
        const struct cuda_trace *what = &cuda->traces[i];
        if (strcmp(what->stage, stage) != 0)
            continue;
        void *data = fetch_tensor(stream, tracer, what);
        if (!data)
            return -1;
        tracer->trace->tensor(tracer->trace->context, what->name, index, what->dtype, data, tracer->rows,
                              what->columns);
        free(data);
    }
    return 0;
}

int cuda_trace_logits(const struct cuda_tracer *tracer, struct cuda_stream *stream, struct error *error)
{
    if (tracer->outputs == 0)
        return 0;
    size_t bytes = (size_t)tracer->outputs * (size_t)tracer->model->vocab * sizeof(float);
    void *data = fetch(stream, tracer->step->logits, bytes, "logits");
    if (!data) {
        *error = stream->error;
        return -1;
    }
    tracer->trace->tensor(tracer->trace->context, "logits", -1, DTYPE_F32, data, tracer->outputs, tracer->model->vocab);
    free(data);
    return 0;
}
