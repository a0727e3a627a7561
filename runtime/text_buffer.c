#include "text_buffer.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int reserve(struct text_buffer *buffer, size_t more)
{
    if (more >= SIZE_MAX / 2 - buffer->length)
        return -1;
    size_t needed = buffer->length + more + 1;
    if (needed <= buffer->capacity)
        return 0;
    size_t capacity = buffer->capacity < 32 ? 64 : buffer->capacity * 2;
    if (capacity < needed)
        capacity = needed;
    char *data = realloc(buffer->data, capacity);
    if (!data)
        return -1;
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

int text_buffer_add(struct text_buffer *buffer, const char *bytes, size_t length)
{
    if (reserve(buffer, length))
        return -1;
    if (length)
        memcpy(buffer->data + buffer->length, bytes, length);
    buffer->length += length;
    buffer->data[buffer->length] = 0;
    return 0;
}

int text_buffer_read(struct text_buffer *buffer, FILE *file)
{
    for (;;) {
        if (reserve(buffer, 65536)) {
            errno = ENOMEM;
            return -1;
        }
        size_t got = fread(buffer->data + buffer->length, 1, 65536, file);
        buffer->length += got;
        buffer->data[buffer->length] = 0;
        if (got < 65536)
            return ferror(file) ? -1 : 0;
    }
}
