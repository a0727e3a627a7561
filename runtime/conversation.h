/* A conversation with the model: its messages, and the sequence that keeps what the model has read of them. Each answer runs
   only the tokens behind the longest beginning that the new prompt shares with what is stored. */
#ifndef LATHE_CONVERSATION_H
#define LATHE_CONVERSATION_H

#include "engine.h"
#include "error.h"
#include "generate.h"
#include "model.h"
#include "tokenizer.h"

struct message {
    char *role, *content;
    size_t length; /* of content */
};

struct conversation {
    const struct model *model;
    struct engine *engine;
    const struct tokenizer *tokenizer;
    struct message *messages; /* [count] */
    size_t count, capacity;
    int32_t adapter;                 /* that it is held with; -1: none */
    int sequence;                    /* -1: none yet */
    struct token_list stored;        /* what the sequence holds */
    struct token_list stop;          /* ids that end an answer */
    struct speculation *speculation; /* guesses tokens ahead, as its member 0; NULL: nobody does */
    size_t prompt_tokens;            /* of the last answer's prompt, and how many of them were stored already */
    size_t reused_tokens;
};

/* The ids that end an answer: the model's own, its eos_token, and the special token that the chat template puts after an
   answer. adapter: its slot, -1 for none. -1 and a message when the package lacks a tokenizer or a template, or memory is out; conversation_close is right
   in both cases. */
int conversation_open(struct conversation *conversation, const struct model *model, struct engine *engine,
                      const struct tokenizer *tokenizer, int32_t adapter, struct error *error);
void conversation_close(struct conversation *conversation);

/* Appends a message. */
int conversation_add(struct conversation *conversation, const char *role, const char *content, size_t length,
                     struct error *error);
/* Replaces the system message, the first one; an empty text removes it. */
int conversation_set_system(struct conversation *conversation, const char *content, size_t length, struct error *error);
/* The role of the last message, or NULL. */
const char *conversation_last_role(const struct conversation *conversation);
void conversation_drop_last(struct conversation *conversation);
/* Forgets all messages but the system's. */
void conversation_reset(struct conversation *conversation);

/* Lets the model answer the last message and appends what it says (what there is of it, if it was interrupted).
   options: as for generate, with `sampler` (its stop ids are replaced), lengths and callbacks; the rest is set here.
   generation_free is right in both cases. */
int conversation_answer(struct conversation *conversation, const struct generate_options *options,
                        struct generation *generation, struct error *error);

#endif
