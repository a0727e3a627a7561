/* Regular expressions of adapter_config.json: Python's, matched from the start of a module's name, as peft does. They come
   from anywhere, so what one may cost is bounded. */
#ifndef LATHE_PEFT_PATTERN_H
#define LATHE_PEFT_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

struct peft_pattern {
    void *code, *match; /* PCRE2's */
    char shown[81];     /* of its text, for messages */
};

/* Compiles front + text + back; whole: it must match the whole name (re.fullmatch), else its beginning (re.match). `where`
   begins the message, as "FILE: target_modules". Free with peft_pattern_free, also after a failure. */
int peft_pattern_compile(struct peft_pattern *pattern, const char *front, const char *text, const char *back,
                         bool whole, const char *where, struct error *error);
void peft_pattern_free(struct peft_pattern *pattern);

/* *result: does it match? *layer (may be NULL): the number that the group called idx took, -1 without one. */
int peft_pattern_match(struct peft_pattern *pattern, const char *name, const char *where, bool *result, int64_t *layer,
                       struct error *error);

#endif
