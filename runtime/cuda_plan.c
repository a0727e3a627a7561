#include "cuda_plan.h"

#include <stdio.h>
#include <string.h>

#include "cuda_adapters.h"
#include "cuda_draw.h"
#include "cuda_load.h"
#include "engine_tree.h"
#include "state.h"

enum {
    ALIGNMENT = 512,
    TABLES_LEAST = 64,
    DRAW_SLOTS = 1024,
    MIB = 1 << 20,
    SAMPLE_MIB = 256,
    SINK_BYTES = 64 << 10, /* cuda_timing.h writes there */
};

/* What graphs, kernels' local memory and the driver itself may want later. */
static uint64_t reserve_of(uint64_t total)
{
    uint64_t reserve = total / 64;
    return reserve < (uint64_t)256 * MIB ? reserve : (uint64_t)256 * MIB;
}

/* Takes `bytes` from the plan; where they begin. */
static uint64_t take(struct cuda_plan *plan, uint64_t bytes)
{
    uint64_t at = plan->bytes;
    plan->bytes += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return at;
}

static uint64_t up(uint64_t bytes)
{
    return (bytes + 15) / 16 * 16;
}

/* Draws of a step: one for each row with logits, unless the working memory for that is out of proportion. */
static int32_t max_draws_of(const struct model *model)
{
    uint64_t most = (uint64_t)SAMPLE_MIB * MIB / CUDA_SAMPLE_SCRATCH(model->vocab);
    if (model->cuda->sample_kernel < 0)
        return 0;
    return most < (uint64_t)model->max_outputs ? most ? (int32_t)most : 1 : model->max_outputs;
}

/* What draft steps take besides. */
static void place_draft(struct cuda_plan *plan, const struct model *model)
{
    const struct cuda_draft *draft = model->cuda->draft;
    uint64_t rows = (uint64_t)model->max_rows, outputs = (uint64_t)model->max_outputs,
             each = up(rows * sizeof(int32_t));
    if (!draft)
        return;
    plan->draft_arena = take(plan, draft->arena_bytes);
    plan->taps = take(plan, draft->taps_bytes);
    plan->features = take(plan, draft->features_bytes);
    plan->draft_output_row = up(sizeof(struct cuda_counts));
    plan->draft_feature = up(plan->draft_output_row + outputs * sizeof(int32_t));
    plan->draft_feature_place = plan->draft_feature + each;
    plan->draft_entering = plan->draft_feature_place + each;
    plan->draft_row = plan->draft_entering + each;
    plan->draft_path = up(plan->draft_row + rows * sizeof(struct cuda_row));
    plan->draft_record_bytes = plan->draft_path + (uint64_t)plan->paths * sizeof(int32_t);
    plan->draft_record = take(plan, plan->draft_record_bytes);
}

/* Everything but the pages. */
static void place_fixed(struct cuda_plan *plan, const struct model *model)
{
    uint64_t rows = (uint64_t)model->max_rows, outputs = (uint64_t)model->max_outputs;
    plan->table = state_model_table(model);
    plan->table_slots = model->max_rows > TABLES_LEAST ? model->max_rows : TABLES_LEAST;
    plan->draw_slots = DRAW_SLOTS;
    plan->weights_bytes = model->cuda->weights_bytes + (plan->bulk ? model->cuda->bulk_bytes : 0);
    plan->weights = take(plan, plan->weights_bytes);
    plan->staging = plan->bytes;
    plan->arena = take(plan, model->cuda->arena_bytes);
    uint64_t logits = outputs * (uint64_t)model->vocab * sizeof(float);
    plan->logits = take(plan, logits > SINK_BYTES ? logits : SINK_BYTES);
    plan->max_draws = max_draws_of(model);
    uint64_t draws = (uint64_t)plan->max_draws;
    plan->draw_counts = up(sizeof(struct cuda_counts));
    plan->output_row = up(plan->draw_counts + sizeof(struct cuda_draw_counts));
    plan->draw = up(plan->output_row + outputs * sizeof(int32_t));
    plan->group = up(plan->draw + draws * sizeof(struct cuda_draw));
    plan->output_group =
        plan->group + up((uint64_t)cuda_adapters_groups(model, model->max_rows) * sizeof(struct cuda_group));
    plan->row =
        plan->output_group + up((uint64_t)cuda_adapters_groups(model, model->max_outputs) * sizeof(struct cuda_group));
    plan->path = up(plan->row + rows * sizeof(struct cuda_row));
    plan->paths = engine_tree_paths(model);
    plan->record_bytes = plan->path + (uint64_t)plan->paths * sizeof(int32_t);
    for (int i = 0; i < CUDA_RECORDS; i++)
        plan->record[i] = take(plan, plan->record_bytes);
    plan->tables = take(plan, (uint64_t)plan->table_slots * (uint64_t)plan->table * sizeof(int32_t));
    plan->chosen = take(plan, (uint64_t)plan->draw_slots * sizeof(int32_t));
    plan->draw_slot = take(plan, (uint64_t)plan->draw_slots * sizeof(struct cuda_draw_slot));
    plan->sample_scratch = take(plan, draws * CUDA_SAMPLE_SCRATCH(model->vocab));
    plan->sample_part = take(plan, draws * CUDA_SAMPLE_CHUNKS * sizeof(struct cuda_sample_part));
    plan->sample_arrivals = take(plan, draws * sizeof(uint32_t));
    plan->workspace = take(plan, plan->bulk ? CUDA_WORKSPACE : 0);
    plan->adapters = take(plan, cuda_adapters_bytes(model));
    place_draft(plan, model);
    plan->state = plan->bytes;
}

static double mib(uint64_t bytes)
{
    return (double)bytes / MIB;
}

static int explain(const struct cuda_plan *plan, const struct cuda_device *device, const struct model *model,
                   uint64_t free_bytes, uint64_t total, uint64_t state, bool given, struct error *error)
{
    uint64_t rest = plan->staging ? plan->bytes - plan->arena : 0;
    return error_set(
        error,
        "too little GPU memory on %s: %.0f MiB are free of %.0f, and \"%.100s\" needs %.0f: weights %.0f, "
        "activations and logits %.0f (less with a smaller --max-rows when it is built), %s %.0f%s, reserve "
        "%.0f; %s",
        device->name, mib(free_bytes), mib(total), model->name, mib(plan->bytes + state + reserve_of(total)),
        mib(plan->weights_bytes), mib(rest), given ? "--kv-memory" : "one page of state", mib(state), "",
        mib(reserve_of(total)),
        given ? "ask for less --kv-memory, or end other programs that use the GPU"
              : "end other programs that use the GPU");
}

/* Pages of state, from what the fixed part leaves. */
static int place_state(struct cuda_plan *plan, const struct cuda_device *device, const struct model *model,
                       const struct engine_options *options, uint64_t free_bytes, uint64_t total, struct error *error)
{
    uint64_t page = state_model_page_bytes(model), scratch = state_model_scratch_bytes(model);
    uint64_t fixed = plan->bytes + scratch + reserve_of(total) + 2 * ALIGNMENT;
    uint64_t left = free_bytes > fixed ? free_bytes - fixed : 0;
    bool given = options->kv_memory != 0;
    uint64_t wanted = given                ? options->kv_memory
                      : options->kv_wanted ? options->kv_wanted
                                           : (uint64_t)plan->table * page;
    uint64_t pages = wanted / page, most = state_model_most_pages(model);
    if (given && pages < 1)
        return error_set(error,
                         "--kv-memory %llu: one page of state (%d positions) takes %llu bytes; give at least that, "
                         "or %llu for a sequence of %d positions",
                         (unsigned long long)wanted, model->page, (unsigned long long)page,
                         (unsigned long long)page * (uint64_t)plan->table, model->max_seq);
    if (given ? wanted > left : left < page)
        return explain(plan, device, model, free_bytes, total, scratch + (given ? wanted : page), given, error);
    if (given && pages > most)
        return error_set(error, "--kv-memory %llu: %llu pages of %d positions are too many; give at most %llu bytes",
                         (unsigned long long)wanted, (unsigned long long)pages, model->page,
                         (unsigned long long)(most * page));
    uint64_t fit = left / page < most ? left / page : most;
    if (pages > fit && options->notice) {
        char message[256];
        snprintf(message, sizeof message,
                 "the GPU has memory for %llu positions of state (%.0f MiB), and %llu were wanted",
                 (unsigned long long)fit * (uint64_t)model->page, mib(fit * page),
                 (unsigned long long)pages * (uint64_t)model->page);
        options->notice(options->progress_context, message);
    }
    plan->pages = (int32_t)(pages < fit ? pages : fit);
    plan->state = take(plan, (uint64_t)plan->pages * page + scratch);
    return 0;
}

/* Would the plan with bulk steps have all the state that is wanted? */
static bool has_room(const struct cuda_plan *fixed, const struct model *model, const struct engine_options *options,
                     uint64_t free_bytes, uint64_t total)
{
    uint64_t wanted = options->kv_memory   ? options->kv_memory
                      : options->kv_wanted ? options->kv_wanted
                                           : (uint64_t)fixed->table * state_model_page_bytes(model);
    uint64_t most = fixed->bytes > fixed->staging + cuda_load_staging(model)
                        ? fixed->bytes
                        : fixed->staging + cuda_load_staging(model);
    uint64_t rest = state_model_scratch_bytes(model) + reserve_of(total) + 2 * ALIGNMENT;
    return most + rest < free_bytes && wanted <= free_bytes - most - rest;
}

int cuda_plan_make(struct cuda_plan *plan, const struct cuda_device *device, const struct model *model,
                   const struct engine_options *options, bool bulk, struct error *error)
{
    size_t free_bytes, total;
    if (cuda_check(&device->driver, device->driver.cuMemGetInfo_v2(&free_bytes, &total), "asking for free memory",
                   error))
        return -1;
    memset(plan, 0, sizeof *plan);
    plan->bulk = bulk;
    place_fixed(plan, model);
    if (bulk && !has_room(plan, model, options, free_bytes, total)) {
        char message[256];
        snprintf(message, sizeof message,
                 "the GPU has no memory for a second copy of the weights (%.0f MiB): prompts are read by the exact "
                 "kernels, slower",
                 mib(model->cuda->bulk_bytes));
        if (options->notice)
            options->notice(options->progress_context, message);
        memset(plan, 0, sizeof *plan);
        place_fixed(plan, model);
    }
    if (place_state(plan, device, model, options, free_bytes, total, error))
        return -1;
    /* The load works where activations and state will be. */
    uint64_t least = plan->staging + cuda_load_staging(model);
    plan->bytes = plan->bytes > least ? plan->bytes : least;
    return 0;
}
