/* Source: PKWARE's APPNOTE, sections 4.3 to 4.5. Only what the directory says is believed, and each offset is checked. */
#include "tensor_zip.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tensor_file_internal.h"

enum {
    LOCAL_BYTES = 30,   /* fixed part of a local header */
    CENTRAL_BYTES = 46, /* of a directory entry */
    END_BYTES = 22,     /* of the end record */
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    LONGEST_COMMENT = 65535
};

struct directory {
    const unsigned char *data;
    uint64_t size;
    const char *path;
    uint64_t offset, bytes;
};

static uint64_t number(const unsigned char *at, int bytes)
{
    uint64_t value = 0;
    while (bytes-- > 0)
        value = value << 8 | at[bytes];
    return value;
}

static int damaged(const struct directory *directory, const char *what, struct error *error)
{
    return error_set(error, "%s: zip: expected %s, found something else; %s", directory->path, what,
                     TENSOR_FILE_ADVICE);
}

/* Where the directory lies, by the record at the file's end, or by the 64-bit one that this points to. */
static int find_directory(struct directory *directory, struct error *error)
{
    const unsigned char *data = directory->data;
    uint64_t size = directory->size;
    if (size < END_BYTES)
        return damaged(directory, "a record at the end", error);
    uint64_t end = size - END_BYTES, lowest = end > LONGEST_COMMENT ? end - LONGEST_COMMENT : 0;
    while (end > lowest && memcmp(data + end, "PK\5\6", 4) != 0)
        end--;
    if (memcmp(data + end, "PK\5\6", 4) != 0)
        return damaged(directory, "a record at the end", error);
    directory->bytes = number(data + end + 12, 4);
    directory->offset = number(data + end + 16, 4);
    if (end >= LOCATOR_BYTES && memcmp(data + end - LOCATOR_BYTES, "PK\6\7", 4) == 0) {
        uint64_t record = number(data + end - LOCATOR_BYTES + 8, 8);
        if (record > size || size - record < END64_BYTES || memcmp(data + record, "PK\6\6", 4) != 0)
            return damaged(directory, "a 64-bit record where its locator says", error);
        directory->bytes = number(data + record + 40, 8);
        directory->offset = number(data + record + 48, 8);
    }
    if (directory->offset > size || directory->bytes > size - directory->offset)
        return damaged(directory, "a directory inside the file", error);
    return 0;
}

/* Sizes and offsets of 0xffffffff stand in the entry's 64-bit field, in this order. */
static int read_wide(const unsigned char *extra, uint64_t extra_bytes, uint64_t **values, const uint64_t *given,
                     int count)
{
    while (extra_bytes >= 4) {
        uint64_t id = number(extra, 2), bytes = number(extra + 2, 2);
        if (bytes > extra_bytes - 4)
            return -1;
        if (id == 1) {
            const unsigned char *at = extra + 4;
            for (int i = 0; i < count; i++) {
                if (given[i] != UINT32_MAX)
                    continue;
                if (bytes < 8)
                    return -1;
                *values[i] = number(at, 8);
                at += 8;
                bytes -= 8;
            }
            return 0;
        }
        extra += 4 + bytes;
        extra_bytes -= 4 + bytes;
    }
    for (int i = 0; i < count; i++)
        if (given[i] == UINT32_MAX)
            return -1;
    return 0;
}

/* The entry at `at`, which has `left` bytes; *used: its own. */
static int read_entry(const struct directory *directory, const unsigned char *at, uint64_t left,
                      struct zip_entry *entry, uint64_t *used, struct error *error)
{
    if (left < CENTRAL_BYTES || memcmp(at, "PK\1\2", 4) != 0)
        return damaged(directory, "an entry of the directory", error);
    uint64_t flags = number(at + 8, 2), method = number(at + 10, 2), local;
    uint64_t name = number(at + 28, 2), extra = number(at + 30, 2), comment = number(at + 32, 2);
    uint64_t packed;
    *used = CENTRAL_BYTES + name + extra + comment;
    if (*used > left)
        return damaged(directory, "an entry of the directory", error);
    entry->name = (const char *)at + CENTRAL_BYTES;
    entry->name_length = (uint32_t)name;
    entry->bytes = number(at + 24, 4);
    packed = number(at + 20, 4);
    local = number(at + 42, 4);
    const uint64_t given[] = {entry->bytes, packed, local};
    uint64_t *values[] = {&entry->bytes, &packed, &local};
    if (read_wide(at + CENTRAL_BYTES + name, extra, values, given, 3) != 0)
        return damaged(directory, "64-bit sizes", error);
    if (flags & 1 || method != 0 || packed != entry->bytes)
        return error_set(error,
                         "%s: zip: %.*s: expected bytes that are stored as they are, found them %s; save it with torch",
                         directory->path, name < TENSOR_NAME_SHOWN ? (int)name : TENSOR_NAME_SHOWN, entry->name,
                         flags & 1 ? "encrypted" : "compressed");
    if (local > directory->size || directory->size - local < LOCAL_BYTES ||
        memcmp(directory->data + local, "PK\3\4", 4) != 0)
        return damaged(directory, "an entry where the directory says", error);
    entry->offset = local + LOCAL_BYTES + number(directory->data + local + 26, 2) +
                    number(directory->data + local + 28, 2); /* these lengths may differ from the directory's */
    if (entry->offset > directory->size || entry->bytes > directory->size - entry->offset)
        return damaged(directory, "entries inside the file", error);
    return 0;
}

/* name against prefix + rest, as memcmp would order them. */
static int compare_name(const struct zip_entry *entry, const char *prefix, size_t prefix_length, const char *rest,
                        size_t rest_length)
{
    size_t length = entry->name_length, front = length < prefix_length ? length : prefix_length;
    int order = front ? memcmp(entry->name, prefix, front) : 0;
    if (order || front < prefix_length)
        return order ? order : -1;
    length -= front;
    size_t back = length < rest_length ? length : rest_length;
    order = back ? memcmp(entry->name + front, rest, back) : 0;
    return order ? order : (length > rest_length) - (length < rest_length);
}

static int compare_entries(const void *a, const void *b)
{
    const struct zip_entry *right = b;
    return compare_name(a, "", 0, right->name, right->name_length);
}

int zip_read(struct zip *zip, const unsigned char *data, uint64_t size, const char *path, struct error *error)
{
    struct directory directory = {.data = data, .size = size, .path = path};
    memset(zip, 0, sizeof *zip);
    if (find_directory(&directory, error) != 0)
        return -1;
    zip->entries = calloc((size_t)(directory.bytes / CENTRAL_BYTES) + 1, sizeof *zip->entries);
    if (!zip->entries)
        return error_set(error, "%s: out of memory", path);
    uint64_t used = 0;
    for (uint64_t at = 0; at < directory.bytes; at += used)
        if (read_entry(&directory, data + directory.offset + at, directory.bytes - at, &zip->entries[zip->count++],
                       &used, error) != 0)
            return -1;
    qsort(zip->entries, zip->count, sizeof *zip->entries, compare_entries);
    for (size_t i = 1; i < zip->count; i++)
        if (compare_entries(&zip->entries[i - 1], &zip->entries[i]) == 0)
            return damaged(&directory, "each entry once", error);
    return 0;
}

void zip_free(struct zip *zip)
{
    free(zip->entries);
    memset(zip, 0, sizeof *zip);
}

const struct zip_entry *zip_find(const struct zip *zip, const char *prefix, size_t prefix_length, const char *name,
                                 size_t name_length)
{
    size_t first = 0, count = zip->count;
    while (count > 0) {
        size_t half = count / 2;
        int order = compare_name(&zip->entries[first + half], prefix, prefix_length, name, name_length);
        if (order == 0)
            return &zip->entries[first + half];
        if (order < 0) {
            first += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return NULL;
}
