/* Trees of rows in an engine's steps: what a row of a tree reads while the step is assembled, and which of its rows are kept
   when it has run. A row of a tree writes to the scratch slot of its own number in the step. */
#ifndef LATHE_ENGINE_TREE_H
#define LATHE_ENGINE_TREE_H

#include <stdbool.h>

#include "engine_backend.h"
#include "error.h"
#include "model.h"
#include "state.h"

struct engine_tree {
    /* Of the step being assembled. */
    int32_t *path; /* [capacity] step.path */
    int32_t paths, capacity;
    int32_t rows; /* of trees */

    /* Of the step with trees that was submitted last, until its trees are settled. */
    struct row *row;    /* [max_rows] all its rows; sequence -1: its tree is settled */
    int32_t stepped;    /* their number; 0: nothing is to be settled */
    bool under_way;     /* it has not been collected */
    int32_t *from, *to; /* [max_rows] scratch for engine_backend's keep */
};

/* The places that the paths of a step can have. */
int32_t engine_tree_paths(const struct model *model);

int engine_tree_open(struct engine_tree *tree, const struct model *model, struct error *error);
void engine_tree_close(struct engine_tree *tree);

/* Row `r` hangs off row `parent` (the last plain row of its sequence, or a row of the tree), or off the stored state (-1);
   its position says what lies between. Fills in shared, path and scratch. -1 and a message: there is no room for its path. */
int engine_tree_add(struct engine_tree *tree, struct row *row, int32_t r, struct error *error);

/* The step has been submitted, or discarded. */
void engine_tree_submitted(struct engine_tree *tree, const struct row *row, int32_t rows);
void engine_tree_discarded(struct engine_tree *tree);

/* Forgets the trees that nobody has accepted a path of. */
void engine_tree_settle(struct engine_tree *tree, struct state *state);
/* Keeps a path of rows, from the top down: their keys and values move to the pages, and they are stored. The rest of the
   tree is forgotten. -1 and a message: this is no path, or it has been settled. */
int engine_tree_accept(struct engine_tree *tree, const struct engine_backend *backend, struct engine_device *device,
                       struct state *state, int32_t page, const int32_t *rows, int32_t count, struct error *error);

#endif
