/* Built into packages in place of the commands by tests/package/test_draft.c: runs texts through the model and its draft head
 * by steps made by hand, and drafts from any place of them.
 *
 *     NAME VARIANT < COMMANDS
 *
 *     text N ID...            the text that follows is about: one step of the target, one of the head over all its pairs
 *     chain AT STEPS          drafted after the first AT tokens, each the best guess; prints tokens, their log-probabilities
 *     walk START STEPS        chains over the whole text from the token at START on; prints how many tokens each gives when the
 *                             model writes this text, its own next one included
 *     tree AT LEVELS K TOTAL  EAGLE-2's dynamic tree of TOTAL - 1 nodes; prints tokens, parents (-1: the text), summed
 *                             log-probabilities
 *     unroll STEPS            from each pair of the text, with the tokens that follow it: f32 logits [STEPS, N - STEPS, draft
 *                             vocabulary] as bytes
 */
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "draft.h"
#include "shapes.h"

extern const struct model package_model;
static const struct model *const model = &package_model;
static const struct draft_model *draft;

enum { THREADS = 2, MOST_TEXT = 512, MOST_NODES = 1024, MOST_PATH = 32, POISON = 0xff };

static const unsigned char *weights;
static unsigned char *states[2], *arena, *own_scratch;
static int32_t table[MOST_TEXT], pages_total;
static size_t arena_bytes, scratch_bytes;
static step_function *target_step, *draft_step;

static int32_t text[MOST_TEXT + 1];
static int length;
static float *logits; /* of the last step */

static void *checked(void *memory)
{
    if (!memory) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return memory;
}

static void refuse(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

/* The payload at the end of this executable: the trailer has its offset in bytes 16 to 23 of 96 (runtime/package.h). */
static void map_weights(void)
{
    int file = open("/proc/self/exe", O_RDONLY);
    struct stat status;
    uint64_t offset;
    if (file < 0 || fstat(file, &status) != 0 || pread(file, &offset, 8, status.st_size - 96 + 16) != 8)
        exit(1);
    unsigned char *mapped = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (mapped == MAP_FAILED)
        exit(1);
    weights = mapped + offset;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static unsigned char *memory(size_t bytes)
{
    unsigned char *made = checked(aligned_alloc(64, (bytes + 63) / 64 * 64));
    memset(made, POISON, bytes);
    return made;
}

/* Pages are dealt out from the last to the first; whole pages are kept for the scratch slots, as in runtime/state.c. */
static void make_memory(void)
{
    int page = model->page;
    pages_total = (MOST_TEXT + MOST_PATH + page - 1) / page;
    for (int i = 0; i < pages_total; i++)
        table[i] = pages_total - 1 - i;
    size_t pages = (size_t)pages_total + ((size_t)model->max_rows + (size_t)page - 1) / (size_t)page;
    for (int group = 0; group < 2; group++)
        states[group] = memory(pages * model->states[group].page_bytes);
    arena_bytes = larger(model->arena_bytes, draft->arena_bytes);
    scratch_bytes = THREADS * larger(model->scratch_bytes, draft->scratch_bytes);
    arena = memory(arena_bytes);
    own_scratch = memory(scratch_bytes);
    logits = checked(malloc((size_t)model->max_outputs * (size_t)model->vocab * sizeof *logits));
}

/* A step being made. All rows of a draft step ask for logits; of the target's none does. */
struct batch {
    struct row row[MOST_TEXT];
    int32_t feature[MOST_TEXT], place[MOST_TEXT], output_row[MOST_TEXT], path[MOST_TEXT * MOST_PATH];
    int rows, paths;
};

struct worker {
    pthread_t thread;
    step_function *function;
    const struct step *step;
    int number;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    worker->function(worker->step, worker->number);
    return NULL;
}

static void run(struct batch *batch, step_function *function, int outputs)
{
    const int32_t *pages[1] = {table};
    struct barrier barrier;
    struct worker worker[THREADS];
    for (int r = 0; r < outputs; r++)
        batch->output_row[r] = r;
    memset(own_scratch, POISON, scratch_bytes);
    barrier_init(&barrier, THREADS, 0);
    struct step step = {.rows = batch->rows,
                        .outputs = outputs,
                        .row = batch->row,
                        .output_row = batch->output_row,
                        .pages = pages,
                        .path = batch->path,
                        .weights = weights,
                        .state = states,
                        .pages_total = pages_total,
                        .arena = arena,
                        .scratch = own_scratch,
                        .logits = logits,
                        .feature = batch->feature,
                        .feature_place = batch->place,
                        .threads = THREADS,
                        .barrier = &barrier};
    for (int t = 0; t < THREADS; t++) {
        worker[t] = (struct worker){.function = function, .step = &step, .number = t};
        if (pthread_create(&worker[t].thread, NULL, work, &worker[t]) != 0)
            exit(1);
    }
    for (int t = 0; t < THREADS; t++)
        pthread_join(worker[t].thread, NULL);
}

static void add_pair(struct batch *batch, int position, int32_t token, int32_t feature, int32_t place)
{
    int r = batch->rows++;
    batch->row[r] = (struct row){
        .token = token, .position = position, .adapter = -1, .parent = r - 1, .shared = position + 1, .scratch = -1};
    batch->feature[r] = feature;
    batch->place[r] = place;
}

/* A guess after the pairs at positions below `shared`; slots: of its ancestors and itself, `count` of them. */
static void add_guess(struct batch *batch, int32_t shared, const int32_t *slots, int count, int32_t token, int32_t from,
                      int32_t place)
{
    int r = batch->rows++;
    batch->row[r] = (struct row){.token = token,
                                 .position = shared + count - 1,
                                 .adapter = -1,
                                 .parent = -1,
                                 .shared = shared,
                                 .path = batch->paths,
                                 .scratch = slots[count - 1]};
    memcpy(&batch->path[batch->paths], slots, (size_t)count * sizeof *slots);
    batch->paths += count;
    batch->feature[r] = ~from;
    batch->place[r] = place;
}

/* The target over the text, then the head over its pairs: place i has the feature that pair i leaves. root_logits: of each. */
static float *root_logits;

static void read_text(void)
{
    if (scanf("%d", &length) != 1 || length < 2 || length > MOST_TEXT || length > model->max_rows)
        refuse("text: not a length");
    for (int i = 0; i < length; i++)
        if (scanf("%d", &text[i]) != 1 || text[i] < 0 || text[i] >= model->vocab)
            refuse("text: not an id");
    static struct batch batch;
    batch.rows = batch.paths = 0;
    memset(arena, POISON, arena_bytes);
    for (int i = 0; i < length; i++)
        add_pair(&batch, i, text[i], 0, -1); /* a plain row of the target */
    run(&batch, target_step, 0);
    batch.rows = batch.paths = 0;
    for (int i = 0; i < length - 1; i++)
        add_pair(&batch, i, text[i + 1], i, i);
    run(&batch, draft_step, length - 1);
    size_t bytes = (size_t)(length - 1) * (size_t)draft->vocab * sizeof *logits;
    free(root_logits);
    root_logits = checked(malloc(bytes));
    memcpy(root_logits, logits, bytes);
}

static int32_t target_id(int32_t id)
{
    int32_t found = id;
    if (draft->tensor >= 0)
        memcpy(&found, weights + model->tensors[draft->tensor].offset + (size_t)id * 4, 4);
    return found;
}

struct guess {
    int32_t token;
    double logprob;
};

/* The k best ids of one row of logits, best first. */
static void best(const float *row, int k, struct guess *guesses)
{
    double largest = -INFINITY, sum = 0;
    for (int i = 0; i < draft->vocab; i++)
        largest = row[i] > largest ? row[i] : largest;
    for (int i = 0; i < draft->vocab; i++)
        sum += exp(row[i] - largest);
    int32_t taken[MOST_PATH];
    for (int n = 0; n < k; n++) {
        int top = -1;
        for (int i = 0; i < draft->vocab; i++) {
            bool free = top < 0 || row[i] > row[top];
            for (int j = 0; j < n; j++)
                free = free && taken[j] != i;
            top = free ? i : top;
        }
        taken[n] = top;
        guesses[n] = (struct guess){target_id(top), row[top] - largest - log(sum)};
    }
}

static struct guess chain[MOST_PATH];

static void draft_chain(int at, int steps)
{
    int32_t slots[MOST_PATH];
    const float *row = root_logits + (size_t)(at - 2) * (size_t)draft->vocab;
    for (int s = 0; s < steps; s++) {
        best(row, 1, &chain[s]);
        if (s + 1 == steps)
            return;
        static struct batch batch;
        batch.rows = batch.paths = 0;
        slots[s] = model->max_rows - 1 - s;
        int32_t place = draft->places - 1; /* a step may leave a feature where it took one */
        add_guess(&batch, at - 1, slots, s + 1, chain[s].token, s == 0 ? at - 2 : place, place);
        run(&batch, draft_step, 1);
        row = logits;
    }
}

static void make_chain(void)
{
    int at, steps;
    if (scanf("%d %d", &at, &steps) != 2 || at < 2 || at > length || steps < 1 || steps > MOST_PATH)
        refuse("chain: not AT STEPS");
    draft_chain(at, steps);
    for (int s = 0; s < steps; s++)
        printf("%d %.6f%c", chain[s].token, chain[s].logprob, s + 1 < steps ? ' ' : '\n');
}

/* As models/training/eagle.py, `walk`. */
static void make_walk(void)
{
    int start, steps;
    if (scanf("%d %d", &start, &steps) != 2 || start < 1 || start >= length || steps < 1 || steps > MOST_PATH)
        refuse("walk: not START STEPS");
    for (int at = start + 1; at < length;) {
        int gained = 0;
        draft_chain(at, steps);
        while (gained < steps && at + gained < length && chain[gained].token == text[at + gained])
            gained++;
        gained = gained + 1 < length - at ? gained + 1 : length - at;
        at += gained;
        printf("%d%c", gained, at < length ? ' ' : '\n');
    }
}

struct node {
    int32_t token, parent, place; /* of its feature */
    double score;
    int32_t slots[MOST_PATH];
    int depth;
};

static struct node nodes[MOST_NODES];
static int node_count;

static void add_children(const float *row, int parent, int k)
{
    struct guess guesses[MOST_PATH];
    best(row, k, guesses);
    for (int i = 0; i < k; i++) {
        if (node_count == MOST_NODES)
            refuse("tree: too many nodes");
        struct node *node = &nodes[node_count++];
        *node = (struct node){.token = guesses[i].token, .parent = parent, .score = guesses[i].logprob};
        if (parent >= 0) {
            node->score += nodes[parent].score;
            node->depth = nodes[parent].depth + 1;
            memcpy(node->slots, nodes[parent].slots, sizeof node->slots);
        }
    }
}

static int by_score(const void *a, const void *b)
{
    const struct node *x = &nodes[*(const int *)a], *y = &nodes[*(const int *)b];
    return x->score != y->score ? (x->score < y->score ? 1 : -1) : *(const int *)a - *(const int *)b;
}

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* The best `keep` of the nodes first <= i < node_count, in order; how many. */
static int choose(int first, int keep, int *chosen)
{
    int count = node_count - first;
    for (int i = 0; i < count; i++)
        chosen[i] = first + i;
    qsort(chosen, (size_t)count, sizeof *chosen, by_score);
    count = count < keep ? count : keep;
    qsort(chosen, (size_t)count, sizeof *chosen, by_number);
    return count;
}

static void make_tree(void)
{
    int at, levels, k, total, chosen[MOST_NODES];
    if (scanf("%d %d %d %d", &at, &levels, &k, &total) != 4 || at < 2 || at > length || levels < 1 || k < 1 ||
        levels > MOST_PATH || k > MOST_PATH)
        refuse("tree: not AT LEVELS K TOTAL");
    node_count = 0;
    add_children(root_logits + (size_t)(at - 2) * (size_t)draft->vocab, -1, k);
    int first = 0, slot = 0;
    for (int level = 1; level < levels; level++) {
        static struct batch batch;
        int count = choose(first, k, chosen);
        batch.rows = batch.paths = 0;
        for (int i = 0; i < count; i++) {
            struct node *node = &nodes[chosen[i]];
            int32_t from = node->parent < 0 ? at - 2 : nodes[node->parent].place;
            node->slots[node->depth] = slot++;
            node->place = draft->places - slot;
            add_guess(&batch, at - 1, node->slots, node->depth + 1, node->token, from, node->place);
        }
        run(&batch, draft_step, count);
        first = node_count;
        for (int i = 0; i < count; i++)
            add_children(logits + (size_t)i * (size_t)draft->vocab, chosen[i], k);
    }
    int kept = choose(0, total - 1, chosen);
    for (int i = 0; i < kept; i++) {
        int parent = -1;
        for (int j = 0; j < i; j++)
            parent = chosen[j] == nodes[chosen[i]].parent ? j : parent;
        printf("%d %d %.6f%c", nodes[chosen[i]].token, parent, nodes[chosen[i]].score, i + 1 < kept ? ' ' : '\n');
    }
}

static void make_unroll(void)
{
    int steps;
    if (scanf("%d", &steps) != 1 || steps < 1 || steps >= length || steps > MOST_PATH)
        refuse("unroll: not STEPS");
    int starts = length - steps;
    size_t size = (size_t)starts * (size_t)draft->vocab;
    fwrite(root_logits, sizeof *logits, size, stdout);
    for (int s = 1; s < steps; s++) {
        static struct batch batch;
        batch.rows = batch.paths = 0;
        for (int i = 0; i < starts; i++) {
            int32_t slots[MOST_PATH];
            for (int j = 0; j < s; j++)
                slots[j] = j * starts + i;
            add_guess(&batch, i + 1, slots, s, text[i + 1 + s], i, i);
        }
        run(&batch, draft_step, starts);
        fwrite(logits, sizeof *logits, size, stdout);
    }
}

int main(int count, char **words)
{
    draft = model->draft;
    if (!draft)
        refuse("the package has no draft head");
    map_weights();
    make_memory();
    for (int v = 0; v < model->variant_count; v++) {
        if (count > 1 && strcmp(model->variants[v].name, words[1]) != 0)
            continue;
        if (target_step || (model->variants[v].supported && !model->variants[v].supported()))
            continue;
        target_step = model->variants[v].step;
        draft_step = draft->steps[v];
    }
    if (!target_step)
        refuse("no such instruction set here");
    char command[16];
    while (scanf("%15s", command) == 1) {
        if (strcmp(command, "text") == 0)
            read_text();
        else if (strcmp(command, "chain") == 0)
            make_chain();
        else if (strcmp(command, "walk") == 0)
            make_walk();
        else if (strcmp(command, "tree") == 0)
            make_tree();
        else if (strcmp(command, "unroll") == 0)
            make_unroll();
        else
            refuse("not a command");
    }
    return 0;
}
