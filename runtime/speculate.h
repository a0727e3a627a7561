/* Speculation: tokens that may follow a text are guessed, all of them go through the model in one step as a tree of rows, and
   the draws say which path of the tree is the text. What comes out is what plain steps would draw, token for token; a guess
   only decides how many tokens a step gives.

       speculation_open -> for each text: speculation_begin -> speculation_see (the prompt) -> the prompt is run
       loop: speculation_cycle -> speculation_drawn

   A member is one of the texts that go through their cycles together, each with a tree of its own.

   Where prompts are run, a head wants to know it: each row is named (speculation_row), and when the step has been collected,
   and the first token that it drew been seen, speculation_ran comes before the next step is submitted. */
#ifndef LATHE_SPECULATE_H
#define LATHE_SPECULATE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "error.h"

enum draft_kind {
    DRAFT_NONE,
    DRAFT_NGRAM, /* what followed the last time that the text had these tokens (draft_ngram.h) */
    DRAFT_EAGLE, /* the package's head (draft_eagle.h) */
};

/* Zero: the default of the kind. */
struct draft_options {
    enum draft_kind kind;
    int32_t tokens; /* of a tree at most, the text's last one not counted */
    int32_t depth;  /* levels of a tree at most */
    int32_t top_k;  /* DRAFT_EAGLE: guesses below a token, and tokens of a level that get any */
    int32_t ngram;  /* DRAFT_NGRAM: tokens that are looked up at most */
};

struct speculation;

/* For `members` texts at a time. The engine outlives it. NULL and a message: out of memory, or the engine has no head. */
struct speculation *speculation_open(struct engine *engine, const struct draft_options *options, int32_t members,
                                     struct error *error);
/* NULL is allowed. */
void speculation_close(struct speculation *speculation);
/* The options with their defaults filled in. */
const struct draft_options *speculation_options(const struct speculation *speculation);

/* A new text in place of the member's last: its sequence, and the slot that draws its tokens. The sequence may store a
   beginning of the text. */
void speculation_begin(struct speculation *speculation, int32_t member, int sequence, int slot);
/* The member's sequence goes on with another text, which has the same first `length` tokens: how many of them need not be run
   again. */
int32_t speculation_reusable(const struct speculation *speculation, int32_t member, int32_t length);
/* Tokens of the text that speculation_cycle has not drawn itself: the whole prompt, and the first one drawn. */
int speculation_see(struct speculation *speculation, int32_t member, const int32_t *tokens, size_t count,
                    struct error *error);
/* Row `row` of the step being assembled is the member's token of this position. */
void speculation_row(struct speculation *speculation, int32_t member, int32_t row, int32_t position);
int speculation_ran(struct speculation *speculation, struct error *error);

/* One step for the members whose limit is above 0: a row for the last token of the text, and the tree; each draws at least
   one token and at most its limit. logits: of all rows (engine_logits). No step may be under way. -1 and a message when the
   step fails. */
int speculation_cycle(struct speculation *speculation, const int32_t *limits, bool logits, struct error *error);
/* What a member has drawn in the last cycle, in order; their number. */
int32_t speculation_drawn(const struct speculation *speculation, int32_t member, const struct drawn **drawn);

/* Of all cycles since it was opened. */
struct speculation_counts {
    int64_t steps;                     /* of the target */
    int64_t cycles, drafted, accepted; /* of any member; rows of trees, and those that were accepted */
    int64_t passes;                    /* steps of a head, those over prompts included */
    /* Until the trees are there; until their draws are, on a GPU; until what was accepted is text. */
    double draft_seconds, verify_seconds, accept_seconds;
};
struct speculation_counts speculation_counts(const struct speculation *speculation);
struct speculation_counts speculation_since(const struct speculation *speculation,
                                            const struct speculation_counts *before);

#endif
