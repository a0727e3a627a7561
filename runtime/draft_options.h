/* The options of speculation on a command line, shared by run, chat and bench. */
#ifndef LATHE_DRAFT_OPTIONS_H
#define LATHE_DRAFT_OPTIONS_H

#include "error.h"
#include "model.h"
#include "options.h"
#include "speculate.h"

/* The command line of it. */
struct draft_choice {
    const char *kind; /* --draft; NULL: the package's own */
    bool no_eagle;
    int32_t tokens, depth, top_k, ngram;
};

enum { DRAFT_OPTIONS = 6 };

void draft_table(struct draft_choice *choice, const struct model *model, struct option table[DRAFT_OPTIONS]);

/* -1 and a message: the package has no such draft. Before the weights are read. */
int draft_check(const struct draft_choice *choice, const struct model *model, struct error *error);
/* What was chosen, in this engine: kind DRAFT_NONE if nothing was and the engine has no head. */
struct draft_options draft_chosen(const struct draft_choice *choice, const struct engine *engine);

#endif
