/* From a conversation to the prompt: which template, and what it is given. */
#include "chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat_internal.h"
#include "utf8.h"

static const struct chat_limits LIMITS = {.memory = (size_t)1 << 30, .output = (size_t)1 << 28, .steps = 2000000000};

struct chat_render *chat_open(void)
{
    struct chat_render *r = calloc(1, sizeof *r);
    if (r)
        r->limits = LIMITS;
    return r;
}

void chat_close(struct chat_render *r)
{
    if (r)
        chat_memory_free(r);
    free(r);
}

void chat_add_message(struct chat_render *r, struct chat_value messages, const char *role, const char *content,
                      size_t length)
{
    struct chat_value message = chat_new_dict(r);
    chat_dict_set(r, message.dict, CHAT_TEXT("role"), chat_string(r, role, strlen(role)));
    chat_dict_set(r, message.dict, CHAT_TEXT("content"), chat_string(r, content, length));
    chat_append(r, messages, message);
}

static int failure(const struct chat_render *r, struct error *error, const char *what)
{
    if (r->line)
        return error_set(error, "%s, line %d: %s", what, r->line, r->error.message);
    return error_set(error, "%s: %s", what, r->error.message);
}

static int check_messages(struct chat_value conversation, struct error *error)
{
    const struct chat_value *messages =
        conversation.kind == CHAT_DICT ? chat_dict_text(conversation.dict, "messages") : NULL;
    if (!messages)
        return error_set(error, "expected an object with the key \"messages\", found %s",
                         conversation.kind == CHAT_DICT ? "one without it" : chat_type(conversation));
    if (messages->kind != CHAT_LIST || !messages->list->count)
        return error_set(error, "messages: expected a list with one message at least, found %s",
                         messages->kind == CHAT_LIST ? "an empty one" : chat_type(*messages));
    for (size_t i = 0; i < messages->list->count; i++)
        if (messages->list->item[i].kind != CHAT_DICT)
            return error_set(error, "messages[%zu]: expected an object with role and content, found %s", i,
                             chat_type(messages->list->item[i]));
    return 0;
}

int chat_read_conversation(struct chat_render *r, const char *json, size_t length, struct chat_value *conversation,
                           struct error *error)
{
    size_t bad = 0;
    bool valid = true;
    if (length >= 3 && memcmp(json, "\xef\xbb\xbf", 3) == 0) { /* a byte-order mark */
        json += 3;
        length -= 3;
    }
    for (size_t i = 0; valid && i < length;) {
        bad = i;
        i += utf8_next(json + i, length - i, &valid);
    }
    if (!valid)
        return error_set(error, "expected UTF-8, found byte 0x%02x at offset %zu", (unsigned char)json[bad], bad);
    *conversation = chat_parse_json(r, json, length);
    if (r->failed)
        return failure(r, error, "JSON");
    return check_messages(*conversation, error);
}

/* What the template sees besides the conversation's own keys. */
static void set_context(struct chat_render *r, const struct chat_templates *templates, struct chat_value conversation,
                        int add_generation_prompt)
{
    struct chat_value context = chat_new_dict(r);
    chat_dict_set(r, context.dict, CHAT_TEXT("tools"), chat_none());
    chat_dict_set(r, context.dict, CHAT_TEXT("documents"), chat_none());
    chat_dict_set(r, context.dict, CHAT_TEXT("add_generation_prompt"), chat_bool(true));
    for (int i = 0; i < templates->token_count; i++) {
        const struct chat_token *token = &templates->tokens[i];
        chat_dict_set(r, context.dict, chat_string_in_place(token->name, strlen(token->name)),
                      chat_string_in_place(token->text, strlen(token->text)));
    }
    for (uint32_t i = 0; i < conversation.dict->count; i++)
        chat_dict_set(r, context.dict, conversation.dict->entry[i].key, conversation.dict->entry[i].value);
    if (add_generation_prompt >= 0)
        chat_dict_set(r, context.dict, CHAT_TEXT("add_generation_prompt"), chat_bool(add_generation_prompt));
    r->context = context.dict;
}

static const struct chat_template *find_template(const struct chat_templates *templates, const char *name)
{
    for (int i = 0; i < templates->count; i++)
        if (strcmp(templates->items[i].name, name) == 0)
            return &templates->items[i];
    return NULL;
}

static const struct chat_template *choose_template(const struct chat_render *r, const struct chat_templates *templates,
                                                   const char *name)
{
    const struct chat_value *tools = chat_dict_text(r->context, "tools");
    const struct chat_template *chosen = NULL;
    if (name)
        return find_template(templates, name);
    if (tools && tools->kind != CHAT_NONE)
        chosen = find_template(templates, "tool_use");
    return chosen ? chosen : find_template(templates, "default");
}

int chat_check(const struct chat_templates *templates, const char *name, struct error *error)
{
    if (!templates || !templates->count)
        return error_set(error, "this package has no chat template (its checkpoint had none): build it with "
                                "--chat-template FILE, or give the whole prompt to `run`");
    if (name && !find_template(templates, name)) {
        char names[600] = "";
        for (int i = 0; i < templates->count; i++) {
            size_t used = strlen(names);
            snprintf(names + used, sizeof names - used, "%s%.60s", i ? ", " : "", templates->items[i].name);
        }
        return error_set(error, "this package has no chat template called '%.60s', only: %s", name, names);
    }
    return 0;
}

int chat_render(struct chat_render *r, const struct chat_templates *templates, const char *name,
                struct chat_value conversation, int add_generation_prompt, struct text_buffer *out, struct error *error)
{
    if (chat_check(templates, name, error) || check_messages(conversation, error))
        return -1;
    set_context(r, templates, conversation, add_generation_prompt);
    const struct chat_template *template = choose_template(r, templates, name);
    if (!template)
        return chat_check(templates, "default", error);
    if (!r->failed)
        template->render(r);
    if (r->failed)
        return failure(r, error, "chat template");
    if (text_buffer_add(out, r->out.data ? r->out.data : "", r->out.length))
        return error_set(error, "out of memory for the prompt");
    return 0;
}
