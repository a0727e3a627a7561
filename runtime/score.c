#include "score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "logits.h"
#include "progress.h"
#include "random.h"

struct scorer {
    struct engine *engine;
    const struct model *model;
    const struct score_options *options;
    struct score *out;
    const int32_t *ids;
    int32_t context, stride, group; /* group: positions a step */
    int *sequences;                 /* [batch], -1: not open */
    int *row;                       /* [group] of the reported copy */
    XXH3_state_t *hash;
};

static const struct prediction unscored = {.logprob = NAN, .argmax = -1, .gap = NAN};

static int sizes(struct scorer *scorer, struct error *error)
{
    const struct model *model = scorer->model;
    const struct score_options *options = scorer->options;
    if (options->batch > model->max_rows)
        return error_set(error, "--batch %d: a step has %d rows at most (max_rows)", (int)options->batch,
                         (int)model->max_rows);
    scorer->context = options->context > 0 && options->context < model->max_seq ? options->context : model->max_seq;
    scorer->stride = options->stride > 0 && options->stride < scorer->context ? options->stride : scorer->context;
    int32_t group = model->max_rows / options->batch;
    if (group > model->max_outputs)
        group = model->max_outputs;
    if (options->chunk > 0 && options->chunk < group)
        group = options->chunk;
    scorer->group = group;
    return 0;
}

static int32_t token_at(const struct scorer *scorer, int32_t copy, size_t place)
{
    if (copy == 0 || !scorer->options->neighbours)
        return scorer->ids[place];
    return (int32_t)random_below(random_bits((uint64_t)copy, 0, place), (uint64_t)scorer->model->vocab);
}

static void close_sequences(struct scorer *scorer)
{
    for (int32_t i = 0; scorer->sequences && i < scorer->options->batch; i++) {
        if (scorer->sequences[i] >= 0)
            sequence_close(scorer->engine, scorer->sequences[i]);
        scorer->sequences[i] = -1;
    }
}

/* Neighbours have the adapters that there are, and none, in turn. */
static int32_t adapter_of(const struct scorer *scorer, int32_t copy)
{
    struct adapter_info info;
    if (copy == 0 || !scorer->options->neighbours)
        return scorer->options->adapter;
    int32_t slot = copy % (engine_adapter_slots(scorer->engine) + 1) - 1;
    return engine_adapter_info(scorer->engine, slot, &info) ? slot : -1;
}

static int open_sequences(struct scorer *scorer, struct error *error)
{
    for (int32_t i = 0; i < scorer->options->batch; i++)
        if ((scorer->sequences[i] = sequence_open(scorer->engine, adapter_of(scorer, i), error)) < 0)
            return -1;
    return 0;
}

/* Looks at the logits after place `at`; `end` is that of the window. */
static int take_row(struct scorer *scorer, const float *logits, size_t at, size_t end, size_t first_unscored,
                    struct error *error)
{
    int32_t vocab = scorer->model->vocab;
    struct score *out = scorer->out;
    float maximum;
    XXH3_64bits_update(scorer->hash, logits, (size_t)vocab * sizeof *logits);
    if (scorer->options->logits && npy_out_add(scorer->options->logits, logits, 1, error))
        return -1;
    bool wanted = at + 1 == out->count || (at + 1 < end && at + 1 >= first_unscored);
    if (!wanted)
        return 0;
    if (logits_maximum(logits, vocab, &maximum, error))
        return -1;
    int32_t first, second;
    logits_best_two(logits, vocab, &first, &second);
    double log_sum = logits_log_sum(logits, vocab, maximum);
    bool last = at + 1 == out->count;
    int32_t token = last ? first : scorer->ids[at + 1];
    double logprob = (double)logits[token] - log_sum;
    struct prediction prediction = {
        .logprob = (float)logprob, .argmax = first, .gap = second < 0 ? INFINITY : logits[first] - logits[second]};
    if (last) {
        out->next = prediction;
        return 0;
    }
    out->place[at + 1] = prediction;
    out->nll -= logprob;
    out->scored++;
    return 0;
}

/* One step: places from .. from + count of all copies, interleaved. */
static int run_group(struct scorer *scorer, size_t from, int32_t count, struct error *error)
{
    for (int32_t i = 0; i < count; i++)
        for (int32_t copy = 0; copy < scorer->options->batch; copy++) {
            size_t place = from + (size_t)i;
            int row =
                engine_add(scorer->engine, scorer->sequences[copy], token_at(scorer, copy, place), copy == 0, error);
            if (row < 0)
                return -1;
            if (copy == 0)
                scorer->row[i] = row;
        }
    scorer->out->steps++;
    return engine_run(scorer->engine, error);
}

/* Places begin .. end as one sequence of the engine; those before `first_unscored` are only context. */
static int run_window(struct scorer *scorer, size_t begin, size_t end, size_t first_unscored, struct error *error)
{
    const struct score_options *options = scorer->options;
    if (open_sequences(scorer, error))
        return -1;
    for (size_t at = begin; at < end;) {
        if (options->interrupted && options->interrupted()) {
            scorer->out->interrupted = true;
            break;
        }
        int32_t count = end - at < (size_t)scorer->group ? (int32_t)(end - at) : scorer->group;
        if (run_group(scorer, at, count, error))
            return -1;
        for (int32_t i = 0; i < count; i++)
            if (take_row(scorer, engine_logits(scorer->engine, scorer->row[i]), at + (size_t)i, end, first_unscored,
                         error))
                return -1;
        at += (size_t)count;
        if (options->progress)
            options->progress(options->progress_context, "scoring", at, scorer->out->count);
    }
    close_sequences(scorer);
    scorer->out->windows++;
    return 0;
}

static int allocate(struct scorer *scorer, size_t count, struct error *error)
{
    struct score *out = scorer->out;
    scorer->hash = XXH3_createState();
    scorer->sequences = malloc((size_t)scorer->options->batch * sizeof *scorer->sequences);
    scorer->row = malloc((size_t)scorer->group * sizeof *scorer->row);
    out->place = count < SIZE_MAX / sizeof *out->place ? malloc(count * sizeof *out->place) : NULL;
    for (int32_t i = 0; scorer->sequences && i < scorer->options->batch; i++)
        scorer->sequences[i] = -1;
    if (!scorer->hash || !scorer->sequences || !scorer->row || !out->place)
        return error_set(error, "out of memory for the scores of %zu tokens", count);
    XXH3_64bits_reset(scorer->hash);
    for (size_t i = 0; i < count; i++)
        out->place[i] = unscored;
    out->next = unscored;
    out->count = count;
    return 0;
}

static int run_windows(struct scorer *scorer, struct error *error)
{
    struct score *out = scorer->out;
    size_t begin = 0, first_unscored = 1;
    for (;;) {
        size_t end = out->count - begin < (size_t)scorer->context ? out->count : begin + (size_t)scorer->context;
        if (run_window(scorer, begin, end, first_unscored, error))
            return -1;
        if (end == out->count || out->interrupted)
            return 0;
        first_unscored = end;
        begin += (size_t)scorer->stride;
    }
}

int score_sequence(struct engine *engine, const int32_t *ids, size_t count, const struct score_options *options,
                   struct score *score, struct error *error)
{
    struct scorer scorer = {
        .engine = engine, .model = engine_model(engine), .options = options, .out = score, .ids = ids};
    memset(score, 0, sizeof *score);
    double start = clock_seconds();
    int failed = sizes(&scorer, error) || allocate(&scorer, count, error) || run_windows(&scorer, error);
    if (!failed)
        score->logits_hash = XXH3_64bits_digest(scorer.hash);
    score->seconds = clock_seconds() - start;
    engine_discard(engine);
    close_sequences(&scorer);
    free(scorer.sequences);
    free(scorer.row);
    XXH3_freeState(scorer.hash);
    return failed ? -1 : 0;
}

void score_free(struct score *score)
{
    free(score->place);
    memset(score, 0, sizeof *score);
}
