#include "cuda_timing.h"

#include <stdlib.h>
#include <string.h>

#include "progress.h"
#include "statistics.h"

void cuda_timing_open(struct cuda_timing *timing, struct cuda_stream *stream)
{
    *timing = (struct cuda_timing){.stream = stream};
}

void cuda_timing_close(struct cuda_timing *timing)
{
    if (!timing->stream || !timing->stream->device)
        return;
    const struct cuda_driver *driver = &timing->stream->device->driver;
    if (timing->graph)
        (void)driver->cuGraphExecDestroy(timing->graph);
    for (int32_t i = 0; i < timing->capacity; i++)
        if (timing->event[i])
            (void)driver->cuEventDestroy_v2(timing->event[i]);
    free(timing->event);
    free(timing->stage_of);
    memset(timing, 0, sizeof *timing);
}

/* Room for another launch's two events. */
static int grow(struct cuda_timing *timing, struct error *error)
{
    const struct cuda_driver *driver = &timing->stream->device->driver;
    if (timing->events + 2 <= timing->capacity)
        return 0;
    int32_t capacity = timing->capacity ? timing->capacity * 2 : 256;
    CUevent *event = realloc(timing->event, (size_t)capacity * sizeof(CUevent));
    if (event)
        timing->event = event;
    int32_t *stage_of = realloc(timing->stage_of, (size_t)capacity / 2 * sizeof *stage_of);
    if (stage_of)
        timing->stage_of = stage_of;
    if (!event || !stage_of)
        return error_set(error, "out of memory for the times of %d launches", capacity / 2);
    for (; timing->capacity < capacity; timing->capacity++) {
        timing->event[timing->capacity] = NULL;
        if (cuda_check(driver, driver->cuEventCreate(&timing->event[timing->capacity], CU_EVENT_DEFAULT),
                       "making an event", error))
            return -1;
    }
    return 0;
}

static const struct cuda_cost *cost_of(const struct cuda_model *model, const char *stage)
{
    for (int32_t i = 0; i < model->cost_count; i++)
        if (strcmp(model->costs[i].stage, stage) == 0)
            return &model->costs[i];
    return NULL;
}

static int32_t stage_place(struct cuda_timing *timing, const char *stage)
{
    int32_t i = 0;
    while (i < timing->stages && strcmp(timing->stage[i].stage, stage) != 0)
        i++;
    if (i == timing->stages && i < STAGES_MAX) {
        const struct cuda_cost *cost = cost_of(timing->stream->device->model, stage);
        timing->stage[timing->stages++] = (struct stage_time){
            .stage = stage,
            .weight_bytes = cost ? cost->weight_bytes : 0,
            .flops_per_row = cost ? cost->flops_per_row : 0,
        };
    }
    return i < STAGES_MAX ? i : STAGES_MAX - 1;
}

static int record(struct cuda_timing *timing, struct cuda_stream *stream)
{
    const struct cuda_driver *driver = &stream->device->driver;
    /* "External": a node of the graph that records, not a dependency inside it. */
    CUresult result =
        driver->cuEventRecordWithFlags(timing->event[timing->events], stream->handle, CU_EVENT_RECORD_EXTERNAL);
    timing->events++;
    return cuda_check(driver, result, "timing a stage", &stream->error);
}

static int before(void *context, struct cuda_stream *stream, const char *stage, int index)
{
    (void)index;
    struct cuda_timing *timing = context;
    if (grow(timing, &stream->error))
        return -1;
    timing->stage_of[timing->events / 2] = stage_place(timing, stage);
    return record(timing, stream);
}

static int after(void *context, struct cuda_stream *stream, const char *stage, int index)
{
    (void)stage, (void)index;
    return record(context, stream);
}

int cuda_timing_run(struct cuda_timing *timing, void (*enqueue)(void *context, struct cuda_stream *stream),
                    void *context, struct error *error)
{
    const struct cuda_driver *driver = &timing->stream->device->driver;
    struct cuda_observer observer = {.before = before, .after = after, .context = timing};
    if (timing->graph)
        (void)driver->cuGraphExecDestroy(timing->graph);
    timing->events = timing->stages = 0;
    timing->stream->observer = &observer;
    timing->graph = cuda_stream_capture(timing->stream, enqueue, context, error);
    timing->stream->observer = NULL;
    if (!timing->graph)
        return -1;
    return cuda_check(driver, driver->cuGraphLaunch(timing->graph, timing->stream->handle), "launching a step", error);
}

int cuda_timing_read(struct cuda_timing *timing, struct error *error)
{
    const struct cuda_driver *driver = &timing->stream->device->driver;
    for (int32_t i = 0; i < timing->stages; i++) {
        timing->stage[i].launches = 0;
        timing->stage[i].seconds = 0;
    }
    for (int32_t i = 0; i + 1 < timing->events; i += 2) {
        float milliseconds;
        struct stage_time *stage = &timing->stage[timing->stage_of[i / 2]];
        if (cuda_check(driver, driver->cuEventElapsedTime(&milliseconds, timing->event[i], timing->event[i + 1]),
                       "timing a stage", error))
            return -1;
        stage->launches++;
        stage->seconds += (double)milliseconds * 1e-3;
    }
    return 0;
}

enum { PASSES_MAX = 1000, SINK_WORDS = 16384 };

/* Seconds of one pass. */
static int read_pass(struct cuda_stream *stream, CUdeviceptr memory, uint64_t bytes, CUdeviceptr sink, uint64_t rounds,
                     CUevent event[2], double *seconds, struct error *error)
{
    const struct cuda_driver *driver = &stream->device->driver;
    uint64_t count = bytes / 16;
    unsigned blocks = (unsigned)stream->device->processors * 8;
    blocks = blocks < SINK_WORDS ? blocks : SINK_WORDS;
    float milliseconds;
    if (cuda_check(driver, driver->cuEventRecord(event[0], stream->handle), "measuring bandwidth", error))
        return -1;
    for (uint64_t round = 0; round < rounds; round++)
        cuda_stream_launch(stream, stream->device->model->read_kernel, "read", -1, (unsigned[]){blocks, 1, 1},
                           (void *[]){&memory, &count, &sink});
    if (cuda_check(driver, driver->cuEventRecord(event[1], stream->handle), "measuring bandwidth", error) ||
        cuda_stream_finish(stream, "measuring bandwidth", error) ||
        cuda_check(driver, driver->cuEventElapsedTime(&milliseconds, event[0], event[1]), "measuring bandwidth", error))
        return -1;
    *seconds = (double)milliseconds * 1e-3;
    return 0;
}

static int read_passes(struct cuda_stream *stream, CUdeviceptr memory, uint64_t bytes, CUdeviceptr sink, double seconds,
                       double *times, struct bandwidth *result, struct error *error)
{
    const struct cuda_driver *driver = &stream->device->driver;
    CUevent event[2] = {NULL, NULL};
    uint64_t least = UINT64_C(1) << 30, rounds = bytes < least ? least / bytes : 1;
    int failed = cuda_check(driver, driver->cuEventCreate(&event[0], CU_EVENT_DEFAULT), "making an event", error) ||
                 cuda_check(driver, driver->cuEventCreate(&event[1], CU_EVENT_DEFAULT), "making an event", error);
    double start = clock_seconds();
    for (int pass = -1; pass < PASSES_MAX && !failed; pass++) { /* the first one warms up */
        double taken = 0;
        if (pass >= 3 && clock_seconds() - start > seconds)
            break;
        failed = read_pass(stream, memory, bytes, sink, rounds, event, &taken, error);
        if (pass >= 0)
            times[result->passes++] = taken;
    }
    for (int i = 0; i < 2; i++)
        if (event[i])
            (void)driver->cuEventDestroy_v2(event[i]);
    if (failed)
        return -1;
    result->bytes_per_second = (double)(bytes * rounds) / median(times, result->passes);
    return 0;
}

int cuda_bandwidth(struct cuda_stream *stream, CUdeviceptr memory, uint64_t bytes, CUdeviceptr sink, double seconds,
                   struct bandwidth *result, struct error *error)
{
    *result = (struct bandwidth){.bytes = bytes};
    if (stream->device->model->read_kernel < 0 || bytes < 16)
        return 0;
    double *times = malloc(PASSES_MAX * sizeof *times);
    if (!times)
        return error_set(error, "out of memory for the measurements");
    int failed = read_passes(stream, memory, bytes, sink, seconds, times, result, error);
    free(times);
    return failed;
}
