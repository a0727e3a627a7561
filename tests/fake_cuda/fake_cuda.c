/* The library that fake_cuda.h describes. */
#include "fake_cuda.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_driver.h"

enum { INVALID = CUDA_ERROR_INVALID_VALUE, INVALID_CONTEXT = 201, OPS_MAX = 1 << 16, CALLS_MAX = 64 };

enum op_kind { OP_COPY, OP_SET, OP_KERNEL, OP_RECORD, OP_WAIT };

/* Something that a stream is to do. */
struct op {
    enum op_kind kind;
    void *to;
    const void *from; /* OP_COPY; `owned` when it is a copy of pageable memory */
    void *owned;
    size_t bytes;
    unsigned char value;
    const struct CUfunc_st *function;
    unsigned grid[3], threads;
    unsigned char parameters[FAKE_CUDA_PARAMETERS][256];
    CUevent event;
    uint64_t target; /* OP_WAIT: the event's record that it waits for */
};

struct CUfunc_st {
    const struct fake_cuda_image *image;
    int shared;
};
struct CUmod_st {
    struct CUfunc_st function;
};
struct CUevent_st {
    CUstream stream;
    uint64_t recorded, executed;
    double when;
};
struct CUgraph_st {
    struct op *op;
    int count;
};
struct CUgraphExec_st {
    struct op *op;
    int count;
};
struct CUstream_st {
    struct op *op;
    int first, count, capacity;
    CUgraph capture; /* not NULL: operations go there */
};

struct block {
    struct block *next;
    unsigned char *data;
    size_t bytes;
    bool pinned;
};

static struct {
    bool ready;
    int devices, major, minor, version;
    size_t memory, used;
    char fail[64], fault[64], log[256];
    int fail_code, fail_from, fault_code;
    CUresult broken; /* the context after a fault */
    int live;
    struct block *blocks;
    struct {
        const char *name;
        int count;
    } calls[CALLS_MAX];
    double clock;
} fake;

static _Thread_local CUcontext current; /* of this thread; NULL: none */

int fake_cuda_live(void)
{
    return fake.live;
}

int fake_cuda_calls(const char *name)
{
    for (int i = 0; i < CALLS_MAX && fake.calls[i].name; i++)
        if (strcmp(fake.calls[i].name, name) == 0)
            return fake.calls[i].count;
    return 0;
}

static void setting(const char *word)
{
    if (sscanf(word, "devices=%d", &fake.devices) == 1 || sscanf(word, "version=%d", &fake.version) == 1 ||
        sscanf(word, "capability=%d.%d", &fake.major, &fake.minor) == 2 ||
        sscanf(word, "memory=%zu", &fake.memory) == 1 ||
        sscanf(word, "fail=%63[^:]:%d:%d", fake.fail, &fake.fail_code, &fake.fail_from) >= 2 ||
        sscanf(word, "fault=%63[^:]:%d", fake.fault, &fake.fault_code) == 2 || sscanf(word, "log=%255s", fake.log) == 1)
        return;
    fprintf(stderr, "fake_cuda: FAKE_CUDA has '%s', which means nothing\n", word);
    abort();
}

static void get_ready(void)
{
    if (fake.ready)
        return;
    fake.ready = true;
    fake.devices = 1;
    fake.major = 9;
    fake.version = 13000;
    fake.memory = (size_t)1 << 30;
    const char *settings = getenv("FAKE_CUDA");
    char *copy = strdup(settings ? settings : "");
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        setting(word);
    free(copy);
}

/* Counts the call; what it is to fail with. */
static CUresult called(const char *name)
{
    get_ready();
    int i = 0;
    while (fake.calls[i].name && strcmp(fake.calls[i].name, name) != 0)
        i++;
    fake.calls[i].name = name;
    int count = ++fake.calls[i].count;
    if (strcmp(name, fake.fail) == 0 && count >= (fake.fail_from ? fake.fail_from : 1))
        return fake.fail_code;
    return CUDA_SUCCESS;
}

/* Counts the call, and fails it on request. */
#define ENTER                                                                                                          \
    CUresult entered = called(__func__);                                                                               \
    if (entered != CUDA_SUCCESS)                                                                                       \
    return entered
/* What needs a working context. */
#define ENTER_CONTEXT                                                                                                  \
    ENTER;                                                                                                             \
    if (fake.broken || !current)                                                                                       \
    return fake.broken ? fake.broken : INVALID_CONTEXT

CUresult cuInit(unsigned flags)
{
    ENTER;
    (void)flags;
    return fake.devices > 0 ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

CUresult cuDriverGetVersion(int *version)
{
    ENTER;
    *version = fake.version;
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult result, const char **name)
{
    *name = result == CUDA_ERROR_OUT_OF_MEMORY     ? "CUDA_ERROR_OUT_OF_MEMORY"
            : result == CUDA_ERROR_NO_DEVICE       ? "CUDA_ERROR_NO_DEVICE"
            : result == CUDA_ERROR_ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS"
                                                   : NULL;
    return *name ? CUDA_SUCCESS : INVALID;
}

CUresult cuGetErrorString(CUresult result, const char **text)
{
    *text = result == CUDA_ERROR_OUT_OF_MEMORY     ? "out of memory"
            : result == CUDA_ERROR_NO_DEVICE       ? "no CUDA-capable device is detected"
            : result == CUDA_ERROR_ILLEGAL_ADDRESS ? "an illegal memory access was encountered"
                                                   : NULL;
    return *text ? CUDA_SUCCESS : INVALID;
}

CUresult cuDeviceGetCount(int *count)
{
    ENTER;
    *count = fake.devices;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    ENTER;
    *device = ordinal;
    return ordinal >= 0 && ordinal < fake.devices ? CUDA_SUCCESS : INVALID;
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device)
{
    ENTER;
    snprintf(name, (size_t)length, "Fake GPU %d", device);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device)
{
    ENTER;
    (void)device;
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        *value = fake.major;
        return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        *value = fake.minor;
        return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        *value = 4;
        return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        *value = 101376;
        return CUDA_SUCCESS;
    default:
        return INVALID;
    }
}

static struct CUctx_st *the_context(void)
{
    static char context;
    return (struct CUctx_st *)(void *)&context;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    ENTER;
    (void)device;
    *context = the_context();
    fake.live++;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    ENTER;
    (void)device;
    fake.live--;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context)
{
    ENTER;
    current = context;
    return context == the_context() ? CUDA_SUCCESS : INVALID;
}

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
    ENTER_CONTEXT;
    *free_bytes = fake.memory - fake.used;
    *total = fake.memory;
    return CUDA_SUCCESS;
}

static void *new_block(size_t bytes, bool pinned)
{
    struct block *block = calloc(1, sizeof *block);
    unsigned char *data = block ? aligned_alloc(512, (bytes + 511) / 512 * 512) : NULL;
    if (!data) {
        free(block);
        return NULL;
    }
    memset(data, 0xa5, (bytes + 511) / 512 * 512);
    *block = (struct block){.next = fake.blocks, .data = data, .bytes = bytes, .pinned = pinned};
    fake.blocks = block;
    fake.live++;
    return data;
}

static CUresult free_block(const void *data, bool pinned)
{
    for (struct block **at = &fake.blocks; *at; at = &(*at)->next) {
        struct block *block = *at;
        if (block->data != data || block->pinned != pinned)
            continue;
        *at = block->next;
        if (!pinned)
            fake.used -= block->bytes;
        free(block->data);
        free(block);
        fake.live--;
        return CUDA_SUCCESS;
    }
    return INVALID;
}

/* Is all of it inside one block of this kind? */
static bool inside(const void *data, size_t bytes, bool pinned)
{
    const unsigned char *at = data;
    for (const struct block *block = fake.blocks; block; block = block->next)
        if (block->pinned == pinned && at >= block->data && at + bytes <= block->data + block->bytes)
            return true;
    return false;
}

CUresult cuMemAlloc_v2(CUdeviceptr *memory, size_t bytes)
{
    ENTER_CONTEXT;
    if (bytes == 0 || bytes > fake.memory - fake.used)
        return bytes ? CUDA_ERROR_OUT_OF_MEMORY : INVALID;
    void *data = new_block(bytes, false);
    fake.used += data ? bytes : 0;
    *memory = (CUdeviceptr)(uintptr_t)data;
    return data ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemFree_v2(CUdeviceptr memory)
{
    ENTER;
    return free_block((const void *)(uintptr_t)memory, false);
}

CUresult cuMemHostAlloc(void **memory, size_t bytes, unsigned flags)
{
    ENTER_CONTEXT;
    (void)flags;
    *memory = bytes ? new_block(bytes, true) : NULL;
    return *memory ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *device, void *memory, unsigned flags)
{
    ENTER_CONTEXT;
    (void)flags;
    *device = (CUdeviceptr)(uintptr_t)memory;
    return inside(memory, 1, true) ? CUDA_SUCCESS : INVALID;
}

CUresult cuMemFreeHost(void *memory)
{
    ENTER;
    return free_block(memory, true);
}

static struct op *append(CUstream stream)
{
    struct op *op;
    if (stream->capture) {
        struct op *grown = realloc(stream->capture->op, (size_t)(stream->capture->count + 1) * sizeof *grown);
        if (!grown)
            abort();
        stream->capture->op = grown;
        op = &grown[stream->capture->count++];
    } else {
        if (stream->count == stream->capacity) {
            stream->capacity = stream->capacity ? stream->capacity * 2 : 64;
            struct op *grown = realloc(stream->op, (size_t)stream->capacity * sizeof *grown);
            if (!grown || stream->capacity > OPS_MAX)
                abort();
            stream->op = grown;
        }
        op = &stream->op[stream->count++];
    }
    memset(op, 0, sizeof *op);
    return op;
}

static void note(const char *what, const char *name, const unsigned grid[3])
{
    FILE *file = fake.log[0] ? fopen(fake.log, "a") : NULL;
    if (!file)
        return;
    if (grid)
        fprintf(file, "%s %s %u %u %u\n", what, name, grid[0], grid[1], grid[2]);
    else
        fprintf(file, "%s\n", what);
    fclose(file);
}

static void run_next(CUstream stream);

static void run_until(CUevent event, uint64_t target)
{
    while (event->executed < target && event->stream && event->stream->first < event->stream->count)
        run_next(event->stream);
}

static void run_kernel(const struct op *op)
{
    const struct fake_cuda_image *image = op->function->image;
    void *parameters[FAKE_CUDA_PARAMETERS];
    for (int i = 0; i < FAKE_CUDA_PARAMETERS; i++)
        parameters[i] = (void *)(uintptr_t)op->parameters[i];
    if (strcmp(image->name, fake.fault) == 0)
        fake.broken = fake.fault_code;
    else
        image->run(parameters, op->grid, op->threads);
}

static void run_next(CUstream stream)
{
    struct op op = stream->op[stream->first++];
    fake.clock += 0.25;
    if (op.kind == OP_RECORD) {
        op.event->executed++;
        op.event->when = fake.clock;
    } else if (op.kind == OP_WAIT) {
        run_until(op.event, op.target);
    } else if (!fake.broken) {
        if (op.kind == OP_COPY)
            memmove(op.to, op.from, op.bytes);
        else if (op.kind == OP_SET)
            memset(op.to, op.value, op.bytes);
        else
            run_kernel(&op);
    }
    free(op.owned);
    if (stream->first == stream->count)
        stream->first = stream->count = 0;
}

static void run_all(CUstream stream)
{
    while (stream->first < stream->count)
        run_next(stream);
}

static CUresult copy(void *to, const void *from, size_t bytes, CUstream stream)
{
    if (stream->capture)
        return INVALID;
    bool pageable = !inside(from, bytes, true) && !inside(from, bytes, false);
    struct op *op = append(stream);
    op->kind = OP_COPY;
    op->to = to;
    op->from = from;
    op->bytes = bytes;
    if (pageable && bytes) {
        op->owned = malloc(bytes);
        if (!op->owned)
            abort();
        op->from = memcpy(op->owned, from, bytes);
    }
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    ENTER_CONTEXT;
    if (!inside((void *)(uintptr_t)to, bytes, false))
        return INVALID;
    return copy((void *)(uintptr_t)to, from, bytes, stream);
}

CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    ENTER_CONTEXT;
    if (!inside((void *)(uintptr_t)from, bytes, false))
        return INVALID;
    return copy(to, (void *)(uintptr_t)from, bytes, stream);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    ENTER_CONTEXT;
    if (!inside((void *)(uintptr_t)from, bytes, false) || !inside((void *)(uintptr_t)to, bytes, false))
        return INVALID;
    return copy((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes, stream);
}

CUresult cuMemcpy2DAsync_v2(const struct cuda_copy_2d *copy_2d, CUstream stream)
{
    ENTER_CONTEXT;
    const struct cuda_place_2d *from = &copy_2d->from, *to = &copy_2d->to;
    if (from->type != CU_MEMORYTYPE_DEVICE || to->type != CU_MEMORYTYPE_DEVICE || copy_2d->width > from->pitch ||
        copy_2d->width > to->pitch)
        return INVALID;
    for (size_t line = 0; line < copy_2d->height; line++) {
        unsigned char *source = (unsigned char *)(uintptr_t)from->device + line * from->pitch;
        unsigned char *target = (unsigned char *)(uintptr_t)to->device + line * to->pitch;
        CUresult result = INVALID;
        if (inside(source, copy_2d->width, false) && inside(target, copy_2d->width, false))
            result = copy(target, source, copy_2d->width, stream);
        if (result != CUDA_SUCCESS)
            return result;
    }
    return CUDA_SUCCESS;
}

CUresult cuMemsetD8Async(CUdeviceptr memory, unsigned char value, size_t bytes, CUstream stream)
{
    ENTER_CONTEXT;
    if (stream->capture || !inside((void *)(uintptr_t)memory, bytes, false))
        return INVALID;
    struct op *op = append(stream);
    op->kind = OP_SET;
    op->to = (void *)(uintptr_t)memory;
    op->value = value;
    op->bytes = bytes;
    return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *stream, unsigned flags)
{
    ENTER_CONTEXT;
    (void)flags;
    *stream = calloc(1, sizeof **stream);
    fake.live++;
    return CUDA_SUCCESS;
}

CUresult cuStreamDestroy_v2(CUstream stream)
{
    ENTER;
    run_all(stream);
    free(stream->op);
    free(stream);
    fake.live--;
    return CUDA_SUCCESS;
}

/* It waits even when it fails: who cleans up after an error relies on that, as on a GPU. */
CUresult cuStreamSynchronize(CUstream stream)
{
    CUresult failed = called(__func__);
    if (stream->capture)
        return INVALID;
    run_all(stream);
    return failed ? failed : fake.broken;
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
    ENTER_CONTEXT;
    (void)flags;
    struct op *op = append(stream);
    op->kind = OP_WAIT;
    op->event = event;
    op->target = event->recorded;
    return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture_v2(CUstream stream, int mode)
{
    ENTER_CONTEXT;
    (void)mode;
    if (stream->capture)
        return INVALID;
    stream->capture = calloc(1, sizeof *stream->capture);
    fake.live++;
    return CUDA_SUCCESS;
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph)
{
    CUresult failed = called(__func__);
    CUgraph captured = stream->capture;
    stream->capture = NULL;
    if (failed && captured) {
        free(captured->op);
        free(captured);
        fake.live--;
    }
    *graph = failed ? NULL : captured;
    return failed ? failed : captured ? fake.broken : INVALID;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *executable, CUgraph graph, unsigned long long flags)
{
    ENTER_CONTEXT;
    (void)flags;
    *executable = calloc(1, sizeof **executable);
    size_t bytes = (size_t)graph->count * sizeof *graph->op;
    (*executable)->op = malloc(bytes ? bytes : 1);
    if (bytes)
        memcpy((*executable)->op, graph->op, bytes);
    (*executable)->count = graph->count;
    fake.live++;
    return CUDA_SUCCESS;
}

CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream)
{
    ENTER_CONTEXT;
    note("graph", NULL, NULL);
    for (int i = 0; i < executable->count; i++) {
        *append(stream) = executable->op[i];
        if (executable->op[i].kind == OP_RECORD) {
            executable->op[i].event->stream = stream;
            executable->op[i].event->recorded++;
        }
    }
    return CUDA_SUCCESS;
}

CUresult cuGraphExecDestroy(CUgraphExec executable)
{
    ENTER;
    free(executable->op);
    free(executable);
    fake.live--;
    return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph graph)
{
    ENTER;
    free(graph->op);
    free(graph);
    fake.live--;
    return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent *event, unsigned flags)
{
    ENTER_CONTEXT;
    (void)flags;
    *event = calloc(1, sizeof **event);
    fake.live++;
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent event)
{
    ENTER;
    free(event);
    fake.live--;
    return CUDA_SUCCESS;
}

static CUresult record(CUevent event, CUstream stream)
{
    struct op *op = append(stream);
    op->kind = OP_RECORD;
    op->event = event;
    if (!stream->capture) {
        event->stream = stream;
        event->recorded++;
    }
    return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent event, CUstream stream)
{
    ENTER_CONTEXT;
    return stream->capture ? INVALID : record(event, stream);
}

CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags)
{
    ENTER_CONTEXT;
    (void)flags;
    return record(event, stream);
}

CUresult cuEventSynchronize(CUevent event)
{
    ENTER;
    run_until(event, event->recorded);
    return fake.broken;
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent from, CUevent to)
{
    ENTER_CONTEXT;
    *milliseconds = (float)(to->when - from->when);
    return from->executed == from->recorded && to->executed == to->recorded ? CUDA_SUCCESS : INVALID;
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count, int *options, void **values)
{
    ENTER_CONTEXT;
    (void)count, (void)options, (void)values;
    const struct fake_cuda_image *given = image;
    if (given->magic != FAKE_CUDA_MAGIC)
        return CUDA_ERROR_INVALID_IMAGE;
    *module = calloc(1, sizeof **module);
    (*module)->function.image = given;
    fake.live++;
    return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule module)
{
    ENTER;
    free(module);
    fake.live--;
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    ENTER_CONTEXT;
    *function = &module->function;
    return strcmp(name, module->function.image->name) == 0 ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value)
{
    ENTER_CONTEXT;
    if (attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
        function->shared = value;
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernelEx(const struct cuda_launch_config *config, CUfunction function, void **parameters, void **extra)
{
    ENTER_CONTEXT;
    (void)extra;
    if (!config->grid_x || !config->grid_y || !config->grid_z || !config->block_x || config->block_x > 1024 ||
        config->shared_bytes > (unsigned)function->shared)
        return INVALID;
    struct op *op = append(config->stream);
    op->kind = OP_KERNEL;
    op->function = function;
    op->grid[0] = config->grid_x;
    op->grid[1] = config->grid_y;
    op->grid[2] = config->grid_z;
    op->threads = config->block_x;
    for (int i = 0; i < FAKE_CUDA_PARAMETERS && function->image->bytes[i]; i++)
        memcpy(op->parameters[i], parameters[i], function->image->bytes[i]);
    note(config->attribute_count ? "overlapping" : "kernel", function->image->name, op->grid);
    return CUDA_SUCCESS;
}
