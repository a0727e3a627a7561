/* Drafts without a model (prompt lookup): the longest ending of the text that it had before, the last time if several are as
   long, and what followed it then. Good where a text repeats what it was given: code that is edited, summaries, lists. */
#ifndef LATHE_DRAFT_NGRAM_H
#define LATHE_DRAFT_NGRAM_H

#include "drafter.h"

/* Looks up the last `longest` tokens at most, `shortest` at least; a chain of up to tree->depth tokens. */
void draft_ngram(const struct draft_text *text, int32_t shortest, int32_t longest, struct draft_tree *tree);

#endif
