#include "tensor_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tensor_file_internal.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "these files are little-endian, and their numbers are read in place"
#endif

static const struct {
    char name[8];
    uint32_t bytes;
} dtypes[] = {{"BF16", 2}, {"F16", 2}, {"F32", 4}, {"F64", 8}, {"I64", 8}, {"I32", 4}, {"I16", 2},
              {"I8", 1},   {"U64", 8}, {"U32", 4}, {"U16", 2}, {"U8", 1},  {"BOOL", 1}};

const char *tensor_dtype_find(const char *dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, dtype) == 0)
            return dtypes[i].name;
    return NULL;
}

uint32_t tensor_dtype_bytes(const char *dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, dtype) == 0)
            return dtypes[i].bytes;
    return 0;
}

static int check_name(const struct tensor_file *file, const char *name, size_t length, struct error *error)
{
    bool printable = length > 0 && length <= TENSOR_FILE_NAME;
    for (size_t i = 0; printable && i < length; i++)
        printable = (unsigned char)name[i] >= 0x20 && name[i] != 0x7f;
    if (!printable)
        return error_set(error, "%s: expected tensor names of 1 to %d printable characters, found one of %zu bytes; %s",
                         file->path, TENSOR_FILE_NAME, length, TENSOR_FILE_ADVICE);
    return 0;
}

/* elements and bytes of a shape, bounded by what the file can hold. */
static int measure(const struct tensor_file *file, struct stored_tensor *tensor, const char *name, int shown,
                   struct error *error)
{
    bool empty = false;
    tensor->elements = 1;
    for (int32_t i = 0; i < tensor->dimensions; i++)
        empty = empty || tensor->shape[i] == 0;
    for (int32_t i = 0; i < tensor->dimensions && !empty; i++) {
        if (tensor->elements > file->size / tensor->shape[i])
            return error_set(error,
                             "%s: %.*s: shape: expected at most the %" PRIu64 " elements that the file can hold, found "
                             "%" PRIu64 " x %" PRIu64 "; %s",
                             file->path, shown, name, file->size, tensor->elements, tensor->shape[i],
                             TENSOR_FILE_ADVICE);
        tensor->elements *= tensor->shape[i];
    }
    if (empty)
        tensor->elements = 0;
    tensor->bytes = tensor->elements * tensor_dtype_bytes(tensor->dtype); /* at most 8 x the file's size */
    if (tensor->offset > file->size || tensor->bytes > file->size - tensor->offset)
        return error_set(error,
                         "%s: %.*s: expected %" PRIu64 " bytes at offset %" PRIu64 ", the file has %" PRIu64 "; %s",
                         file->path, shown, name, tensor->bytes, tensor->offset, file->size, TENSOR_FILE_ADVICE);
    return 0;
}

/* Names are kept as offsets until tensor_list_finish, because the block that holds them moves as it grows. */
int tensor_list_add(struct tensor_list *list, struct stored_tensor tensor, const char *name, size_t name_length,
                    struct error *error)
{
    struct tensor_file *file = list->file;
    int shown = name_length < TENSOR_NAME_SHOWN ? (int)name_length : TENSOR_NAME_SHOWN;
    if (check_name(file, name, name_length, error) != 0 || measure(file, &tensor, name, shown, error) != 0)
        return -1;
    if (file->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        struct stored_tensor *grown = realloc(file->tensors, capacity * sizeof *grown);
        if (!grown)
            return error_set(error, "%s: out of memory", file->path);
        file->tensors = grown;
        list->capacity = capacity;
    }
    if (name_length + 1 > list->names_capacity - list->names_used) {
        size_t capacity = 2 * list->names_capacity + TENSOR_FILE_NAME + 1;
        char *grown = realloc(file->names, capacity);
        if (!grown)
            return error_set(error, "%s: out of memory", file->path);
        file->names = grown;
        list->names_capacity = capacity;
    }
    memcpy(file->names + list->names_used, name, name_length);
    file->names[list->names_used + name_length] = 0;
    tensor.name = (const char *)(uintptr_t)list->names_used;
    list->names_used += name_length + 1;
    file->tensors[file->count++] = tensor;
    return 0;
}

static int compare_tensors(const void *a, const void *b)
{
    return strcmp(((const struct stored_tensor *)a)->name, ((const struct stored_tensor *)b)->name);
}

int tensor_list_finish(struct tensor_list *list, struct error *error)
{
    struct tensor_file *file = list->file;
    for (size_t i = 0; i < file->count; i++)
        file->tensors[i].name = file->names + (uintptr_t)file->tensors[i].name;
    if (file->count > 1)
        qsort(file->tensors, file->count, sizeof *file->tensors, compare_tensors);
    for (size_t i = 1; i < file->count; i++)
        if (strcmp(file->tensors[i - 1].name, file->tensors[i].name) == 0)
            return error_set(error, "%s: %.80s: expected each tensor once, found it twice; %s", file->path,
                             file->tensors[i].name, TENSOR_FILE_ADVICE);
    return 0;
}

const struct stored_tensor *tensor_file_find(const struct tensor_file *file, const char *name)
{
    size_t first = 0, count = file->count;
    while (count > 0) {
        size_t half = count / 2;
        int order = strcmp(file->tensors[first + half].name, name);
        if (order == 0)
            return &file->tensors[first + half];
        if (order < 0) {
            first += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return NULL;
}

void tensor_file_free(struct tensor_file *file)
{
    free(file->tensors);
    free(file->names);
    memset(file, 0, sizeof *file);
}

void tensor_file_close(struct tensor_file *file)
{
    if (file->data)
        munmap((void *)file->data, file->size);
    tensor_file_free(file);
}

/* Maps the whole file. An empty one is refused here: it has nothing to map. */
static int map(struct tensor_file *file, struct error *error)
{
    int descriptor = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is refused, not waited for */
    if (descriptor < 0)
        return error_set(error, "%s: cannot be opened: %s", file->path, strerror(errno));
    struct stat status;
    int failed = 0;
    if (fstat(descriptor, &status) != 0)
        failed = error_set(error, "%s: cannot be read: %s", file->path, strerror(errno));
    else if (!S_ISREG(status.st_mode) || status.st_size == 0)
        failed = error_set(error, "%s: expected a file of tensors, found %s; %s", file->path,
                           S_ISREG(status.st_mode) ? "an empty file" : "something that is no file", TENSOR_FILE_ADVICE);
    if (!failed) {
        void *data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (data == MAP_FAILED) {
            failed = error_set(error, "%s: cannot be mapped: %s", file->path, strerror(errno));
        } else {
            file->data = data;
            file->size = (uint64_t)status.st_size;
        }
    }
    close(descriptor);
    return failed;
}

int tensor_file_open(struct tensor_file *file, const char *path, struct error *error)
{
    memset(file, 0, sizeof *file);
    if (strlen(path) >= sizeof file->path)
        return error_set(error, "%.100s...: the path is too long; expected less than %zu bytes", path,
                         sizeof file->path);
    strcpy(file->path, path);
    int failed = map(file, error);
    if (!failed) {
        bool zip = file->size >= 4 && memcmp(file->data, "PK\3\4", 4) == 0;
        failed = zip ? tensor_file_read_zip(file, error) : tensor_file_read_safetensors(file, error);
    }
    if (failed)
        tensor_file_close(file);
    return failed;
}

int tensor_file_read_torch(struct tensor_file *file, const char *path, const unsigned char *data, uint64_t size,
                           struct error *error)
{
    memset(file, 0, sizeof *file);
    snprintf(file->path, sizeof file->path, "%s", path);
    file->data = data;
    file->size = size;
    if (tensor_file_read_zip(file, error) == 0)
        return 0;
    tensor_file_free(file);
    return -1;
}

int tensor_file_is_float(const struct stored_tensor *tensor)
{
    return strcmp(tensor->dtype, "F32") == 0 || strcmp(tensor->dtype, "F16") == 0 || strcmp(tensor->dtype, "BF16") == 0;
}

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Every half has its float. */
static float float_of_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 0x3ffu;
    if (exponent == 31)
        return float_of_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent == 0) { /* zero and subnormals: fraction * 2^-24, exact */
        float value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

void tensor_file_floats(const struct tensor_file *file, const struct stored_tensor *tensor, uint64_t first,
                        uint64_t count, float *out)
{
    const unsigned char *data = file->data + tensor->offset;
    if (strcmp(tensor->dtype, "F32") == 0) {
        memcpy(out, data + 4 * first, 4 * count);
        return;
    }
    bool half = strcmp(tensor->dtype, "F16") == 0;
    data += 2 * first;
    for (uint64_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, data + 2 * i, sizeof bits);
        out[i] = half ? float_of_half(bits) : float_of_bits((uint32_t)bits << 16);
    }
}

const char *tensor_file_shape(const struct stored_tensor *tensor, char *text)
{
    size_t used = 0;
    text[used++] = '[';
    for (int32_t i = 0; i < tensor->dimensions; i++)
        used += (size_t)snprintf(text + used, TENSOR_FILE_SHAPE - used, "%s%" PRIu64, i ? ", " : "", tensor->shape[i]);
    snprintf(text + used, TENSOR_FILE_SHAPE - used, "]");
    return text;
}
