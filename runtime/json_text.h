/* Reads the two kinds of value that JSON lines hold here: one string, or one array of token ids. (cJSON ends strings
   at \u0000.) */
#ifndef LATHE_JSON_TEXT_H
#define LATHE_JSON_TEXT_H

#include <stddef.h>

#include "error.h"
#include "text_buffer.h"
#include "tokenizer.h"

/* line[0 .. length): one JSON string and white space around it; its bytes are appended to `out`. \u0000 is a byte 0,
   a surrogate without its other half becomes U+FFFD. The message says where in the line the trouble is. */
int json_read_string(const char *line, size_t length, struct text_buffer *out, struct error *error);

/* One array of whole numbers from 0 to INT32_MAX, appended to `out`. */
int json_read_ids(const char *line, size_t length, struct token_list *out, struct error *error);

/* The first character that is not white space, or 0. */
char json_first(const char *line, size_t length);

#endif
