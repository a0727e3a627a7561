/* Command-line options from tables: one row an option, from which both the parser and the help are made.

   `--name VALUE`, `--name=VALUE`, `-n VALUE`, `-nVALUE`; options and operands in any order; `--` ends the options; a
   lone `-` is an operand. A value may begin with `-`. */
#ifndef LATHE_OPTIONS_H
#define LATHE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "error.h"
#include "sampler.h"

enum option_kind {
    OPTION_FLAG,    /* bool: true when given */
    OPTION_INTEGER, /* int32_t, within [minimum, maximum] */
    OPTION_SEED,    /* uint64_t, decimal or 0x hexadecimal; -1 is 2^64 - 1 */
    OPTION_NUMBER,  /* float, within [minimum, maximum] */
    OPTION_STRING,  /* const char * */
    OPTION_PAIR,    /* const char *[2]: two values follow */
    OPTION_BYTES,   /* uint64_t: a whole number, or a decimal one with K, M, G or T (powers of 1024) */
    OPTION_STRINGS, /* struct string_list, repeatable */
    OPTION_IDS,     /* struct id_list: 1,2,3; repeatable */
    OPTION_BIASES,  /* struct bias_list: ID=VALUE; repeatable */
};

struct string_list {
    const char **item;
    int count;
};

struct id_list {
    int32_t *item;
    int count;
    bool given; /* an empty list may be meant */
};

struct bias_list {
    struct logit_bias *item;
    int count;
};

struct option {
    const char *name; /* without the dashes */
    char letter;      /* of the short form, or 0 */
    enum option_kind kind;
    void *target;      /* what kind says; numbers and flags hold the default, which the help shows */
    const char *value; /* how the help calls the value; NULL for flags */
    const char *help;  /* one sentence, wrapped by the help */
    double minimum, maximum;
};

/* A group of options with a title for the help. */
struct option_group {
    const char *title;
    const struct option *options;
    int count;
};

/* Parses argv[0 .. argc) (no program name). Operands are moved to the front of argv and counted in *operands.
   -1 and a message for an unknown option, a missing or a bad value. Lists are allocated: options_free. */
int options_parse(const struct option_group *groups, int group_count, int argc, char **argv, int *operands,
                  struct error *error);

/* Frees the lists that the tables' targets own. */
void options_free(const struct option_group *groups, int group_count);

/* The tables as help text, 100 columns wide. */
void options_help(FILE *file, const struct option_group *groups, int group_count);

/* The candidate closest to `word` if it is close enough to have been meant, else NULL. */
const char *options_closest(const char *word, const char *const *candidates, int count);

#endif
