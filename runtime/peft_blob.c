/* An adapter as kernels read it (adapter.h): entries first, then for each site A, B, row_scale, bias and full, in this order, each
   aligned to 64 bytes with zeros between. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "peft.h"
#include "weights.h"

enum { ALIGNMENT = 64, ROWS_AT_ONCE = 16 };

struct writer {
    const struct peft *peft;
    enum dtype dtype;
    const struct peft_base *base;
    peft_sink *sink;
    void *context;
    uint64_t written;
};

static uint64_t element_bytes(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? 4 : 2;
}

/* Whether the bias that the adapter adds is anything. */
static bool has_bias(const struct peft_site *site)
{
    return site->bias || site->b_bias;
}

/* Reserves rows x columns elements behind *end; returns where they begin. */
static int place(uint64_t *end, uint64_t *offset, int64_t rows, int64_t columns, uint64_t bytes, struct error *error)
{
    uint64_t size;
    *offset = *end;
    if (__builtin_mul_overflow((uint64_t)rows, (uint64_t)columns, &size) ||
        __builtin_mul_overflow(size, bytes, &size) || size > (1ull << 46) - *end)
        return error_set(error, "an adapter of %" PRId64 " x %" PRId64 " elements is larger than lathe handles", rows,
                         columns);
    *end = (*end + size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return 0;
}

/* Where everything lies. entries: [site_count], zeroed. */
static int lay_out(const struct peft *peft, enum dtype dtype, struct adapter_entry *entries, uint64_t *bytes,
                   struct error *error)
{
    uint64_t element = element_bytes(dtype), none;
    *bytes = 0;
    if (place(bytes, &none, peft->site_count, 1, sizeof *entries, error) != 0)
        return -1;
    for (int32_t i = 0; i < peft->site_count; i++) {
        const struct adapter_site *base = &peft->sites[i];
        const struct peft_site *site = &peft->site[i];
        struct adapter_entry *entry = &entries[i];
        bool embedding = strcmp(base->name, "embedding") == 0;
        int32_t inputs = embedding ? base->rows : base->columns, outputs = embedding ? base->columns : base->rows;
        entry->rank = peft_padded_rank(site->rank);
        if (entry->rank < 0)
            return error_set(error, "%s: %.120s: rank %d can only be merged", peft->file.path, site->a->name,
                             site->rank);
        if (entry->rank) {
            entry->scale = site->scale;
            if (place(bytes, &entry->a, inputs, entry->rank, element, error) != 0 ||
                place(bytes, &entry->b, outputs, entry->rank, element, error) != 0)
                return -1;
        }
        if (site->magnitude && place(bytes, &entry->row_scale, base->rows, 1, sizeof(float), error) != 0)
            return -1;
        if (has_bias(site) && place(bytes, &entry->bias, base->rows, 1, sizeof(float), error) != 0)
            return -1;
        if (site->full && place(bytes, &entry->full, base->rows, base->columns, element, error) != 0)
            return -1;
    }
    return 0;
}

int peft_blob_bytes(const struct peft *peft, enum dtype dtype, uint64_t *bytes, struct error *error)
{
    struct adapter_entry *entries = calloc((size_t)peft->site_count + 1, sizeof *entries);
    if (!entries)
        return error_set(error, "%s: out of memory", peft->file.path);
    int failed = lay_out(peft, dtype, entries, bytes, error);
    free(entries);
    return failed;
}

static int emit(struct writer *writer, const void *data, uint64_t bytes, struct error *error)
{
    writer->written += bytes;
    return writer->sink(writer->context, data, bytes, error);
}

/* Zeros up to the next aligned place. */
static int align(struct writer *writer, struct error *error)
{
    static const unsigned char zeros[ALIGNMENT];
    uint64_t rest = writer->written % ALIGNMENT;
    return rest ? emit(writer, zeros, ALIGNMENT - rest, error) : 0;
}

/* values[count], rounded to the package's dtype in place. */
static int emit_elements(struct writer *writer, float *values, uint64_t count, struct error *error)
{
    if (writer->dtype == DTYPE_F32)
        return emit(writer, values, count * sizeof *values, error);
    unsigned char *out = (unsigned char *)values; /* an element never overtakes the float that it comes from */
    for (uint64_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, (const unsigned char *)values + i * sizeof value, sizeof value);
        uint16_t rounded = weights_bf16(value);
        memcpy(out + i * sizeof rounded, &rounded, sizeof rounded);
    }
    return emit(writer, out, count * sizeof(uint16_t), error);
}

/* [rows, columns] of a tensor, each row padded with zeros to `padded` values. */
static int emit_padded(struct writer *writer, const struct stored_tensor *tensor, int32_t rows, int32_t columns,
                       int32_t padded, float *row, struct error *error)
{
    for (int32_t i = 0; i < rows; i++) {
        memset(row, 0, (size_t)padded * sizeof *row);
        tensor_file_floats(&writer->peft->file, tensor, (uint64_t)i * (uint64_t)columns, (uint64_t)columns, row);
        if (emit_elements(writer, row, (uint64_t)padded, error) != 0)
            return -1;
    }
    return align(writer, error);
}

/* A of a linear layer: [rank, columns], then rows of zeros. */
static int emit_a(struct writer *writer, int32_t number, int32_t padded, float *row, struct error *error)
{
    const struct peft_site *site = &writer->peft->site[number];
    int32_t columns = writer->peft->sites[number].columns;
    for (int32_t r = 0; r < padded; r++) {
        memset(row, 0, (size_t)columns * sizeof *row);
        if (r < site->rank)
            tensor_file_floats(&writer->peft->file, site->a, (uint64_t)r * (uint64_t)columns, (uint64_t)columns, row);
        if (emit_elements(writer, row, (uint64_t)columns, error) != 0)
            return -1;
    }
    return align(writer, error);
}

/* A of an embedding, turned: [vocab, rank]. */
static int emit_turned_a(struct writer *writer, int32_t number, int32_t padded, float *row, struct error *error)
{
    const struct peft_site *site = &writer->peft->site[number];
    int32_t vocab = writer->peft->sites[number].rows;
    for (int32_t id = 0; id < vocab; id++) {
        memset(row, 0, (size_t)padded * sizeof *row);
        for (int32_t r = 0; r < site->rank; r++)
            tensor_file_floats(&writer->peft->file, site->a, (uint64_t)r * (uint64_t)vocab + (uint64_t)id, 1, row + r);
        if (emit_elements(writer, row, (uint64_t)padded, error) != 0)
            return -1;
    }
    return align(writer, error);
}

/* `rows` and `copy`: room for ROWS_AT_ONCE rows each. */
static int check_copy(const struct peft *peft, const struct peft_base *base, int32_t number, float *rows, float *copy,
                      struct error *error)
{
    const struct adapter_site *site = &peft->sites[number];
    for (int32_t first = 0; first < site->rows; first += ROWS_AT_ONCE) {
        int32_t count = site->rows - first < ROWS_AT_ONCE ? site->rows - first : ROWS_AT_ONCE;
        uint64_t elements = (uint64_t)count * (uint64_t)site->columns;
        if (base->rows(base->context, number, first, count, rows, error) != 0)
            return -1;
        tensor_file_floats(&peft->file, peft->site[number].copy, (uint64_t)first * (uint64_t)site->columns, elements,
                           copy);
        for (uint64_t i = 0; i < elements; i++)
            if (weights_bf16(rows[i]) != weights_bf16(copy[i]))
                return error_set(
                    error,
                    "%s: %.120s: row %d: expected a copy of the base's weights, found others; this adapter was "
                    "made for another model",
                    peft->file.path, peft->site[number].copy->name, first + (int32_t)(i / (uint64_t)site->columns));
    }
    return 0;
}

int peft_check_copies(const struct peft *peft, const struct peft_base *base, struct error *error)
{
    int failed = 0;
    for (int32_t i = 0; i < peft->site_count && !failed; i++) {
        if (!peft->site[i].copy)
            continue;
        size_t room = (size_t)peft->sites[i].columns * ROWS_AT_ONCE;
        float *rows = malloc(2 * room * sizeof *rows);
        failed = rows ? check_copy(peft, base, i, rows, rows + room, error)
                      : error_set(error, "%s: out of memory", peft->file.path);
        free(rows);
    }
    return failed;
}

static int emit_row_scale(struct writer *writer, int32_t number, float *rows_of_base, struct error *error)
{
    const struct peft *peft = writer->peft;
    int32_t rows = peft->sites[number].rows;
    float scales[ROWS_AT_ONCE];
    struct peft_merge merge;
    if (peft_merge_open(&merge, peft, number, writer->dtype, error) != 0)
        return -1;
    int failed = 0;
    for (int32_t first = 0; first < rows && !failed; first += ROWS_AT_ONCE) {
        int32_t count = rows - first < ROWS_AT_ONCE ? rows - first : ROWS_AT_ONCE;
        failed = writer->base->rows(writer->base->context, number, first, count, rows_of_base, error);
        if (!failed)
            failed = peft_merge_rows(&merge, first, count, rows_of_base, scales, error);
        if (!failed)
            failed = emit(writer, scales, (uint64_t)count * sizeof *scales, error);
    }
    peft_merge_close(&merge);
    return failed ? -1 : align(writer, error);
}

/* What the adapter adds to the base's bias. */
static int emit_bias(struct writer *writer, int32_t number, struct error *error)
{
    const struct peft *peft = writer->peft;
    const struct adapter_site *site = &peft->sites[number];
    float *base = calloc((size_t)site->rows + 1, sizeof *base), *bias = calloc((size_t)site->rows + 1, sizeof *bias);
    int failed = base && bias ? 0 : error_set(error, "%s: out of memory", peft->file.path);
    if (!failed && peft->site[number].bias && site->bias_tensor >= 0)
        failed = writer->base->bias(writer->base->context, number, base, error);
    if (!failed)
        failed = peft_merge_bias(peft, number, bias, error);
    for (int32_t i = 0; i < site->rows && !failed; i++)
        bias[i] -= base[i];
    if (!failed)
        failed = emit(writer, bias, (uint64_t)site->rows * sizeof *bias, error);
    free(base);
    free(bias);
    return failed ? -1 : align(writer, error);
}

static int emit_site(struct writer *writer, int32_t number, const struct adapter_entry *entry, struct error *error)
{
    const struct peft *peft = writer->peft;
    const struct adapter_site *base = &peft->sites[number];
    const struct peft_site *site = &peft->site[number];
    bool embedding = strcmp(base->name, "embedding") == 0;
    float *row = malloc(((size_t)base->columns * ROWS_AT_ONCE + ADAPTER_MAX_RANK) * sizeof *row);
    if (!row)
        return error_set(error, "%s: out of memory", peft->file.path);
    int failed = 0;
    if (entry->rank)
        failed = (embedding ? emit_turned_a : emit_a)(writer, number, entry->rank, row, error);
    if (entry->rank && !failed)
        failed =
            emit_padded(writer, site->b, embedding ? base->columns : base->rows, site->rank, entry->rank, row, error);
    if (site->magnitude && !failed)
        failed = emit_row_scale(writer, number, row, error);
    if (has_bias(site) && !failed)
        failed = emit_bias(writer, number, error);
    if (site->full && !failed)
        failed = emit_padded(writer, site->full, base->rows, base->columns, base->columns, row, error);
    free(row);
    return failed;
}

int peft_write_blob(const struct peft *peft, enum dtype dtype, const struct peft_base *base, peft_sink *sink,
                    void *context, struct error *error)
{
    struct writer writer = {peft, dtype, base, sink, context, 0};
    uint64_t bytes;
    struct adapter_entry *entries = calloc((size_t)peft->site_count + 1, sizeof *entries);
    if (!entries)
        return error_set(error, "%s: out of memory", peft->file.path);
    int failed = lay_out(peft, dtype, entries, &bytes, error);
    if (!failed)
        failed = peft_check_copies(peft, base, error);
    if (!failed)
        failed = emit(&writer, entries, (uint64_t)peft->site_count * sizeof *entries, error);
    if (!failed)
        failed = align(&writer, error);
    for (int32_t i = 0; i < peft->site_count && !failed; i++)
        failed = emit_site(&writer, i, &entries[i], error);
    free(entries);
    if (!failed && writer.written != bytes)
        failed = error_set(error, "%s: expected a blob of %" PRIu64 " bytes, wrote %" PRIu64, peft->file.path, bytes,
                           writer.written);
    return failed ? -1 : 0;
}
