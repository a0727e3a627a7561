/* Who guesses: the contract between speculate.c and the kinds of drafts. */
#ifndef LATHE_DRAFTER_H
#define LATHE_DRAFTER_H

#include <stddef.h>
#include <stdint.h>

/* Tokens that may follow a text. Level by level, so that a parent comes before its children. */
struct draft_tree {
    int32_t count;
    int32_t *token, *parent; /* [capacity] parent: index into the tree, -1: the token follows the text itself */
    int32_t most;            /* how many there may be, and how deep: at most `capacity` */
    int32_t depth;
};

/* The tokens of a text so far. */
struct draft_text {
    const int32_t *id;
    size_t count;
};

#endif
