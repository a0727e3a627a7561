/* A line of JSON as tokenize and detokenize read it with --jsonl. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"
#include "chat_internal.h"
#include "json_text.h"
#include "support.h"
#include "utf8.h"

/* What the reader of conversations makes of the same string. The templates' strings are UTF-8 only. */
static void compare(const char *line, size_t length, const struct text_buffer *text)
{
    struct chat_render *r = chat_open();
    if (!r)
        return;
    struct chat_value value = chat_parse_json(r, line, length);
    if (r->failed)
        fuzz_abort("a string is read from a line, but not from a conversation: %s", r->error.message);
    if (value.kind != CHAT_STRING || value.length != text->length ||
        (text->length && memcmp(value.text, text->data, text->length) != 0))
        fuzz_abort("a string of %zu bytes of a line has %u in a conversation", text->length, (unsigned)value.length);
    chat_close(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *line = (const char *)data;
    struct text_buffer text = {0};
    struct token_list ids = {0};
    struct error error = {""};
    bool string = json_read_string(line, size, &text, &error) == 0;
    if (!string)
        fuzz_check_message(error.message, strlen(error.message));
    else if (utf8_valid(line, size))
        compare(line, size, &text);
    if (json_read_ids(line, size, &ids, &error) != 0)
        fuzz_check_message(error.message, strlen(error.message));
    else if (string)
        fuzz_abort("a line is both a string and ids");
    for (size_t i = 0; i < ids.count; i++)
        if (ids.id[i] < 0)
            fuzz_abort("the id %d", (int)ids.id[i]);
    free(text.data);
    free(ids.id);
    return 0;
}
