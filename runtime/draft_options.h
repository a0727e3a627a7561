/* The options of speculation on a command line, shared by run, chat and bench. */
#ifndef LATHE_DRAFT_OPTIONS_H
#define LATHE_DRAFT_OPTIONS_H

#include "error.h"
#include "model.h"
#include "options.h"
#include "speculate.h"

struct draft_choice {
    const char *kind; /* --draft; NULL: the package's own */
    int32_t tokens, ngram;
};

enum { DRAFT_OPTIONS = 3 };

void draft_table(struct draft_choice *choice, struct option table[DRAFT_OPTIONS]);

/* What was chosen for this package. -1 and a message: there is no such draft. */
int draft_chosen(const struct draft_choice *choice, const struct model *model, struct draft_options *options,
                 struct error *error);

#endif
