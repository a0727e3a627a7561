#include "engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "draft.h"
#include "engine_adapters.h"
#include "engine_backend.h"
#include "engine_tree.h"
#include "logits.h"
#include "package.h"
#include "progress.h"
#include "state.h"

enum { DEPTH_MAX = 4 };

/* A step that has been submitted, or collected last. */
struct flight {
    int32_t rows, draws;
    int32_t *output_of;       /* [max_rows] the row's place among the outputs, -1: it asked for nothing */
    bool *asked;              /* [max_outputs] the caller asked for the logits */
    bool *wanted;             /* [max_outputs] and those that the engine's own draws need */
    struct engine_draw *draw; /* [max_outputs] */
};

/* A draw slot: the sampler is the engine's own where the backend draws not; then only `open` counts. */
struct slot {
    bool open;
    struct sampler *sampler;
    int32_t token; /* drawn last; -1: none collected yet */
    bool draws;    /* a draw has been submitted */
    bool known;    /* the last one was one of a tree: the device does not know what it came to */
};

struct engine {
    const struct model *model;
    const struct engine_backend *backend;
    struct engine_device *device;
    const struct trace *trace;
    const struct stopwatch *watch;
    struct package package;
    struct state *state;
    bool device_draws; /* the backend chooses tokens itself */
    bool timed;        /* engine_time_stages */

    /* The step being assembled. */
    struct row *row;     /* [max_rows] */
    int32_t *output_row; /* [max_outputs] rows that want logits or a draw */
    int32_t rows, outputs;
    struct flight flight[DEPTH_MAX + 1]; /* in a ring: the one collected last, those under way, the one assembled */
    int32_t collected;                   /* its place in the ring; -1: none, or another has been submitted since */
    int32_t oldest, under_way;

    struct engine_tree tree;
    struct engine_adapters adapters;

    struct slot *slot; /* [slots] */
    int32_t slots;
    struct drawn *drawn;   /* [max_outputs] that count */
    struct drawn *made;    /* [max_outputs] by the device */
    int32_t *path, *token; /* [max_outputs] rows and tokens down a tree */
    float *own;            /* [vocab] logits that both a draw and the caller want; NULL: not needed yet */
    double accept_seconds; /* engine_accept_seconds */
};

static int32_t ring(int32_t place)
{
    return place % (DEPTH_MAX + 1);
}

/* The step being assembled. */
static struct flight *assembled(struct engine *engine)
{
    return &engine->flight[ring(engine->oldest + engine->under_way)];
}

/* What the options' device stands for; NULL and a message when the package has none. */
static const struct engine_backend *choose_backend(const struct model *model, const char *device, struct error *error)
{
    bool cpu = model->variant_count > 0, cuda = model->cuda != NULL;
    if (!device && (cpu || cuda))
        return cuda ? &engine_cuda : &engine_cpu;
    if (device && strcmp(device, "cpu") == 0 && cpu)
        return &engine_cpu;
    if (device && strcmp(device, "cuda") == 0 && cuda)
        return &engine_cuda;
    if (device && strcmp(device, "cpu") != 0 && strcmp(device, "cuda") != 0)
        error_set(error, "--device: expected cpu or cuda, found '%.100s'", device);
    else if (device)
        error_set(error, "--device %s: \"%s\" was built for %s only; leave --device out, or build it with --target %s",
                  device, model->name, cuda ? "cuda" : "cpu", cuda ? "c" : "cuda");
    else
        error_set(error, "\"%s\" was built for nothing; build it with --target c or cuda", model->name);
    return NULL;
}

static int allocate(struct engine *engine, struct error *error)
{
    size_t rows = (size_t)engine->model->max_rows, outputs = (size_t)engine->model->max_outputs;
    engine->row = calloc(rows, sizeof *engine->row);
    engine->output_row = calloc(outputs, sizeof *engine->output_row);
    engine->drawn = calloc(outputs, sizeof *engine->drawn);
    engine->made = calloc(outputs, sizeof *engine->made);
    engine->path = calloc(outputs, sizeof *engine->path);
    engine->token = calloc(outputs, sizeof *engine->token);
    bool whole = engine->row && engine->output_row && engine->drawn && engine->made && engine->path && engine->token;
    for (int i = 0; i <= DEPTH_MAX; i++) {
        struct flight *flight = &engine->flight[i];
        flight->output_of = calloc(rows, sizeof *flight->output_of);
        flight->asked = calloc(outputs, sizeof *flight->asked);
        flight->wanted = calloc(outputs, sizeof *flight->wanted);
        flight->draw = calloc(outputs, sizeof *flight->draw);
        whole = whole && flight->output_of && flight->asked && flight->wanted && flight->draw;
    }
    return whole ? engine_tree_open(&engine->tree, engine->model, error)
                 : error_set(error, "out of memory for a step of %d rows", engine->model->max_rows);
}

static int open_device(struct engine *engine, const struct engine_options *options, struct error *error)
{
    const struct model *model = engine->model;
    const struct engine_backend *backend = choose_backend(model, options->device, error);
    if (!backend)
        return -1;
    engine->backend = backend;
    /* What can be found wrong at once comes before what takes time. */
    if (!(engine->device = backend->open(model, options, &engine->state, error)))
        return -1;
    engine->device_draws = backend->draws(engine->device);
    bool verify = !options->skip_verify && (!backend->verifies || model->random);
    if (package_open(&engine->package, model, options->weights, verify, options->progress, options->progress_context,
                     error) != 0)
        return -1;
    return backend->load(engine->device, options, &engine->package, error);
}

/* The device gets what is in a slot. */
static int upload_adapter(struct engine *engine, int32_t place, struct error *error)
{
    const struct adapter_slot *slot = &engine->adapters.slot[place];
    if (!engine->backend->adapter)
        return 0;
    return engine->backend->adapter(engine->device, place, slot->name, slot->blob, slot->bytes, error);
}

/* The adapters that were built in, and those that the options name. */
static int open_adapters(struct engine *engine, const struct engine_options *options, struct error *error)
{
    const struct model *model = engine->model;
    if (engine_adapters_open(&engine->adapters, model, &engine->package, error))
        return -1;
    for (int32_t i = 0; i < model->adapter_count; i++)
        if (upload_adapter(engine, i, error))
            return -1;
    /* On the host, all tensors lie at their offsets from the first one's. */
    const unsigned char *first =
        engine->backend->section(engine->device, &engine->package, &model->tensors[model->tensor_count - 1]);
    const unsigned char *payload = first ? first - model->tensors[model->tensor_count - 1].offset : NULL;
    for (int i = 0; i < options->adapter_count; i++) {
        const struct adapter_folder *given = &options->adapters[i];
        int slot = engine_adapters_read(&engine->adapters, given->name, given->folder, payload, error);
        if (slot < 0 || upload_adapter(engine, slot, error))
            return -1;
    }
    return 0;
}

struct engine *engine_open(const struct model *model, const struct engine_options *options, struct error *error)
{
    static const struct engine_options defaults;
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine) {
        error_set(error, "out of memory");
        return NULL;
    }
    engine->model = model;
    engine->collected = -1;
    options = options ? options : &defaults;
    if (allocate(engine, error) != 0 || open_device(engine, options, error) != 0 ||
        open_adapters(engine, options, error) != 0) {
        engine_close(engine);
        return NULL;
    }
    return engine;
}

void engine_close(struct engine *engine)
{
    if (!engine)
        return;
    if (engine->device)
        engine->backend->close(engine->device);
    for (int i = 0; i <= DEPTH_MAX; i++) {
        free(engine->flight[i].output_of);
        free(engine->flight[i].asked);
        free(engine->flight[i].wanted);
        free(engine->flight[i].draw);
    }
    for (int32_t s = 0; s < engine->slots; s++)
        sampler_close(engine->slot[s].sampler);
    free(engine->slot);
    free(engine->row);
    free(engine->output_row);
    free(engine->drawn);
    free(engine->made);
    free(engine->path);
    free(engine->token);
    free(engine->own);
    engine_tree_close(&engine->tree);
    engine_adapters_close(&engine->adapters);
    state_close(engine->state);
    package_close(&engine->package);
    free(engine);
}

const struct model *engine_model(const struct engine *engine)
{
    return engine->model;
}

const char *engine_device(const struct engine *engine)
{
    return engine->backend->name;
}

const char *engine_variant(const struct engine *engine)
{
    return engine->backend->variant(engine->device);
}

int engine_threads(const struct engine *engine)
{
    return engine->backend->threads(engine->device);
}

const char *engine_gpu(const struct engine *engine)
{
    return engine->backend->gpu ? engine->backend->gpu(engine->device) : NULL;
}

const void *engine_section(const struct engine *engine, const char *name, uint64_t *bytes)
{
    const struct tensor *tensor = model_tensor(engine->model, name);
    if (!tensor)
        return NULL;
    if (bytes)
        *bytes = tensor->bytes;
    return engine->backend->section(engine->device, &engine->package, tensor);
}

const char *const *engine_traces(const struct engine *engine, int32_t *count)
{
    *count = engine->model->trace_count;
    return engine->backend->traces ? engine->backend->traces(engine->device, count) : engine->model->traces;
}

void engine_set_trace(struct engine *engine, const struct trace *trace)
{
    engine->trace = trace;
}

void engine_set_watch(struct engine *engine, const struct stopwatch *watch)
{
    engine->watch = watch;
}

int engine_adapter(const struct engine *engine, const char *name, struct error *error)
{
    return engine_adapters_find(&engine->adapters, name, error);
}

int32_t engine_adapter_slots(const struct engine *engine)
{
    return engine->adapters.slots;
}

bool engine_adapter_info(const struct engine *engine, int32_t slot, struct adapter_info *info)
{
    if (slot < 0 || slot >= engine->adapters.slots || !engine->adapters.slot[slot].name)
        return false;
    const struct adapter_slot *from = &engine->adapters.slot[slot];
    *info = (struct adapter_info){
        .name = from->name,
        .rank = from->summary.rank,
        .sites = from->summary.sites,
        .bytes = from->bytes,
        .step_bytes = from->summary.step_bytes,
        .built_in = slot < engine->model->adapter_count,
    };
    return true;
}

int engine_add_adapter(struct engine *engine, const char *name, unsigned char *blob, uint64_t bytes,
                       struct error *error)
{
    int slot = engine_adapters_add(&engine->adapters, name, blob, bytes, error);
    if (slot < 0 || upload_adapter(engine, slot, error) == 0)
        return slot;
    engine_adapters_release(&engine->adapters, slot);
    return -1;
}

static int check_sequence(const struct engine *engine, int sequence, struct error *error)
{
    if (!state_sequence_valid(engine->state, sequence))
        return error_set(error, "sequence %d is not open", sequence);
    return 0;
}

int sequence_open(struct engine *engine, int32_t adapter, struct error *error)
{
    if (adapter < -1 || adapter >= engine->adapters.slots || (adapter >= 0 && !engine->adapters.slot[adapter].name))
        return error_set(error, "adapter %d: \"%s\" has none in this slot", adapter, engine->model->name);
    return state_sequence_open(engine->state, adapter, error);
}

void sequence_close(struct engine *engine, int sequence)
{
    engine_tree_settle(&engine->tree, engine->state);
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
    engine_tree_settle(&engine->tree, engine->state);
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

/* The slot must be open and have drawn, or be about to in a step under way. */
static int check_token(const struct engine *engine, int32_t token, struct error *error)
{
    if (token >= 0 && token < engine->model->vocab)
        return 0;
    if (token >= 0)
        return error_set(error, "token %d is not in the vocabulary, ids are 0 to %d", token, engine->model->vocab - 1);
    int32_t slot = ~token;
    if (slot >= engine->slots || !engine->slot[slot].open)
        return error_set(error, "token %d: draw slot %d is not open", token, slot);
    return 0;
}

/* Makes the row added last an output of the step. */
static int add_output(struct engine *engine, int32_t row, bool asked, struct error *error)
{
    struct flight *flight = assembled(engine);
    if (flight->output_of[row] < 0) {
        if (engine->outputs == engine->model->max_outputs)
            return error_set(error, "the step is full: it has %d rows with logits", engine->outputs);
        flight->asked[engine->outputs] = false;
        flight->output_of[row] = engine->outputs;
        engine->output_row[engine->outputs++] = row;
    }
    flight->asked[flight->output_of[row]] |= asked;
    return 0;
}

/* Is there room for a row of the sequence, and may it have the token? */
static int check_row(struct engine *engine, int sequence, int32_t token, bool logits, struct error *error)
{
    if (check_sequence(engine, sequence, error) != 0 || check_token(engine, token, error) != 0)
        return -1;
    if (engine->tree.under_way)
        return error_set(error, "a step with trees is under way: collect it first");
    engine_tree_settle(&engine->tree, engine->state);
    if (engine->rows == engine->model->max_rows)
        return error_set(error, "the step is full: it has %d rows", engine->rows);
    if (logits && engine->outputs == engine->model->max_outputs)
        return error_set(error, "the step is full: it has %d rows with logits", engine->outputs);
    return 0;
}

/* The row that engine->row[engine->rows] has become. */
static int take_row(struct engine *engine, bool logits)
{
    assembled(engine)->output_of[engine->rows] = -1;
    if (logits)
        (void)add_output(engine, engine->rows, true, NULL); /* there is room */
    return engine->rows++;
}

int engine_add(struct engine *engine, int sequence, int32_t token, bool logits, struct error *error)
{
    if (check_row(engine, sequence, token, logits, error))
        return -1;
    int32_t parent = last_row_of(engine, sequence);
    if (parent >= 0 && engine->row[parent].scratch >= 0)
        return error_set(error, "sequence %d has a tree in this step: its plain rows come first", sequence);
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
    return take_row(engine, logits);
}

/* The row below which a child of `parent` goes: `parent`, or the last plain one. -1: the stored state; -2 and a message: it
   cannot have one. */
static int32_t parent_of(const struct engine *engine, int sequence, int32_t parent, struct error *error)
{
    int32_t last = last_row_of(engine, sequence), plain = last;
    while (plain >= 0 && (engine->row[plain].sequence != sequence || engine->row[plain].scratch >= 0))
        plain--;
    if (parent < 0 || parent == plain)
        return plain;
    if (parent < engine->rows && engine->row[parent].sequence == sequence && engine->row[parent].scratch >= 0)
        return parent;
    error_set(error, "row %d can have no children in sequence %d: expected its last plain row, or one of its tree",
              parent, sequence);
    return -2;
}

int engine_add_child(struct engine *engine, int sequence, int32_t parent, int32_t token, bool logits,
                     struct error *error)
{
    if (check_row(engine, sequence, token, logits, error))
        return -1;
    if (token < 0)
        return error_set(error, "a row of a tree needs a token that is known");
    int32_t last = last_row_of(engine, sequence), above = parent_of(engine, sequence, parent, error);
    if (above < -1)
        return -1;
    int32_t end = state_stored(engine->state, sequence) + state_appended(engine->state, sequence);
    int32_t position = above >= 0 ? engine->row[above].position + 1 : state_stored(engine->state, sequence);
    if (last >= 0 && position < engine->row[last].position)
        return error_set(error, "a row at position %d after one at %d: trees are added level by level", position,
                         engine->row[last].position);
    engine->row[engine->rows] = (struct row){
        .token = token,
        .position = position,
        .sequence = sequence,
        .adapter = state_adapter(engine->state, sequence),
        .parent = above,
    };
    int32_t paths = engine->tree.paths;
    if (engine_tree_add(&engine->tree, engine->row, engine->rows, error))
        return -1;
    /* A level's first row makes room in the pages for whichever row of it is accepted. */
    if (position == end && state_append(engine->state, sequence, error) < 0) {
        engine->tree.paths = paths;
        engine->tree.rows--;
        return -1;
    }
    return take_row(engine, logits);
}

int engine_accept(struct engine *engine, const int32_t *rows, int32_t count, struct error *error)
{
    return engine_tree_accept(&engine->tree, engine->backend, engine->device, engine->state, engine->model->page, rows,
                              count, error);
}

int engine_room(const struct engine *engine)
{
    return engine->model->max_rows - engine->rows;
}

static int new_slot(struct engine *engine, struct error *error)
{
    int32_t s = 0;
    while (s < engine->slots && engine->slot[s].open)
        s++;
    if (s < engine->slots)
        return s;
    int32_t slots = engine->slots ? engine->slots * 2 : 8;
    struct slot *slot = slots < INT32_MAX / 4 ? realloc(engine->slot, (size_t)slots * sizeof *slot) : NULL;
    if (!slot)
        return error_set(error, "out of memory for %d draw slots", slots);
    memset(slot + engine->slots, 0, (size_t)(slots - engine->slots) * sizeof *slot);
    engine->slot = slot;
    engine->slots = slots;
    return s;
}

int draw_open(struct engine *engine, const struct sampler_options *options, struct error *error)
{
    int s = new_slot(engine, error);
    if (s < 0)
        return -1;
    struct slot *slot = &engine->slot[s];
    sampler_close(slot->sampler);
    *slot = (struct slot){.token = -1};
    if (engine->device_draws) {
        if (sampler_check(options, engine->model->vocab, error) ||
            engine->backend->draw_open(engine->device, s, options, error))
            return -1;
    } else if (!(slot->sampler = sampler_open(options, engine->model->vocab, error))) {
        return -1;
    }
    slot->open = true;
    return s;
}

static int check_slot(const struct engine *engine, int slot, struct error *error)
{
    if (slot < 0 || slot >= engine->slots || !engine->slot[slot].open)
        return error_set(error, "draw slot %d is not open", slot);
    return 0;
}

int draw_see(struct engine *engine, int slot, const int32_t *tokens, size_t count, bool output, struct error *error)
{
    if (check_slot(engine, slot, error))
        return -1;
    if (engine->slot[slot].draws)
        return error_set(error, "draw slot %d has drawn already and can be told of no more tokens", slot);
    if (engine->device_draws)
        return engine->backend->draw_see(engine->device, slot, tokens, count, output, error);
    for (size_t i = 0; i < count; i++)
        sampler_see(engine->slot[slot].sampler, tokens[i], output);
    return 0;
}

void draw_close(struct engine *engine, int slot)
{
    if (check_slot(engine, slot, NULL) == 0)
        engine->slot[slot].open = false; /* the sampler stays until the slot is used again: draws may be under way */
}

int32_t engine_max_draws(const struct engine *engine)
{
    return engine->device_draws ? engine->backend->max_draws(engine->device) : engine->model->max_outputs;
}

/* The draw of `slot` in the step being assembled at this row; row -1: at any. -1: there is none. */
static int32_t find_draw(const struct flight *flight, int slot, int32_t row)
{
    for (int32_t i = 0; i < flight->draws; i++)
        if (flight->draw[i].slot == slot && (row < 0 || flight->draw[i].row == row))
            return i;
    return -1;
}

int engine_draw(struct engine *engine, int row, int slot, struct error *error)
{
    if (check_slot(engine, slot, error))
        return -1;
    if (row < 0 || row + 1 != engine->rows)
        return error_set(error, "a draw for row %d: only the row added last can ask for one", row);
    struct flight *flight = assembled(engine);
    const struct row *own = &engine->row[row];
    bool tree = own->scratch >= 0;
    int32_t above = tree && own->parent >= 0 ? find_draw(flight, slot, own->parent) : -1;
    if (tree && above < 0)
        return error_set(error, "a draw for row %d: draw slot %d has none at the row above it", row, slot);
    if (find_draw(flight, slot, tree ? row : -1) >= 0)
        return error_set(error, "draw slot %d has a draw in this step already", slot);
    if (flight->draws >= engine_max_draws(engine))
        return error_set(error, "the step is full: it has %d draws", flight->draws);
    if (add_output(engine, row, false, error))
        return -1;
    if (tree)
        flight->draw[above].tree = true;
    flight->draw[flight->draws++] = (struct engine_draw){
        .slot = slot,
        .row = row,
        .output = flight->output_of[row],
        .position = own->position + 1,
        .parent = above,
        .tree = tree,
    };
    return 0;
}

int engine_depth(const struct engine *engine)
{
    int depth = engine->device_draws && !engine->trace && !engine->timed ? engine->backend->depth(engine->device) : 1;
    return depth < DEPTH_MAX ? depth : DEPTH_MAX;
}

int engine_under_way(const struct engine *engine)
{
    return engine->under_way;
}

/* Tokens that rows name by their slot: have they been drawn? Where the engine draws, they are known by now. */
static int resolve_tokens(struct engine *engine, struct error *error)
{
    for (int32_t r = 0; r < engine->rows; r++) {
        int32_t slot = ~engine->row[r].token;
        if (slot < 0)
            continue;
        if (!engine->slot[slot].draws)
            return error_set(error, "row %d: draw slot %d has drawn nothing yet", r, slot);
        if (!engine->device_draws || engine->slot[slot].known)
            engine->row[r].token = engine->slot[slot].token;
    }
    return 0;
}

int engine_submit(struct engine *engine, struct error *error)
{
    struct flight *flight = assembled(engine);
    bool draws_here = !engine->device_draws;
    if (engine->under_way >= engine_depth(engine))
        return error_set(error, "%d steps are under way, as many as there can be: collect one first",
                         engine->under_way);
    if (engine->tree.under_way)
        return error_set(error, "a step with trees is under way: collect it first");
    engine_tree_settle(&engine->tree, engine->state);
    if (resolve_tokens(engine, error))
        return -1;
    memcpy(flight->wanted, flight->asked, (size_t)engine->outputs * sizeof *flight->wanted);
    for (int32_t i = 0; draws_here && i < flight->draws; i++)
        flight->wanted[flight->draw[i].output] = true;
    flight->rows = engine->rows;
    engine->collected = -1;
    engine_adapters_assemble(&engine->adapters, engine->row, engine->rows, engine->output_row, engine->outputs);
    struct engine_batch batch = {
        .rows = engine->rows,
        .outputs = engine->outputs,
        .row = engine->row,
        .output_row = engine->output_row,
        .wanted = flight->wanted,
        .draw = flight->draw,
        .draws = draws_here ? 0 : flight->draws,
        .path = engine->tree.path,
        .paths = engine->tree.paths,
        .adapter = engine->adapters.blob,
        .run = engine->adapters.run,
        .output_run = engine->adapters.output_run,
        .runs = engine->adapters.runs,
        .output_runs = engine->adapters.output_runs,
        .trace = engine->trace,
        .watch = engine->watch,
    };
    if (engine->rows && engine->backend->submit(engine->device, &batch, error))
        return -1;
    for (int32_t row = 0; row < engine->rows; row++)
        if (engine->row[row].scratch < 0)
            state_commit_some(engine->state, engine->row[row].sequence, 1);
    engine_tree_submitted(&engine->tree, engine->row, engine->rows);
    for (int32_t i = 0; i < flight->draws; i++) {
        struct slot *slot = &engine->slot[flight->draw[i].slot];
        slot->draws = true;
        slot->known = false;
    }
    engine->under_way++;
    engine->rows = engine->outputs = 0;
    assembled(engine)->draws = 0;
    return 0;
}

/* Logits that a sampler may change, of a row whose caller wants to see them too. NULL: out of memory. */
static float *own_copy(struct engine *engine, const float *logits)
{
    size_t bytes = (size_t)engine->model->vocab * sizeof *logits;
    if (!engine->own)
        engine->own = malloc(bytes);
    return engine->own ? memcpy(engine->own, logits, bytes) : NULL;
}

/* What draw `i` of a collected step chooses. */
static int choose(struct engine *engine, const struct flight *flight, int32_t i, struct drawn *out, struct error *error)
{
    const struct engine_draw *draw = &flight->draw[i];
    struct slot *slot = &engine->slot[draw->slot];
    *out = (struct drawn){.slot = draw->slot, .row = draw->row, .position = draw->position};
    if (engine->device_draws) {
        out->token = engine->made[i].token;
        out->logprob = engine->made[i].logprob;
        return out->token < 0 ? engine->backend->draw_error(engine->device, i, error) : 0;
    }
    float *logits = engine->backend->logits(engine->device, draw->output);
    if (flight->asked[draw->output] && !(logits = own_copy(engine, logits)))
        return error_set(error, "out of memory for a copy of the logits");
    out->token = sampler_choose(slot->sampler, logits, draw->position, &out->logprob, error);
    return out->token < 0 ? -1 : 0;
}

/* The draw at the child of draw `i`'s row that has this token; -1: there is none. */
static int32_t child_draw(const struct engine *engine, const struct flight *flight, int32_t i, int32_t token)
{
    for (int32_t j = i + 1; flight->draw[i].tree && j < flight->draws; j++)
        if (flight->draw[j].parent == i && engine->tree.row[flight->draw[j].row].token == token)
            return j;
    return -1;
}

/* Draw `i` at a plain row, and those down its tree as long as a child has the token. Their number, or -1 and a message. */
static int32_t draw_down(struct engine *engine, const struct flight *flight, int32_t i, struct drawn *out,
                         struct error *error)
{
    int32_t count = 0;
    for (int32_t at = i; at >= 0; count++) {
        if (choose(engine, flight, at, &out[count], error))
            return -1;
        engine->token[count] = out[count].token;
        at = child_draw(engine, flight, at, out[count].token);
        if (at >= 0)
            engine->path[count] = flight->draw[at].row;
    }
    struct slot *slot = &engine->slot[flight->draw[i].slot];
    bool tree = flight->draw[i].tree;
    slot->known |= tree;
    slot->token = engine->token[count - 1];
    if (engine->device_draws &&
        engine->backend->draw_accept(engine->device, flight->draw[i].slot, engine->token, count, tree, error))
        return -1;
    if (!tree)
        return count;
    return engine_accept(engine, engine->path, count - 1, error) ? -1 : count;
}

int engine_collect(struct engine *engine, const struct drawn **drawn, struct error *error)
{
    if (engine->under_way == 0)
        return error_set(error, "no step is under way");
    struct flight *flight = &engine->flight[engine->oldest];
    engine->collected = engine->oldest;
    engine->oldest = ring(engine->oldest + 1);
    engine->under_way--;
    engine->tree.under_way &= engine->under_way > 0;
    if (flight->rows &&
        engine->backend->collect(engine->device, engine->made, engine->device_draws ? flight->draws : 0, error))
        return -1;
    double start = clock_seconds();
    int32_t count = 0;
    for (int32_t i = 0; i < flight->draws; i++) {
        int32_t more = flight->draw[i].parent < 0 ? draw_down(engine, flight, i, &engine->drawn[count], error) : 0;
        if (more < 0)
            return -1;
        count += more;
    }
    engine->accept_seconds += clock_seconds() - start;
    if (drawn)
        *drawn = engine->drawn;
    return count;
}

double engine_accept_seconds(const struct engine *engine)
{
    return engine->accept_seconds;
}

int engine_run(struct engine *engine, struct error *error)
{
    while (engine->under_way > 0)
        if (engine_collect(engine, NULL, error) < 0)
            return -1;
    if (engine_submit(engine, error))
        return -1;
    return engine_collect(engine, NULL, error) < 0 ? -1 : 0;
}

void engine_discard(struct engine *engine)
{
    for (int32_t row = 0; row < engine->rows; row++)
        state_drop(engine->state, engine->row[row].sequence);
    engine->rows = engine->outputs = 0;
    assembled(engine)->draws = 0;
    engine_tree_discarded(&engine->tree);
}

float *engine_logits(struct engine *engine, int row)
{
    if (engine->collected < 0)
        return NULL;
    const struct flight *flight = &engine->flight[engine->collected];
    if (row < 0 || row >= flight->rows || flight->output_of[row] < 0 || !flight->asked[flight->output_of[row]])
        return NULL;
    return engine->backend->logits(engine->device, flight->output_of[row]);
}

bool engine_drafts(const struct engine *engine)
{
    return engine->model->draft && engine->backend->drafts && engine->backend->drafts(engine->device);
}

int engine_draft_run(struct engine *engine, const struct engine_draft_step *step, struct error *error)
{
    if (engine->under_way > 0)
        return error_set(error, "a draft step while another step is under way: collect it first");
    for (int32_t r = 0; r < step->rows; r++)
        if (step->row[r].scratch < 0 &&
            state_own(engine->state, step->row[r].sequence, step->row[r].position, error) != 0)
            return -1;
    return engine->backend->draft(engine->device, step, error);
}

int engine_draft_best(struct engine *engine, int32_t output, int32_t count, struct engine_guess *best,
                      struct error *error)
{
    const struct engine_backend *backend = engine->backend;
    if (backend->draft_best)
        return backend->draft_best(engine->device, output, count, best, error);
    const float *logits = backend->draft_logits(engine->device, output);
    int32_t vocab = engine->model->draft->vocab, found = 0;
    float maximum, least = -INFINITY; /* of those found, when there are enough */
    if (logits_maximum(logits, vocab, &maximum, error))
        return -1;
    double log_sum = logits_log_sum(logits, vocab, maximum);
    for (int32_t id = 0; id < vocab; id++) {
        if (found == count && !(logits[id] > least))
            continue;
        int32_t at = found < count ? found++ : found - 1;
        for (; at > 0 && logits[id] > logits[best[at - 1].id]; at--)
            best[at].id = best[at - 1].id;
        best[at].id = id;
        least = logits[best[found - 1].id];
    }
    for (int32_t i = 0; i < found; i++)
        best[i].logprob = (double)logits[best[i].id] - log_sum;
    return 0;
}

int engine_time_stages(struct engine *engine, bool on, struct error *error)
{
    if (!engine->backend->time_stages)
        return error_set(error, "stages are not timed on this device (%s)", engine->backend->name);
    engine->timed = on;
    return engine->backend->time_stages(engine->device, on, error);
}

int32_t engine_stage_times(const struct engine *engine, const struct stage_time **times)
{
    return engine->backend->stage_times ? engine->backend->stage_times(engine->device, times) : 0;
}

int engine_bandwidth(struct engine *engine, double seconds, struct bandwidth *result, struct error *error)
{
    return engine->backend->bandwidth ? engine->backend->bandwidth(engine->device, seconds, result, error) : 1;
}

void engine_memory(const struct engine *engine, uint64_t *state_used, uint64_t *state_total, uint64_t *other)
{
    uint64_t page = state_page_bytes(engine->state);
    if (state_used)
        *state_used = page * (uint64_t)state_pages_used(engine->state);
    if (state_total)
        *state_total = page * (uint64_t)state_pages_total(engine->state);
    if (other)
        *other = engine->backend->other_bytes(engine->device);
}
