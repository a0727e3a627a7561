#include "stop.h"

#include <stdlib.h>
#include <string.h>

/* One string with its failure table (Knuth, Morris, Pratt): border[i] is the length of the longest proper beginning of
   the string that ends its first i bytes. */
struct pattern {
    char *bytes;
    size_t length, matched;
    size_t *border; /* [length + 1] */
};

struct stop {
    int count;
    struct text_buffer held; /* at least as long as the longest match under way */
    struct pattern pattern[];
};

static int pattern_open(struct pattern *pattern, const char *string)
{
    pattern->length = strlen(string);
    pattern->bytes = strdup(string);
    pattern->border = calloc(pattern->length + 1, sizeof *pattern->border);
    if (!pattern->bytes || !pattern->border)
        return -1;
    size_t border = 0;
    for (size_t i = 1; i < pattern->length; i++) {
        while (border > 0 && string[i] != string[border])
            border = pattern->border[border];
        border += string[i] == string[border];
        pattern->border[i + 1] = border;
    }
    return 0;
}

/* One byte further; whether the string is complete. */
static bool pattern_step(struct pattern *pattern, char byte)
{
    while (pattern->matched > 0 && pattern->bytes[pattern->matched] != byte)
        pattern->matched = pattern->border[pattern->matched];
    pattern->matched += pattern->bytes[pattern->matched] == byte;
    return pattern->matched == pattern->length;
}

struct stop *stop_open(const char *const *strings, int count)
{
    struct stop *stop = calloc(1, sizeof *stop + (size_t)count * sizeof *stop->pattern);
    if (!stop)
        return NULL;
    stop->count = count;
    for (int i = 0; i < count; i++)
        if (pattern_open(&stop->pattern[i], strings[i])) {
            stop_close(stop);
            return NULL;
        }
    return stop;
}

void stop_close(struct stop *stop)
{
    if (!stop)
        return;
    for (int i = 0; i < stop->count; i++) {
        free(stop->pattern[i].bytes);
        free(stop->pattern[i].border);
    }
    free(stop->held.data);
    free(stop);
}

/* Moves all but the last `keep` held bytes to `out`. */
static int release(struct stop *stop, size_t keep, struct text_buffer *out)
{
    struct text_buffer *held = &stop->held;
    size_t free_bytes = held->length - keep;
    if (!free_bytes)
        return 0;
    if (text_buffer_add(out, held->data, free_bytes))
        return -1;
    memmove(held->data, held->data + free_bytes, keep);
    held->length = keep;
    return 0;
}

/* The longest match under way after `byte`; *complete: the longest string that is complete, or 0. */
static size_t step_all(struct stop *stop, char byte, size_t *complete)
{
    size_t longest = 0;
    *complete = 0;
    for (int i = 0; i < stop->count; i++) {
        struct pattern *pattern = &stop->pattern[i];
        if (pattern_step(pattern, byte) && pattern->length > *complete)
            *complete = pattern->length;
        if (pattern->matched > longest)
            longest = pattern->matched;
    }
    return longest;
}

int stop_push(struct stop *stop, const char *text, size_t length, struct text_buffer *out, bool *found)
{
    *found = false;
    size_t under_way = 0, complete = 0;
    size_t used = 0;
    while (used < length && !complete)
        under_way = step_all(stop, text[used++], &complete);
    if (!used)
        return 0;
    if (text_buffer_add(&stop->held, text, used))
        return -1;
    *found = complete > 0;
    if (release(stop, complete ? complete : under_way, out))
        return -1;
    if (complete)
        stop->held.length = 0;
    return 0;
}

int stop_flush(struct stop *stop, struct text_buffer *out)
{
    return release(stop, 0, out);
}
