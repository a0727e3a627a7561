/* A GGUF file as records, one for each key and each tensor: one is changed, doubled, moved or removed, the counts are put
   right, and the data follows at its alignment. Files in parts (PARTS) and files that cannot be parsed: any bytes. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "mutate.h"

enum { HEADER = 24, MOST_RECORDS = 256, ALIGNMENT = 32, GROWTH = 512, STRING = 8, ARRAY = 9 };

struct record {
    uint8_t *data; /* points into the input, or is changed */
    size_t size;
};

struct file {
    struct record record[MOST_RECORDS + 1]; /* keys, then tensors; room for one more */
    size_t keys, tensors;
    struct record data; /* behind the padding */
};

/* Reading never goes beyond `end`. */
struct cursor {
    uint8_t *at, *end;
};

static bool take(struct cursor *cursor, void *value, size_t bytes)
{
    if ((size_t)(cursor->end - cursor->at) < bytes)
        return false;
    if (value)
        memcpy(value, cursor->at, bytes);
    cursor->at += bytes;
    return true;
}

static bool skip_string(struct cursor *cursor)
{
    uint64_t length;
    return take(cursor, &length, 8) && length <= (uint64_t)(cursor->end - cursor->at) &&
           take(cursor, NULL, (size_t)length);
}

static bool skip_value(struct cursor *cursor, uint32_t type)
{
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == STRING)
        return skip_string(cursor);
    if (type != ARRAY)
        return type < sizeof bytes && take(cursor, NULL, bytes[type]);
    uint32_t inner;
    uint64_t count;
    if (!take(cursor, &inner, 4) || !take(cursor, &count, 8) || inner == ARRAY || count > 65536)
        return false;
    while (count-- > 0) {
        if (!skip_value(cursor, inner))
            return false;
    }
    return true;
}

static bool skip_record(struct cursor *cursor, bool tensor)
{
    uint32_t type;
    if (!skip_string(cursor) || !take(cursor, &type, 4))
        return false;
    return tensor ? type <= 8 && take(cursor, NULL, type * 8 + 12) : skip_value(cursor, type);
}

static bool parse(struct file *file, uint8_t *data, size_t size)
{
    struct cursor cursor = {data, data + size};
    uint64_t tensors, keys;
    if (!take(&cursor, NULL, 8) || memcmp(data, "GGUF", 4) != 0 || !take(&cursor, &tensors, 8) ||
        !take(&cursor, &keys, 8) || tensors > MOST_RECORDS || keys > MOST_RECORDS - tensors)
        return false;
    file->keys = (size_t)keys;
    file->tensors = (size_t)tensors;
    for (size_t i = 0; i < file->keys + file->tensors; i++) {
        uint8_t *start = cursor.at;
        if (!skip_record(&cursor, i >= file->keys))
            return false;
        file->record[i] = (struct record){start, (size_t)(cursor.at - start)};
    }
    size_t used = (size_t)(cursor.at - data), padding = (ALIGNMENT - used % ALIGNMENT) % ALIGNMENT;
    file->data = used + padding < size ? (struct record){data + used + padding, size - used - padding}
                                       : (struct record){data + size, 0};
    return true;
}

/* Changes the string (its length before it) at `offset` of a record that has GROWTH bytes of room. */
static void change_string(struct record *record, size_t offset)
{
    uint64_t length;
    memcpy(&length, record->data + offset, 8);
    size_t behind = record->size - offset - 8 - (size_t)length;
    uint8_t *text = malloc((size_t)length + GROWTH);
    if (!text)
        return;
    memcpy(text, record->data + offset + 8, (size_t)length);
    uint64_t changed = mutate_bytes(text, (size_t)length, (size_t)length + GROWTH);
    memmove(record->data + offset + 8 + changed, record->data + offset + 8 + length, behind);
    memcpy(record->data + offset + 8, text, (size_t)changed);
    memcpy(record->data + offset, &changed, 8);
    record->size = offset + 8 + (size_t)changed + behind;
    free(text);
}

static void change_number(uint8_t *at, size_t bytes, struct dice *dice)
{
    uint64_t number = 0;
    memcpy(&number, at, bytes);
    switch (roll(dice, 3)) {
    case 0:
        number = roll_number(dice);
        break;
    case 1:
        number += roll(dice, 5) - 2;
        break;
    default:
        mutate_bytes((uint8_t *)&number, bytes, bytes);
    }
    memcpy(at, &number, bytes);
}

static void change_array(struct record *record, size_t offset, struct dice *dice)
{
    uint32_t inner;
    uint64_t count;
    memcpy(&inner, record->data + offset, 4);
    memcpy(&count, record->data + offset + 4, 8);
    size_t first = offset + 12;
    if (roll(dice, 8) == 0 || count == 0) {
        change_number(record->data + offset + 4 * roll(dice, 2), 4, dice);
    } else if (inner == STRING) {
        struct cursor cursor = {record->data + first, record->data + record->size};
        for (uint32_t i = roll(dice, (uint32_t)count); i > 0; i--)
            skip_string(&cursor);
        change_string(record, (size_t)(cursor.at - record->data));
    } else {
        size_t bytes = (record->size - first) / (size_t)count;
        change_number(record->data + first + roll(dice, (uint32_t)count) * bytes, bytes, dice);
    }
}

static void change_record(struct record *record, bool tensor, struct dice *dice)
{
    uint64_t length;
    uint32_t type;
    memcpy(&length, record->data, 8);
    size_t after = 8 + (size_t)length; /* the name */
    memcpy(&type, record->data + after, 4);
    if (roll(dice, 8) == 0) {
        change_string(record, 0);
    } else if (tensor) {
        size_t field = roll(dice, type + 3); /* number of dimensions, each, type, offset */
        size_t offset = field == 0 ? 0 : field <= type ? 4 + (field - 1) * 8 : 4 + type * 8 + (field - type - 1) * 4;
        change_number(record->data + after + offset, field == 0 || field == type + 1 ? 4 : 8, dice);
    } else if (roll(dice, 8) == 0) {
        change_number(record->data + after, 4, dice);
    } else if (type == STRING) {
        change_string(record, after + 4);
    } else if (type == ARRAY) {
        change_array(record, after + 4, dice);
    } else {
        change_number(record->data + after + 4, record->size - after - 4, dice);
    }
}

static void change_file(struct file *file, struct dice *dice)
{
    size_t total = file->keys + file->tensors, chosen = roll(dice, (uint32_t)total);
    bool tensor = chosen >= file->keys;
    struct record *record = &file->record[chosen];
    switch (roll(dice, 12)) {
    case 0: /* removed */
        memmove(record, record + 1, (total - chosen - 1) * sizeof *record);
        *(tensor ? &file->tensors : &file->keys) -= 1;
        break;
    case 1: /* doubled */
        memmove(record + 1, record, (total - chosen) * sizeof *record);
        *(tensor ? &file->tensors : &file->keys) += 1;
        break;
    case 2: { /* the same order is not promised */
        size_t first = tensor ? file->keys : 0, count = tensor ? file->tensors : file->keys;
        struct record *other = &file->record[first + roll(dice, (uint32_t)count)], swap = *other;
        *other = *record;
        *record = swap;
        break;
    }
    default:
        change_record(record, tensor, dice);
    }
}

static bool append(uint8_t *out, size_t *size, size_t most, const void *data, size_t bytes)
{
    if (bytes > most - *size)
        return false;
    if (data)
        memcpy(out + *size, data, bytes);
    else
        memset(out + *size, 0, bytes);
    *size += bytes;
    return true;
}

/* The file's bytes in `out`; 0 when they are too many. */
static size_t write(const struct file *file, const uint8_t *header, uint8_t *out, size_t most)
{
    uint64_t counts[2] = {file->tensors, file->keys};
    size_t size = 0;
    bool fits = append(out, &size, most, header, 8) && append(out, &size, most, counts, 16);
    for (size_t i = 0; fits && i < file->keys + file->tensors; i++)
        fits = append(out, &size, most, file->record[i].data, file->record[i].size);
    fits = fits && append(out, &size, most, NULL, (ALIGNMENT - size % ALIGNMENT) % ALIGNMENT) &&
           append(out, &size, most, file->data.data, file->data.size);
    return fits ? size : 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    static struct file file;
    struct dice dice = {seed};
    /* Each record in room of its own, to grow in; the same number of bytes as the input, and some. */
    uint8_t *copy = roll(&dice, 5) ? malloc(size + 1) : NULL, *out = malloc(most), *grown = NULL;
    if (copy)
        memcpy(copy, data, size);
    size_t written = 0;
    if (copy && out && parse(&file, copy, size) && file.keys + file.tensors > 0 &&
        file.keys + file.tensors < MOST_RECORDS) {
        size_t room = 0, at = 0;
        for (size_t i = 0; i < file.keys + file.tensors; i++)
            room += file.record[i].size + GROWTH;
        grown = malloc(room);
        for (size_t i = 0; grown && i < file.keys + file.tensors; i++) {
            memcpy(grown + at, file.record[i].data, file.record[i].size);
            file.record[i].data = grown + at;
            at += file.record[i].size + GROWTH;
        }
        if (grown) {
            change_file(&file, &dice);
            written = write(&file, copy, out, most);
        }
    }
    if (written)
        memcpy(data, out, written);
    free(copy);
    free(out);
    free(grown);
    return written ? written : mutate_bytes(data, size, most);
}
