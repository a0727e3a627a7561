#include "draft_options.h"

#include <string.h>

void draft_table(struct draft_choice *choice, struct option table[DRAFT_OPTIONS])
{
    const struct option rows[DRAFT_OPTIONS] = {
        {.name = "draft",
         .kind = OPTION_STRING,
         .target = &choice->kind,
         .value = "none|ngram",
         .help = "guess tokens ahead and check them in one step, which changes no token: ngram looks up what followed "
                 "the last tokens where the text had them before; default: none"},
        {.name = "draft-tokens",
         .kind = OPTION_INTEGER,
         .target = &choice->tokens,
         .value = "N",
         .help = "tokens to guess in a step at most; 0: the default of the kind of draft",
         .maximum = 4096},
        {.name = "draft-ngram",
         .kind = OPTION_INTEGER,
         .target = &choice->ngram,
         .value = "N",
         .help = "with --draft ngram: look up the last N tokens at most, two at least (one for 1); 0: 4",
         .maximum = 4096},
    };
    memcpy(table, rows, sizeof rows);
}

int draft_chosen(const struct draft_choice *choice, const struct model *model, struct draft_options *options,
                 struct error *error)
{
    (void)model;
    *options = (struct draft_options){.tokens = choice->tokens, .ngram = choice->ngram};
    if (!choice->kind || strcmp(choice->kind, "none") == 0)
        options->kind = DRAFT_NONE;
    else if (strcmp(choice->kind, "ngram") == 0)
        options->kind = DRAFT_NGRAM;
    else
        return error_set(error, "--draft: expected none or ngram, found '%.100s'", choice->kind);
    return 0;
}
