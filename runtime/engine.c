#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "barrier.h"
#include "memory.h"
#include "package.h"
#include "pool.h"
#include "state.h"
#include "weights.h"

struct engine {
    struct barrier barrier;
    const struct model *model;
    const struct variant *variant;
    const struct trace *trace;
    struct package package;
    struct pool *pool;
    struct state *state;

    unsigned char *random_weights; /* [random_bytes] packages of random weights: all tensors; NULL otherwise */
    uint64_t random_bytes;
    const unsigned char *weights; /* where tensors lie at their offsets: the package's payload, or random_weights */

    unsigned char *arena;   /* [model.arena_bytes] */
    unsigned char *scratch; /* [threads * model.scratch_bytes] */
    float *logits;          /* [max_outputs, vocab] */

    /* The step being assembled. */
    struct row *row;     /* [max_rows] */
    int32_t *output_row; /* [max_outputs] rows that want logits */
    int32_t rows, outputs;

    int32_t *output_of; /* [max_rows] of the last step run: the row's place in logits, -1: it asked for none */
    int32_t ran_rows;
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
    if (wanted)
        error_set(error, "--cpu %s: \"%s\" was built for %s", wanted, model->name, names);
    else
        error_set(error, "\"%s\" was built for %s, and this processor has none of them; build it for this machine",
                  model->name, names);
    return NULL;
}

/* Maps the weights, or makes them. */
static int open_weights(struct engine *engine, const struct engine_options *options, struct error *error)
{
    const struct model *model = engine->model;
    if (package_open(&engine->package, model, options->weights, !options->skip_verify, options->progress,
                     options->progress_context, error) != 0)
        return -1;
    engine->weights = engine->package.payload;
    if (!model->random)
        return 0;
    engine->random_bytes = weights_region_bytes(model);
    engine->random_weights = memory_map(engine->random_bytes, false, "random weights", error);
    if (!engine->random_weights)
        return -1;
    /* The payload of such a package is its bytes sections alone, and they come first in the layout. */
    if (model->payload_bytes)
        memcpy(engine->random_weights, engine->package.payload, (size_t)model->payload_bytes);
    package_close(&engine->package);
    weights_random(model, engine->random_weights, engine->pool, options->progress, options->progress_context);
    engine->weights = engine->random_weights;
    return 0;
}

static int allocate(struct engine *engine, struct error *error)
{
    const struct model *model = engine->model;
    uint64_t threads = (uint64_t)pool_threads(engine->pool);
    engine->arena = memory_map(model->arena_bytes, true, "activations", error);
    if (!engine->arena)
        return -1;
    engine->scratch = memory_map(threads * model->scratch_bytes, true, "the threads' working memory", error);
    if (!engine->scratch)
        return -1;
    uint64_t logits = (uint64_t)model->max_outputs * (uint64_t)model->vocab * sizeof(float);
    engine->logits = memory_map(logits, true, "logits", error);
    if (!engine->logits)
        return -1;
    engine->row = calloc((size_t)model->max_rows, sizeof *engine->row);
    engine->output_row = calloc((size_t)model->max_outputs, sizeof *engine->output_row);
    engine->output_of = calloc((size_t)model->max_rows, sizeof *engine->output_of);
    if (!engine->row || !engine->output_row || !engine->output_of)
        return error_set(error, "out of memory for a step of %d rows", model->max_rows);
    return 0;
}

struct engine *engine_open(const struct model *model, const struct engine_options *options, struct error *error)
{
    static const struct engine_options defaults;
    if (!options)
        options = &defaults;
    /* The barrier keeps its words on cache lines of their own. */
    struct engine *engine = aligned_alloc(64, (sizeof *engine + 63) / 64 * 64);
    if (!engine) {
        error_set(error, "out of memory");
        return NULL;
    }
    memset(engine, 0, sizeof *engine);
    engine->model = model;
    /* What can be found wrong at once comes before what takes time. */
    if (!(engine->variant = choose_variant(model, options->cpu, error)) ||
        !(engine->state = state_open(model, options->kv_memory, error)) ||
        !(engine->pool = pool_open(options->threads, error)) || allocate(engine, error) != 0 ||
        open_weights(engine, options, error) != 0) {
        engine_close(engine);
        return NULL;
    }
    barrier_init(&engine->barrier, (unsigned)pool_threads(engine->pool), pool_spin_ns(engine->pool));
    return engine;
}

void engine_close(struct engine *engine)
{
    if (!engine)
        return;
    const struct model *model = engine->model;
    uint64_t threads = engine->pool ? (uint64_t)pool_threads(engine->pool) : 0;
    pool_close(engine->pool);
    memory_unmap(engine->arena, model->arena_bytes);
    memory_unmap(engine->scratch, threads * model->scratch_bytes);
    memory_unmap(engine->logits, (uint64_t)model->max_outputs * (uint64_t)model->vocab * sizeof(float));
    memory_unmap(engine->random_weights, engine->random_bytes);
    free(engine->row);
    free(engine->output_row);
    free(engine->output_of);
    state_close(engine->state);
    package_close(&engine->package);
    free(engine);
}

const struct model *engine_model(const struct engine *engine)
{
    return engine->model;
}

const char *engine_variant(const struct engine *engine)
{
    return engine->variant->name;
}

int engine_threads(const struct engine *engine)
{
    return pool_threads(engine->pool);
}

const void *engine_section(const struct engine *engine, const char *name, uint64_t *bytes)
{
    const struct tensor *tensor = model_tensor(engine->model, name);
    if (!tensor)
        return NULL;
    if (bytes)
        *bytes = tensor->bytes;
    return engine->weights + tensor->offset;
}

void engine_set_trace(struct engine *engine, const struct trace *trace)
{
    engine->trace = trace;
}

static int check_sequence(const struct engine *engine, int sequence, struct error *error)
{
    if (!state_sequence_valid(engine->state, sequence))
        return error_set(error, "sequence %d is not open", sequence);
    return 0;
}

int sequence_open(struct engine *engine, int32_t adapter, struct error *error)
{
    if (adapter != -1)
        return error_set(error, "adapter %d: \"%s\" was built without adapters", adapter, engine->model->name);
    return state_sequence_open(engine->state, adapter, error);
}

void sequence_close(struct engine *engine, int sequence)
{
    if (state_sequence_valid(engine->state, sequence))
        state_sequence_close(engine->state, sequence);
}

int32_t sequence_length(const struct engine *engine, int sequence)
{
    return state_sequence_valid(engine->state, sequence) ? state_stored(engine->state, sequence) : -1;
}

int sequence_rollback(struct engine *engine, int sequence, int32_t length, struct error *error)
{
    if (check_sequence(engine, sequence, error) != 0)
        return -1;
    return state_rollback(engine->state, sequence, length, error);
}

int sequence_fork(struct engine *engine, int sequence, struct error *error)
{
    if (check_sequence(engine, sequence, error) != 0)
        return -1;
    return state_fork(engine->state, sequence, error);
}

/* The last row of the sequence in the step being assembled, or -1. */
static int32_t last_row_of(const struct engine *engine, int sequence)
{
    if (state_appended(engine->state, sequence) == 0)
        return -1;
    int32_t row = engine->rows - 1;
    while (row >= 0 && engine->row[row].sequence != sequence)
        row--;
    return row;
}

int engine_add(struct engine *engine, int sequence, int32_t token, bool logits, struct error *error)
{
    const struct model *model = engine->model;
    if (check_sequence(engine, sequence, error) != 0)
        return -1;
    if (token < 0 || token >= model->vocab)
        return error_set(error, "token %d is not in the vocabulary, ids are 0 to %d", token, model->vocab - 1);
    if (engine->rows == model->max_rows)
        return error_set(error, "the step is full: it has %d rows", engine->rows);
    if (logits && engine->outputs == model->max_outputs)
        return error_set(error, "the step is full: it has %d rows with logits", engine->outputs);
    int32_t parent = last_row_of(engine, sequence);
    int32_t position = state_append(engine->state, sequence, error);
    if (position < 0)
        return -1;
    engine->row[engine->rows] = (struct row){
        .token = token,
        .position = position,
        .sequence = sequence,
        .adapter = state_adapter(engine->state, sequence),
        .parent = parent,
        .shared = position + 1,
        .path = 0,
        .scratch = -1,
    };
    if (logits)
        engine->output_row[engine->outputs++] = engine->rows;
    return engine->rows++;
}

int engine_room(const struct engine *engine)
{
    return engine->model->max_rows - engine->rows;
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

int engine_run(struct engine *engine, struct error *error)
{
    (void)error; /* nothing can fail on a CPU once the rows are in; a device can */
    for (int32_t row = 0; row < engine->rows; row++)
        engine->output_of[row] = -1;
    for (int32_t output = 0; output < engine->outputs; output++)
        engine->output_of[engine->output_row[output]] = output;
    engine->ran_rows = engine->rows;
    if (engine->rows == 0)
        return 0;
    struct run run = {
        .function = engine->variant->step,
        .step =
            {
                .rows = engine->rows,
                .outputs = engine->outputs,
                .row = engine->row,
                .output_row = engine->output_row,
                .pages = state_pages(engine->state),
                .path = NULL,
                .weights = engine->weights,
                .state = state_bases(engine->state),
                .pages_total = state_pages_total(engine->state),
                .arena = engine->arena,
                .scratch = engine->scratch,
                .logits = engine->logits,
                .threads = pool_threads(engine->pool),
                .barrier = &engine->barrier,
                .trace = engine->trace,
            },
    };
    pool_run(engine->pool, run_step, &run);
    for (int32_t row = 0; row < engine->rows; row++)
        state_commit(engine->state, engine->row[row].sequence);
    engine->rows = engine->outputs = 0;
    return 0;
}

void engine_discard(struct engine *engine)
{
    for (int32_t row = 0; row < engine->rows; row++)
        state_drop(engine->state, engine->row[row].sequence);
    engine->rows = engine->outputs = 0;
}

float *engine_logits(struct engine *engine, int row)
{
    if (row < 0 || row >= engine->ran_rows || engine->output_of[row] < 0)
        return NULL;
    return engine->logits + (size_t)engine->output_of[row] * (size_t)engine->model->vocab;
}

void engine_memory(const struct engine *engine, uint64_t *state_used, uint64_t *state_total, uint64_t *other)
{
    const struct model *model = engine->model;
    uint64_t page = state_page_bytes(engine->state);
    if (state_used)
        *state_used = page * (uint64_t)state_pages_used(engine->state);
    if (state_total)
        *state_total = page * (uint64_t)state_pages_total(engine->state);
    if (other)
        *other = model->arena_bytes + (uint64_t)pool_threads(engine->pool) * model->scratch_bytes +
                 (uint64_t)model->max_outputs * (uint64_t)model->vocab * sizeof(float) +
                 state_scratch_bytes(engine->state);
}
