/* Built into packages in place of the commands by tests/gpu/speculation/prepare.sh: what the draft head guesses on the GPU is what
 * it guesses on the CPU, and the same bits in steps of any number of rows. Prints one line; the exit status says whether all was
 * well.
 *
 *     NAME DIFFERENCE     the largest one of a log-probability that is allowed
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "draft.h"
#include "engine.h"

enum { TEXT = 100, WIDE = 4, DEEP = 3, LEVELS = TEXT + WIDE * DEEP, MOST = 32 };

extern const struct model package_model;
static const struct model *const model = &package_model;
static const struct draft_model *draft;

static int32_t text[TEXT + 1], count; /* guesses of an output */

/* What an engine guessed: behind each pair of the text, then behind each node of a tree. */
struct guesses {
    struct engine_guess best[LEVELS][MOST];
};

static struct error error;

static void must(bool good)
{
    if (good)
        return;
    printf("error: %s\n", error.message);
    exit(2);
}

static void get_guesses(struct engine *engine, int32_t outputs, struct engine_guess (*best)[MOST])
{
    for (int32_t i = 0; i < outputs; i++)
        must(engine_draft_best(engine, i, count, best[i], &error) == 0);
}

/* Rows [first, first + rows) of the text through the target, then their pairs through the head. Pair i leaves its feature at
   place i. */
static void run_text(struct engine *engine, int sequence, int32_t first, int32_t rows, struct guesses *guesses)
{
    struct row row[TEXT];
    int32_t output_row[TEXT], feature[TEXT], place[TEXT];
    for (int32_t i = 0; i < rows; i++) {
        must(engine_add(engine, sequence, text[first + i], false, &error) == i);
        row[i] = (struct row){.token = text[first + i + 1],
                              .position = first + i,
                              .sequence = sequence,
                              .adapter = -1,
                              .parent = i - 1,
                              .shared = first + i + 1,
                              .scratch = -1};
        output_row[i] = feature[i] = i;
        place[i] = first + i;
    }
    must(engine_run(engine, &error) == 0);
    struct engine_draft_step step = {.rows = rows,
                                     .outputs = rows,
                                     .row = row,
                                     .output_row = output_row,
                                     .feature = feature,
                                     .feature_place = place,
                                     .guesses = count};
    must(engine_draft_run(engine, &step, &error) == 0);
    get_guesses(engine, rows, guesses->best + first);
}

/* WIDE chains of DEEP nodes behind the text, level by level; `together`: chains in a step. */
static void run_tree(struct engine *engine, int sequence, int32_t together, struct guesses *guesses)
{
    for (int32_t level = 0; level < DEEP; level++)
        for (int32_t from = 0; from < WIDE; from += together) {
            struct row row[WIDE];
            int32_t output_row[WIDE], feature[WIDE], place[WIDE], path[WIDE * DEEP], paths = 0, rows = 0;
            for (int32_t chain = from; chain < from + together && chain < WIDE; chain++, rows++) {
                row[rows] = (struct row){.token = (text[chain] + 7 * level) % model->vocab,
                                         .position = TEXT + level,
                                         .sequence = sequence,
                                         .adapter = -1,
                                         .parent = -1,
                                         .shared = TEXT,
                                         .path = paths,
                                         .scratch = chain * DEEP + level};
                for (int32_t above = 0; above <= level; above++)
                    path[paths++] = chain * DEEP + above;
                output_row[rows] = rows;
                feature[rows] = level == 0 ? ~(TEXT - 1) : ~(TEXT + chain * DEEP + level - 1);
                place[rows] = TEXT + chain * DEEP + level;
            }
            struct engine_draft_step step = {.rows = rows,
                                             .outputs = rows,
                                             .row = row,
                                             .output_row = output_row,
                                             .path = path,
                                             .feature = feature,
                                             .feature_place = place,
                                             .guesses = count};
            must(engine_draft_run(engine, &step, &error) == 0);
            get_guesses(engine, rows, guesses->best + TEXT + level * WIDE + from);
        }
}

static void run(struct engine *engine, int32_t chunk, struct guesses *guesses)
{
    int sequence = sequence_open(engine, -1, &error);
    must(sequence >= 0);
    for (int32_t first = 0; first < TEXT; first += chunk)
        run_text(engine, sequence, first, TEXT - first < chunk ? TEXT - first : chunk, guesses);
    run_tree(engine, sequence, chunk < WIDE ? chunk : WIDE, guesses);
    sequence_close(engine, sequence);
}

/* The largest difference of a log-probability that both have, and how often the best guess is another. */
static double difference(const struct guesses *a, const struct guesses *b, int *others)
{
    double most = 0;
    *others = 0;
    for (int i = 0; i < LEVELS; i++) {
        *others += a->best[i][0].id != b->best[i][0].id;
        for (int32_t j = 0; j < count; j++)
            for (int32_t k = 0; k < count; k++)
                if (a->best[i][j].id == b->best[i][k].id)
                    most = fmax(most, fabs(a->best[i][j].logprob - b->best[i][k].logprob));
    }
    return most;
}

static bool same(const struct guesses *a, const struct guesses *b)
{
    for (int i = 0; i < LEVELS; i++)
        for (int32_t j = 0; j < count; j++)
            if (a->best[i][j].id != b->best[i][j].id || a->best[i][j].logprob != b->best[i][j].logprob)
                return false;
    return true;
}

int main(int argc, char **argv)
{
    static struct guesses cpu, gpu, again;
    double allowed = argc > 1 ? atof(argv[1]) : 0;
    draft = model->draft;
    count = draft->vocab < MOST ? draft->vocab : MOST;
    for (int i = 0, seed = 1; i <= TEXT; i++) {
        seed = (seed * 8121 + 28411) % 134456;
        text[i] = seed % model->vocab;
    }
    struct engine_options options = {.device = "cpu", .exact = true};
    struct engine *engine = engine_open(model, &options, &error);
    must(engine != NULL);
    run(engine, TEXT, &cpu);
    engine_close(engine);
    options.device = "cuda";
    engine = engine_open(model, &options, &error);
    must(engine != NULL);
    run(engine, TEXT, &gpu);
    int others, differing = 0, chunks[] = {1, 2, 7, 8, 16, 31, 64};
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        run(engine, chunks[i], &again);
        differing += !same(&gpu, &again);
    }
    double most = difference(&cpu, &gpu, &others);
    printf("%s: %d outputs, %d best guesses differ from the CPU's, log-probabilities by up to %.4f; %d chunkings of %d "
           "differ in bits (%s)\n",
           draft->kind, LEVELS, others, most, differing, (int)(sizeof chunks / sizeof *chunks), engine_variant(engine));
    engine_close(engine);
    return differing > 0 || !(most <= allowed) || others > LEVELS / 20;
}
