/* A growing string of bytes. Start with {0}; free `data` with free(). */
#ifndef LATHE_TEXT_BUFFER_H
#define LATHE_TEXT_BUFFER_H

#include <stddef.h>
#include <stdio.h>

struct text_buffer {
    char *data; /* NUL-terminated once anything was added; NULL before */
    size_t length, capacity;
};

/* 0, or -1 when memory is out (the buffer is as before). */
int text_buffer_add(struct text_buffer *buffer, const char *bytes, size_t length);

/* Everything up to the end of the file. -1 when memory is out or reading fails (errno says which: ENOMEM). */
int text_buffer_read(struct text_buffer *buffer, FILE *file);

#endif
