/* A JSON text that nobody vouches for, read whole: cJSON with what it lets pass refused. */
#ifndef LATHE_JSON_DOCUMENT_H
#define LATHE_JSON_DOCUMENT_H

#include <cJSON.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* An object, to be freed with cJSON_Delete, or NULL and a message that begins with `what` (a file's name). Refused: anything
   but one object and white space, bytes 0 as such or escaped (a string would end there), invalid JSON. */
cJSON *json_document_parse(const char *text, size_t length, const char *what, struct error *error);

/* A whole number from 0 to 2^53, which JSON's doubles hold exactly. 0, or -1: it is something else. */
int json_document_size(const cJSON *item, uint64_t *size);

#endif
