/* The chat template of a package: from a conversation to the prompt. */
#ifndef LATHE_CHAT_H
#define LATHE_CHAT_H

#include <stdbool.h>
#include <stddef.h>

#include "chat_value.h"
#include "error.h"
#include "model.h"
#include "text_buffer.h"

struct chat_render *chat_open(void); /* NULL when memory is out */
void chat_close(struct chat_render *r);
void chat_memory_free(struct chat_render *r);

/* A message of the list that `messages` holds: {"role": role, "content": content}. */
void chat_add_message(struct chat_render *r, struct chat_value messages, const char *role, const char *content,
                      size_t length);

/* Reads {"messages": [...], "tools": [...], ...}: the variables that the template sees. -1 and a message with line and
   column when it is no such JSON. */
int chat_read_conversation(struct chat_render *r, const char *json, size_t length, struct chat_value *conversation,
                           struct error *error);

/* Appends the prompt to `out`. conversation: a dictionary with `messages` and whatever else the template may ask for. As
   transformers does it, special tokens (bos_token ...) come from the package unless they are there, tools and documents
   are none unless they are there, and the template called tool_use is taken when there are tools, unless `name` says
   which. add_generation_prompt: < 0: as the conversation says, else true. One conversation a render. */
int chat_render(struct chat_render *r, const struct chat_templates *templates, const char *name,
                struct chat_value conversation, int add_generation_prompt, struct text_buffer *out,
                struct error *error);

/* -1 and a message when there is no template, or none of this name (NULL: any). */
int chat_check(const struct chat_templates *templates, const char *name, struct error *error);

#endif
