#include "json_document.h"

#include <string.h>

#define EXACT_INTEGER 9007199254740992.0 /* 2^53 */

cJSON *json_document_parse(const char *text, size_t length, const char *what, struct error *error)
{
    if (memchr(text, 0, length) || memmem(text, length, "\\u0000", 6)) {
        error_set(error, "%s: expected text without bytes 0, found one; download the file again", what);
        return NULL;
    }
    const char *end = text;
    cJSON *document = cJSON_ParseWithLengthOpts(text, length, &end, 0);
    while (document && end < text + length && strchr(" \t\r\n", *end))
        end++;
    if (cJSON_IsObject(document) && end == text + length)
        return document;
    error_set(error, "%s: expected one JSON object, found %s at byte %zu; download the file again", what,
              !document                  ? "no JSON"
              : cJSON_IsObject(document) ? "more text"
                                         : "another value",
              (size_t)(end - text));
    cJSON_Delete(document);
    return NULL;
}

int json_document_size(const cJSON *item, uint64_t *size)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= EXACT_INTEGER) ||
        item->valuedouble != (double)(uint64_t)item->valuedouble)
        return -1;
    *size = (uint64_t)item->valuedouble;
    return 0;
}
