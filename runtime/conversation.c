#include "conversation.h"

#include <stdlib.h>
#include <string.h>

#include "chat.h"

static int out_of_memory(struct error *error)
{
    return error_set(error, "out of memory for the conversation");
}

/* The prompt of these messages, appended to `out`. */
static int render(const struct conversation *conversation, const struct message *messages, size_t count,
                  bool add_generation_prompt, struct text_buffer *out, struct error *error)
{
    struct chat_render *r = chat_open();
    if (!r)
        return out_of_memory(error);
    struct chat_value list = chat_new_list(r);
    for (size_t i = 0; i < count; i++)
        chat_add_message(r, list, messages[i].role, messages[i].content, messages[i].length);
    struct chat_value variables = chat_dict(r, 1, VALUES(CHAT_TEXT("messages"), list));
    int failed = chat_render(r, conversation->model->chat, NULL, variables, add_generation_prompt ? 1 : 0, out, error);
    chat_close(r);
    return failed;
}

/* ---- what ends an answer */

static int add_stop(struct conversation *conversation, int32_t id)
{
    if (id < 0 || id >= conversation->model->vocab)
        return 0;
    for (size_t i = 0; i < conversation->stop.count; i++)
        if (conversation->stop.id[i] == id)
            return 0;
    return token_list_add(&conversation->stop, id);
}

/* The special token, if there is one, that comes right after an answer in a rendered conversation. A template that does not
   take this conversation tells nothing. */
static int add_template_stop(struct conversation *conversation)
{
    static const char answer[] = "The answer is forty-two.";
    struct message messages[] = {{"user", "What is the answer?", 19}, {"assistant", (char *)answer, sizeof answer - 1}};
    struct text_buffer text = {0};
    struct token_list ids = {0};
    struct error ignored;
    int failed = 0;
    if (!render(conversation, messages, 2, false, &text, &ignored) && text.length) {
        const char *last = NULL;
        for (const char *at = text.data; (at = strstr(at, answer)); at++)
            last = at + sizeof answer - 1;
        if (last &&
            !tokenizer_encode(conversation->tokenizer, last, text.length - (size_t)(last - text.data), false, &ids,
                              &ignored) &&
            ids.count && tokenizer_is_special(conversation->tokenizer, ids.id[0]))
            failed = add_stop(conversation, ids.id[0]);
    }
    free(text.data);
    free(ids.id);
    return failed;
}

static int find_stops(struct conversation *conversation)
{
    const struct generation_defaults *generation = &conversation->model->generation;
    const struct chat_templates *chat = conversation->model->chat;
    for (int32_t i = 0; i < generation->eos_count; i++)
        if (add_stop(conversation, generation->eos[i]))
            return -1;
    for (int32_t i = 0; i < chat->token_count; i++) {
        const char *text = chat->tokens[i].text;
        if (strcmp(chat->tokens[i].name, "eos_token") == 0 &&
            add_stop(conversation, tokenizer_find(conversation->tokenizer, text, strlen(text))))
            return -1;
    }
    return add_template_stop(conversation);
}

int conversation_open(struct conversation *conversation, const struct model *model, struct engine *engine,
                      const struct tokenizer *tokenizer, int32_t adapter, struct error *error)
{
    *conversation = (struct conversation){
        .model = model, .engine = engine, .tokenizer = tokenizer, .adapter = adapter, .sequence = -1};
    if (!tokenizer)
        return error_set(error, "this package has no tokenizer (its checkpoint had none), so it cannot chat: build it "
                                "from a folder with tokenizer.json");
    if (chat_check(model->chat, NULL, error))
        return -1;
    if (find_stops(conversation))
        return out_of_memory(error);
    conversation->sequence = sequence_open(engine, adapter, error);
    return conversation->sequence < 0 ? -1 : 0;
}

/* ---- messages */

static void free_message(struct message *message)
{
    free(message->role);
    free(message->content);
}

void conversation_close(struct conversation *conversation)
{
    if (conversation->sequence >= 0)
        sequence_close(conversation->engine, conversation->sequence);
    for (size_t i = 0; i < conversation->count; i++)
        free_message(&conversation->messages[i]);
    free(conversation->messages);
    free(conversation->stored.id);
    free(conversation->stop.id);
    *conversation = (struct conversation){.sequence = -1};
}

static int insert(struct conversation *conversation, size_t at, const char *role, const char *content, size_t length,
                  struct error *error)
{
    if (conversation->count == conversation->capacity) {
        size_t capacity = conversation->capacity ? conversation->capacity * 2 : 8;
        struct message *messages = realloc(conversation->messages, capacity * sizeof *messages);
        if (!messages)
            return out_of_memory(error);
        conversation->messages = messages;
        conversation->capacity = capacity;
    }
    struct message message = {.role = strdup(role), .content = malloc(length + 1), .length = length};
    if (!message.role || !message.content) {
        free_message(&message);
        return out_of_memory(error);
    }
    memcpy(message.content, content, length);
    message.content[length] = 0;
    memmove(conversation->messages + at + 1, conversation->messages + at,
            (conversation->count - at) * sizeof *conversation->messages);
    conversation->messages[at] = message;
    conversation->count++;
    return 0;
}

static void drop(struct conversation *conversation, size_t at)
{
    free_message(&conversation->messages[at]);
    conversation->count--;
    memmove(conversation->messages + at, conversation->messages + at + 1,
            (conversation->count - at) * sizeof *conversation->messages);
}

static bool has_system(const struct conversation *conversation)
{
    return conversation->count && strcmp(conversation->messages[0].role, "system") == 0;
}

int conversation_add(struct conversation *conversation, const char *role, const char *content, size_t length,
                     struct error *error)
{
    return insert(conversation, conversation->count, role, content, length, error);
}

int conversation_set_system(struct conversation *conversation, const char *content, size_t length, struct error *error)
{
    if (has_system(conversation))
        drop(conversation, 0);
    return length ? insert(conversation, 0, "system", content, length, error) : 0;
}

const char *conversation_last_role(const struct conversation *conversation)
{
    return conversation->count ? conversation->messages[conversation->count - 1].role : NULL;
}

void conversation_drop_last(struct conversation *conversation)
{
    if (conversation->count)
        drop(conversation, conversation->count - 1);
}

void conversation_reset(struct conversation *conversation)
{
    while (conversation->count > (has_system(conversation) ? 1u : 0u))
        conversation_drop_last(conversation);
}

/* ---- answers */

/* Brings the sequence to the longest beginning of the prompt that it stores. One token at least is left to run. */
static int keep_common(struct conversation *conversation, const struct token_list *prompt, struct error *error)
{
    size_t common = 0;
    while (common < conversation->stored.count && common + 1 < prompt->count &&
           conversation->stored.id[common] == prompt->id[common])
        common++;
    conversation->prompt_tokens = prompt->count;
    if (conversation->speculation)
        common = (size_t)speculation_reusable(conversation->speculation, 0, (int32_t)common);
    conversation->reused_tokens = common;
    if (common < conversation->stored.count &&
        sequence_rollback(conversation->engine, conversation->sequence, (int32_t)common, error))
        return -1;
    conversation->stored.count = common;
    return 0;
}

/* Notes which of prompt and answer the sequence holds now. */
static int note_stored(struct conversation *conversation, const struct token_list *prompt,
                       const struct token_list *answer, struct error *error)
{
    int32_t length = sequence_length(conversation->engine, conversation->sequence);
    for (size_t i = conversation->stored.count; i < (size_t)(length > 0 ? length : 0); i++) {
        int32_t id = i < prompt->count ? prompt->id[i] : answer->id[i - prompt->count];
        if (token_list_add(&conversation->stored, id))
            return out_of_memory(error);
    }
    return 0;
}

static int check_length(const struct conversation *conversation, size_t tokens, struct error *error)
{
    if (tokens < (size_t)conversation->model->max_seq)
        return 0;
    return error_set(error,
                     "the conversation has grown to %zu tokens and the context holds %d: /reset forgets it, a shorter "
                     "message may still fit",
                     tokens, (int)conversation->model->max_seq);
}

int conversation_answer(struct conversation *conversation, const struct generate_options *options,
                        struct generation *generation, struct error *error)
{
    struct text_buffer text = {0};
    struct token_list prompt = {0};
    struct sampler_options sampler = *options->sampler;
    struct generate_options own = *options;
    sampler.stop = conversation->stop.id;
    sampler.stop_count = (int)conversation->stop.count;
    own.sampler = &sampler;
    own.adapter = conversation->adapter;
    own.tokenizer = conversation->tokenizer;
    own.continues = true;
    own.sequence = conversation->sequence;
    own.speculation = conversation->speculation;
    memset(generation, 0, sizeof *generation);
    int failed =
        render(conversation, conversation->messages, conversation->count, true, &text, error) ||
        tokenizer_encode(conversation->tokenizer, text.data ? text.data : "", text.length, false, &prompt, error) ||
        check_length(conversation, prompt.count, error) || keep_common(conversation, &prompt, error);
    if (!failed) {
        failed = generate(conversation->engine, prompt.id, prompt.count, &own, generation, error);
        struct error other;
        if (note_stored(conversation, &prompt, &generation->ids, failed ? &other : error))
            failed = -1;
    }
    if (!failed)
        failed = conversation_add(conversation, "assistant", generation->text.data ? generation->text.data : "",
                                  generation->text.length, error);
    free(text.data);
    free(prompt.id);
    return failed;
}
