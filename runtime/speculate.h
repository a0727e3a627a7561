/* Speculation: tokens that may follow a text are guessed, all of them go through the model in one step as a tree of rows, and
   the draws say which path of the tree is the text. What comes out is what plain steps would draw, token for token; a guess
   only decides how many tokens a step gives.

       speculation_open -> for each text: speculation_begin -> speculation_see (the prompt) -> [the prompt is run]
       loop: speculation_cycle -> speculation_drawn

   A member is one of the texts that go through their cycles together, each with a tree of its own. */
#ifndef LATHE_SPECULATE_H
#define LATHE_SPECULATE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "error.h"

enum draft_kind {
    DRAFT_NONE,
    DRAFT_NGRAM, /* what followed the last time that the text had these tokens (draft_ngram.h) */
};

struct draft_options {
    enum draft_kind kind;
    int32_t tokens; /* of a tree at most; 0: the default */
    int32_t ngram;  /* DRAFT_NGRAM: tokens that are looked up at most; 0: the default */
};

struct speculation;

/* For `members` texts at a time. The engine outlives it. */
struct speculation *speculation_open(struct engine *engine, const struct draft_options *options, int32_t members,
                                     struct error *error);
/* NULL is allowed. */
void speculation_close(struct speculation *speculation);

/* A new text in place of the member's last: its sequence, and the slot that draws its tokens. */
void speculation_begin(struct speculation *speculation, int32_t member, int sequence, int slot);
/* Tokens of the text that speculation_cycle has not drawn itself: those of the prompt, and the first one drawn. The last one
   must not have been run. */
int speculation_see(struct speculation *speculation, int32_t member, const int32_t *tokens, size_t count,
                    struct error *error);

/* One step for the members whose limit is above 0: a row for the last token of the text, and the tree; each draws at least
   one token and at most its limit. logits: of all rows (engine_logits). No step may be under way. -1 and a message when the
   step fails. */
int speculation_cycle(struct speculation *speculation, const int32_t *limits, bool logits, struct error *error);
/* What a member has drawn in the last cycle, in order; their number. */
int32_t speculation_drawn(const struct speculation *speculation, int32_t member, const struct drawn **drawn);

/* Of all cycles since it was opened: rows of trees, those that were accepted, and cycles of any member. */
struct speculation_counts {
    int64_t cycles, drafted, accepted;
};
struct speculation_counts speculation_counts(const struct speculation *speculation);

#endif
