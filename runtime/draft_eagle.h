/* Drafts by a head of the package (draft.h): EAGLE-2's dynamic tree. The guesses after the text are its first level; of each
   level the likeliest top_k are expanded by top_k guesses each; the likeliest tokens of all levels are the tree. */
#ifndef LATHE_DRAFT_EAGLE_H
#define LATHE_DRAFT_EAGLE_H

#include <stdbool.h>

#include "drafter.h"
#include "engine.h"
#include "error.h"

struct draft_eagle;

/* For `members` texts. depth: levels of a tree. */
struct draft_eagle *draft_eagle_open(struct engine *engine, int32_t members, int32_t depth, int32_t top_k,
                                     struct error *error);
/* NULL is allowed. */
void draft_eagle_close(struct draft_eagle *eagle);

/* A text in place of the member's last, whose sequence stores `stored` positions. */
void draft_eagle_begin(struct draft_eagle *eagle, int32_t member, int sequence, int32_t stored);
/* How many positions of a sequence that goes on there are pairs of: what lies behind is to be run again. */
int32_t draft_eagle_pairs(const struct draft_eagle *eagle, int32_t member);

/* A row of the last target step that is text now, and the token that follows it. */
struct draft_pair {
    int32_t member, row, position, token;
    bool last; /* nothing is known beyond this token: the next tree grows here */
};

/* Takes in pairs, those of a member in order of position, before the next target step. */
int draft_eagle_extend(struct draft_eagle *eagle, const struct draft_pair *pairs, int32_t count, struct error *error);

/* Fills in the trees [members] (NULL: the member has none this time), as far as their `most` and `depth` let them. */
int draft_eagle_propose(struct draft_eagle *eagle, struct draft_tree *const *trees, struct error *error);

/* Draft steps since it was opened. */
int64_t draft_eagle_passes(const struct draft_eagle *eagle);

#endif
