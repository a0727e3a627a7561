/* Built into packages in place of the commands by tests/package/test_tree.c: makes steps by hand, with trees of rows, and
 * compares the bits of their logits with those of plain sequences. Prints a hash of the plain logits of each instruction
 * set; says what differs and exits with 1.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model.h"
#include "shapes.h"

extern const struct model package_model;
static const struct model *const model = &package_model;

enum { THREADS = 3, SEQUENCES = 5, MAX_POSITIONS = 128, MAX_STEP = 64, POISON = 0xff };

static const unsigned char *weights;
static unsigned char *state, *arena, *own_scratch;
static size_t state_bytes;
static int32_t pages_total, tables[SEQUENCES][MAX_POSITIONS];
static step_function *step_of_variant;
static const char *variant_name;

static void *checked(void *memory)
{
    if (!memory) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return memory;
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

/* Pages are dealt out from the last to the first and in turn, so that no two positions happen to lie where they would
   without a table. As runtime/state.c does, whole pages are kept for the scratch slots. */
static void make_memory(void)
{
    int page = model->page, pages_each = (MAX_POSITIONS + page - 1) / page;
    pages_total = SEQUENCES * pages_each;
    for (int s = 0; s < SEQUENCES; s++)
        for (int i = 0; i < pages_each; i++)
            tables[s][i] = pages_total - 1 - (i * SEQUENCES + s);
    size_t pages = (size_t)pages_total + ((size_t)model->max_rows + (size_t)page - 1) / (size_t)page;
    state_bytes = pages * model->states[0].page_bytes;
    state = checked(aligned_alloc(64, (state_bytes + 63) / 64 * 64));
    arena = checked(aligned_alloc(64, (model->arena_bytes + 63) / 64 * 64));
    own_scratch = checked(aligned_alloc(64, (THREADS * model->scratch_bytes + 63) / 64 * 64));
}

struct worker {
    pthread_t thread;
    const struct step *step;
    int number;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    step_of_variant(worker->step, worker->number);
    return NULL;
}

/* A step being made: rows, their paths, and where the logits go. All rows ask for logits. */
struct batch {
    struct row row[MAX_STEP];
    int32_t path[MAX_STEP * 16], output_row[MAX_STEP];
    int rows, paths;
    float *logits; /* [rows, vocab] */
};

static void run(struct batch *batch)
{
    const int32_t *pages[SEQUENCES];
    struct barrier barrier;
    struct worker worker[THREADS];
    for (int s = 0; s < SEQUENCES; s++)
        pages[s] = tables[s];
    for (int r = 0; r < batch->rows; r++)
        batch->output_row[r] = r;
    free(batch->logits);
    batch->logits = checked(malloc((size_t)batch->rows * (size_t)model->vocab * sizeof(float)));
    memset(batch->logits, POISON, (size_t)batch->rows * (size_t)model->vocab * sizeof(float));
    memset(arena, POISON, model->arena_bytes);
    memset(own_scratch, POISON, THREADS * model->scratch_bytes);
    barrier_init(&barrier, THREADS, 0);
    struct step step = {.rows = batch->rows,
                        .outputs = batch->rows,
                        .row = batch->row,
                        .output_row = batch->output_row,
                        .pages = pages,
                        .path = batch->path,
                        .weights = weights,
                        .state = &state,
                        .pages_total = pages_total,
                        .arena = arena,
                        .scratch = own_scratch,
                        .logits = batch->logits,
                        .threads = THREADS,
                        .barrier = &barrier};
    for (int t = 0; t < THREADS; t++) {
        worker[t] = (struct worker){.step = &step, .number = t};
        if (pthread_create(&worker[t].thread, NULL, work, &worker[t]) != 0)
            exit(1);
    }
    for (int t = 0; t < THREADS; t++)
        pthread_join(worker[t].thread, NULL);
}

static int32_t token_of(int seed)
{
    return (int32_t)((uint32_t)seed * 2654435761u >> 7) % model->vocab;
}

/* The token at a position of the stored part of a sequence. */
static int32_t stored_token(int sequence, int position)
{
    return token_of(1000 * (sequence + 1) + position);
}

static int add_plain(struct batch *batch, int sequence, int position, int32_t token)
{
    int before = batch->rows - 1;
    while (before >= 0 && batch->row[before].sequence != sequence)
        before--;
    batch->row[batch->rows] = (struct row){.token = token,
                                           .position = position,
                                           .sequence = sequence,
                                           .adapter = -1,
                                           .parent = before,
                                           .shared = position + 1,
                                           .scratch = -1};
    return batch->rows++;
}

/* parent: a tree row of this batch, or the row that holds position shared - 1, or -1. slot: a scratch slot of its own. */
static int add_tree(struct batch *batch, int sequence, int parent, int32_t shared, int32_t token, int32_t slot)
{
    const struct row *above = parent >= 0 && batch->row[parent].scratch >= 0 ? &batch->row[parent] : NULL;
    int ancestors = above ? above->position + 1 - shared : 0;
    struct row row = {.token = token,
                      .position = shared + ancestors,
                      .sequence = sequence,
                      .adapter = -1,
                      .parent = parent,
                      .shared = shared,
                      .path = batch->paths,
                      .scratch = slot};
    for (int i = 0; i < ancestors; i++)
        batch->path[batch->paths++] = batch->path[above->path + i];
    batch->path[batch->paths++] = slot;
    batch->row[batch->rows] = row;
    return batch->rows++;
}

/* Plain rows for the stored tokens first <= position < last, `chunk` at a time. */
static void store_positions(int sequence, int first, int last, int chunk)
{
    for (int start = first; start < last; start += chunk) {
        struct batch batch = {0};
        for (int p = start; p < last && p < start + chunk; p++)
            add_plain(&batch, sequence, p, stored_token(sequence, p));
        run(&batch);
        free(batch.logits);
    }
}

/* The tokens that a row of a batch sees, in order, by its parents; returns how many. */
static int tokens_of(const struct batch *batch, int r, int32_t *tokens)
{
    const struct row *row = &batch->row[r];
    int count = row->position + 1;
    for (int p = 0; p < count; p++)
        tokens[p] = stored_token(row->sequence, p);
    for (; r >= 0; r = batch->row[r].parent)
        tokens[batch->row[r].position] = batch->row[r].token;
    return count;
}

/* The logits of the last of these tokens, alone, as plain rows of a sequence of their own in clean memory. */
static void reference(const int32_t *tokens, int count, float *logits)
{
    int chunk = model->max_rows < MAX_STEP ? model->max_rows : MAX_STEP;
    memset(state, POISON, state_bytes);
    for (int start = 0; start < count; start += chunk) {
        struct batch batch = {0};
        for (int p = start; p < count && p < start + chunk; p++)
            add_plain(&batch, 0, p, tokens[p]);
        run(&batch);
        memcpy(logits, batch.logits + (size_t)(batch.rows - 1) * (size_t)model->vocab,
               (size_t)model->vocab * sizeof(float));
        free(batch.logits);
    }
}

/* How many rows of the batch have other bits than the plain sequence of their path. Destroys the state. */
static int differing(const struct batch *batch, const char *what, bool print)
{
    int different = 0;
    float *alone = checked(malloc((size_t)model->vocab * sizeof(float)));
    for (int r = 0; r < batch->rows; r++) {
        int32_t tokens[MAX_POSITIONS];
        int count = tokens_of(batch, r, tokens);
        const float *logits = batch->logits + (size_t)r * (size_t)model->vocab;
        reference(tokens, count, alone);
        int first = 0;
        while (first < model->vocab && memcmp(&logits[first], &alone[first], sizeof(float)) == 0)
            first++;
        if (first == model->vocab && isfinite(alone[0]))
            continue;
        different++;
        if (print && first < model->vocab)
            fprintf(stderr, "%s: %s: row %d (sequence %d, position %d, %s): logit %d is %.9g, alone %.9g\n",
                    variant_name, what, r, batch->row[r].sequence, batch->row[r].position,
                    batch->row[r].scratch < 0 ? "plain" : "tree", first, (double)logits[first], (double)alone[first]);
    }
    free(alone);
    return different;
}

/* A tree of twelve rows and four levels under `shared` positions: siblings, cousins with the same token, a long branch.
   Scratch slots count down from last_slot. Returns the index of its first row. */
static int add_big_tree(struct batch *batch, int sequence, int parent, int32_t shared, int32_t last_slot)
{
    static const int parents[] = {-1, -1, -1, 0, 0, 2, 3, 3, 5, 6, 8, 10},
                     seeds[] = {1, 2, 3, 4, 5, 4, 6, 7, 6, 8, 9, 1};
    int first = batch->rows;
    for (int i = 0; i < 12; i++)
        add_tree(batch, sequence, parents[i] < 0 ? parent : first + parents[i], shared, token_of(seeds[i]),
                 last_slot - i);
    return first;
}

static int check(const struct batch *batch, const char *what)
{
    int different = differing(batch, what, true);
    if (different)
        fprintf(stderr, "%s: %s: %d of %d rows differ\n", variant_name, what, different, batch->rows);
    return different != 0;
}

/* One tree alone, over prefixes that end before, at and behind the bounds of leaves, pages and windows. */
static int trees_alone(void)
{
    static const int prefixes[] = {0, 1, 15, 16, 36, 61, 64, 100};
    int failed = 0;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        struct batch batch = {0};
        char what[64];
        snprintf(what, sizeof what, "a tree after %d positions", prefixes[i]);
        memset(state, POISON, state_bytes);
        store_positions(1, 0, prefixes[i], 7);
        add_big_tree(&batch, 1, -1, prefixes[i], model->max_rows - 1);
        run(&batch);
        failed |= check(&batch, what);
        free(batch.logits);
    }
    return failed;
}

/* A chain of scratch rows, as long as the step allows: all ancestors in the scratch slots, none in the pages. */
static int chain_from_nothing(void)
{
    struct batch batch = {0};
    int length = model->max_rows < 15 ? model->max_rows : 15, last = -1;
    memset(state, POISON, state_bytes);
    for (int i = 0; i < length; i++)
        last = add_tree(&batch, 2, last, 0, token_of(i), (i * 7) % length);
    run(&batch);
    int failed = check(&batch, "a chain from nothing");
    free(batch.logits);
    return failed;
}

/* A prompt, a decoded token, a tree behind a plain row of the same step, and another tree, all in one step. */
static int mixed_step(void)
{
    struct batch batch = {0};
    memset(state, POISON, state_bytes);
    store_positions(1, 0, 62, 9);
    store_positions(3, 0, 40, 11);
    store_positions(4, 0, 17, 5);
    for (int p = 0; p < 5; p++)
        add_plain(&batch, 2, p, stored_token(2, p));
    int root = add_plain(&batch, 1, 62, token_of(77)); /* its children see it through the pages */
    int left = add_tree(&batch, 1, root, 63, token_of(1), 9), right = add_tree(&batch, 1, root, 63, token_of(2), 3);
    add_plain(&batch, 3, 40, stored_token(3, 40));
    int other = add_tree(&batch, 4, -1, 17, token_of(3), 5);
    int below = add_tree(&batch, 1, right, 63, token_of(4), 0);
    add_tree(&batch, 4, other, 17, token_of(4), 1);
    add_tree(&batch, 1, left, 63, token_of(4), 2);
    add_tree(&batch, 1, below, 63, token_of(5), 4);
    add_tree(&batch, 1, below, 63, token_of(6), 8);
    add_tree(&batch, 4, other, 17, token_of(5), 7);
    run(&batch);
    int failed = check(&batch, "a mixed step");
    free(batch.logits);
    return failed;
}

/* The comparison sees an ancestor that is taken from the wrong slot. */
static int mistakes_are_seen(void)
{
    struct batch batch = {0};
    memset(state, POISON, state_bytes);
    store_positions(1, 0, 20, 20);
    add_big_tree(&batch, 1, -1, 20, 11);
    batch.path[batch.row[11].path] = batch.row[1].scratch; /* row 11 descends from row 2, not 1 */
    run(&batch);
    int different = differing(&batch, "", false);
    if (different != 1)
        fprintf(stderr, "%s: a wrong path changes %d rows, expected 1\n", variant_name, different);
    free(batch.logits);
    return different != 1;
}

/* Prints a hash of the logits of 96 positions: equal for every page size and number of rows. */
static void print_hash(void)
{
    uint64_t hash = 14695981039346656037u;
    float *logits = checked(malloc((size_t)model->vocab * sizeof(float)));
    int32_t tokens[96];
    for (int p = 0; p < 96; p++)
        tokens[p] = stored_token(0, p);
    for (int count = 1; count <= 96; count += 5) {
        reference(tokens, count, logits);
        for (size_t i = 0; i < (size_t)model->vocab * sizeof(float); i++)
            hash = (hash ^ ((const unsigned char *)logits)[i]) * 1099511628211u;
    }
    printf("%s %016llx\n", variant_name, (unsigned long long)hash);
    free(logits);
}

int main(void)
{
    int failed = 0;
    map_weights();
    make_memory();
    for (int v = 0; v < model->variant_count; v++) {
        if (model->variants[v].supported && !model->variants[v].supported())
            continue;
        step_of_variant = model->variants[v].step;
        variant_name = model->variants[v].name;
        failed |= trees_alone() | chain_from_nothing() | mixed_step() | mistakes_are_seen();
        print_hash();
    }
    return failed;
}
