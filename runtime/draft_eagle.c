#include "draft_eagle.h"

#include <stdlib.h>
#include <string.h>

#include "draft.h"

struct node {
    int32_t token, parent; /* the target's id; node above, -1: the text */
    int32_t slot;          /* scratch slot of its keys; -1: it was not expanded */
    double score;          /* summed log-probabilities from the text down */
};

struct member {
    int sequence;
    int32_t pairs; /* positions of the sequence that have pairs */
    bool rooted;   /* node[0 .. roots) follow the text, whose feature lies at the member's place */
    int32_t roots;
    struct node *node; /* [most_nodes] in order of their making */
    int32_t nodes;     /* so far */
    int32_t fresh;     /* the first one of the last level */
    int32_t *frontier; /* [top_k] nodes to expand, ascending */
    int32_t levels;    /* that this cycle's tree may have */
};

struct draft_eagle {
    struct engine *engine;
    const struct model *model;
    const struct draft_model *draft;
    const int32_t *ids; /* [draft.vocab] the target's; NULL: the same */
    int32_t members, depth, top_k, most_nodes;
    struct member *member; /* [members] */
    int64_t passes;

    /* The draft step being assembled. */
    struct row *row;                                      /* [max_rows] */
    int32_t *output_row, *feature, *feature_place, *path; /* [max_rows], [max_rows], [max_rows], [max_rows * depth] */
    int32_t *owner, *grows; /* [max_rows] of each output: member, node to put children below */
    int32_t rows, outputs, paths;
    int32_t slots;              /* scratch slots that this cycle's trees have taken */
    int32_t *best;              /* [most_nodes] */
    struct engine_guess *guess; /* [top_k] */
};

static int allocate(struct draft_eagle *eagle)
{
    size_t rows = (size_t)eagle->model->max_rows;
    eagle->member = calloc((size_t)eagle->members, sizeof *eagle->member);
    eagle->row = malloc(rows * sizeof *eagle->row);
    eagle->output_row = malloc(rows * sizeof *eagle->output_row);
    eagle->feature = malloc(rows * sizeof *eagle->feature);
    eagle->feature_place = malloc(rows * sizeof *eagle->feature_place);
    eagle->path = malloc(rows * (size_t)eagle->depth * sizeof *eagle->path);
    eagle->owner = malloc(rows * sizeof *eagle->owner);
    eagle->grows = malloc(rows * sizeof *eagle->grows);
    eagle->best = malloc((size_t)eagle->most_nodes * sizeof *eagle->best);
    eagle->guess = malloc((size_t)eagle->top_k * sizeof *eagle->guess);
    if (!eagle->member || !eagle->row || !eagle->output_row || !eagle->feature || !eagle->feature_place ||
        !eagle->path || !eagle->owner || !eagle->grows || !eagle->best || !eagle->guess)
        return -1;
    for (int32_t m = 0; m < eagle->members; m++) {
        struct member *member = &eagle->member[m];
        member->sequence = -1;
        member->node = malloc((size_t)eagle->most_nodes * sizeof *member->node);
        member->frontier = malloc((size_t)eagle->top_k * sizeof *member->frontier);
        if (!member->node || !member->frontier)
            return -1;
    }
    return 0;
}

struct draft_eagle *draft_eagle_open(struct engine *engine, int32_t members, int32_t depth, int32_t top_k,
                                     struct error *error)
{
    const struct model *model = engine_model(engine);
    const struct draft_model *draft = model->draft;
    struct draft_eagle *eagle = NULL;
    if (!draft || !engine_drafts(engine)) {
        error_set(error, draft ? "the draft head of \"%s\" does not run on this device" : "\"%s\" has no draft head",
                  model->name);
        return NULL;
    }
    if (top_k > draft->vocab)
        top_k = draft->vocab;
    if (members <= model->max_rows && (eagle = calloc(1, sizeof *eagle))) {
        eagle->engine = engine;
        eagle->model = model;
        eagle->draft = draft;
        eagle->members = members;
        eagle->depth = depth;
        eagle->top_k = top_k;
        eagle->most_nodes = top_k + (depth - 1) * top_k * top_k;
        if (draft->tensor >= 0)
            eagle->ids = engine_section(engine, model->tensors[draft->tensor].name, NULL);
        if (allocate(eagle) == 0)
            return eagle;
    }
    draft_eagle_close(eagle);
    error_set(error, "out of memory for trees of %d levels, %d tokens wide, of %d texts", depth, top_k, members);
    return NULL;
}

void draft_eagle_close(struct draft_eagle *eagle)
{
    if (!eagle)
        return;
    for (int32_t m = 0; eagle->member && m < eagle->members; m++) {
        free(eagle->member[m].node);
        free(eagle->member[m].frontier);
    }
    free(eagle->member);
    free(eagle->row);
    free(eagle->output_row);
    free(eagle->feature);
    free(eagle->feature_place);
    free(eagle->path);
    free(eagle->owner);
    free(eagle->grows);
    free(eagle->best);
    free(eagle->guess);
    free(eagle);
}

void draft_eagle_begin(struct draft_eagle *eagle, int32_t m, int sequence, int32_t stored)
{
    struct member *member = &eagle->member[m];
    member->pairs = member->sequence == sequence && member->pairs < stored ? member->pairs : stored;
    member->sequence = sequence;
    member->rooted = false;
}

int32_t draft_eagle_pairs(const struct draft_eagle *eagle, int32_t m)
{
    return eagle->member[m].pairs;
}

int64_t draft_eagle_passes(const struct draft_eagle *eagle)
{
    return eagle->passes;
}

/* The draft step's next row; whoever `grows` there (a node, -1: the text) gets children. */
static void add_row(struct draft_eagle *eagle, const struct row *row, int32_t feature, int32_t place)
{
    eagle->row[eagle->rows] = *row;
    eagle->feature[eagle->rows] = feature;
    eagle->feature_place[eagle->rows++] = place;
}

static void grow_at_last(struct draft_eagle *eagle, int32_t m, int32_t node)
{
    eagle->owner[eagle->outputs] = m;
    eagle->grows[eagle->outputs] = node;
    eagle->output_row[eagle->outputs++] = eagle->rows - 1;
}

/* The likeliest tokens of an output, below a node, become nodes, best first. */
static int add_children(struct draft_eagle *eagle, struct member *member, int32_t parent, int32_t output,
                        struct error *error)
{
    struct node *child = &member->node[member->nodes];
    double score = parent < 0 ? 0 : member->node[parent].score;
    if (engine_draft_best(eagle->engine, output, eagle->top_k, eagle->guess, error))
        return -1;
    for (int32_t i = 0; i < eagle->top_k; i++) {
        int32_t id = eagle->guess[i].id;
        child[i] = (struct node){.token = eagle->ids ? eagle->ids[id] : id,
                                 .parent = parent,
                                 .slot = -1,
                                 .score = score + eagle->guess[i].logprob};
    }
    member->nodes += eagle->top_k;
    return 0;
}

/* Runs the step; the outputs become children of what grows there. */
static int run_step(struct draft_eagle *eagle, struct error *error)
{
    struct engine_draft_step step = {
        .rows = eagle->rows,
        .outputs = eagle->outputs,
        .row = eagle->row,
        .output_row = eagle->output_row,
        .path = eagle->path,
        .feature = eagle->feature,
        .feature_place = eagle->feature_place,
        .guesses = eagle->top_k,
    };
    int failed = engine_draft_run(eagle->engine, &step, error);
    for (int32_t i = 0; !failed && i < eagle->outputs; i++)
        failed = add_children(eagle, &eagle->member[eagle->owner[i]], eagle->grows[i], i, error);
    eagle->rows = eagle->outputs = eagle->paths = 0;
    eagle->passes++;
    return failed;
}

int draft_eagle_extend(struct draft_eagle *eagle, const struct draft_pair *pairs, int32_t count, struct error *error)
{
    if (count == 0)
        return 0;
    for (int32_t i = 0; i < count; i++) {
        const struct draft_pair *pair = &pairs[i];
        struct member *member = &eagle->member[pair->member];
        int32_t above = eagle->rows - 1;
        while (above >= 0 && eagle->row[above].sequence != member->sequence)
            above--;
        struct row row = {.token = pair->token,
                          .position = pair->position,
                          .sequence = member->sequence,
                          .adapter = -1,
                          .parent = above,
                          .shared = pair->position + 1,
                          .scratch = -1};
        add_row(eagle, &row, pair->row, pair->last ? pair->member : -1);
        member->pairs = pair->position + 1;
        if (!pair->last)
            continue;
        member->nodes = 0;
        grow_at_last(eagle, pair->member, -1);
    }
    if (run_step(eagle, error))
        return -1;
    for (int32_t i = 0; i < count; i++)
        if (pairs[i].last) {
            eagle->member[pairs[i].member].rooted = true;
            eagle->member[pairs[i].member].roots = eagle->member[pairs[i].member].nodes;
        }
    return 0;
}

/* The `count` best of nodes [first, end), ascending; fewer if there are fewer. */
static int32_t best_nodes(const struct member *member, int32_t first, int32_t end, int32_t count, int32_t *best)
{
    int32_t found = 0;
    for (int32_t i = first; i < end; i++) {
        int32_t at = found < count ? found++ : found;
        for (; at > 0 && member->node[i].score > member->node[best[at - 1]].score; at--)
            if (at < count)
                best[at] = best[at - 1];
        if (at < count)
            best[at] = i;
    }
    for (int32_t i = 1; i < found; i++) /* in order of their numbers */
        for (int32_t at = i; at > 0 && best[at] < best[at - 1]; at--) {
            int32_t other = best[at];
            best[at] = best[at - 1];
            best[at - 1] = other;
        }
    return found;
}

/* A row for a node: its token, and the feature that was guessed above it. */
static void expand(struct draft_eagle *eagle, int32_t m, int32_t n)
{
    struct member *member = &eagle->member[m];
    struct node *node = &member->node[n];
    int32_t above = 0; /* nodes between the text and this one */
    for (int32_t i = node->parent; i >= 0; i = member->node[i].parent)
        above++;
    node->slot = eagle->slots++;
    struct row row = {.token = node->token,
                      .position = member->pairs + above,
                      .sequence = member->sequence,
                      .adapter = -1,
                      .parent = -1,
                      .shared = member->pairs,
                      .path = eagle->paths,
                      .scratch = node->slot};
    for (int32_t i = n, at = above; i >= 0; i = member->node[i].parent)
        eagle->path[eagle->paths + at--] = member->node[i].slot;
    eagle->paths += above + 1;
    int32_t from = node->parent < 0 ? m : eagle->members + member->node[node->parent].slot;
    add_row(eagle, &row, ~from, eagle->members + node->slot);
    grow_at_last(eagle, m, n);
}

/* One level deeper for all members whose trees may have it; *more: there were any. */
static int add_level(struct draft_eagle *eagle, int32_t level, int32_t active, bool *more, struct error *error)
{
    int32_t most =
        eagle->model->max_rows < eagle->model->max_outputs ? eagle->model->max_rows : eagle->model->max_outputs;
    int32_t room = (eagle->model->max_rows - eagle->slots) / active, wide = most / active;
    wide = wide < eagle->top_k ? wide : eagle->top_k;
    wide = wide < room ? wide : room;
    *more = false;
    for (int32_t m = 0; m < eagle->members; m++) {
        struct member *member = &eagle->member[m];
        /* Places and positions of the deepest row must exist; with depth they always do, but for a context's end. */
        if (member->levels <= level || member->pairs + level > eagle->model->max_seq)
            continue;
        int32_t count = best_nodes(member, member->fresh, member->nodes, wide, member->frontier);
        member->fresh = member->nodes;
        for (int32_t i = 0; i < count; i++)
            expand(eagle, m, member->frontier[i]);
        *more |= count > 0;
    }
    return *more ? run_step(eagle, error) : 0;
}

static void fill_tree(struct draft_eagle *eagle, const struct member *member, struct draft_tree *tree)
{
    int32_t count = best_nodes(member, 0, member->nodes, tree->most, eagle->best);
    tree->count = count;
    for (int32_t i = 0; i < count; i++) {
        const struct node *node = &member->node[eagle->best[i]];
        tree->token[i] = node->token;
        tree->parent[i] = -1;
        for (int32_t j = 0; j < i && node->parent >= 0; j++)
            if (eagle->best[j] == node->parent)
                tree->parent[i] = j;
    }
}

int draft_eagle_propose(struct draft_eagle *eagle, struct draft_tree *const *trees, struct error *error)
{
    int32_t active = 0;
    eagle->slots = 0;
    for (int32_t m = 0; m < eagle->members; m++) {
        struct member *member = &eagle->member[m];
        bool grows = trees[m] && trees[m]->most > 0 && trees[m]->depth > 0 && member->rooted;
        member->levels = !grows ? 0 : trees[m]->depth < eagle->depth ? trees[m]->depth : eagle->depth;
        member->nodes = member->roots;
        member->fresh = 0;
        active += grows;
        if (trees[m])
            trees[m]->count = 0;
    }
    bool more = active > 0;
    for (int32_t level = 1; level < eagle->depth && more; level++)
        if (add_level(eagle, level, active, &more, error))
            return -1;
    for (int32_t m = 0; m < eagle->members; m++) {
        if (eagle->member[m].levels > 0)
            fill_tree(eagle, &eagle->member[m], trees[m]);
        if (trees[m])
            eagle->member[m].rooted = false; /* until the next pair */
    }
    return 0;
}
