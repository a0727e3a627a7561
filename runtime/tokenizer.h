/* Text to token ids and back, from tables that the generator compiled (codegen/lua/tokenizer). */
#ifndef LATHE_TOKENIZER_H
#define LATHE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct tokenizer;

/* A growing list of ids; start with {0}, free `id` with free(). */
struct token_list {
    int32_t *id;
    size_t count, capacity;
};

/* Appends; 0, or -1 when memory is out. */
int token_list_add(struct token_list *list, int32_t id);

/* Reads the compiled tables in place: `data` must outlive the tokenizer. NULL and a message when they are damaged. */
struct tokenizer *tokenizer_open(const void *data, size_t bytes, struct error *error);
void tokenizer_close(struct tokenizer *tokenizer);

/* Appends the ids of `text` (UTF-8; bytes that are not are treated as U+FFFD, as the reference does) to `out`.
   `add_special`: with what the post-processor adds around (a BOS, usually). Special tokens written out in the text are
   recognised always, as the reference does. The tokenizer is not changed: threads may share it. */
int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length, bool add_special,
                     struct token_list *out, struct error *error);

/* The whole text of `ids`, newly allocated, NUL-terminated, length in *length. NULL on error.
   Always valid UTF-8: incomplete or invalid bytes become U+FFFD, as the reference does. */
char *tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
                       size_t *length, struct error *error);

int32_t tokenizer_vocab(const struct tokenizer *tokenizer); /* ids are below this */
bool tokenizer_is_special(const struct tokenizer *tokenizer, int32_t id);
/* The token as the vocabulary spells it (not decoded), or NULL for an id without a token. */
const char *tokenizer_spelling(const struct tokenizer *tokenizer, int32_t id, size_t *length);
/* The id of a token spelled so (added tokens first), or -1. */
int32_t tokenizer_find(const struct tokenizer *tokenizer, const char *spelling, size_t length);

/* Incremental decoding: the concatenation of everything pushed out equals tokenizer_decode of all ids, and no piece
   ends inside a UTF-8 character or before text that a later token could still change. */
struct detokenizer;

struct detokenizer *detokenizer_open(const struct tokenizer *tokenizer, bool skip_special);
void detokenizer_close(struct detokenizer *detokenizer);
/* The text that `id` completes, possibly empty; owned by the detokenizer until the next call. NULL when memory is out. */
const char *detokenizer_push(struct detokenizer *detokenizer, int32_t id, size_t *length);
/* What was held back, at the end. */
const char *detokenizer_flush(struct detokenizer *detokenizer, size_t *length);

#endif
