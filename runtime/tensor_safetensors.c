/* Safetensors: 8 bytes of header length, a JSON header, then the tensors' bytes, which must cover the rest exactly (as
   the reference reader demands, and read/safetensors.lua, which is the generator's for checkpoints). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "json_document.h"
#include "tensor_file_internal.h"

#define LARGEST_HEADER (16u << 20) /* bytes; an adapter of all matrices of a thousand layers has two megabytes */

static int read_entry(struct tensor_list *list, const cJSON *entry, uint64_t data, struct error *error)
{
    const struct tensor_file *file = list->file;
    struct stored_tensor tensor = {0};
    uint64_t first, last;
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(entry, "dtype");
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(entry, "shape");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
    if (!cJSON_IsString(dtype) || !cJSON_IsArray(shape) || !cJSON_IsArray(offsets))
        return error_set(error, "%s: %.80s: expected dtype, shape and data_offsets, found other fields; %s", file->path,
                         entry->string, TENSOR_FILE_ADVICE);
    tensor.dtype = tensor_dtype_find(dtype->valuestring);
    if (!tensor.dtype)
        return error_set(error, "%s: %.80s: dtype: expected F32, F16 or BF16, found \"%.20s\"; save it as one of them",
                         file->path, entry->string, dtype->valuestring);
    for (const cJSON *item = shape->child; item; item = item->next) {
        if (tensor.dimensions == TENSOR_FILE_DIMENSIONS ||
            json_document_size(item, &tensor.shape[tensor.dimensions]) != 0)
            return error_set(error, "%s: %.80s: shape: expected at most %d whole numbers, found something else; %s",
                             file->path, entry->string, TENSOR_FILE_DIMENSIONS, TENSOR_FILE_ADVICE);
        tensor.dimensions++;
    }
    const cJSON *from = offsets->child, *to = from ? from->next : NULL;
    if (!to || to->next || json_document_size(from, &first) != 0 || json_document_size(to, &last) != 0 ||
        first > last || last > file->size - data)
        return error_set(error,
                         "%s: %.80s: data_offsets: expected two offsets up to %" PRIu64 ", found something else; %s",
                         file->path, entry->string, file->size - data, TENSOR_FILE_ADVICE);
    tensor.offset = data + first;
    if (tensor_list_add(list, tensor, entry->string, strlen(entry->string), error) != 0)
        return -1;
    const struct stored_tensor *added = &file->tensors[file->count - 1];
    if (added->bytes != last - first)
        return error_set(error,
                         "%s: %.80s: data_offsets: expected %" PRIu64 " bytes for its shape, found %" PRIu64 "; %s",
                         file->path, entry->string, added->bytes, last - first, TENSOR_FILE_ADVICE);
    return 0;
}

static int compare_places(const void *a, const void *b)
{
    const struct stored_tensor *left = *(const struct stored_tensor *const *)a;
    const struct stored_tensor *right = *(const struct stored_tensor *const *)b;
    if (left->offset != right->offset)
        return left->offset < right->offset ? -1 : 1;
    return (left->bytes > right->bytes) - (left->bytes < right->bytes);
}

/* Sorted by place, the tensors must follow each other without holes from `data` to the end. */
static int check_cover(const struct tensor_file *file, uint64_t data, struct error *error)
{
    uint64_t at = data;
    int failed = 0;
    const struct stored_tensor **order = calloc(file->count + 1, sizeof *order);
    if (!order)
        return error_set(error, "%s: out of memory", file->path);
    for (size_t i = 0; i < file->count; i++)
        order[i] = &file->tensors[i];
    qsort(order, file->count, sizeof *order, compare_places);
    for (size_t i = 0; i < file->count && !failed; i++) {
        if (order[i]->offset != at)
            failed = error_set(error,
                               "%s: %.80s: data_offsets: expected a start at %" PRIu64 ", found %" PRIu64 ": tensors "
                               "must follow each other; %s",
                               file->path, order[i]->name, at - data, order[i]->offset - data, TENSOR_FILE_ADVICE);
        at = order[i]->offset + order[i]->bytes;
    }
    free(order);
    if (!failed && at != file->size)
        failed = error_set(error, "%s: expected tensors of %" PRIu64 " bytes, found %" PRIu64 " bytes; %s", file->path,
                           at - data, file->size - data, TENSOR_FILE_ADVICE);
    return failed;
}

int tensor_file_read_safetensors(struct tensor_file *file, struct error *error)
{
    uint64_t length;
    if (file->size < sizeof length)
        return error_set(error, "%s: expected a safetensors file, found one of %" PRIu64 " bytes; %s", file->path,
                         file->size, TENSOR_FILE_ADVICE);
    memcpy(&length, file->data, sizeof length);
    if (length > LARGEST_HEADER || length > file->size - sizeof length)
        return error_set(error,
                         "%s: header length: expected at most %u bytes inside the file, found %" PRIu64
                         "; this is not a safetensors file, or it is damaged",
                         file->path, LARGEST_HEADER, length);
    const char *text = (const char *)file->data + sizeof length;
    cJSON *header = json_document_parse(text, length, file->path, error);
    int failed = header ? 0 : -1;
    struct tensor_list list = {.file = file};
    uint64_t data = sizeof length + length;
    for (const cJSON *entry = failed ? NULL : header->child; entry && !failed; entry = entry->next)
        if (strcmp(entry->string, "__metadata__") != 0)
            failed = read_entry(&list, entry, data, error);
    cJSON_Delete(header);
    if (!failed)
        failed = tensor_list_finish(&list, error);
    if (!failed)
        failed = check_cover(file, data, error);
    return failed;
}
