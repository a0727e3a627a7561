#include "cuda_tables.h"

#include <stdlib.h>
#include <string.h>

int cuda_tables_open(struct cuda_tables *tables, const struct cuda_plan *plan, struct cuda_stream *stream,
                     CUdeviceptr memory, struct state *state, struct error *error)
{
    const struct cuda_driver *driver = &stream->device->driver;
    size_t bytes = (size_t)plan->table_slots * (size_t)plan->table * sizeof(int32_t);
    *tables = (struct cuda_tables){.plan = plan, .stream = stream, .memory = memory, .state = state};
    for (int i = 0; i < CUDA_RECORDS; i++) {
        void *staging = NULL;
        if (cuda_check(driver, driver->cuMemHostAlloc(&staging, bytes, CU_MEMHOSTALLOC_PORTABLE),
                       "pinned memory for page tables", error))
            return -1;
        tables->staging[i] = staging;
    }
    tables->slot = calloc((size_t)plan->table_slots, sizeof *tables->slot);
    if (!tables->slot)
        return error_set(error, "out of memory for %d page tables", plan->table_slots);
    for (int32_t i = 0; i < plan->table_slots; i++)
        tables->slot[i].sequence = -1;
    return 0;
}

void cuda_tables_close(struct cuda_tables *tables)
{
    for (int i = 0; i < CUDA_RECORDS; i++)
        if (tables->staging[i])
            (void)tables->stream->device->driver.cuMemFreeHost(tables->staging[i]);
    free(tables->slot);
    free(tables->slot_of);
    memset(tables, 0, sizeof *tables);
}

void cuda_tables_begin(struct cuda_tables *tables, int place)
{
    tables->step++;
    tables->place = place;
}

static int grow(struct cuda_tables *tables, int32_t sequence, struct error *error)
{
    if (sequence < tables->sequences)
        return 0;
    int32_t count = sequence < 8 ? 16 : sequence * 2;
    int32_t *slot_of = realloc(tables->slot_of, (size_t)count * sizeof *slot_of);
    if (!slot_of)
        return error_set(error, "out of memory for the page tables of %d sequences", count);
    for (int32_t i = tables->sequences; i < count; i++)
        slot_of[i] = -1;
    tables->slot_of = slot_of;
    tables->sequences = count;
    return 0;
}

/* Copies entries [first, end) of a sequence's page table to its slot, in the stream. */
static int upload(struct cuda_tables *tables, int32_t sequence, int32_t slot, int32_t first, int32_t end,
                  struct error *error)
{
    const struct cuda_driver *driver = &tables->stream->device->driver;
    size_t at = (size_t)slot * (size_t)tables->plan->table + (size_t)first;
    size_t bytes = (size_t)(end - first) * sizeof(int32_t);
    int32_t *staging = tables->staging[tables->place] + at;
    memcpy(staging, state_pages(tables->state)[sequence] + first, bytes);
    return cuda_check(driver,
                      driver->cuMemcpyHtoDAsync_v2(tables->memory + tables->plan->tables + at * sizeof(int32_t),
                                                   staging, bytes, tables->stream->handle),
                      "page tables", error);
}

/* The slot that this step may use for a sequence that has none: the one unused for longest. There are as many as a step
   has rows, so one that this step does not use is always there. */
static int32_t take(struct cuda_tables *tables, int32_t sequence)
{
    int32_t best = 0;
    for (int32_t i = 0; i < tables->plan->table_slots; i++) {
        if (tables->slot[i].sequence < 0) {
            best = i;
            break;
        }
        if (tables->slot[i].used < tables->slot[best].used)
            best = i;
    }
    if (tables->slot[best].sequence >= 0)
        tables->slot_of[tables->slot[best].sequence] = -1;
    tables->slot[best].sequence = sequence;
    tables->slot_of[sequence] = best;
    return best;
}

int32_t cuda_tables_slot(struct cuda_tables *tables, int32_t sequence, struct error *error)
{
    if (grow(tables, sequence, error))
        return -1;
    int32_t slot = tables->slot_of[sequence], first, end;
    if (slot >= 0 && tables->slot[slot].used == tables->step)
        return slot;
    bool changed = state_take_changes(tables->state, sequence, &first, &end);
    if (slot < 0) {
        slot = take(tables, sequence);
        first = 0;
        end = state_table_used(tables->state, sequence);
        changed = end > 0;
    }
    tables->slot[slot].used = tables->step;
    return changed && upload(tables, sequence, slot, first, end, error) ? -1 : slot;
}
