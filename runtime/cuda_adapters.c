#include "cuda_adapters.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 512, TILE = 16, SLICE = 64, ELEMENT = 2, PACKING_ROWS = CUDA_PACKING_ROWS };

static uint64_t round_up(uint64_t value, uint64_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}

int32_t cuda_adapters_slots(const struct model *model)
{
    return model->cuda->enqueue_adapters ? model->adapter_count + model->adapter_slots : 0;
}

static bool is_head(const struct model *model, int32_t site)
{
    return site == model->site_count - 2;
}

static bool is_embedding(const struct model *model, int32_t site)
{
    return site == model->site_count - 1;
}

/* Bytes of a matrix in tiles of fragments. */
static uint64_t packed_bytes(uint64_t rows, uint64_t columns)
{
    return round_up(rows, TILE) * round_up(columns, SLICE) * ELEMENT;
}

/* What an adapter takes at a site, each part at a multiple of ALIGNMENT. */
static uint64_t site_bytes(const struct model *model, int32_t number, int32_t rank, bool row_scale, bool bias,
                           bool full)
{
    const struct adapter_site *site = &model->sites[number];
    uint64_t rows = (uint64_t)site->rows, columns = (uint64_t)site->columns, r = (uint64_t)rank;
    uint64_t outputs = is_embedding(model, number) ? columns : rows;
    uint64_t a = is_embedding(model, number) ? rows * r * ELEMENT : packed_bytes(r, columns);
    uint64_t whole = is_head(model, number) ? packed_bytes(rows, columns) : rows * columns * ELEMENT;
    return round_up(a, ALIGNMENT) + round_up(outputs * r * ELEMENT, ALIGNMENT) +
           (row_scale ? round_up(outputs * sizeof(float), ALIGNMENT) : 0) +
           (bias ? round_up(outputs * sizeof(float), ALIGNMENT) : 0) + (full ? round_up(whole, ALIGNMENT) : 0);
}

/* A reserved slot has room for the largest rank at every site. What was built in takes about what its blob does: more where
   rows and columns are padded. */
static uint64_t slot_bytes(const struct model *model, int32_t slot)
{
    uint64_t bytes = 0;
    for (int32_t i = 0; i < model->site_count; i++) {
        uint64_t columns = (uint64_t)model->sites[i].columns, padding = round_up(columns, SLICE) - columns;
        if (slot >= model->adapter_count) {
            bytes +=
                site_bytes(model, i, model->adapter_max_rank, !is_embedding(model, i), !is_embedding(model, i), false);
            continue;
        }
        bytes += 5 * ALIGNMENT + ELEMENT * (TILE * (columns + padding) + ADAPTER_MAX_RANK * padding);
        if (is_head(model, i))
            bytes += ELEMENT * padding * (uint64_t)model->sites[i].rows;
    }
    return slot >= model->adapter_count ? bytes : bytes + model->tensors[model->adapters[slot].tensor].bytes;
}

static uint64_t table_bytes(const struct model *model)
{
    return (uint64_t)cuda_adapters_slots(model) * (uint64_t)model->site_count * sizeof(struct cuda_adapter_site);
}

/* Where a slot's place begins; for `slots` itself where the staging memory does. */
static uint64_t place_of(const struct model *model, int32_t slot)
{
    uint64_t place = round_up(table_bytes(model), ALIGNMENT);
    for (int32_t i = 0; i < slot; i++)
        place += round_up(slot_bytes(model, i), ALIGNMENT);
    return place;
}

/* Whole tiles of any site. */
static uint64_t staging_bytes(const struct model *model)
{
    uint64_t most = 0;
    for (int32_t i = 0; i < model->site_count; i++)
        most = (uint64_t)model->sites[i].columns > most ? (uint64_t)model->sites[i].columns : most;
    return most * ADAPTER_MAX_RANK * ELEMENT;
}

uint64_t cuda_adapters_bytes(const struct model *model)
{
    int32_t slots = cuda_adapters_slots(model);
    return slots == 0 ? 0 : place_of(model, slots) + staging_bytes(model);
}

int32_t cuda_adapters_groups(const struct model *model, int32_t rows)
{
    int32_t slots = cuda_adapters_slots(model), groups = slots + rows / CUDA_GROUP_ROWS;
    return slots == 0 ? 0 : groups < rows ? groups : rows;
}

int cuda_adapters_open(struct cuda_adapters *adapters, const struct model *model, struct cuda_stream *stream,
                       CUdeviceptr memory, struct error *error)
{
    size_t slots = (size_t)cuda_adapters_slots(model), sites = (size_t)model->site_count;
    *adapters = (struct cuda_adapters){.model = model, .stream = stream, .memory = memory};
    if (slots == 0)
        return 0;
    adapters->table = calloc(slots * sites, sizeof *adapters->table);
    adapters->tiles = calloc(slots, sizeof *adapters->tiles);
    adapters->at_head = calloc(slots, sizeof *adapters->at_head);
    adapters->last = calloc(slots, sizeof *adapters->last);
    return adapters->table && adapters->tiles && adapters->at_head && adapters->last
               ? 0
               : error_set(error, "out of memory for adapters");
}

void cuda_adapters_close(struct cuda_adapters *adapters)
{
    free(adapters->table);
    free(adapters->tiles);
    free(adapters->at_head);
    free(adapters->last);
    memset(adapters, 0, sizeof *adapters);
}

/* A blob on its way to the device. */
struct put {
    struct cuda_adapters *adapters;
    const char *name;
    const unsigned char *blob;
    CUdeviceptr next; /* free from here on */
    struct error *error;
};

static CUdeviceptr take(struct put *put, uint64_t bytes)
{
    CUdeviceptr at = put->next;
    put->next += round_up(bytes, ALIGNMENT);
    return at;
}

static int copy(struct put *put, CUdeviceptr to, uint64_t from, uint64_t bytes)
{
    const struct cuda_driver *driver = &put->adapters->stream->device->driver;
    return cuda_check(driver, driver->cuMemcpyHtoDAsync_v2(to, put->blob + from, bytes, put->adapters->stream->handle),
                      "an adapter", put->error);
}

/* Bytes from the blob as they are; *at: where they are. 0: the blob has none. */
static int copied(struct put *put, uint64_t from, uint64_t bytes, uint64_t *at)
{
    *at = from ? take(put, bytes) : 0;
    return from ? copy(put, *at, from, bytes) : 0;
}

/* A matrix [rows, columns], a piece of whole tiles at a time through the staging memory. */
static int packed(struct put *put, uint64_t from, int32_t rows, int32_t columns, uint64_t *at)
{
    struct cuda_adapters *adapters = put->adapters;
    const struct model *model = adapters->model;
    CUdeviceptr staging = adapters->memory + place_of(model, cuda_adapters_slots(model));
    uint64_t row = (uint64_t)columns * ELEMENT;
    int packing = PACKING_ROWS, matrix_rows = rows, matrix_columns = columns;
    *at = from ? take(put, packed_bytes((uint64_t)rows, (uint64_t)columns)) : 0;
    for (int32_t first = 0; from && first < rows; first += ADAPTER_MAX_RANK) {
        int32_t count = rows - first < ADAPTER_MAX_RANK ? rows - first : ADAPTER_MAX_RANK;
        CUdeviceptr to = *at, origin = staging - (uint64_t)first * row;
        int first_tile = first / TILE;
        if (copy(put, staging, from + (uint64_t)first * row, (uint64_t)count * row))
            return -1;
        cuda_stream_launch(adapters->stream, model->cuda->pack_kernel, "pack", -1,
                           (unsigned[]){(unsigned)((count + TILE - 1) / TILE), 1, 1},
                           (void *[]){&to, &origin, &matrix_rows, &matrix_columns, &packing, &first_tile});
        if (cuda_stream_take_error(adapters->stream, put->error))
            return -1;
    }
    return 0;
}

static int put_site(struct put *put, int32_t number, const struct adapter_entry *entry, struct cuda_adapter_site *site)
{
    const struct model *model = put->adapters->model;
    const struct adapter_site *of = &model->sites[number];
    uint64_t rows = (uint64_t)of->rows, columns = (uint64_t)of->columns, rank = (uint64_t)entry->rank;
    uint64_t outputs = is_embedding(model, number) ? columns : rows;
    site->rank = entry->rank;
    site->scale = entry->scale;
    if (is_embedding(model, number) ? copied(put, entry->rank ? entry->a : 0, rows * rank * ELEMENT, &site->a)
                                    : packed(put, entry->rank ? entry->a : 0, entry->rank, of->columns, &site->a))
        return -1;
    if (copied(put, entry->rank ? entry->b : 0, outputs * rank * ELEMENT, &site->b) ||
        copied(put, entry->row_scale, outputs * sizeof(float), &site->row_scale) ||
        copied(put, entry->bias, outputs * sizeof(float), &site->bias))
        return -1;
    return is_head(model, number) ? packed(put, entry->full, of->rows, of->columns, &site->full)
                                  : copied(put, entry->full, rows * columns * ELEMENT, &site->full);
}

/* Bytes that the blob needs here, or 0 and a message when there is no kernel for something in it. */
static uint64_t needed(const struct model *model, const char *name, const struct adapter_entry *entries,
                       struct error *error)
{
    uint64_t bytes = ALIGNMENT;
    for (int32_t i = 0; i < model->site_count; i++) {
        const struct adapter_entry *entry = &entries[i];
        if (entry->full && !is_embedding(model, i) && !(is_head(model, i) && model->cuda->own_heads)) {
            error_set(error, "adapter \"%s\": %s: %s", name, model->sites[i].module,
                      is_head(model, i) ? "for a whole head (modules_to_save) the package has no kernel; build the "
                                          "adapter in with lathe build --lora"
                                        : "a whole matrix (modules_to_save) has no CUDA kernel except lm_head and "
                                          "embed_tokens; compute on a CPU");
            return 0;
        }
        if (is_embedding(model, i) && (entry->row_scale || entry->bias)) {
            error_set(error,
                      "adapter \"%s\": %s: a scale or bias of the embedding has no CUDA kernel; compute on a CPU", name,
                      model->sites[i].module);
            return 0;
        }
        bytes += site_bytes(model, i, entry->rank, entry->row_scale != 0, entry->bias != 0, entry->full != 0);
    }
    return bytes;
}

int cuda_adapters_put(struct cuda_adapters *adapters, int32_t slot, const char *name, const unsigned char *blob,
                      uint64_t bytes, struct error *error)
{
    const struct model *model = adapters->model;
    const struct cuda_driver *driver = &adapters->stream->device->driver;
    const struct adapter_entry *entries = (const struct adapter_entry *)(const void *)blob;
    size_t sites = (size_t)model->site_count;
    struct cuda_adapter_site *table = adapters->table + (size_t)slot * sites;
    uint64_t need = needed(model, name, entries, error), room = slot_bytes(model, slot) + ALIGNMENT;
    (void)bytes;
    if (need == 0)
        return -1;
    if (need > room)
        return error_set(error,
                         "adapter \"%s\": expected at most %llu bytes on the GPU, what is reserved for rank %d, found "
                         "%llu; build it in (lathe build --lora), or reserve more (--lora-max-rank)",
                         name, (unsigned long long)room, model->adapter_max_rank, (unsigned long long)need);
    struct put put = {.adapters = adapters,
                      .name = name,
                      .blob = blob,
                      .next = adapters->memory + place_of(model, slot),
                      .error = error};
    memset(table, 0, sites * sizeof *table);
    const struct adapter_entry *head = &entries[sites - 2];
    adapters->at_head[slot] = head->rank || head->row_scale || head->bias || head->full;
    adapters->tiles[slot] = 0;
    for (int32_t i = 0; i < model->site_count; i++) {
        int32_t tiles = (entries[i].rank + TILE - 1) / TILE;
        if (put_site(&put, i, &entries[i], &table[i]))
            return -1;
        /* At the embedding A is read as it is. */
        if (!is_embedding(model, i) && tiles > adapters->tiles[slot])
            adapters->tiles[slot] = tiles;
    }
    if (cuda_check(driver,
                   driver->cuMemcpyHtoDAsync_v2(adapters->memory + (uint64_t)slot * sites * sizeof *table, table,
                                                sites * sizeof *table, adapters->stream->handle),
                   "an adapter", error))
        return -1;
    return cuda_stream_finish(adapters->stream, "an adapter", error);
}

/* Adds a row to the last group of its adapter, or to a new one. */
static int32_t add_row(struct cuda_adapters *adapters, struct cuda_group *group, int32_t groups, int32_t adapter,
                       int32_t row)
{
    struct cuda_group *last = adapters->last[adapter];
    if (!last || last->rows == CUDA_GROUP_ROWS) {
        last = adapters->last[adapter] = &group[groups++];
        *last = (struct cuda_group){.adapter = adapter};
    }
    last->row[last->rows++] = row;
    return groups;
}

void cuda_adapters_group(struct cuda_adapters *adapters, const struct engine_batch *batch, struct cuda_counts *counts,
                         struct cuda_group *group, struct cuda_group *output_group)
{
    size_t slots = (size_t)cuda_adapters_slots(adapters->model);
    counts->groups = counts->output_groups = counts->adapter_tiles = 0;
    if (slots == 0)
        return;
    memset(adapters->last, 0, slots * sizeof *adapters->last);
    for (int32_t r = 0; r < batch->rows; r++) {
        int32_t adapter = batch->row[r].adapter;
        if (adapter < 0)
            continue;
        counts->groups = add_row(adapters, group, counts->groups, adapter, r);
        if (adapters->tiles[adapter] > counts->adapter_tiles)
            counts->adapter_tiles = adapters->tiles[adapter];
    }
    memset(adapters->last, 0, slots * sizeof *adapters->last);
    for (int32_t i = 0; i < batch->outputs; i++) {
        int32_t adapter = batch->row[batch->output_row[i]].adapter;
        if (adapter >= 0 && adapters->at_head[adapter])
            counts->output_groups = add_row(adapters, output_group, counts->output_groups, adapter, i);
    }
}
