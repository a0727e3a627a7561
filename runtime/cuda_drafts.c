#include "cuda_drafts.h"

#include <stdlib.h>
#include <string.h>

#include "draft.h"
#include "logits.h"

int cuda_drafts_open(struct cuda_drafts *drafts, const struct model *model, const struct cuda_plan *plan,
                     struct cuda_stream *stream, CUdeviceptr memory, struct error *error)
{
    const struct cuda_driver *driver = &stream->device->driver;
    *drafts = (struct cuda_drafts){.model = model, .plan = plan, .stream = stream, .memory = memory};
    if (!model->cuda->draft)
        return 0;
    void *host = NULL, *guess = NULL;
    size_t guesses = (size_t)model->max_outputs * CUDA_GUESSES * sizeof *drafts->guess;
    if (cuda_check(driver, driver->cuMemHostAlloc(&host, plan->draft_record_bytes, CU_MEMHOSTALLOC_PORTABLE),
                   "pinned memory for draft steps", error))
        return -1;
    drafts->host = host;
    if (cuda_check(driver, driver->cuMemHostAlloc(&guess, guesses, CU_MEMHOSTALLOC_DEVICEMAP),
                   "pinned memory for guesses", error))
        return -1;
    drafts->guess = guess;
    drafts->graph = calloc((size_t)model->cuda->bucket_count, sizeof *drafts->graph);
    drafts->logits = malloc((size_t)model->draft->vocab * sizeof *drafts->logits);
    if (!drafts->graph || !drafts->logits)
        return error_set(error, "out of memory for draft steps");
    return cuda_check(driver, driver->cuMemHostGetDevicePointer_v2(&drafts->guess_device, guess, 0),
                      "pinned memory for guesses", error);
}

void cuda_drafts_close(struct cuda_drafts *drafts)
{
    if (!drafts->stream)
        return;
    const struct cuda_driver *driver = &drafts->stream->device->driver;
    for (int32_t i = 0; drafts->graph && i < drafts->model->cuda->bucket_count; i++)
        if (drafts->graph[i])
            (void)driver->cuGraphExecDestroy(drafts->graph[i]);
    if (drafts->host)
        (void)driver->cuMemFreeHost(drafts->host);
    if (drafts->guess)
        (void)driver->cuMemFreeHost(drafts->guess);
    free(drafts->graph);
    free(drafts->logits);
    memset(drafts, 0, sizeof *drafts);
}

/* Writes what the step reads into the record. -1 and a message on an error. */
static int fill_record(struct cuda_drafts *drafts, const struct engine_draft_step *step, struct cuda_tables *tables,
                       struct error *error)
{
    const struct cuda_plan *plan = drafts->plan;
    struct cuda_counts counts = {.rows = step->rows, .outputs = step->outputs, .guesses = step->guesses};
    int32_t *entering = (int32_t *)(void *)(drafts->host + plan->draft_entering);
    struct cuda_row *row = (struct cuda_row *)(void *)(drafts->host + plan->draft_row);
    size_t rows = (size_t)step->rows * sizeof(int32_t);
    for (int32_t r = 0; r < step->rows; r++) {
        const struct row *from = &step->row[r];
        int32_t slot = cuda_tables_slot(tables, from->sequence, error);
        if (slot < 0)
            return -1;
        if (step->feature[r] >= 0)
            entering[counts.entering++] = r;
        row[r] = (struct cuda_row){
            .token = from->token,
            .position = from->position,
            .sequence = slot,
            .adapter = -1,
            .parent = from->parent,
            .shared = from->shared,
            .path = from->path,
            .scratch = from->scratch,
        };
    }
    memcpy(drafts->host, &counts, sizeof counts);
    memcpy(drafts->host + plan->draft_output_row, step->output_row, (size_t)step->outputs * sizeof(int32_t));
    memcpy(drafts->host + plan->draft_feature, step->feature, rows);
    memcpy(drafts->host + plan->draft_feature_place, step->feature_place, rows);
    return 0;
}

/* What tree rows see on their way up. */
static size_t path_bytes(const struct engine_draft_step *step)
{
    int32_t paths = 0;
    for (int32_t r = 0; r < step->rows; r++) {
        const struct row *row = &step->row[r];
        int32_t end = row->scratch < 0 ? 0 : row->path + row->position - row->shared + 1;
        paths = end > paths ? end : paths;
    }
    return (size_t)paths * sizeof(int32_t);
}

static int upload(struct cuda_drafts *drafts, const struct engine_draft_step *step, struct error *error)
{
    const struct cuda_driver *driver = &drafts->stream->device->driver;
    const struct cuda_plan *plan = drafts->plan;
    CUdeviceptr record = drafts->memory + plan->draft_record;
    size_t bytes = plan->draft_row + (size_t)step->rows * sizeof(struct cuda_row), paths = path_bytes(step);
    if (paths > (size_t)plan->paths * sizeof(int32_t))
        return error_set(error, "a draft step's trees are too deep for %d rows", step->rows);
    if (paths) {
        memcpy(drafts->host + plan->draft_path, step->path, paths);
        if (cuda_check(driver,
                       driver->cuMemcpyHtoDAsync_v2(record + plan->draft_path, drafts->host + plan->draft_path, paths,
                                                    drafts->stream->handle),
                       "the paths of a draft step's trees", error))
            return -1;
    }
    return cuda_check(driver, driver->cuMemcpyHtoDAsync_v2(record, drafts->host, bytes, drafts->stream->handle),
                      "a draft step's rows", error);
}

struct enqueue {
    const struct cuda_draft *draft;
    struct cuda_step step;
    int rows;
};

static void enqueue_step(void *context, struct cuda_stream *stream)
{
    const struct enqueue *enqueue = context;
    enqueue->draft->enqueue(stream, &enqueue->step, enqueue->rows);
}

/* The kernels' view of a draft step. */
static struct cuda_step step_of(const struct cuda_drafts *drafts, const struct cuda_step *base)
{
    const struct cuda_plan *plan = drafts->plan;
    unsigned char *memory = (unsigned char *)(uintptr_t)drafts->memory, *record = memory + plan->draft_record;
    struct cuda_step step = *base;
    step.counts = (const struct cuda_counts *)(void *)record;
    step.row = (const struct cuda_row *)(void *)(record + plan->draft_row);
    step.output_row = (const int32_t *)(void *)(record + plan->draft_output_row);
    step.path = (const int32_t *)(void *)(record + plan->draft_path);
    step.feature = (const int32_t *)(void *)(record + plan->draft_feature);
    step.feature_place = (const int32_t *)(void *)(record + plan->draft_feature_place);
    step.entering = (const int32_t *)(void *)(record + plan->draft_entering);
    step.features = (float *)(void *)(memory + plan->features);
    step.guesses = (struct cuda_guess *)(uintptr_t)drafts->guess_device;
    step.arena = memory + plan->draft_arena;
    /* The target's logits have been drawn from, and copied where somebody wanted them. */
    for (int32_t g = 0; g < drafts->model->draft->state; g++)
        step.state += drafts->model->states[g].page_bytes;
    return step;
}

int cuda_drafts_run(struct cuda_drafts *drafts, const struct engine_draft_step *step, struct cuda_tables *tables,
                    int32_t bucket, const struct cuda_step *base, struct error *error)
{
    const struct cuda_driver *driver = &drafts->stream->device->driver;
    struct enqueue enqueue = {.draft = drafts->model->cuda->draft,
                              .step = step_of(drafts, base),
                              .rows = drafts->model->cuda->buckets[bucket]};
    if (step->guesses > CUDA_GUESSES)
        return error_set(error, "a draft step gives at most %d guesses for a token, and %d are wanted", CUDA_GUESSES,
                         step->guesses);
    if (fill_record(drafts, step, tables, error) || upload(drafts, step, error))
        return -1;
    if (drafts->stream->serial) {
        enqueue_step(&enqueue, drafts->stream);
    } else {
        CUgraphExec *graph = &drafts->graph[bucket];
        if (!*graph && !(*graph = cuda_stream_capture(drafts->stream, enqueue_step, &enqueue, error)))
            return -1;
        if (cuda_check(driver, driver->cuGraphLaunch(*graph, drafts->stream->handle), "launching a draft step", error))
            return -1;
    }
    return cuda_stream_finish(drafts->stream, "a draft step", error);
}

const float *cuda_drafts_logits(struct cuda_drafts *drafts, int32_t output)
{
    const struct cuda_driver *driver = &drafts->stream->device->driver;
    size_t bytes = (size_t)drafts->model->draft->vocab * sizeof(float);
    CUdeviceptr from = drafts->memory + drafts->plan->logits + (uint64_t)output * bytes;
    if (driver->cuMemcpyDtoHAsync_v2(drafts->logits, from, bytes, drafts->stream->handle) != CUDA_SUCCESS ||
        cuda_stream_finish(drafts->stream, "fetching logits", NULL))
        return NULL;
    return drafts->logits;
}

int cuda_drafts_best(const struct cuda_drafts *drafts, int32_t output, int32_t count, struct engine_guess *best,
                     struct error *error)
{
    const struct cuda_guess *guess = drafts->guess + (size_t)output * CUDA_GUESSES;
    if (guess[0].id < 0)
        return logits_explain_bad(~guess[0].id, "NaN or +infinity", error);
    if (!(guess[0].logprob > -__builtin_inff()))
        return logits_explain_nothing(error);
    for (int32_t i = 0; i < count; i++)
        best[i] = (struct engine_guess){.id = guess[i].id, .logprob = (double)guess[i].logprob};
    return 0;
}
