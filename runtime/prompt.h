/* A text or ids from the command line, as tokens: shared by run and score. */
#ifndef LATHE_PROMPT_H
#define LATHE_PROMPT_H

#include "program.h"

/* Appends the tokens of `text`; an error if the package has no tokenizer. */
int prompt_encode(const struct program *program, const char *text, size_t length, bool special, struct token_list *out,
                  struct error *error);

/* Appends ids, checking each against the vocabulary. `from`: how messages call their origin ("--ids"). */
int prompt_ids(const struct program *program, const int32_t *ids, size_t count, const char *from,
               struct token_list *out, struct error *error);

#endif
