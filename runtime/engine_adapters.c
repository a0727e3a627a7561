#include "engine_adapters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peft.h"

static int built_in(struct engine_adapters *adapters, const struct package *package, int32_t i, struct error *error)
{
    const struct model *model = adapters->model;
    const struct tensor *tensor = &model->tensors[model->adapters[i].tensor];
    struct adapter_slot *slot = &adapters->slot[i];
    *slot = (struct adapter_slot){
        .name = model->adapters[i].name, .blob = package->payload + tensor->offset, .bytes = tensor->bytes};
    adapters->blob[i] = slot->blob;
    return adapter_check(model, slot->name, slot->blob, slot->bytes, model->adapter_rank, &slot->summary, error);
}

int engine_adapters_open(struct engine_adapters *adapters, const struct model *model, const struct package *package,
                         struct error *error)
{
    *adapters = (struct engine_adapters){.model = model, .slots = model->adapter_count + model->adapter_slots};
    if (!adapters->slots)
        return 0;
    adapters->slot = calloc((size_t)adapters->slots, sizeof *adapters->slot);
    adapters->blob = calloc((size_t)adapters->slots, sizeof *adapters->blob);
    adapters->run = calloc((size_t)model->max_rows, sizeof *adapters->run);
    adapters->output_run = calloc((size_t)model->max_outputs, sizeof *adapters->output_run);
    if (!adapters->slot || !adapters->blob || !adapters->run || !adapters->output_run)
        return error_set(error, "out of memory for %d adapters", (int)adapters->slots);
    for (int32_t i = 0; i < model->adapter_count; i++)
        if (built_in(adapters, package, i, error))
            return -1;
    return 0;
}

void engine_adapters_close(struct engine_adapters *adapters)
{
    for (int32_t i = 0; adapters->slot && i < adapters->slots; i++) {
        free(adapters->slot[i].own_name);
        free(adapters->slot[i].own_blob);
    }
    free(adapters->slot);
    free(adapters->blob);
    free(adapters->run);
    free(adapters->output_run);
    *adapters = (struct engine_adapters){0};
}

static int32_t slot_of(const struct engine_adapters *adapters, const char *name)
{
    for (int32_t i = 0; i < adapters->slots; i++)
        if (adapters->slot[i].name && strcmp(adapters->slot[i].name, name) == 0)
            return i;
    return -1;
}

/* "a, b, c", cut off where it does not fit. */
static void list_names(const struct engine_adapters *adapters, char *text, size_t size)
{
    size_t length = 0;
    text[0] = 0;
    for (int32_t i = 0; i < adapters->slots && length < size; i++)
        if (adapters->slot[i].name) {
            int more = snprintf(text + length, size - length, "%s%.100s", length ? ", " : "", adapters->slot[i].name);
            length += more > 0 ? (size_t)more : 0;
        }
}

int engine_adapters_find(const struct engine_adapters *adapters, const char *name, struct error *error)
{
    int32_t slot = slot_of(adapters, name);
    char names[600];
    if (slot >= 0)
        return slot;
    list_names(adapters, names, sizeof names);
    if (names[0])
        return error_set(error, "adapter '%.100s': expected one of %s", name, names);
    if (adapters->slots)
        return error_set(error,
                         "adapter '%.100s': none has been read into the package's slots; name a folder with "
                         "--lora-dir NAME=DIR",
                         name);
    return error_set(error,
                     "adapter '%.100s': \"%s\" was built without adapters; build it with --lora NAME=DIR, or with "
                     "--lora-slots",
                     name, adapters->model->name);
}

/* The slot that an adapter of this name can have. */
static int free_slot(const struct engine_adapters *adapters, const char *name, struct error *error)
{
    const struct model *model = adapters->model;
    if (!*name)
        return error_set(error, "an adapter needs a name, found an empty one");
    if (slot_of(adapters, name) >= 0)
        return error_set(error, "adapter '%.100s': there is one of this name already; choose another", name);
    for (int32_t i = model->adapter_count; i < adapters->slots; i++)
        if (!adapters->slot[i].name)
            return i;
    if (model->adapter_slots)
        return error_set(error,
                         "adapter '%.100s': none of the slots is free (\"%s\" has %d slots); build it with larger "
                         "--lora-slots",
                         name, model->name, (int)model->adapter_slots);
    return error_set(error, "adapter '%.100s': \"%s\" has no slots for adapters; build it with --lora-slots N", name,
                     model->name);
}

int engine_adapters_add(struct engine_adapters *adapters, const char *name, unsigned char *blob, uint64_t bytes,
                        struct error *error)
{
    int place = free_slot(adapters, name, error);
    if (place < 0)
        return -1;
    struct adapter_slot slot = {.blob = blob, .bytes = bytes, .own_blob = blob};
    if (adapter_check(adapters->model, name, blob, bytes, adapters->model->adapter_max_rank, &slot.summary, error))
        return -1;
    if (!(slot.own_name = strdup(name)))
        return error_set(error, "out of memory");
    slot.name = slot.own_name;
    adapters->slot[place] = slot;
    adapters->blob[place] = blob;
    return place;
}

void engine_adapters_release(struct engine_adapters *adapters, int slot)
{
    free(adapters->slot[slot].own_name);
    adapters->slot[slot] = (struct adapter_slot){0};
    adapters->blob[slot] = NULL;
}

/* Where a blob is written to. */
struct target {
    unsigned char *at, *end;
};

static int write_blob(void *context, const void *data, uint64_t bytes, struct error *error)
{
    struct target *target = context;
    if (bytes > (uint64_t)(target->end - target->at))
        return error_set(error, "an adapter is longer than was said");
    memcpy(target->at, data, (size_t)bytes);
    target->at += bytes;
    return 0;
}

static int read_blob(const struct engine_adapters *adapters, const struct peft *peft, const unsigned char *payload,
                     unsigned char **blob, uint64_t *bytes, struct error *error)
{
    enum dtype dtype = strcmp(adapters->model->dtype, "f32") == 0 ? DTYPE_F32 : DTYPE_BF16;
    if (peft_blob_bytes(peft, dtype, bytes, error))
        return -1;
    if (!(*blob = aligned_alloc(64, (size_t)*bytes)))
        return error_set(error, "out of memory for an adapter of %llu bytes", (unsigned long long)*bytes);
    struct target target = {*blob, *blob + *bytes};
    struct peft_package_base weights = {.model = adapters->model, .payload = payload};
    struct peft_base base = peft_base_of_package(&weights);
    return peft_write_blob(peft, dtype, payload ? &base : NULL, write_blob, &target, error);
}

int engine_adapters_read(struct engine_adapters *adapters, const char *name, const char *folder,
                         const unsigned char *payload, struct error *error)
{
    const struct model *model = adapters->model;
    struct peft peft;
    unsigned char *blob = NULL;
    uint64_t bytes = 0;
    int slot = -1;
    if (free_slot(adapters, name, error) < 0 || peft_open(&peft, folder, model->sites, model->site_count, false, error))
        return -1;
    if (peft.rank > model->adapter_max_rank)
        error_set(error,
                  "%s: rank %d (padded): the slots of \"%s\" have room for %d; build it with larger "
                  "--lora-max-rank",
                  folder, (int)peft.rank, model->name, (int)model->adapter_max_rank);
    else if (read_blob(adapters, &peft, payload, &blob, &bytes, error) == 0)
        slot = engine_adapters_add(adapters, name, blob, bytes, error);
    if (slot < 0)
        free(blob);
    peft_close(&peft);
    return slot;
}

/* Appends row i to the runs: to the last one if that is the same adapter's and ends here. */
static void append(struct adapter_run *run, int32_t *runs, int32_t i, int32_t adapter)
{
    if (adapter < 0)
        return;
    struct adapter_run *last = *runs ? &run[*runs - 1] : NULL;
    if (last && last->adapter == adapter && last->first + last->rows == i)
        last->rows++;
    else
        run[(*runs)++] = (struct adapter_run){.first = i, .rows = 1, .adapter = adapter};
}

void engine_adapters_assemble(struct engine_adapters *adapters, const struct row *row, int32_t rows,
                              const int32_t *output_row, int32_t outputs)
{
    adapters->runs = adapters->output_runs = 0;
    if (!adapters->slots)
        return;
    for (int32_t i = 0; i < rows; i++)
        append(adapters->run, &adapters->runs, i, row[i].adapter);
    if (!adapters->runs)
        return;
    for (int32_t i = 0; i < outputs; i++)
        append(adapters->output_run, &adapters->output_runs, i, row[output_row[i]].adapter);
}
