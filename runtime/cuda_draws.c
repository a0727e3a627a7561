#include "cuda_draws.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "logits.h"

_Static_assert(sizeof(struct cuda_bias) == sizeof(struct logit_bias), "biases are copied as they are");

int cuda_draws_open(struct cuda_draws *draws, const struct model *model, const struct cuda_plan *plan,
                    struct cuda_stream *stream, CUdeviceptr memory, struct error *error)
{
    const struct cuda_driver *driver = &stream->device->driver;
    *draws = (struct cuda_draws){.model = model, .plan = plan, .stream = stream, .memory = memory};
    draws->sampler = calloc((size_t)plan->draw_slots, sizeof *draws->sampler);
    if (!draws->sampler)
        return error_set(error, "out of memory for %d draw slots", plan->draw_slots);
    size_t bytes = (size_t)CUDA_RECORDS * (size_t)plan->max_draws * sizeof *draws->drawn;
    void *drawn = NULL;
    if (bytes == 0)
        return 0;
    if (cuda_check(driver, driver->cuMemHostAlloc(&drawn, bytes, CU_MEMHOSTALLOC_DEVICEMAP), "pinned memory for tokens",
                   error))
        return -1;
    draws->drawn = drawn;
    memset(drawn, 0, bytes);
    return cuda_check(driver, driver->cuMemHostGetDevicePointer_v2(&draws->drawn_device, drawn, 0),
                      "pinned memory for tokens", error);
}

void cuda_draws_close(struct cuda_draws *draws)
{
    if (!draws->sampler)
        return;
    const struct cuda_driver *driver = &draws->stream->device->driver;
    for (int32_t i = 0; i < draws->plan->draw_slots; i++) {
        if (draws->sampler[i].lists)
            (void)driver->cuMemFree_v2(draws->sampler[i].lists);
        free(draws->sampler[i].occurrences);
    }
    if (draws->drawn)
        (void)driver->cuMemFreeHost(draws->drawn);
    free(draws->sampler);
    memset(draws, 0, sizeof *draws);
}

/* Device memory for a slot's lists; what a slot once had is used again. */
static int grow_lists(struct cuda_draws *draws, struct cuda_sampler *sampler, size_t bytes, struct error *error)
{
    const struct cuda_driver *driver = &draws->stream->device->driver;
    if (bytes <= sampler->lists_bytes)
        return 0;
    /* Draws of the slot's last use may still read the old ones. */
    if (cuda_stream_finish(draws->stream, "waiting for draws", error))
        return -1;
    if (sampler->lists)
        (void)driver->cuMemFree_v2(sampler->lists);
    sampler->lists = 0;
    sampler->lists_bytes = 0;
    if (cuda_check(driver, driver->cuMemAlloc_v2(&sampler->lists, bytes), "GPU memory for sampling options", error))
        return -1;
    sampler->lists_bytes = bytes;
    return 0;
}

static int upload(struct cuda_draws *draws, CUdeviceptr to, const void *from, size_t bytes, struct error *error)
{
    const struct cuda_driver *driver = &draws->stream->device->driver;
    /* Pageable memory: the driver has its copy when the call returns. */
    return bytes ? cuda_check(driver, driver->cuMemcpyHtoDAsync_v2(to, from, bytes, draws->stream->handle),
                              "sampling options", error)
                 : 0;
}

int cuda_draws_slot(struct cuda_draws *draws, int32_t slot, const struct sampler_options *o, struct error *error)
{
    if (slot >= draws->plan->draw_slots)
        return error_set(error, "too many draw slots: there are %d", draws->plan->draw_slots);
    struct cuda_sampler *sampler = &draws->sampler[slot];
    bool penalties = o->repetition_penalty != 1 || o->presence_penalty != 0 || o->frequency_penalty != 0;
    size_t counts = penalties ? (size_t)draws->model->vocab * sizeof(int32_t) : 0;
    size_t biases = (size_t)o->bias_count * sizeof *o->bias, stops = (size_t)o->stop_count * sizeof *o->stop;
    if (grow_lists(draws, sampler, counts + biases + stops, error))
        return -1;
    free(sampler->occurrences);
    sampler->occurrences = NULL;
    if (penalties) {
        if (!(sampler->occurrences = malloc(counts)))
            return error_set(error, "out of memory for the sampler's tables (%d tokens)", draws->model->vocab);
        memset(sampler->occurrences, 0xff, counts); /* -1 each: never seen */
    }
    CUdeviceptr bias = sampler->lists + counts, stop = bias + biases;
    if (upload(draws, bias, o->bias, biases, error) || upload(draws, stop, o->stop, stops, error))
        return -1;
    sampler->slot = (struct cuda_draw_slot){
        .temperature = o->temperature,
        .top_p = o->top_p,
        .min_p = o->min_p,
        .top_k = o->top_k,
        .repetition_penalty = o->repetition_penalty,
        .presence_penalty = o->presence_penalty,
        .frequency_penalty = o->frequency_penalty,
        .min_tokens = o->min_tokens,
        .bias_count = o->bias_count,
        .stop_count = o->stop_count,
        .bias = (const struct cuda_bias *)(uintptr_t)bias,
        .stop = (const int32_t *)(uintptr_t)stop,
        .occurrences = penalties ? (int32_t *)(uintptr_t)sampler->lists : NULL,
        .seed = o->seed,
        .sequence = o->sequence,
    };
    sampler->uploaded = false;
    return 0;
}

int cuda_draws_see(struct cuda_draws *draws, int32_t slot, const int32_t *tokens, size_t count, bool output,
                   struct error *error)
{
    struct cuda_sampler *sampler = &draws->sampler[slot];
    (void)error;
    for (size_t i = 0; i < count; i++) {
        if (tokens[i] < 0 || tokens[i] >= draws->model->vocab)
            continue;
        sampler->slot.output += output;
        if (!sampler->occurrences)
            continue;
        int32_t *seen = &sampler->occurrences[tokens[i]];
        *seen = (*seen < 0 ? 0 : *seen) + output;
    }
    return 0;
}

/* Sends a slot to the device. */
static int upload_slot(struct cuda_draws *draws, int32_t slot, struct error *error)
{
    struct cuda_sampler *sampler = &draws->sampler[slot];
    CUdeviceptr to = draws->memory + draws->plan->draw_slot + (uint64_t)slot * sizeof sampler->slot;
    size_t counts = sampler->occurrences ? (size_t)draws->model->vocab * sizeof(int32_t) : 0;
    if (upload(draws, sampler->lists, sampler->occurrences, counts, error) ||
        upload(draws, to, &sampler->slot, sizeof sampler->slot, error))
        return -1;
    sampler->uploaded = true;
    return 0;
}

int cuda_draws_prepare(struct cuda_draws *draws, unsigned char *record, uint64_t number,
                       const struct engine_batch *batch, struct error *error)
{
    if (batch->draws > draws->plan->max_draws)
        return error_set(error, "%d tokens to be drawn in one step: there is room for %d", batch->draws,
                         draws->plan->max_draws);
    struct cuda_draw_counts counts = {.draws = batch->draws, .ring = (int32_t)(number % CUDA_RECORDS)};
    struct cuda_draw *draw = (struct cuda_draw *)(void *)(record + draws->plan->draw);
    memcpy(record + draws->plan->draw_counts, &counts, sizeof counts);
    for (int32_t i = 0; i < batch->draws; i++) {
        const struct engine_draw *from = &batch->draw[i];
        const struct row *row = &batch->row[from->row];
        draw[i] = (struct cuda_draw){
            .output = from->output,
            .slot = from->slot,
            .position = from->position,
            .tree = from->tree,
            .path = row->path,
            .path_count = row->scratch < 0 ? 0 : row->position - row->shared + 1,
        };
        if (!draws->sampler[from->slot].uploaded && upload_slot(draws, from->slot, error))
            return -1;
    }
    return 0;
}

void cuda_draws_enqueue(const struct cuda_draws *draws, struct cuda_stream *stream, CUdeviceptr record, int rows)
{
    const struct cuda_plan *plan = draws->plan;
    unsigned char *memory = (unsigned char *)(uintptr_t)draws->memory, *host = (unsigned char *)(uintptr_t)record;
    struct cuda_sample sample = {
        .counts = (const struct cuda_draw_counts *)(void *)(host + plan->draw_counts),
        .draw = (const struct cuda_draw *)(void *)(host + plan->draw),
        .slot = (struct cuda_draw_slot *)(void *)(memory + plan->draw_slot),
        .row = (const struct cuda_row *)(const void *)(host + plan->row),
        .path = (const int32_t *)(const void *)(host + plan->path),
        .logits = (const float *)(void *)(memory + plan->logits),
        .chosen = (int32_t *)(void *)(memory + plan->chosen),
        .drawn = (struct cuda_drawn *)(uintptr_t)draws->drawn_device,
        .scratch = memory + plan->sample_scratch,
        .part = (struct cuda_sample_part *)(void *)(memory + plan->sample_part),
        .arrivals = (uint32_t *)(void *)(memory + plan->sample_arrivals),
        .rings = CUDA_RECORDS,
        .max_draws = plan->max_draws,
    };
    unsigned most = (unsigned)(rows < plan->max_draws ? rows : plan->max_draws);
    cuda_stream_launch(stream, draws->model->cuda->sample_kernel, "sample", -1,
                       (unsigned[]){CUDA_SAMPLE_CHUNKS, most, 1}, (void *[]){&sample});
}

static const struct cuda_drawn *result_of(const struct cuda_draws *draws, uint64_t number, int32_t draw)
{
    return &draws->drawn[(size_t)(number % CUDA_RECORDS) * (size_t)draws->plan->max_draws + (size_t)draw];
}

void cuda_draws_result(const struct cuda_draws *draws, uint64_t number, int32_t count, struct drawn *drawn)
{
    for (int32_t i = 0; i < count; i++) {
        const struct cuda_drawn *result = result_of(draws, number, i);
        drawn[i].token = result->status <= CUDA_DRAWN_STOP ? result->token : -1;
        drawn[i].logprob = result->logprob;
    }
}

int cuda_draws_explain(const struct cuda_draws *draws, uint64_t number, int32_t draw, struct error *error)
{
    const struct cuda_drawn *result = result_of(draws, number, draw);
    return result->status == CUDA_DRAWN_BAD_LOGIT ? logits_explain_bad(result->token, "NaN or +infinity", error)
                                                  : logits_explain_nothing(error);
}

int cuda_draws_accept(struct cuda_draws *draws, int32_t slot, const int32_t *tokens, int32_t count, bool tree,
                      struct error *error)
{
    struct cuda_sampler *sampler = &draws->sampler[slot];
    CUdeviceptr to = draws->memory + draws->plan->draw_slot + (uint64_t)slot * sizeof sampler->slot;
    bool short_before = sampler->slot.output < sampler->slot.min_tokens;
    sampler->slot.output += count;
    if (tree && short_before &&
        upload(draws, to + offsetof(struct cuda_draw_slot, output), &sampler->slot.output, sizeof sampler->slot.output,
               error))
        return -1;
    for (int32_t i = 0; sampler->occurrences && i < count; i++) {
        int32_t *seen = &sampler->occurrences[tokens[i]];
        *seen = (*seen < 0 ? 0 : *seen) + 1;
        if (tree && upload(draws, sampler->lists + (uint64_t)tokens[i] * sizeof *seen, seen, sizeof *seen, error))
            return -1;
    }
    return 0;
}
