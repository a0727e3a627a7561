#include "adapter_blob.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { ALIGNMENT = 64 };

static bool is_padded(int32_t rank)
{
    static const int32_t ranks[] = ADAPTER_RANKS;
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++)
        if (rank == ranks[i])
            return true;
    return false;
}

/* Do `rows` times `columns` values of `size` bytes lie at `offset`, behind the entries? Sites have at most 2^24 rows and
   columns (the generator sees to it), so nothing overflows. */
static bool inside(uint64_t offset, int64_t rows, int64_t columns, uint64_t size, uint64_t entries, uint64_t bytes)
{
    return offset >= entries && offset % ALIGNMENT == 0 && offset <= bytes &&
           (uint64_t)rows * (uint64_t)columns * size <= bytes - offset;
}

/* What is wrong with an entry, or NULL. */
static const char *fault_of(const struct adapter_entry *entry, const struct adapter_site *site, bool embedding,
                            uint64_t element, uint64_t entries, uint64_t bytes)
{
    int64_t rows = site->rows, columns = site->columns, rank = entry->rank;
    int64_t a = embedding ? rows : columns, b = embedding ? columns : rows;
    if (rank != 0 && !inside(entry->a, a, rank, element, entries, bytes))
        return "A is not inside it";
    if (rank != 0 && !inside(entry->b, b, rank, element, entries, bytes))
        return "B is not inside it";
    if (rank != 0 && !isfinite(entry->scale))
        return "the scale is not a number";
    if (entry->row_scale && !inside(entry->row_scale, rows, 1, sizeof(float), entries, bytes))
        return "the scales of the rows are not inside it";
    if (entry->bias && !inside(entry->bias, rows, 1, sizeof(float), entries, bytes))
        return "the bias is not inside it";
    if (entry->full && !inside(entry->full, rows, columns, element, entries, bytes))
        return "the whole matrix is not inside it";
    return NULL;
}

/* What the kernels of a product read of a site. */
static uint64_t read_bytes(const struct adapter_entry *entry, const struct adapter_site *site, uint64_t element)
{
    uint64_t rows = (uint64_t)site->rows, columns = (uint64_t)site->columns;
    return (uint64_t)entry->rank * (rows + columns) * element + (entry->row_scale ? rows * sizeof(float) : 0) +
           (entry->bias ? rows * sizeof(float) : 0) + (entry->full ? rows * columns * element : 0);
}

int adapter_check(const struct model *model, const char *name, const unsigned char *blob, uint64_t bytes,
                  int32_t max_rank, struct adapter_summary *summary, struct error *error)
{
    uint64_t element = strcmp(model->dtype, "f32") == 0 ? 4 : 2;
    uint64_t entries = (uint64_t)model->site_count * sizeof(struct adapter_entry);
    struct adapter_summary found = {0};
    if (bytes < entries)
        return error_set(error, "adapter %.100s: expected at least %llu bytes, found %llu; it is damaged", name,
                         (unsigned long long)entries, (unsigned long long)bytes);
    for (int32_t i = 0; i < model->site_count; i++) {
        const struct adapter_site *site = &model->sites[i];
        bool embedding = i + 1 == model->site_count;
        struct adapter_entry entry;
        memcpy(&entry, blob + (size_t)i * sizeof entry, sizeof entry);
        if (entry.rank != 0 && (!is_padded(entry.rank) || entry.rank > max_rank))
            return error_set(error, "adapter %.100s: %s: expected a padded rank up to %d, found %d", name, site->name,
                             (int)max_rank, (int)entry.rank);
        const char *fault = fault_of(&entry, site, embedding, element, entries, bytes);
        if (fault)
            return error_set(error, "adapter %.100s: %s: %s; it is damaged", name, site->name, fault);
        found.sites += entry.rank || entry.row_scale || entry.bias || entry.full;
        found.rank = entry.rank > found.rank ? entry.rank : found.rank;
        found.step_bytes += embedding ? 0 : read_bytes(&entry, site, element);
    }
    if (summary)
        *summary = found;
    return 0;
}
