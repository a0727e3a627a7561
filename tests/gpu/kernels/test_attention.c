/* The attention kernels against a plain softmax in doubles, and bitwise against themselves: alone, beside others, in any
   chunking, on any number of blocks, as a draft tree or not.

   usage: test_attention FOLDER     compiled with FOLDER/shapes.cuh and FOLDER/launch.h, which say what its cubins are */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch.h"
#include "shapes.cuh"
#include "support.h"

enum {
    SEQUENCES = 24,
    POSITIONS = 1200, /* of each sequence */
    TABLE = (POSITIONS + PAGE - 1) / PAGE,
    PAGES = SEQUENCES * TABLE,
    SCRATCH = 256, /* slots */
    TESTED_LAYER = LAYERS - 1,
    GROUP = HEADS / KV_HEADS,
    CLASSES = sizeof CLASS / sizeof *CLASS,
    BLOCKS = 264,
    PATHS = 16384,
};

struct test_row {
    int sequence, position;
    int tree; /* 0: plain; else so many last positions are read from scratch slots */
};

static struct {
    element *state; /* host copy */
    size_t state_elements;
    int32_t pages[SEQUENCES][TABLE];
    struct cuda_step step; /* device pointers */
    CUfunction kernel[CLASSES];
    struct activations *arena;
    int scratch_used, path_used;
    int32_t path[PATHS];
} t;

static element *host_slot(int slot, int layer, int head)
{
    return t.state + (size_t)(slot / PAGE) * PAGE_ELEMENTS + ((size_t)layer * KV_HEADS + (size_t)head) * HEAD_ELEMENTS +
           (size_t)(slot % PAGE) * HEAD_DIM;
}

static int page_slot(int sequence, int position)
{
    return t.pages[sequence][position / PAGE] * PAGE + position % PAGE;
}

static element query_of(int sequence, int position, int column)
{
    uint64_t state = (uint64_t)sequence * 1000003 + (uint64_t)position * 7919 + (uint64_t)column * 104729;
    return bf16_of(4.0f * random_float(&state));
}

static void prepare(const char *folder)
{
    uint64_t seed = 1;
    for (int i = 0; i < (int)CLASSES; i++) {
        char path[512], name[64];
        snprintf(name, sizeof name, "attention_%d", CLASS[i].rows);
        snprintf(path, sizeof path, "%s/%s.cubin", folder, name);
        t.kernel[i] = gpu_kernel(path, name, CLASS[i].shared);
    }
    int32_t order[PAGES];
    for (int i = 0; i < PAGES; i++)
        order[i] = i;
    for (int i = PAGES - 1; i > 0; i--) {
        int j = (int)(random_next(&seed) % (uint64_t)(i + 1)), other = order[i];
        order[i] = order[j];
        order[j] = other;
    }
    memcpy(t.pages, order, sizeof t.pages);
    t.state_elements = (size_t)(PAGES + SCRATCH / PAGE + 1) * PAGE_ELEMENTS;
    t.state = malloc(t.state_elements * sizeof *t.state);
    for (size_t i = 0; i < t.state_elements; i++)
        t.state[i] = bf16_of(random_float(&seed));
    t.arena = gpu_allocate(sizeof(struct activations));
    gpu_zero(t.arena->attention_arrivals, sizeof t.arena->attention_arrivals);
    t.step = (struct cuda_step){
        .counts = gpu_allocate(sizeof(struct cuda_counts)),
        .row = gpu_allocate(MAX_ROWS * sizeof(struct cuda_row)),
        .pages = gpu_allocate(sizeof t.pages),
        .path = gpu_allocate(sizeof t.path),
        .state = gpu_allocate(t.state_elements * sizeof *t.state),
        .arena = (unsigned char *)t.arena,
        .table = TABLE,
        .pages_total = PAGES,
    };
    gpu_upload((void *)t.step.pages, t.pages, sizeof t.pages);
}

/* One launch: rows in order, their results to out[n][QUERY]. */
static void run(const struct test_row *rows, int n, int class, int blocks, element *out)
{
    static struct cuda_row row[MAX_ROWS];
    static element query[MAX_ROWS][QUERY];
    struct cuda_counts counts = {.rows = n};
    t.scratch_used = t.path_used = 0;
    for (int r = 0; r < n; r++) {
        row[r] = (struct cuda_row){.position = rows[r].position,
                                   .sequence = rows[r].sequence,
                                   .adapter = -1,
                                   .parent = r > 0 && rows[r - 1].sequence == rows[r].sequence ? r - 1 : -1,
                                   .shared = rows[r].position + 1,
                                   .scratch = -1};
        if (rows[r].tree > 0) {
            row[r].shared = rows[r].position + 1 - rows[r].tree;
            row[r].path = t.path_used;
            for (int i = 0; i < rows[r].tree; i++) {
                int slot = PAGES * PAGE + t.scratch_used, from = page_slot(rows[r].sequence, row[r].shared + i);
                for (int head = 0; head < KV_HEADS; head++) {
                    memcpy(host_slot(slot, TESTED_LAYER, head), host_slot(from, TESTED_LAYER, head), 2 * HEAD_DIM);
                    memcpy(host_slot(slot, TESTED_LAYER, head) + VALUE_OFFSET,
                           host_slot(from, TESTED_LAYER, head) + VALUE_OFFSET, 2 * HEAD_DIM);
                }
                t.path[t.path_used++] = t.scratch_used++;
            }
            row[r].scratch = t.scratch_used - 1;
        }
        for (int i = 0; i < QUERY; i++)
            query[r][i] = query_of(rows[r].sequence, rows[r].position, i);
    }
    if (t.scratch_used > 0)
        gpu_upload(t.step.state + (size_t)PAGES * PAGE_ELEMENTS * 2, t.state + (size_t)PAGES * PAGE_ELEMENTS,
                   (t.state_elements - (size_t)PAGES * PAGE_ELEMENTS) * 2);
    gpu_upload((void *)t.step.counts, &counts, sizeof counts);
    gpu_upload((void *)t.step.row, row, (size_t)n * sizeof *row);
    gpu_upload((void *)t.step.path, t.path, sizeof t.path);
    gpu_poison(t.arena->query, sizeof t.arena->query);
    gpu_upload(t.arena->query, query, (size_t)n * sizeof *query);
    gpu_poison(t.arena->attention, sizeof t.arena->attention);
    gpu_poison(t.arena->attention_partials, sizeof t.arena->attention_partials);

    struct layer layer = {0};
    int index = TESTED_LAYER;
    struct gpu_launch launch = {t.kernel[class], {(unsigned)blocks}, 128, CLASS[class].shared, 0};
    gpu_launch(&launch, (void *[]){&t.step, &layer, &index});
    static element pieces[(MAX_ROWS + 7) / 8 * 8 * QUERY_PADDED];
    gpu_download(pieces, t.arena->attention, (size_t)((n + 7) / 8) * 8 * QUERY_PADDED * sizeof *pieces);
    for (int r = 0; r < n; r++)
        for (int c = 0; c < QUERY; c++)
            out[(size_t)r * QUERY + (size_t)c] =
                pieces[((r / 8) * (QUERY_PADDED / 8) + c / 8) * 64 + r % 8 * 8 + c % 8];
    for (int r = n; r < (n + 7) / 8 * 8; r++)
        test_check(pieces[(r / 8) * (QUERY_PADDED / 8) * 64 + r % 8 * 8] == 0xffff, "padding row %d was written", r);
    static int arrivals[sizeof t.arena->attention_arrivals / sizeof(int)];
    gpu_download(arrivals, t.arena->attention_arrivals, sizeof arrivals);
    int left = 0;
    for (size_t i = 0; i < sizeof arrivals / sizeof *arrivals; i++)
        left += arrivals[i] != 0;
    test_check(left == 0, "%d counters are not zero after %d rows on %d blocks", left, n, blocks);
}

/* Softmax in doubles. */
static void reference(const struct test_row *row, int head, double *out)
{
    int kv = head / GROUP, start = WINDOW > 0 && row->position >= WINDOW ? row->position - WINDOW + 1 : 0;
    static double score[POSITIONS];
    double top = -INFINITY, sum = 0;
    for (int p = start; p <= row->position; p++) {
        const element *key = host_slot(page_slot(row->sequence, p), TESTED_LAYER, kv);
        score[p] = 0;
        for (int i = 0; i < HEAD_DIM; i++)
            score[p] += (double)bf16_to_float(query_of(row->sequence, row->position, head * HEAD_DIM + i)) *
                        (double)bf16_to_float(key[i]);
        score[p] /= sqrt((double)HEAD_DIM);
        top = fmax(top, score[p]);
    }
    memset(out, 0, HEAD_DIM * sizeof *out);
    for (int p = start; p <= row->position; p++) {
        const element *value = host_slot(page_slot(row->sequence, p), TESTED_LAYER, kv) + VALUE_OFFSET;
        double probability = exp(score[p] - top);
        sum += probability;
        for (int i = 0; i < HEAD_DIM; i++)
            out[i] += probability * (double)bf16_to_float(value[i]);
    }
    for (int i = 0; i < HEAD_DIM; i++)
        out[i] /= sum;
}

static double worst;

static void check_reference(const struct test_row *row, const element *out, int class)
{
    for (int head = 0; head<HEADS; head += HEADS> 8 ? HEADS / 8 + 1 : 1) {
        double expected[HEAD_DIM], error = 0;
        reference(row, head, expected);
        for (int i = 0; i < HEAD_DIM; i++) {
            double e = fabs((double)bf16_to_float(out[head * HEAD_DIM + i]) - expected[i]) / (0.5 + fabs(expected[i]));
            error = e > error || e != e ? e : error;
        }
        worst = error > worst ? error : worst;
        test_check(error < 6e-3, "class %d, sequence %d, position %d, head %d: error %g", CLASS[class].rows,
                   row->sequence, row->position, head, error);
    }
}

static element *alone[SEQUENCES][POSITIONS];

/* A row's result by itself, in the smallest class on all blocks: what every other way must equal. */
static const element *result_of(int sequence, int position)
{
    if (!alone[sequence][position]) {
        alone[sequence][position] = malloc(QUERY * sizeof(element));
        run(&(struct test_row){sequence, position, 0}, 1, 0, BLOCKS, alone[sequence][position]);
    }
    return alone[sequence][position];
}

static void check_same(const struct test_row *rows, int n, int class, int blocks, const char *what)
{
    static element out[MAX_ROWS * QUERY];
    int different = 0, first = -1;
    run(rows, n, class, blocks, out);
    for (int r = 0; r < n; r++)
        if (memcmp(out + (size_t)r * QUERY, result_of(rows[r].sequence, rows[r].position), QUERY * sizeof *out)) {
            different++;
            first = first < 0 ? r : first;
        }
    test_check(different == 0,
               "%s: %d rows in class %d on %d blocks: %d rows differ from themselves alone, first row %d (position %d)",
               what, n, CLASS[class].rows, blocks, different, first, first < 0 ? 0 : rows[first].position);
}

int main(int count, char **arguments)
{
    static const int positions[] = {0,   1,   15,  16,  62,  63,  64,  65,   127,  200,
                                    448, 511, 512, 513, 575, 576, 700, 1023, 1024, 1199};
    static const int blocks[] = {1, 2, 7, 37, 132, BLOCKS};
    static const int sizes[] = {2, 8, 31, 64, 200, 512};
    static struct test_row rows[MAX_ROWS];
    uint64_t seed = 7;
    if (count < 2)
        return 2;
    gpu_open();
    prepare(arguments[1]);
    gpu_upload(t.step.state, t.state, t.state_elements * 2);

    static element out[MAX_ROWS * QUERY];
    for (int class = 0; class < (int)CLASSES; class ++)
        for (int i = 0; i < (int)(sizeof positions / sizeof *positions); i++) {
            struct test_row row = {i % SEQUENCES, positions[i], 0};
            run(&row, 1, class, BLOCKS, out);
            check_reference(&row, out, class);
            for (int b = 0; b < (int)(sizeof blocks / sizeof *blocks); b++)
                check_same(&row, 1, class, blocks[b], "alone");
        }
    /* A prompt in chunks. */
    for (int class = 0; class < (int)CLASSES; class ++)
        for (int chunk = 1; chunk <= CLASS[class].rows && chunk <= 600; chunk = chunk * 5 + 3)
            for (int begin = 0; begin < 600; begin += chunk * (chunk < 64 ? 7 : 1)) {
                int n = begin + chunk < 600 ? chunk : 600 - begin;
                for (int i = 0; i < n; i++)
                    rows[i] = (struct test_row){3, begin + i, 0};
                check_same(rows, n, class, blocks[(begin + chunk) % 6], "prompt");
            }
    /* Neighbours: short runs of rows of many sequences. */
    for (int s = 0; s < 6; s++)
        for (int class = 0; class < (int)CLASSES; class ++) {
            if (sizes[s] > CLASS[class].rows)
                continue;
            for (int round = 0; round < 3; round++) {
                for (int n = 0, sequence = 0; n < sizes[s];) {
                    sequence = (sequence + 1 + (int)(random_next(&seed) % 5)) % SEQUENCES; /* another one than before */
                    int run_length = round == 0 ? 1 : 1 + (int)(random_next(&seed) % 40);
                    int position = (int)(random_next(&seed) % (POSITIONS - 60));
                    for (int i = 0; i < run_length && n < sizes[s]; i++, n++)
                        rows[n] = (struct test_row){sequence, position + i, 0};
                }
                check_same(rows, sizes[s], class, blocks[(s + round) % 6], "neighbours");
            }
        }
    /* Trees: rows whose last keys, or all in a leaf and a bit, come from scratch slots; siblings share a position. */
    for (int class = 0; class < (int)CLASSES; class ++)
        for (int b = 0; b < 6; b++)
            for (int base = 60; base < 1100; base += 211) {
                int n = CLASS[class].rows < 17 ? CLASS[class].rows : 17;
                for (int r = 0; r < n; r++)
                    rows[r] = (struct test_row){5, base + r / 3, r / 3 + 1};
                check_same(rows, n, class, blocks[b], "tree");
            }
    for (int r = 0; r < 3; r++)
        rows[r] = (struct test_row){6, 600 + r, 70 + r};
    for (int b = 0; b < 6; b++)
        check_same(rows, 3, 0, blocks[b], "deep tree");
    printf("largest error against doubles: %.2e\n", worst);
    return test_result("test_attention");
}
