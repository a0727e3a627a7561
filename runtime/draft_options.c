#include "draft_options.h"

#include <string.h>

#include "draft.h"

void draft_table(struct draft_choice *choice, const struct model *model, struct option table[DRAFT_OPTIONS])
{
    const struct option rows[DRAFT_OPTIONS] = {
        {.name = "draft",
         .kind = OPTION_STRING,
         .target = &choice->kind,
         .value = "none|ngram|eagle",
         .help =
             model->draft
                 ? "guess tokens ahead and check them in one step, which changes no token. eagle (default): by the "
                   "package's draft head; ngram: what followed the last tokens where the text had them before"
                 : "guess tokens ahead and check them in one step, which changes no token. ngram: what followed the "
                   "last tokens where the text had them before; eagle: by a draft head, which this package lacks. "
                   "Default: none"},
        {.name = "no-eagle", .kind = OPTION_FLAG, .target = &choice->no_eagle, .help = "the same as --draft none"},
        {.name = "draft-tokens",
         .kind = OPTION_INTEGER,
         .target = &choice->tokens,
         .value = "N",
         .help = "tokens to guess in a step at most; 0: as the head was built for, ngram: 6",
         .maximum = 1024},
        {.name = "draft-depth",
         .kind = OPTION_INTEGER,
         .target = &choice->depth,
         .value = "N",
         .help = "tokens to guess one after the other at most; 0: as the head was built for, ngram: --draft-tokens",
         .maximum = 64},
        {.name = "draft-top-k",
         .kind = OPTION_INTEGER,
         .target = &choice->top_k,
         .value = "N",
         .help = "with a head: guesses after a token, and tokens of a level that get any; 1: a chain; 0: as it was "
                 "built for",
         .maximum = 64},
        {.name = "draft-ngram",
         .kind = OPTION_INTEGER,
         .target = &choice->ngram,
         .value = "N",
         .help = "with ngram: look up the last N tokens at most, two at least (one for 1); 0: 4",
         .maximum = 1024},
    };
    memcpy(table, rows, sizeof rows);
}

int draft_check(const struct draft_choice *choice, const struct model *model, struct error *error)
{
    const char *kind = choice->kind;
    bool eagle = kind && strcmp(kind, "eagle") == 0;
    if (kind && !eagle && strcmp(kind, "none") != 0 && strcmp(kind, "ngram") != 0)
        return error_set(error, "--draft: expected none, ngram or eagle, found '%.100s'", kind);
    if (eagle && choice->no_eagle)
        return error_set(error, "--draft eagle and --no-eagle: expected one of them");
    if (eagle && !model->draft)
        return error_set(error,
                         "--draft eagle: this package has no draft head; use --draft ngram, or build it with --eagle");
    return 0;
}

struct draft_options draft_chosen(const struct draft_choice *choice, const struct engine *engine)
{
    struct draft_options options = {
        .tokens = choice->tokens, .depth = choice->depth, .top_k = choice->top_k, .ngram = choice->ngram};
    const char *kind = choice->kind ? choice->kind : choice->no_eagle || !engine_drafts(engine) ? "none" : "eagle";
    options.kind = strcmp(kind, "eagle") == 0 ? DRAFT_EAGLE : strcmp(kind, "ngram") == 0 ? DRAFT_NGRAM : DRAFT_NONE;
    return options;
}
