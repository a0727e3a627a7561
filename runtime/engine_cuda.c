/* Steps on a GPU: a captured graph for each bucket of rows, its inputs in device memory that is written before each launch.
   Two steps can be under way. What a step reads is there twice (a record each), so that the next one's is written while the
   last one runs; page tables are there once, and written in the stream, between the steps. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_adapters.h"
#include "cuda_blas.h"
#include "cuda_device.h"
#include "cuda_drafts.h"
#include "cuda_draws.h"
#include "cuda_load.h"
#include "cuda_model.h"
#include "cuda_plan.h"
#include "cuda_stream.h"
#include "cuda_tables.h"
#include "cuda_timing.h"
#include "cuda_trace.h"
#include "engine_backend.h"

/* What a step under way has on the host. */
struct record {
    unsigned char *host; /* [plan.record_bytes] pinned: written here, copied to the device */
    float *logits;       /* [logits_capacity * vocab] pinned; NULL: none were wanted yet */
    int32_t logits_capacity;
    CUevent uploaded, done; /* NULL: not made */
};

struct engine_device {
    const struct model *model;
    struct cuda_device gpu;
    struct cuda_stream stream;
    CUstream uploads; /* NULL: not made */
    struct cuda_plan plan;
    CUdeviceptr memory;  /* [plan.bytes]; 0: none */
    struct state *state; /* the engine's */
    char variant[32];

    struct record record[CUDA_RECORDS];
    CUgraphExec
        *graph; /* [bucket_count][CUDA_RECORDS][without adapters, with][without draws, with] NULL: not captured yet */
    CUgraphExec bulk_graph[CUDA_RECORDS][2];
    struct cuda_blas *blas; /* of bulk steps; NULL: there are none */
    struct cuda_draws draws;
    struct cuda_drafts drafts;
    struct cuda_adapters adapters;
    struct cuda_timing timing;
    bool timed;
    bool adapted; /* the step being submitted has rows with adapters */
    uint64_t submitted, collected;

    const char **traces; /* [trace_count] of model.traces, those that the kernels leave to be seen */
    int32_t trace_count;

    struct cuda_tables tables;
};

static const char *instead(const struct model *model)
{
    return model->variant_count > 0 ? "compute on the CPU with --device cpu"
                                    : "build the package with --target c for machines without one";
}

static int allocate_records(struct engine_device *device, struct error *error)
{
    const struct cuda_driver *driver = &device->gpu.driver;
    for (int i = 0; i < CUDA_RECORDS; i++) {
        struct record *record = &device->record[i];
        void *host = NULL;
        if (cuda_check(driver, driver->cuMemHostAlloc(&host, device->plan.record_bytes, CU_MEMHOSTALLOC_PORTABLE),
                       "pinned memory for steps", error))
            return -1;
        record->host = host;
        if (cuda_check(driver, driver->cuEventCreate(&record->uploaded, CU_EVENT_DISABLE_TIMING), "making an event",
                       error) ||
            cuda_check(driver, driver->cuEventCreate(&record->done, CU_EVENT_DISABLE_TIMING), "making an event", error))
            return -1;
    }
    return 0;
}

/* Makes the context the calling thread's: an engine may be handed from thread to thread. */
static int enter(const struct engine_device *device, struct error *error)
{
    return cuda_check(&device->gpu.driver, device->gpu.driver.cuCtxSetCurrent(device->gpu.context), device->gpu.name,
                      error);
}

/* state.h wants a page copied. */
static void copy_page(void *context, int32_t from, int32_t to)
{
    struct engine_device *device = context;
    uint64_t bytes = state_model_page_bytes(device->model);
    CUdeviceptr pages = device->memory + device->plan.state;
    struct error error;
    (void)enter(device, &error); /* if it fails, so does the copy */
    CUresult result = device->gpu.driver.cuMemcpyDtoDAsync_v2(
        pages + (uint64_t)to * bytes, pages + (uint64_t)from * bytes, bytes, device->stream.handle);
    if (cuda_check(&device->gpu.driver, result, "copying a page of state", &error) && !device->stream.failed) {
        device->stream.failed = true; /* the next submit says so */
        device->stream.error = error;
    }
}

static int allocate(struct engine_device *device, struct state **state, struct error *error)
{
    const struct cuda_driver *driver = &device->gpu.driver;
    const struct cuda_plan *plan = &device->plan;
    if (cuda_check(driver, driver->cuMemAlloc_v2(&device->memory, plan->bytes),
                   "memory for weights, activations and state", error) ||
        cuda_check(driver, driver->cuStreamCreate(&device->uploads, CU_STREAM_NON_BLOCKING), "making a stream",
                   error) ||
        allocate_records(device, error))
        return -1;
    if (cuda_draws_open(&device->draws, device->model, plan, &device->stream, device->memory, error))
        return -1;
    if (cuda_drafts_open(&device->drafts, device->model, plan, &device->stream, device->memory, error))
        return -1;
    if (cuda_adapters_open(&device->adapters, device->model, &device->stream, device->memory + plan->adapters, error))
        return -1;
    device->graph = calloc((size_t)device->model->cuda->bucket_count * CUDA_RECORDS * 4, sizeof(CUgraphExec));
    device->traces = calloc((size_t)device->model->trace_count + 1, sizeof *device->traces);
    if (!device->graph || !device->traces)
        return error_set(error, "out of memory for graphs");
    for (int32_t i = 0; i < device->model->trace_count; i++)
        if (cuda_trace_shows(device->model->cuda, device->model->traces[i]))
            device->traces[device->trace_count++] = device->model->traces[i];
    device->state = *state = state_open_remote(device->model, plan->pages, copy_page, device, error);
    if (!device->state)
        return -1;
    return cuda_tables_open(&device->tables, plan, &device->stream, device->memory, device->state, error);
}

static void cuda_close(struct engine_device *device)
{
    if (!device)
        return;
    const struct cuda_driver *driver = &device->gpu.driver;
    if (device->gpu.context)
        (void)driver->cuCtxSetCurrent(device->gpu.context);
    /* What is under way reads and writes the memory that goes below: it ends first. Steps wait for their uploads. */
    if (device->stream.handle)
        (void)driver->cuStreamSynchronize(device->stream.handle);
    if (device->uploads)
        (void)driver->cuStreamDestroy_v2(device->uploads);
    for (int32_t i = 0; device->graph && i < device->model->cuda->bucket_count * CUDA_RECORDS * 4; i++)
        if (device->graph[i])
            (void)driver->cuGraphExecDestroy(device->graph[i]);
    for (int i = 0; i < CUDA_RECORDS * 2; i++)
        if (device->bulk_graph[i / 2][i % 2])
            (void)driver->cuGraphExecDestroy(device->bulk_graph[i / 2][i % 2]);
    cuda_blas_close(device->blas);
    for (int i = 0; i < CUDA_RECORDS; i++) {
        struct record *record = &device->record[i];
        void *pinned[] = {record->host, record->logits};
        for (size_t j = 0; j < sizeof pinned / sizeof *pinned; j++)
            if (pinned[j])
                (void)driver->cuMemFreeHost(pinned[j]);
        if (record->uploaded)
            (void)driver->cuEventDestroy_v2(record->uploaded);
        if (record->done)
            (void)driver->cuEventDestroy_v2(record->done);
    }
    cuda_timing_close(&device->timing);
    cuda_draws_close(&device->draws);
    cuda_drafts_close(&device->drafts);
    cuda_tables_close(&device->tables);
    cuda_adapters_close(&device->adapters);
    if (device->memory)
        (void)driver->cuMemFree_v2(device->memory);
    cuda_stream_close(&device->stream);
    cuda_device_close(&device->gpu);
    free(device->graph);
    free(device->traces);
    free(device);
}

/* The library for bulk steps, if the package has them and nothing forbids them. Without it prompts are slower. */
static bool open_bulk(struct engine_device *device, const struct engine_options *options)
{
    struct error error;
    char message[1200];
    if (options->exact || device->model->cuda->bulk_rows == 0)
        return false;
    device->blas = cuda_blas_open(NULL, &error);
    if (device->blas)
        return true;
    snprintf(message, sizeof message, "prompts are read by the exact kernels, slower: %s", error.message);
    if (options->notice)
        options->notice(options->progress_context, message);
    return false;
}

static struct engine_device *cuda_open(const struct model *model, const struct engine_options *options,
                                       struct state **state, struct error *error)
{
    if (options->cpu) {
        error_set(error, "--cpu %s chooses among instruction sets and this engine computes on a GPU: leave it out%s",
                  options->cpu, model->variant_count > 0 ? ", or add --device cpu" : "");
        return NULL;
    }
    struct engine_device *device = calloc(1, sizeof *device);
    if (!device) {
        error_set(error, "out of memory");
        return NULL;
    }
    device->model = model;
    cuda_timing_open(&device->timing, &device->stream);
    if (cuda_device_open(&device->gpu, model->cuda, model->name, instead(model), options->notice, options->progress,
                         options->progress_context, error) ||
        cuda_stream_open(&device->stream, &device->gpu, error) ||
        cuda_plan_make(&device->plan, &device->gpu, model, options, open_bulk(device, options), error) ||
        allocate(device, state, error)) {
        cuda_close(device);
        return NULL;
    }
    if (device->plan.bulk) {
        cuda_blas_workspace(device->blas, device->memory + device->plan.workspace, CUDA_WORKSPACE);
        device->stream.blas = device->blas;
    }
    cuda_target_text(device->gpu.target, device->variant);
    return device;
}

static int cuda_load_weights(struct engine_device *device, const struct engine_options *options,
                             const struct package *package, struct error *error)
{
    const struct cuda_driver *driver = &device->gpu.driver;
    const struct cuda_plan *plan = &device->plan;
    struct cuda_load load = {
        .model = device->model,
        .package = package,
        .verify = !options->skip_verify,
        .weights_bytes = plan->weights_bytes,
        .weights = device->memory + plan->weights,
        .staging = device->memory + plan->staging,
        .progress = options->progress,
        .progress_context = options->progress_context,
    };
    if (cuda_load(&device->stream, &load, error) ||
        cuda_check(driver,
                   driver->cuMemsetD8Async(device->memory + plan->staging, 0, plan->bytes - plan->staging,
                                           device->stream.handle),
                   "clearing memory", error))
        return -1;
    return cuda_stream_finish(&device->stream, "clearing memory", error);
}

static int cuda_adapter(struct engine_device *device, int32_t slot, const char *name, const unsigned char *blob,
                        uint64_t bytes, struct error *error)
{
    return enter(device, error) ? -1 : cuda_adapters_put(&device->adapters, slot, name, blob, bytes, error);
}

static const char *cuda_variant(const struct engine_device *device)
{
    return device->variant;
}

static int cuda_threads(const struct engine_device *device)
{
    (void)device;
    return 1;
}

static const char *cuda_gpu(const struct engine_device *device)
{
    return device->gpu.name;
}

static const void *cuda_section_data(const struct engine_device *device, const struct package *package,
                                     const struct tensor *tensor)
{
    (void)device;
    bool there = package->payload && tensor->offset + tensor->bytes <= package->bytes;
    return there ? package->payload + tensor->offset : NULL;
}

static const char *const *cuda_traces(const struct engine_device *device, int32_t *count)
{
    *count = device->trace_count;
    return device->traces;
}

static uint64_t cuda_other_bytes(const struct engine_device *device)
{
    return device->plan.bytes - device->plan.weights_bytes -
           (uint64_t)device->plan.pages * state_model_page_bytes(device->model);
}

static int cuda_depth(const struct engine_device *device)
{
    return device->stream.serial ? 1 : CUDA_RECORDS;
}

/* Writes what the step reads and sends it on its way. */
static int upload_record(struct engine_device *device, const struct engine_batch *batch, struct error *error)
{
    const struct cuda_driver *driver = &device->gpu.driver;
    const struct cuda_plan *plan = &device->plan;
    int place = (int)(device->submitted % CUDA_RECORDS);
    struct record *record = &device->record[place];
    struct cuda_counts counts = {.rows = batch->rows, .outputs = batch->outputs};
    struct cuda_row *row = (struct cuda_row *)(void *)(record->host + plan->row);
    cuda_adapters_group(&device->adapters, batch, &counts, (struct cuda_group *)(void *)(record->host + plan->group),
                        (struct cuda_group *)(void *)(record->host + plan->output_group));
    device->adapted = counts.groups > 0;
    memcpy(record->host, &counts, sizeof counts);
    memcpy(record->host + plan->output_row, batch->output_row, (size_t)batch->outputs * sizeof(int32_t));
    cuda_tables_begin(&device->tables, place);
    for (int32_t r = 0; r < batch->rows; r++) {
        const struct row *from = &batch->row[r];
        int32_t slot = cuda_tables_slot(&device->tables, from->sequence, error);
        if (slot < 0)
            return -1;
        row[r] = (struct cuda_row){
            .token = from->token,
            .position = from->position,
            .sequence = slot,
            .adapter = from->adapter,
            .parent = from->parent,
            .shared = from->shared,
            .path = from->path,
            .scratch = from->scratch,
        };
    }
    if (cuda_draws_prepare(&device->draws, record->host, device->submitted, batch, error))
        return -1;
    /* On a stream of its own: the step before this one may still run. */
    size_t bytes = plan->row + (size_t)batch->rows * sizeof *row, paths = (size_t)batch->paths * sizeof *batch->path;
    if (paths) {
        memcpy(record->host + plan->path, batch->path, paths);
        if (cuda_check(driver,
                       driver->cuMemcpyHtoDAsync_v2(device->memory + plan->record[place] + plan->path,
                                                    record->host + plan->path, paths, device->uploads),
                       "the paths of a step's trees", error))
            return -1;
    }
    if (cuda_check(
            driver,
            driver->cuMemcpyHtoDAsync_v2(device->memory + plan->record[place], record->host, bytes, device->uploads),
            "a step's rows", error) ||
        cuda_check(driver, driver->cuEventRecord(record->uploaded, device->uploads), "a step's rows", error))
        return -1;
    return cuda_check(driver, driver->cuStreamWaitEvent(device->stream.handle, record->uploaded, 0), "a step's rows",
                      error);
}

/* The kernels' view of the step in this record. */
static struct cuda_step step_of(const struct engine_device *device, int place)
{
    const struct cuda_plan *plan = &device->plan;
    unsigned char *memory = (unsigned char *)(uintptr_t)device->memory;
    unsigned char *record = memory + plan->record[place];
    return (struct cuda_step){
        .counts = (const struct cuda_counts *)(void *)record,
        .row = (const struct cuda_row *)(void *)(record + plan->row),
        .output_row = (const int32_t *)(void *)(record + plan->output_row),
        .pages = (const int32_t *)(void *)(memory + plan->tables),
        .path = (const int32_t *)(void *)(record + plan->path),
        .chosen = (const int32_t *)(void *)(memory + plan->chosen),
        .weights = memory + plan->weights,
        .state = memory + plan->state,
        .arena = memory + plan->arena,
        .logits = (float *)(void *)(memory + plan->logits),
        .adapters = (const struct cuda_adapter_site *)(void *)(memory + plan->adapters),
        .group = (const struct cuda_group *)(void *)(record + plan->group),
        .output_group = (const struct cuda_group *)(void *)(record + plan->output_group),
        .taps = device->model->cuda->draft ? (uint16_t *)(void *)(memory + plan->taps) : NULL,
        .table = plan->table,
        .pages_total = plan->pages,
    };
}

/* The kernels of a step, for a bucket. */
struct enqueue {
    const struct engine_device *device;
    struct cuda_step step;
    int rows, place;
    bool draws, bulk, adapters;
};

static void enqueue_step(void *context, struct cuda_stream *stream)
{
    const struct enqueue *enqueue = context;
    const struct engine_device *device = enqueue->device;
    if (enqueue->bulk)
        device->model->cuda->enqueue_bulk(stream, &enqueue->step);
    else if (enqueue->adapters)
        device->model->cuda->enqueue_adapters(stream, &enqueue->step, enqueue->rows);
    else
        device->model->cuda->enqueue(stream, &enqueue->step, enqueue->rows);
    if (enqueue->draws)
        cuda_draws_enqueue(&device->draws, stream, device->memory + device->plan.record[enqueue->place], enqueue->rows);
}

static int32_t bucket_of(const struct cuda_model *model, int32_t rows)
{
    int32_t bucket = 0;
    while (bucket + 1 < model->bucket_count && model->buckets[bucket] < rows)
        bucket++;
    return bucket;
}

/* A whole aligned chunk of one sequence: the class of its bits follows from its rows alone, not from who else is there. A
   look at the tensors (--dump) is one at the exact class. */
static bool is_bulk(const struct engine_device *device, const struct engine_batch *batch)
{
    int32_t rows = device->model->cuda->bulk_rows;
    if (!device->stream.blas || batch->trace || batch->rows != rows || batch->row[0].position % rows != 0)
        return false;
    for (int32_t r = 0; r < rows; r++) {
        const struct row *row = &batch->row[r];
        if (row->sequence != batch->row[0].sequence || row->position != batch->row[0].position + r ||
            row->scratch >= 0 || row->shared != row->position + 1 || row->adapter >= 0)
            return false;
    }
    return true;
}

/* Runs the kernels: as a graph, or one by one where somebody watches. */
static int launch(struct engine_device *device, const struct engine_batch *batch, struct error *error)
{
    const struct cuda_driver *driver = &device->gpu.driver;
    const struct cuda_model *model = device->model->cuda;
    int place = (int)(device->submitted % CUDA_RECORDS);
    int32_t bucket = bucket_of(model, batch->rows);
    struct enqueue enqueue = {
        .device = device,
        .step = step_of(device, place),
        .rows = model->buckets[bucket],
        .place = place,
        .draws = batch->draws > 0,
        .bulk = is_bulk(device, batch),
        .adapters = device->adapted,
    };
    if (batch->trace) {
        struct cuda_tracer tracer = {.model = device->model,
                                     .step = &enqueue.step,
                                     .trace = batch->trace,
                                     .rows = batch->rows,
                                     .outputs = batch->outputs};
        struct cuda_observer observer = {.after = cuda_trace_stage, .context = &tracer};
        device->stream.observer = &observer;
        enqueue_step(&enqueue, &device->stream);
        device->stream.observer = NULL;
        return cuda_stream_take_error(&device->stream, error) || cuda_trace_logits(&tracer, &device->stream, error);
    }
    if (device->stream.serial) {
        enqueue_step(&enqueue, &device->stream);
        return cuda_stream_take_error(&device->stream, error);
    }
    if (device->timed)
        return cuda_timing_run(&device->timing, enqueue_step, &enqueue, error);
    CUgraphExec *graph =
        enqueue.bulk ? &device->bulk_graph[place][enqueue.draws]
                     : &device->graph[((bucket * CUDA_RECORDS + place) * 2 + enqueue.adapters) * 2 + enqueue.draws];
    if (!*graph && !(*graph = cuda_stream_capture(&device->stream, enqueue_step, &enqueue, error)))
        return -1;
    return cuda_check(driver, driver->cuGraphLaunch(*graph, device->stream.handle), "launching a step", error);
}

static int grow_logits(struct engine_device *device, struct record *record, int32_t outputs, struct error *error)
{
    const struct cuda_driver *driver = &device->gpu.driver;
    if (outputs <= record->logits_capacity)
        return 0;
    int32_t capacity = record->logits_capacity * 2 > outputs ? record->logits_capacity * 2 : outputs;
    capacity = capacity < device->model->max_outputs ? capacity : device->model->max_outputs;
    if (record->logits)
        (void)driver->cuMemFreeHost(record->logits);
    record->logits = NULL;
    record->logits_capacity = 0;
    void *logits = NULL;
    size_t bytes = (size_t)capacity * (size_t)device->model->vocab * sizeof(float);
    if (cuda_check(driver, driver->cuMemHostAlloc(&logits, bytes, CU_MEMHOSTALLOC_PORTABLE), "pinned memory for logits",
                   error))
        return -1;
    record->logits = logits;
    record->logits_capacity = capacity;
    return 0;
}

/* Copies the logits that the caller wants, in runs of neighbours. */
static int fetch_logits(struct engine_device *device, const struct engine_batch *batch, struct error *error)
{
    const struct cuda_driver *driver = &device->gpu.driver;
    struct record *record = &device->record[device->submitted % CUDA_RECORDS];
    size_t vocab = (size_t)device->model->vocab;
    for (int32_t first = 0, end; first < batch->outputs; first = end) {
        for (end = first; end < batch->outputs && batch->wanted[end] == batch->wanted[first];)
            end++;
        if (!batch->wanted[first])
            continue;
        if (grow_logits(device, record, batch->outputs, error))
            return -1;
        size_t at = (size_t)first * vocab, count = (size_t)(end - first) * vocab;
        if (cuda_check(driver,
                       driver->cuMemcpyDtoHAsync_v2(record->logits + at,
                                                    device->memory + device->plan.logits + at * sizeof(float),
                                                    count * sizeof(float), device->stream.handle),
                       "fetching logits", error))
            return -1;
    }
    return 0;
}

static int cuda_submit(struct engine_device *device, const struct engine_batch *batch, struct error *error)
{
    const struct cuda_driver *driver = &device->gpu.driver;
    struct record *record = &device->record[device->submitted % CUDA_RECORDS];
    if (enter(device, error) || cuda_stream_take_error(&device->stream, error) || upload_record(device, batch, error) ||
        launch(device, batch, error) || fetch_logits(device, batch, error) ||
        cuda_check(driver, driver->cuEventRecord(record->done, device->stream.handle), "ending a step", error))
        return -1;
    device->submitted++;
    return 0;
}

static int cuda_collect(struct engine_device *device, struct drawn *drawn, int32_t draws, struct error *error)
{
    const struct cuda_driver *driver = &device->gpu.driver;
    if (enter(device, error))
        return -1;
    CUresult result = driver->cuEventSynchronize(device->record[device->collected % CUDA_RECORDS].done);
    char text[160];
    device->collected++;
    if (result == CUDA_SUCCESS && device->timed && cuda_timing_read(&device->timing, error))
        return -1;
    if (result == CUDA_SUCCESS) {
        cuda_draws_result(&device->draws, device->collected - 1, draws, drawn);
        return 0;
    }
    return error_set(error,
                     "CUDA: a kernel of a step failed on %s: %s; run it again with LATHE_CUDA_SERIAL=1 in the "
                     "environment, which names the stage",
                     device->gpu.name, cuda_result_text(driver, result, text));
}

/* Pages are runs of `page` pieces (model.h), and a slot's pieces lie at the same place in each: lines of a copy. */
static int cuda_keep(struct engine_device *device, const int32_t *from, const int32_t *to, int32_t count,
                     struct error *error)
{
    const struct cuda_driver *driver = &device->gpu.driver;
    const struct model *model = device->model;
    uint64_t all = state_model_page_bytes(model), before = 0; /* bytes of the groups before this one in a page */
    if (enter(device, error))
        return -1;
    for (int32_t g = 0; g < model->state_count; before += model->states[g++].page_bytes) {
        uint64_t piece = model->states[g].piece_bytes, page = (uint64_t)model->page;
        CUdeviceptr state = device->memory + device->plan.state + before;
        for (int32_t i = 0; piece && i < count; i++) {
            struct cuda_copy_2d copy = {
                .from = {.type = CU_MEMORYTYPE_DEVICE,
                         .device = state + (uint64_t)from[i] / page * all + (uint64_t)from[i] % page * piece,
                         .pitch = page * piece},
                .to = {.type = CU_MEMORYTYPE_DEVICE,
                       .device = state + (uint64_t)to[i] / page * all + (uint64_t)to[i] % page * piece,
                       .pitch = page * piece},
                .width = piece,
                .height = model->states[g].page_bytes / (page * piece),
            };
            if (cuda_check(driver, driver->cuMemcpy2DAsync_v2(&copy, device->stream.handle), "keeping a row of a tree",
                           error))
                return -1;
        }
    }
    return 0;
}

static bool cuda_runs_drafts(const struct engine_device *device)
{
    return device->model->cuda->draft != NULL;
}

static int cuda_run_draft(struct engine_device *device, const struct engine_draft_step *step, struct error *error)
{
    int place = (int)(device->submitted % CUDA_RECORDS);
    if (enter(device, error) || cuda_stream_take_error(&device->stream, error))
        return -1;
    cuda_tables_begin(&device->tables, place);
    struct cuda_step base = step_of(device, place);
    return cuda_drafts_run(&device->drafts, step, &device->tables, bucket_of(device->model->cuda, step->rows), &base,
                           error);
}

static const float *cuda_draft_logits(struct engine_device *device, int32_t output)
{
    return enter(device, NULL) ? NULL : cuda_drafts_logits(&device->drafts, output);
}

static int cuda_draft_best(struct engine_device *device, int32_t output, int32_t count, struct engine_guess *best,
                           struct error *error)
{
    return cuda_drafts_best(&device->drafts, output, count, best, error);
}

static float *cuda_logits(struct engine_device *device, int32_t output)
{
    const struct record *record = &device->record[(device->collected + CUDA_RECORDS - 1) % CUDA_RECORDS];
    return record->logits + (size_t)output * (size_t)device->model->vocab;
}

static bool cuda_draws(const struct engine_device *device)
{
    return device->plan.max_draws > 0;
}

static int cuda_draw_open(struct engine_device *device, int32_t slot, const struct sampler_options *options,
                          struct error *error)
{
    return enter(device, error) ? -1 : cuda_draws_slot(&device->draws, slot, options, error);
}

static int cuda_draw_see(struct engine_device *device, int32_t slot, const int32_t *tokens, size_t count, bool output,
                         struct error *error)
{
    return cuda_draws_see(&device->draws, slot, tokens, count, output, error);
}

static int cuda_draw_accept(struct engine_device *device, int32_t slot, const int32_t *tokens, int32_t count, bool tree,
                            struct error *error)
{
    return enter(device, error) ? -1 : cuda_draws_accept(&device->draws, slot, tokens, count, tree, error);
}

static int32_t cuda_max_draws(const struct engine_device *device)
{
    return device->plan.max_draws;
}

static int cuda_draw_error(const struct engine_device *device, int32_t draw, struct error *error)
{
    return cuda_draws_explain(&device->draws, device->collected - 1, draw, error);
}

static int cuda_time_stages(struct engine_device *device, bool on, struct error *error)
{
    (void)error;
    device->timed = on;
    return 0;
}

static int32_t cuda_stage_times(const struct engine_device *device, const struct stage_time **times)
{
    *times = device->timing.stage;
    return device->timing.stages;
}

static int cuda_read_bandwidth(struct engine_device *device, double seconds, struct bandwidth *result,
                               struct error *error)
{
    if (enter(device, error))
        return -1;
    /* The logits are written anew by the next step. */
    return cuda_bandwidth(&device->stream, device->memory + device->plan.weights, device->model->cuda->weights_bytes,
                          device->memory + device->plan.logits, seconds, result, error);
}

const struct engine_backend engine_cuda = {
    .name = "cuda",
    .open = cuda_open,
    .close = cuda_close,
    .load = cuda_load_weights,
    .verifies = true,
    .adapter = cuda_adapter,
    .variant = cuda_variant,
    .threads = cuda_threads,
    .gpu = cuda_gpu,
    .section = cuda_section_data,
    .traces = cuda_traces,
    .other_bytes = cuda_other_bytes,
    .depth = cuda_depth,
    .submit = cuda_submit,
    .collect = cuda_collect,
    .keep = cuda_keep,
    .drafts = cuda_runs_drafts,
    .draft = cuda_run_draft,
    .draft_logits = cuda_draft_logits,
    .draft_best = cuda_draft_best,
    .logits = cuda_logits,
    .draws = cuda_draws,
    .draw_open = cuda_draw_open,
    .draw_see = cuda_draw_see,
    .draw_accept = cuda_draw_accept,
    .draw_error = cuda_draw_error,
    .max_draws = cuda_max_draws,
    .time_stages = cuda_time_stages,
    .stage_times = cuda_stage_times,
    .bandwidth = cuda_read_bandwidth,
};
