/* The value of one option, from text. */
#ifndef LATHE_OPTIONS_VALUE_H
#define LATHE_OPTIONS_VALUE_H

#include "options.h"

/* Stores `text` (and `second` for pairs) in the option's target. `spelled`: the option as the user wrote it. */
int option_store(const struct option *option, const char *spelled, const char *text, const char *second,
                 struct error *error);

/* Whole numbers in decimal without anything around them, errors by return value. */
int parse_integer(const char *text, int64_t minimum, int64_t maximum, int64_t *value);

#endif
