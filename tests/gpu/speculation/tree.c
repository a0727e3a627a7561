/* Trees of rows in a package, by its library: every row has the bits that it would have at the end of a plain sequence, and
   what an accepted path leaves behind is what plain rows leave. Prints one line; the exit status says whether all was well.

       tree LIBRARY DEVICE [ROUNDS]     DEVICE: cuda or cpu */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lathe.h"

enum { TEXTS = 5, MOST_NODES = 40, MOST_DEPTH = 9 };

/* The library's functions. */
static struct {
    lathe_model *(*open)(const struct lathe_options *, char *, size_t);
    void (*close)(lathe_model *);
    const char *(*error)(const lathe_model *);
    const struct lathe_info *(*info)(const lathe_model *);
    int (*sequence_open)(lathe_model *);
    void (*sequence_close)(lathe_model *, int);
    int (*fork)(lathe_model *, int);
    int (*add)(lathe_model *, int, int32_t, bool);
    int (*add_child)(lathe_model *, int, int, int32_t, bool);
    int (*accept)(lathe_model *, const int32_t *, size_t);
    int (*run)(lathe_model *);
    float *(*logits)(lathe_model *, int);
} lib;

static lathe_model *model;
static const struct lathe_info *info;
static uint32_t seed = 1;

static void find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    if (!symbol) {
        printf("error: the library has no %s\n", name);
        exit(2);
    }
    memcpy(function, &symbol, sizeof symbol);
}

static void open_library(const char *path)
{
    void *library = dlopen(path, RTLD_NOW);
    if (!library) {
        printf("error: %s\n", dlerror());
        exit(2);
    }
    find(library, "lathe_open", &lib.open);
    find(library, "lathe_close", &lib.close);
    find(library, "lathe_error", &lib.error);
    find(library, "lathe_info", &lib.info);
    find(library, "lathe_sequence_open", &lib.sequence_open);
    find(library, "lathe_sequence_close", &lib.sequence_close);
    find(library, "lathe_sequence_fork", &lib.fork);
    find(library, "lathe_add", &lib.add);
    find(library, "lathe_add_child", &lib.add_child);
    find(library, "lathe_accept", &lib.accept);
    find(library, "lathe_run", &lib.run);
    find(library, "lathe_logits", &lib.logits);
}

static int must(int result)
{
    if (result >= 0)
        return result;
    printf("error: %s\n", lib.error(model));
    exit(2);
}

static int random_below(int most)
{
    seed = seed * 1103515245u + 12345u;
    return (int)((seed >> 8) % (uint32_t)most);
}

struct node {
    int parent, depth, row;
    int32_t token;
};

/* A sequence with a tree in the step being assembled. */
struct text {
    int sequence, length, root;
    int32_t root_token;
    struct node node[MOST_NODES];
    int nodes;
};

/* Prompts of different lengths: in the first page, and over several leaves of the attention. */
static void open_text(struct text *text, int t)
{
    int most = info->max_seq < 700 ? info->max_seq : 700;
    text->sequence = must(lib.sequence_open(model));
    text->length = 1 + t * (most - MOST_DEPTH - 3) / TEXTS;
    for (int i = 0; i < text->length; i++) {
        must(lib.add(model, text->sequence, (int32_t)random_below(info->vocab), false));
        if (i % 100 == 99)
            must(lib.run(model));
    }
    must(lib.run(model));
}

static void add_root(struct text *text)
{
    text->root_token = (int32_t)random_below(info->vocab);
    text->root = must(lib.add(model, text->sequence, text->root_token, true));
    text->nodes = 0;
}

/* A row of the level `depth` below some row of the level above; false: there is none. */
static bool add_node(struct text *text, int depth)
{
    int parent = -1;
    for (int tries = 0; depth > 1 && tries < 50 && parent < 0; tries++) {
        int other = text->nodes ? random_below(text->nodes) : 0;
        parent = text->nodes && text->node[other].depth == depth - 1 ? other : -1;
    }
    if (text->nodes == MOST_NODES || (depth > 1 && parent < 0))
        return false;
    struct node *node = &text->node[text->nodes++];
    *node = (struct node){.parent = parent, .depth = depth, .token = (int32_t)random_below(info->vocab)};
    int above = parent < 0 ? text->root : text->node[parent].row;
    node->row = must(lib.add_child(model, text->sequence, above, node->token, true));
    return true;
}

/* The logits of a row are those of the last of `tokens` [count] after what `sequence` stores, plainly, one step a token. */
static bool same_as_plain(int sequence, const int32_t *tokens, int count, const float *logits)
{
    int row = -1, fork = must(lib.fork(model, sequence));
    for (int i = 0; i < count; i++) {
        row = must(lib.add(model, fork, tokens[i], i + 1 == count));
        must(lib.run(model));
    }
    bool same = memcmp(lib.logits(model, row), logits, (size_t)info->vocab * sizeof(float)) == 0;
    lib.sequence_close(model, fork);
    return same;
}

/* The tokens from the root down to node `n` (-1: the root alone), and the rows below the root. Their depth. */
static int path_to(const struct text *text, int n, int32_t *tokens, int32_t *rows)
{
    int depth = n < 0 ? 0 : text->node[n].depth;
    tokens[0] = text->root_token;
    for (int i = depth; i-- > 0; n = text->node[n].parent) {
        tokens[i + 1] = text->node[n].token;
        rows[i] = text->node[n].row;
    }
    return depth;
}

/* One step with a tree in each text. *rows: how many were compared; the number of those that differ. */
static int round_of_trees(struct text *text, int *rows)
{
    size_t vocab = (size_t)info->vocab;
    int before[TEXTS], wide[TEXTS], kept[TEXTS], differing = 0, total = 0;
    int32_t tokens[MOST_DEPTH + 2], path[MOST_DEPTH];
    for (int t = 0; t < TEXTS; t++) {
        before[t] = must(lib.fork(model, text[t].sequence));
        wide[t] = 1 + random_below(6);
        add_root(&text[t]);
    }
    for (int depth = 1; depth <= MOST_DEPTH; depth++)
        for (int t = 0; t < TEXTS; t++)
            for (int i = 0; i < wide[t] && depth <= 1 + t * 2 && add_node(&text[t], depth); i++)
                total++;
    must(lib.run(model));
    /* Comparing runs steps of its own. */
    float *logits = malloc((size_t)(total + TEXTS) * vocab * sizeof *logits), *next = logits;
    for (int t = 0; t < TEXTS; t++)
        for (int n = -1; n < text[t].nodes; n++, next += vocab)
            memcpy(next, lib.logits(model, n < 0 ? text[t].root : text[t].node[n].row), vocab * sizeof *logits);
    for (int t = 0; t < TEXTS; t++) {
        kept[t] = random_below(text[t].nodes + 1) - 1;
        must(lib.accept(model, path, (size_t)path_to(&text[t], kept[t], tokens, path)));
    }
    next = logits;
    for (int t = 0; t < TEXTS; t++) {
        for (int n = -1; n < text[t].nodes; n++, next += vocab)
            differing += !same_as_plain(before[t], tokens, path_to(&text[t], n, tokens, path) + 1, next);
        /* One more row behind what was kept. */
        int depth = path_to(&text[t], kept[t], tokens, path);
        tokens[depth + 1] = (int32_t)random_below(info->vocab);
        int row = must(lib.add(model, text[t].sequence, tokens[depth + 1], true));
        must(lib.run(model));
        memcpy(logits, lib.logits(model, row), vocab * sizeof *logits);
        differing += !same_as_plain(before[t], tokens, depth + 2, logits);
        text[t].length += depth + 2;
        lib.sequence_close(model, before[t]);
    }
    free(logits);
    *rows += total + 2 * TEXTS;
    return differing;
}

int main(int argc, char **argv)
{
    char message[512] = "";
    if (argc < 3) {
        printf("usage: tree LIBRARY DEVICE [ROUNDS]\n");
        return 2;
    }
    open_library(argv[1]);
    struct lathe_options options = {.bytes = sizeof options, .device = argv[2], .exact = true, .kv_memory = 1 << 28};
    if (!(model = lib.open(&options, message, sizeof message))) {
        printf("error: %s\n", message);
        return 2;
    }
    info = lib.info(model);
    struct text text[TEXTS];
    int rows = 0, differing = 0, rounds = argc > 3 ? atoi(argv[3]) : 12;
    for (int t = 0; t < TEXTS; t++)
        open_text(&text[t], t);
    for (int i = 0; i < rounds; i++) {
        differing += round_of_trees(text, &rows);
        for (int t = 0; t < TEXTS; t++)
            if (text[t].length + MOST_DEPTH + 3 > info->max_seq) {
                lib.sequence_close(model, text[t].sequence);
                open_text(&text[t], t);
            }
    }
    printf("%d rows of trees and behind them, %d differ from plain rows (%s, %s)\n", rows, differing, info->device,
           info->cpu);
    lib.close(model);
    return differing != 0;
}
