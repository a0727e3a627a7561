#include "speculate.h"

#include <stdlib.h>
#include <string.h>

#include "draft_ngram.h"
#include "tokenizer.h"

enum {
    DEFAULT_TOKENS = 6,
    DEFAULT_NGRAM = 4, /* tokens that are looked up */
    SHORTEST = 2,      /* and how many must agree */
};

struct member {
    int sequence, slot;
    struct token_list text; /* the last token has not been run */
    struct draft_tree tree;
    int32_t *row;       /* [tokens] of the tree's nodes in the step */
    int32_t root;       /* -1: the member sits out */
    int32_t first, end; /* what it has drawn, in `drawn` */
};

struct speculation {
    struct engine *engine;
    struct draft_options options;
    int32_t members;
    struct member *member;     /* [members] */
    const struct drawn *drawn; /* in the last cycle */
    struct speculation_counts counts;
};

static int allocate(struct speculation *speculation)
{
    size_t tokens = (size_t)speculation->options.tokens;
    if (!(speculation->member = calloc((size_t)speculation->members, sizeof *speculation->member)))
        return -1;
    for (int32_t i = 0; i < speculation->members; i++) {
        struct member *member = &speculation->member[i];
        member->tree.token = malloc(tokens * sizeof *member->tree.token);
        member->tree.parent = malloc(tokens * sizeof *member->tree.parent);
        member->row = malloc(tokens * sizeof *member->row);
        if (!member->tree.token || !member->tree.parent || !member->row)
            return -1;
    }
    return 0;
}

struct speculation *speculation_open(struct engine *engine, const struct draft_options *options, int32_t members,
                                     struct error *error)
{
    struct speculation *speculation = calloc(1, sizeof *speculation);
    if (speculation) {
        speculation->engine = engine;
        speculation->options = *options;
        speculation->members = members;
        if (options->tokens == 0)
            speculation->options.tokens = DEFAULT_TOKENS;
        if (options->ngram == 0)
            speculation->options.ngram = DEFAULT_NGRAM;
        if (allocate(speculation) == 0)
            return speculation;
    }
    speculation_close(speculation);
    error_set(error, "out of memory for the drafts of %d texts", members);
    return NULL;
}

void speculation_close(struct speculation *speculation)
{
    if (!speculation)
        return;
    for (int32_t i = 0; speculation->member && i < speculation->members; i++) {
        free(speculation->member[i].text.id);
        free(speculation->member[i].tree.token);
        free(speculation->member[i].tree.parent);
        free(speculation->member[i].row);
    }
    free(speculation->member);
    free(speculation);
}

void speculation_begin(struct speculation *speculation, int32_t m, int sequence, int slot)
{
    struct member *member = &speculation->member[m];
    member->sequence = sequence;
    member->slot = slot;
    member->text.count = 0;
}

int speculation_see(struct speculation *speculation, int32_t m, const int32_t *tokens, size_t count,
                    struct error *error)
{
    for (size_t i = 0; i < count; i++)
        if (token_list_add(&speculation->member[m].text, tokens[i]))
            return error_set(error, "out of memory for the text that is drafted for");
    return 0;
}

/* How many tokens a member's tree may have: the step's rows and draws are shared by all. */
static int32_t share(const struct speculation *speculation, const int32_t *limits)
{
    const struct model *model = engine_model(speculation->engine);
    int32_t draws = engine_max_draws(speculation->engine), active = 0;
    int32_t room = model->max_rows < draws ? model->max_rows : draws;
    for (int32_t m = 0; m < speculation->members; m++)
        active += limits[m] > 0;
    room = active ? room / active - 1 : 0;
    return room < speculation->options.tokens ? room : speculation->options.tokens;
}

static void propose(struct speculation *speculation, struct member *member, int32_t most, int32_t depth)
{
    struct draft_text text = {member->text.id, member->text.count};
    member->tree.count = 0;
    member->tree.most = most;
    member->tree.depth = depth;
    int32_t longest = speculation->options.ngram, shortest = longest < SHORTEST ? longest : SHORTEST;
    if (most > 0 && depth > 0)
        draft_ngram(&text, shortest, longest, &member->tree);
}

/* The rows that must be: each member's last token. */
static int add_roots(struct speculation *speculation, const int32_t *limits, bool logits, struct error *error)
{
    for (int32_t m = 0; m < speculation->members; m++) {
        struct member *member = &speculation->member[m];
        member->root = -1;
        if (limits[m] <= 0)
            continue;
        int32_t last = member->text.id[member->text.count - 1];
        member->root = engine_add(speculation->engine, member->sequence, last, logits, error);
        if (member->root < 0 || engine_draw(speculation->engine, member->root, member->slot, error))
            return -1;
    }
    return 0;
}

/* The rows that may be, as long as there are pages: without them the text is the same. */
static int add_tree(struct speculation *speculation, struct member *member, bool logits, struct error *error)
{
    const struct draft_tree *tree = &member->tree;
    struct error none;
    for (int32_t i = 0; i < tree->count; i++) {
        int32_t parent = tree->parent[i] < 0 ? member->root : member->row[tree->parent[i]];
        member->row[i] = engine_add_child(speculation->engine, member->sequence, parent, tree->token[i], logits, &none);
        if (member->row[i] < 0)
            return 0;
        if (engine_draw(speculation->engine, member->row[i], member->slot, error))
            return -1;
        speculation->counts.drafted++;
    }
    return 0;
}

/* The draws of one slot follow each other. */
static int deal_out(struct speculation *speculation, int count, struct error *error)
{
    int at = 0;
    for (int32_t m = 0; m < speculation->members; m++) {
        struct member *member = &speculation->member[m];
        member->first = at;
        while (at < count && member->root >= 0 && speculation->drawn[at].slot == member->slot) {
            if (speculation_see(speculation, m, &speculation->drawn[at].token, 1, error))
                return -1;
            at++;
        }
        member->end = at;
        if (member->root >= 0) {
            speculation->counts.cycles++;
            speculation->counts.accepted += member->end - member->first - 1;
        }
    }
    return 0;
}

int speculation_cycle(struct speculation *speculation, const int32_t *limits, bool logits, struct error *error)
{
    int32_t most = share(speculation, limits);
    if (add_roots(speculation, limits, logits, error))
        return -1;
    for (int32_t m = 0; m < speculation->members; m++) {
        if (speculation->member[m].root < 0)
            continue;
        propose(speculation, &speculation->member[m], most, limits[m] - 1);
        if (add_tree(speculation, &speculation->member[m], logits, error))
            return -1;
    }
    if (engine_submit(speculation->engine, error))
        return -1;
    int count = engine_collect(speculation->engine, &speculation->drawn, error);
    return count < 0 || deal_out(speculation, count, error) ? -1 : 0;
}

int32_t speculation_drawn(const struct speculation *speculation, int32_t member, const struct drawn **drawn)
{
    *drawn = speculation->drawn + speculation->member[member].first;
    return speculation->member[member].end - speculation->member[member].first;
}

struct speculation_counts speculation_counts(const struct speculation *speculation)
{
    return speculation->counts;
}
