/* Writes JSON (RFC 8259) to a file: commas, quoting and numbers are right by construction. Nothing is checked while
   writing; the caller checks the file at the end. */
#ifndef LATHE_JSON_OUT_H
#define LATHE_JSON_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Start with {.file = ...}. */
struct json_out {
    FILE *file;
    bool comma; /* a value precedes at this level */
};

void json_open_object(struct json_out *out);
void json_close_object(struct json_out *out);
void json_open_array(struct json_out *out);
void json_close_array(struct json_out *out);

/* The key of the next value. */
void json_key(struct json_out *out, const char *key);

void json_integer(struct json_out *out, int64_t value);
void json_unsigned(struct json_out *out, uint64_t value);
/* Shortest decimal that reads back as the same float or double; null for NaN and infinities, which JSON lacks. */
void json_float(struct json_out *out, float value);
void json_double(struct json_out *out, double value);
void json_boolean(struct json_out *out, bool value);
void json_null(struct json_out *out);
/* Bytes that are not UTF-8 become U+FFFD, one for each maximal part of a character, as Python's "replace" does. */
void json_string(struct json_out *out, const char *text, size_t length);
void json_text(struct json_out *out, const char *text); /* NUL-terminated; NULL gives null */
void json_integers(struct json_out *out, const int32_t *values, size_t count);
void json_floats(struct json_out *out, const float *values, size_t count);

#endif
