/* The name of a template and, after a NUL, a conversation: rendered by that template, which was translated when this
   program was built; any other name stands for some template. The names are those of tests/fixtures/chat/templates,
   and e1, e2 ... for the lines of expressions.jsonl, which use each filter, test and method on every kind of value. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"
#include "chat_internal.h"
#include "support.h"
#include "utf8.h"

extern const struct chat_templates test_templates;

/* So that a rendering which fills its memory, as it may, does not fill the machine's. */
static const struct chat_limits limits = {.memory = 64 << 20, .output = 16 << 20, .steps = 5000000};

static const struct chat_template *choose(struct fuzz_part name)
{
    uint32_t hash = 2166136261u;
    for (int i = 0; i < test_templates.count; i++) {
        const char *known = test_templates.items[i].name;
        if (strlen(known) == name.length && memcmp(known, name.data, name.length) == 0)
            return &test_templates.items[i];
    }
    for (size_t i = 0; i < name.length; i++)
        hash = (hash ^ (unsigned char)name.data[i]) * 16777619u;
    return &test_templates.items[hash % (uint32_t)test_templates.count];
}

static void render(const struct chat_template *template, struct fuzz_part json, struct text_buffer *out)
{
    const struct chat_template one = {"default", template->render};
    const struct chat_token token = {"bos_token", "<s>"};
    const struct chat_templates templates = {&one, 1, &token, 1};
    struct error error = {""};
    struct chat_value conversation;
    struct chat_render *r = chat_open();
    if (!r)
        return;
    r->limits = limits;
    if (chat_read_conversation(r, json.data, json.length, &conversation, &error) ||
        chat_render(r, &templates, NULL, conversation, -1, out, &error)) {
        fuzz_check_message(error.message, strlen(error.message));
        if (getenv("FUZZ_SHOW"))
            fprintf(stderr, "%s: refused: %s\n", template->name, error.message);
        out->length = 0;
    }
    chat_close(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_part parts[2];
    struct text_buffer first = {0}, again = {0};
    fuzz_split(data, size, parts, 2);
    if (!parts[1].data)
        return 0;
    const struct chat_template *template = choose(parts[0]);
    render(template, parts[1], &first);
    if (first.length && !utf8_valid(first.data, first.length))
        fuzz_abort("%s prints what is no UTF-8", template->name);
    render(template, parts[1], &again);
    if (first.length != again.length || (first.length && memcmp(first.data, again.data, first.length) != 0))
        fuzz_abort("%s prints something else the second time", template->name);
    free(first.data);
    free(again.data);
    return 0;
}
