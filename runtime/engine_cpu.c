/* Steps on the CPU: all threads of a pool run the generated step function. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "barrier.h"
#include "draft.h"
#include "engine_backend.h"
#include "memory.h"
#include "pool.h"
#include "weights.h"

struct engine_device {
    struct barrier barrier;
    const struct model *model;
    const struct variant *variant;
    struct pool *pool;
    struct state *state; /* the engine's */

    unsigned char *random_weights; /* [random_bytes] packages of random weights: all tensors; NULL otherwise */
    uint64_t random_bytes;
    const unsigned char *weights; /* where tensors lie at their offsets: the package's payload, or random_weights */

    unsigned char *arena;   /* [model.arena_bytes] */
    unsigned char *scratch; /* [threads * model.scratch_bytes] */
    float *logits;          /* [max_outputs, vocab] */
    float *draft_logits;    /* [max_outputs, draft vocab]; NULL: the package has no head */
};

/* The variant that the options name, or the first that this processor has. */
static const struct variant *choose_variant(const struct model *model, const char *wanted, struct error *error)
{
    char names[256] = "";
    size_t length = 0;
    for (int32_t i = 0; i < model->variant_count; i++) {
        const struct variant *variant = &model->variants[i];
        bool supported = !variant->supported || variant->supported();
        if (wanted && strcmp(variant->name, wanted) == 0 && !supported) {
            error_set(error, "--cpu %s: this processor does not have it; leave --cpu out to choose what it has",
                      wanted);
            return NULL;
        }
        if (supported && (!wanted || strcmp(variant->name, wanted) == 0))
            return variant;
        int more = snprintf(names + length, sizeof names - length, "%s%s", length ? ", " : "", variant->name);
        length += more > 0 && (size_t)more < sizeof names - length ? (size_t)more : 0;
    }
    if (wanted && strcmp(wanted, "bf16") == 0 && strcmp(model->dtype, "bf16") != 0)
        error_set(error, "--cpu bf16: it multiplies bfloat16 and \"%s\" holds %s; this package was built for %s",
                  model->name, model->dtype, names);
    else if (wanted)
        error_set(error, "--cpu %s: \"%s\" was built for %s", wanted, model->name, names);
    else
        error_set(error, "\"%s\" was built for %s, and this processor has none of them; build it for this machine",
                  model->name, names);
    return NULL;
}

/* The mapped payload is used in place; random weights are made. */
static int cpu_load(struct engine_device *device, const struct engine_options *options, const struct package *package,
                    struct error *error)
{
    const struct model *model = device->model;
    device->weights = package->payload;
    if (!model->random)
        return 0;
    device->random_bytes = weights_region_bytes(model);
    device->random_weights = memory_map(device->random_bytes, false, "random weights", error);
    if (!device->random_weights)
        return -1;
    /* The payload of such a package is its bytes sections alone, and they come first in the layout. */
    if (model->payload_bytes)
        memcpy(device->random_weights, package->payload, (size_t)model->payload_bytes);
    weights_random(model, device->random_weights, device->pool, options->progress, options->progress_context);
    device->weights = device->random_weights;
    return 0;
}

/* Target and draft steps share their memory. */
static uint64_t arena_bytes(const struct model *model)
{
    uint64_t draft = model->draft ? model->draft->arena_bytes : 0;
    return draft > model->arena_bytes ? draft : model->arena_bytes;
}

static uint64_t scratch_bytes(const struct model *model)
{
    uint64_t draft = model->draft ? model->draft->scratch_bytes : 0;
    return draft > model->scratch_bytes ? draft : model->scratch_bytes;
}

static uint64_t draft_logits_bytes(const struct model *model)
{
    return model->draft ? (uint64_t)model->max_outputs * (uint64_t)model->draft->vocab * sizeof(float) : 0;
}

static uint64_t logits_bytes(const struct model *model)
{
    return (uint64_t)model->max_outputs * (uint64_t)model->vocab * sizeof(float);
}

static int allocate(struct engine_device *device, struct error *error)
{
    const struct model *model = device->model;
    uint64_t threads = (uint64_t)pool_threads(device->pool);
    device->arena = memory_map(arena_bytes(model), true, "activations", error);
    if (!device->arena)
        return -1;
    device->scratch = memory_map(threads * scratch_bytes(model), true, "the threads' working memory", error);
    if (!device->scratch)
        return -1;
    device->logits = memory_map(logits_bytes(model), true, "logits", error);
    if (device->logits && model->draft)
        device->draft_logits = memory_map(draft_logits_bytes(model), true, "the draft head's logits", error);
    return device->logits && (device->draft_logits || !model->draft) ? 0 : -1;
}

static void cpu_close(struct engine_device *device)
{
    if (!device)
        return;
    const struct model *model = device->model;
    uint64_t threads = device->pool ? (uint64_t)pool_threads(device->pool) : 0;
    pool_close(device->pool);
    memory_unmap(device->arena, arena_bytes(model));
    memory_unmap(device->scratch, threads * scratch_bytes(model));
    memory_unmap(device->logits, logits_bytes(model));
    memory_unmap(device->draft_logits, draft_logits_bytes(model));
    memory_unmap(device->random_weights, device->random_bytes);
    free(device);
}

static struct engine_device *cpu_open(const struct model *model, const struct engine_options *options,
                                      struct state **state, struct error *error)
{
    /* The barrier keeps its words on cache lines of their own. */
    struct engine_device *device = aligned_alloc(64, (sizeof *device + 63) / 64 * 64);
    if (!device) {
        error_set(error, "out of memory");
        return NULL;
    }
    memset(device, 0, sizeof *device);
    device->model = model;
    uint64_t kv_memory = options->kv_memory ? options->kv_memory : options->kv_wanted;
    if (!(device->variant = choose_variant(model, options->cpu, error)) ||
        !(device->state = *state = state_open(model, kv_memory, error)) ||
        !(device->pool = pool_open(options->threads, error)) || allocate(device, error) != 0) {
        cpu_close(device);
        return NULL;
    }
    barrier_init(&device->barrier, (unsigned)pool_threads(device->pool), pool_spin_ns(device->pool));
    return device;
}

static const char *cpu_variant(const struct engine_device *device)
{
    return device->variant->name;
}

static int cpu_threads(const struct engine_device *device)
{
    return pool_threads(device->pool);
}

static const void *cpu_section(const struct engine_device *device, const struct package *package,
                               const struct tensor *tensor)
{
    (void)package;
    return device->weights + tensor->offset;
}

static uint64_t cpu_other_bytes(const struct engine_device *device)
{
    const struct model *model = device->model;
    return arena_bytes(model) + (uint64_t)pool_threads(device->pool) * scratch_bytes(model) + logits_bytes(model) +
           draft_logits_bytes(model) + state_scratch_bytes(device->state);
}

static int cpu_depth(const struct engine_device *device)
{
    (void)device;
    return 1;
}

struct run {
    step_function *function;
    struct step step;
};

static void run_step(void *context, int thread)
{
    const struct run *run = context;
    run->function(&run->step, thread);
}

/* What target and draft steps have in common. */
static struct step step_of(struct engine_device *device)
{
    return (struct step){
        .pages = state_pages(device->state),
        .weights = device->weights,
        .state = state_bases(device->state),
        .pages_total = state_pages_total(device->state),
        .arena = device->arena,
        .scratch = device->scratch,
        .threads = pool_threads(device->pool),
        .barrier = &device->barrier,
    };
}

/* Nothing can fail on a CPU once the rows are in. */
static int cpu_submit(struct engine_device *device, const struct engine_batch *batch, struct error *error)
{
    (void)error;
    struct run run = {.function = device->variant->step, .step = step_of(device)};
    run.step.rows = batch->rows;
    run.step.outputs = batch->outputs;
    run.step.row = batch->row;
    run.step.output_row = batch->output_row;
    run.step.path = batch->path;
    run.step.logits = device->logits;
    run.step.adapter = batch->adapter;
    run.step.run = batch->run;
    run.step.output_run = batch->output_run;
    run.step.runs = batch->runs;
    run.step.output_runs = batch->output_runs;
    run.step.trace = batch->trace;
    run.step.watch = batch->watch;
    pool_run(device->pool, run_step, &run);
    return 0;
}

static bool cpu_drafts(const struct engine_device *device)
{
    return device->model->draft && device->model->draft->steps;
}

static int cpu_draft(struct engine_device *device, const struct engine_draft_step *draft, struct error *error)
{
    (void)error;
    struct run run = {.function = device->model->draft->steps[device->variant - device->model->variants],
                      .step = step_of(device)};
    run.step.rows = draft->rows;
    run.step.outputs = draft->outputs;
    run.step.row = draft->row;
    run.step.output_row = draft->output_row;
    run.step.path = draft->path;
    run.step.feature = draft->feature;
    run.step.feature_place = draft->feature_place;
    run.step.logits = device->draft_logits;
    pool_run(device->pool, run_step, &run);
    return 0;
}

static const float *cpu_draft_logits(struct engine_device *device, int32_t output)
{
    return device->draft_logits + (size_t)output * (size_t)device->model->draft->vocab;
}

static bool cpu_draws(const struct engine_device *device)
{
    (void)device;
    return false;
}

static int cpu_collect(struct engine_device *device, struct drawn *drawn, int32_t draws, struct error *error)
{
    (void)device, (void)drawn, (void)draws, (void)error; /* `submit` has done it all */
    return 0;
}

/* A page of a group is runs of `page` positions, each position's piece beside the next one's. */
static int cpu_keep(struct engine_device *device, const int32_t *from, const int32_t *to, int32_t count,
                    struct error *error)
{
    const struct model *model = device->model;
    (void)error;
    for (int32_t g = 0; g < model->state_count; g++) {
        const struct state_group *group = &model->states[g];
        unsigned char *base = state_bases(device->state)[g];
        if (!group->piece_bytes)
            continue;
        size_t page = (size_t)model->page, piece = (size_t)group->piece_bytes, run = page * piece;
        for (int32_t i = 0; i < count; i++) {
            const unsigned char *source =
                base + (size_t)from[i] / page * group->page_bytes + (size_t)from[i] % page * piece;
            unsigned char *target = base + (size_t)to[i] / page * group->page_bytes + (size_t)to[i] % page * piece;
            for (size_t at = 0; at < group->page_bytes; at += run)
                memcpy(target + at, source + at, piece);
        }
    }
    return 0;
}

static float *cpu_logits(struct engine_device *device, int32_t output)
{
    return device->logits + (size_t)output * (size_t)device->model->vocab;
}

const struct engine_backend engine_cpu = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .load = cpu_load,
    .variant = cpu_variant,
    .threads = cpu_threads,
    .section = cpu_section,
    .other_bytes = cpu_other_bytes,
    .depth = cpu_depth,
    .submit = cpu_submit,
    .collect = cpu_collect,
    .keep = cpu_keep,
    .drafts = cpu_drafts,
    .draft = cpu_draft,
    .draft_logits = cpu_draft_logits,
    .logits = cpu_logits,
    .draws = cpu_draws,
};
