/* Memory, output and errors of one rendering. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"
#include "chat_internal.h"

enum { BLOCK = 64 << 10 };

struct chat_block {
    struct chat_block *next;
    size_t used, size;
    max_align_t data[];
};

static struct chat_block *add_block(struct chat_render *r, size_t bytes)
{
    size_t size = bytes > BLOCK ? bytes : BLOCK;
    if (size > r->limits.memory || r->arena_bytes > r->limits.memory - size)
        return NULL;
    struct chat_block *block = calloc(1, sizeof *block + size);
    if (!block)
        return NULL;
    block->size = size;
    r->arena_bytes += size;
    /* A block made for one large thing goes behind the one that is being filled. */
    if (r->blocks && bytes > BLOCK) {
        block->next = r->blocks->next;
        r->blocks->next = block;
    } else {
        block->next = r->blocks;
        r->blocks = block;
    }
    return block;
}

static void *take(struct chat_block *block, size_t bytes)
{
    void *memory = (char *)block->data + block->used;
    block->used += bytes;
    return memory;
}

static size_t rounded(size_t bytes)
{
    size_t unit = sizeof(max_align_t);
    return (bytes + unit - 1) / unit * unit;
}

void *chat_allocate(struct chat_render *r, size_t bytes)
{
    bytes = rounded(bytes);
    struct chat_block *block = r->blocks;
    if (block && block->size - block->used >= bytes)
        return take(block, bytes);
    if ((block = add_block(r, bytes)))
        return take(block, bytes);
    chat_fail(r, "it needs more than %zu MiB of memory", r->limits.memory >> 20);
    /* Straight-line code may ask for a few more small things before it comes to its end. */
    if (bytes > sizeof r->reserve - r->reserve_used)
        abort();
    r->reserve_used += bytes;
    return (char *)r->reserve + r->reserve_used - bytes;
}

void *chat_allocate_many(struct chat_render *r, size_t count, size_t size)
{
    struct chat_block *block = NULL;
    if (count <= r->limits.memory / size) {
        size_t bytes = rounded(count * size);
        block = r->blocks;
        if (!block || block->size - block->used < bytes)
            block = add_block(r, bytes);
        if (block)
            return take(block, bytes);
    }
    chat_fail(r, "it needs more than %zu MiB of memory", r->limits.memory >> 20);
    return NULL;
}

struct chat_value chat_fail(struct chat_render *r, const char *format, ...)
{
    if (!r->failed) {
        r->failed = true;
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(r->error.message, sizeof r->error.message, format, arguments);
        va_end(arguments);
    }
    return chat_undefined("a value that an error left out");
}

bool chat_step(struct chat_render *r)
{
    if (++r->steps > r->limits.steps)
        chat_fail(r, "it does not come to an end");
    return !r->failed;
}

void chat_line(struct chat_render *r, int line)
{
    if (!r->failed)
        r->line = line;
}

void chat_write(struct chat_render *r, const char *text, size_t length)
{
    if (r->failed)
        return;
    if (r->out.length > r->limits.output || length > r->limits.output - r->out.length)
        chat_fail(r, "it prints more than %zu MiB", r->limits.output >> 20);
    else if (text_buffer_add(&r->out, text, length))
        chat_fail(r, "out of memory for what it prints");
}

void chat_buffer_add(struct chat_render *r, struct text_buffer *out, const char *text, size_t length)
{
    if (r->failed)
        return;
    if (out->length > r->limits.output || length > r->limits.output - out->length || text_buffer_add(out, text, length))
        chat_fail(r, "out of memory for a text of more than %zu bytes", out->length);
}

struct chat_value chat_buffer_string(struct chat_render *r, struct text_buffer *buffer)
{
    struct chat_value value = chat_string(r, buffer->data ? buffer->data : "", buffer->length);
    free(buffer->data);
    *buffer = (struct text_buffer){0};
    return value;
}

void chat_print(struct chat_render *r, struct chat_value value)
{
    if (r->failed)
        return;
    struct chat_value text = value.kind == CHAT_STRING ? value : chat_str(r, value);
    if (text.kind == CHAT_STRING)
        chat_write(r, text.text, text.length);
}

size_t chat_capture_begin(struct chat_render *r)
{
    return r->out.length;
}

struct chat_value chat_capture_end(struct chat_render *r, size_t begin)
{
    if (r->failed || begin > r->out.length)
        return chat_undefined("a text that an error left out");
    struct chat_value text = chat_string(r, r->out.data ? r->out.data + begin : "", r->out.length - begin);
    r->out.length = begin;
    return text;
}

void *chat_variables(struct chat_render *r, size_t bytes)
{
    if (!r->variables)
        r->variables = chat_allocate(r, bytes); /* the generator bounds their number */
    return r->variables;
}

void chat_memory_free(struct chat_render *r)
{
    for (struct chat_block *block = r->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    r->blocks = NULL;
    free(r->out.data);
    r->out = (struct text_buffer){0};
}
