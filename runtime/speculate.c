#include "speculate.h"

#include <stdlib.h>
#include <string.h>

#include "draft.h"
#include "draft_eagle.h"
#include "draft_ngram.h"
#include "progress.h"
#include "tokenizer.h"

enum {
    NGRAM_TOKENS = 6,
    NGRAM_LONGEST = 4, /* tokens that are looked up */
    NGRAM_SHORTEST = 2,
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
    struct draft_tree **tree;  /* [members] NULL: the member sits out */
    const struct drawn *drawn; /* in the last cycle */
    struct draft_eagle *eagle; /* NULL: another kind */
    struct draft_pair *pair;   /* [max_rows] rows that are text, for the head to take in */
    int32_t pairs;
    struct speculation_counts counts;
};

static int allocate(struct speculation *speculation)
{
    size_t tokens = (size_t)speculation->options.tokens, members = (size_t)speculation->members;
    speculation->member = calloc(members, sizeof *speculation->member);
    speculation->tree = calloc(members, sizeof *speculation->tree);
    speculation->pair = malloc((size_t)engine_model(speculation->engine)->max_rows * sizeof *speculation->pair);
    if (!speculation->member || !speculation->tree || !speculation->pair)
        return -1;
    for (int32_t i = 0; i < speculation->members; i++) {
        struct member *member = &speculation->member[i];
        member->root = -1;
        member->tree.token = malloc(tokens * sizeof *member->tree.token);
        member->tree.parent = malloc(tokens * sizeof *member->tree.parent);
        member->row = malloc(tokens * sizeof *member->row);
        if (!member->tree.token || !member->tree.parent || !member->row)
            return -1;
    }
    return 0;
}

/* What the options leave open. */
static void fill_in(struct draft_options *options, const struct draft_model *draft)
{
    bool head = options->kind == DRAFT_EAGLE && draft;
    if (options->tokens == 0)
        options->tokens = head ? draft->tokens - 1 : NGRAM_TOKENS;
    if (options->depth == 0)
        options->depth = head ? draft->depth : options->tokens;
    if (options->top_k == 0)
        options->top_k = head ? draft->top_k : 1;
    if (options->ngram == 0)
        options->ngram = NGRAM_LONGEST;
}

struct speculation *speculation_open(struct engine *engine, const struct draft_options *options, int32_t members,
                                     struct error *error)
{
    struct speculation *speculation = calloc(1, sizeof *speculation);
    error_set(error, "out of memory for the drafts of %d texts", members);
    if (!speculation)
        return NULL;
    speculation->engine = engine;
    speculation->options = *options;
    speculation->members = members;
    fill_in(&speculation->options, engine_model(engine)->draft);
    if (allocate(speculation) || (options->kind == DRAFT_EAGLE &&
                                  !(speculation->eagle = draft_eagle_open(engine, members, speculation->options.depth,
                                                                          speculation->options.top_k, error)))) {
        speculation_close(speculation);
        return NULL;
    }
    return speculation;
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
    draft_eagle_close(speculation->eagle);
    free(speculation->member);
    free(speculation->tree);
    free(speculation->pair);
    free(speculation);
}

const struct draft_options *speculation_options(const struct speculation *speculation)
{
    return &speculation->options;
}

void speculation_begin(struct speculation *speculation, int32_t m, int sequence, int slot)
{
    struct member *member = &speculation->member[m];
    member->sequence = sequence;
    member->slot = slot;
    member->text.count = 0;
    member->root = -1;
    if (speculation->eagle)
        draft_eagle_begin(speculation->eagle, m, sequence, sequence_length(speculation->engine, sequence));
    /* Rows that the head has not taken in were of texts that have ended. */
    int32_t kept = 0;
    for (int32_t i = 0; i < speculation->pairs; i++)
        if (speculation->pair[i].member != m)
            speculation->pair[kept++] = speculation->pair[i];
    speculation->pairs = kept;
}

int32_t speculation_reusable(const struct speculation *speculation, int32_t m, int32_t length)
{
    if (!speculation->eagle || length == 0)
        return length;
    int32_t pairs = draft_eagle_pairs(speculation->eagle, m);
    return pairs < length - 1 ? pairs : length - 1;
}

int speculation_see(struct speculation *speculation, int32_t m, const int32_t *tokens, size_t count,
                    struct error *error)
{
    for (size_t i = 0; i < count; i++)
        if (token_list_add(&speculation->member[m].text, tokens[i]))
            return error_set(error, "out of memory for the text that is drafted for");
    return 0;
}

void speculation_row(struct speculation *speculation, int32_t m, int32_t row, int32_t position)
{
    if (speculation->eagle)
        speculation->pair[speculation->pairs++] = (struct draft_pair){.member = m, .row = row, .position = position};
}

int speculation_ran(struct speculation *speculation, struct error *error)
{
    double start = clock_seconds();
    for (int32_t i = 0; i < speculation->pairs; i++) {
        struct draft_pair *pair = &speculation->pair[i];
        const struct token_list *text = &speculation->member[pair->member].text;
        pair->token = text->id[pair->position + 1];
        pair->last = (size_t)pair->position + 2 == text->count;
    }
    int32_t count = speculation->pairs;
    speculation->pairs = 0;
    if (!speculation->eagle || draft_eagle_extend(speculation->eagle, speculation->pair, count, error))
        return speculation->eagle ? -1 : 0;
    speculation->counts.draft_seconds += clock_seconds() - start;
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

/* The trees of all members that take part. */
static int propose(struct speculation *speculation, const int32_t *limits, struct error *error)
{
    const struct draft_options *options = &speculation->options;
    int32_t most = share(speculation, limits);
    for (int32_t m = 0; m < speculation->members; m++) {
        struct draft_tree *tree = &speculation->member[m].tree;
        speculation->tree[m] = limits[m] > 0 ? tree : NULL;
        tree->count = 0;
        tree->most = most;
        tree->depth = limits[m] - 1 < options->depth ? limits[m] - 1 : options->depth;
    }
    if (speculation->eagle)
        return draft_eagle_propose(speculation->eagle, speculation->tree, error);
    for (int32_t m = 0; m < speculation->members; m++) {
        struct draft_text text = {speculation->member[m].text.id, speculation->member[m].text.count};
        if (speculation->tree[m])
            draft_ngram(&text, options->ngram < NGRAM_SHORTEST ? options->ngram : NGRAM_SHORTEST, options->ngram,
                        speculation->tree[m]);
    }
    return 0;
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

/* What the step has drawn, to its members; the draws of one slot follow each other. */
static int deal_out(struct speculation *speculation, int count, struct error *error)
{
    int at = 0;
    for (int32_t m = 0; m < speculation->members; m++) {
        struct member *member = &speculation->member[m];
        member->first = at;
        while (at < count && member->root >= 0 && speculation->drawn[at].slot == member->slot) {
            const struct drawn *drawn = &speculation->drawn[at++];
            speculation_row(speculation, m, drawn->row, drawn->position - 1);
            if (speculation_see(speculation, m, &drawn->token, 1, error))
                return -1;
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
    /* The head takes in what the last cycle accepted only now: a text that has ended needs it no more. */
    if (speculation_ran(speculation, error))
        return -1;
    double start = clock_seconds();
    if (propose(speculation, limits, error))
        return -1;
    double drafted = clock_seconds();
    if (add_roots(speculation, limits, logits, error))
        return -1;
    for (int32_t m = 0; m < speculation->members; m++)
        if (speculation->member[m].root >= 0 && add_tree(speculation, &speculation->member[m], logits, error))
            return -1;
    if (engine_submit(speculation->engine, error))
        return -1;
    double accepted = -engine_accept_seconds(speculation->engine);
    int count = engine_collect(speculation->engine, &speculation->drawn, error);
    accepted += engine_accept_seconds(speculation->engine);
    speculation->counts.draft_seconds += drafted - start;
    speculation->counts.verify_seconds += clock_seconds() - drafted - accepted;
    speculation->counts.accept_seconds += accepted;
    speculation->counts.steps++;
    return count < 0 || deal_out(speculation, count, error) ? -1 : 0;
}

int32_t speculation_drawn(const struct speculation *speculation, int32_t member, const struct drawn **drawn)
{
    *drawn = speculation->drawn + speculation->member[member].first;
    return speculation->member[member].end - speculation->member[member].first;
}

struct speculation_counts speculation_counts(const struct speculation *speculation)
{
    struct speculation_counts counts = speculation->counts;
    counts.passes = speculation->eagle ? draft_eagle_passes(speculation->eagle) : 0;
    return counts;
}

struct speculation_counts speculation_since(const struct speculation *speculation,
                                            const struct speculation_counts *before)
{
    struct speculation_counts counts = speculation_counts(speculation);
    counts.cycles -= before->cycles;
    counts.steps -= before->steps;
    counts.drafted -= before->drafted;
    counts.accepted -= before->accepted;
    counts.passes -= before->passes;
    counts.draft_seconds -= before->draft_seconds;
    counts.verify_seconds -= before->verify_seconds;
    counts.accept_seconds -= before->accept_seconds;
    return counts;
}
