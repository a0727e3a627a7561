#include "engine_tree.h"

#include <stdlib.h>
#include <string.h>

enum { DEEP = 32 }; /* places of paths for each row of a step */

int32_t engine_tree_paths(const struct model *model)
{
    return model->max_rows * DEEP;
}

int engine_tree_open(struct engine_tree *tree, const struct model *model, struct error *error)
{
    size_t rows = (size_t)model->max_rows;
    tree->capacity = engine_tree_paths(model);
    tree->path = malloc((size_t)tree->capacity * sizeof *tree->path);
    tree->row = malloc(rows * sizeof *tree->row);
    tree->from = malloc(rows * sizeof *tree->from);
    tree->to = malloc(rows * sizeof *tree->to);
    return tree->path && tree->row && tree->from && tree->to
               ? 0
               : error_set(error, "out of memory for a step of %d rows", model->max_rows);
}

void engine_tree_close(struct engine_tree *tree)
{
    free(tree->path);
    free(tree->row);
    free(tree->from);
    free(tree->to);
    memset(tree, 0, sizeof *tree);
}

int engine_tree_add(struct engine_tree *tree, struct row *row, int32_t r, struct error *error)
{
    struct row *own = &row[r];
    const struct row *parent = own->parent >= 0 && row[own->parent].scratch >= 0 ? &row[own->parent] : NULL;
    own->shared = parent ? parent->shared : own->position;
    own->scratch = r;
    int32_t above = own->position - own->shared; /* rows of the tree between the stored ones and this one */
    bool continues = parent && parent->path + above == tree->paths; /* a chain: what the parent has, and one more */
    int32_t more = continues ? 1 : above + 1;
    if (more > tree->capacity - tree->paths)
        return error_set(error, "the step is full: the paths of its trees have %d places; make smaller trees",
                         tree->capacity);
    own->path = continues ? parent->path : tree->paths;
    if (!continues && parent)
        memcpy(tree->path + tree->paths, tree->path + parent->path, (size_t)above * sizeof *tree->path);
    tree->paths += more;
    tree->path[tree->paths - 1] = r;
    tree->rows++;
    return 0;
}

void engine_tree_submitted(struct engine_tree *tree, const struct row *row, int32_t rows)
{
    if (tree->rows) {
        memcpy(tree->row, row, (size_t)rows * sizeof *row);
        tree->stepped = rows;
        tree->under_way = true;
    }
    engine_tree_discarded(tree);
}

void engine_tree_discarded(struct engine_tree *tree)
{
    tree->paths = tree->rows = 0;
}

/* The tree of this sequence is dealt with. */
static void forget(struct engine_tree *tree, struct state *state, int32_t sequence)
{
    state_drop(state, sequence);
    for (int32_t r = 0; r < tree->stepped; r++)
        if (tree->row[r].sequence == sequence)
            tree->row[r].sequence = -1;
}

void engine_tree_settle(struct engine_tree *tree, struct state *state)
{
    if (tree->under_way)
        return;
    for (int32_t r = 0; r < tree->stepped; r++)
        if (tree->row[r].scratch >= 0 && tree->row[r].sequence >= 0)
            forget(tree, state, tree->row[r].sequence);
    tree->stepped = 0;
}

/* Do these rows lead from the stored rows downwards? */
static int check_path(const struct engine_tree *tree, const struct state *state, const int32_t *rows, int32_t count,
                      struct error *error)
{
    for (int32_t i = 0; i < count; i++) {
        if (rows[i] < 0 || rows[i] >= tree->stepped || tree->row[rows[i]].scratch < 0)
            return error_set(error, "accepting row %d: expected a row of a tree of the last step", rows[i]);
        const struct row *row = &tree->row[rows[i]], *above = row->parent >= 0 ? &tree->row[row->parent] : NULL;
        if (row->sequence < 0)
            return error_set(error, "accepting row %d: its tree has been dealt with already", rows[i]);
        bool follows = i ? row->parent == rows[i - 1] : !above || above->scratch < 0;
        if (!follows || row->position != state_stored(state, row->sequence) + i)
            return error_set(error, "accepting row %d: it does not follow row %d", rows[i], i ? rows[i - 1] : -1);
    }
    return 0;
}

int engine_tree_accept(struct engine_tree *tree, const struct engine_backend *backend, struct engine_device *device,
                       struct state *state, int32_t page, const int32_t *rows, int32_t count, struct error *error)
{
    if (tree->under_way)
        return error_set(error, "accepting rows of a step that has not been collected");
    if (check_path(tree, state, rows, count, error))
        return -1;
    if (count == 0)
        return 0;
    int32_t sequence = tree->row[rows[0]].sequence;
    for (int32_t i = 0; i < count; i++) {
        int32_t position = tree->row[rows[i]].position;
        tree->from[i] = state_pages_total(state) * page + tree->row[rows[i]].scratch;
        tree->to[i] = state_pages(state)[sequence][position / page] * page + position % page;
    }
    if (backend->keep(device, tree->from, tree->to, count, error))
        return -1;
    state_commit_some(state, sequence, count);
    forget(tree, state, sequence);
    return 0;
}
