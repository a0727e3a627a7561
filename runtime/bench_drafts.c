#include "bench_drafts.h"

#include <stdio.h>
#include <stdlib.h>

#include "draft.h"
#include "interrupt.h"
#include "progress.h"
#include "statistics.h"

/* What one run has open. */
struct texts {
    struct bench_drafts *drafts;
    struct speculation *speculation;
    int *sequence, *slot; /* [batch] -1: not open */
    int32_t *limit, *made;
};

static int open_texts(struct texts *texts, struct error *error)
{
    struct bench_drafts *drafts = texts->drafts;
    struct sampler_options greedy = sampler_defaults();
    size_t batch = (size_t)drafts->batch;
    texts->sequence = malloc(batch * sizeof *texts->sequence);
    texts->slot = malloc(batch * sizeof *texts->slot);
    texts->limit = calloc(batch, sizeof *texts->limit);
    texts->made = calloc(batch, sizeof *texts->made);
    if (!texts->sequence || !texts->slot || !texts->limit || !texts->made)
        return error_set(error, "out of memory for the measurements");
    for (int32_t s = 0; s < drafts->batch; s++)
        texts->sequence[s] = texts->slot[s] = -1;
    for (int32_t s = 0; s < drafts->batch; s++) {
        texts->sequence[s] = sequence_open(drafts->engine, drafts->adapter[s], error);
        texts->slot[s] = draw_open(drafts->engine, &greedy, error);
        if (texts->sequence[s] < 0 || texts->slot[s] < 0)
            return -1;
        speculation_begin(texts->speculation, s, texts->sequence[s], texts->slot[s]);
        if (speculation_see(texts->speculation, s, drafts->prompts + (size_t)s * (size_t)drafts->prompt,
                            (size_t)drafts->prompt, error))
            return -1;
    }
    return 0;
}

static void close_texts(struct texts *texts)
{
    struct engine *engine = texts->drafts->engine;
    engine_discard(engine);
    while (engine_under_way(engine) > 0)
        (void)engine_collect(engine, NULL, NULL);
    for (int32_t s = 0; texts->sequence && texts->slot && s < texts->drafts->batch; s++) {
        if (texts->sequence[s] >= 0)
            sequence_close(engine, texts->sequence[s]);
        if (texts->slot[s] >= 0)
            draw_close(engine, texts->slot[s]);
    }
    free(texts->sequence);
    free(texts->slot);
    free(texts->limit);
    free(texts->made);
}

/* A token of a text: it must be the plain one. */
static int check_token(struct texts *texts, int32_t s, int32_t token, struct error *error)
{
    int32_t at = texts->made[s]++;
    int32_t plain = texts->drafts->plain[(size_t)s * ((size_t)texts->drafts->gen + 1) + (size_t)at];
    if (token == plain)
        return 0;
    return error_set(error, "sequence %d, token %d: %d with guesses and %d without; this is a bug", s, at, token,
                     plain);
}

static int run_prompt_step(struct texts *texts, struct error *error)
{
    const struct drawn *drawn;
    if (engine_submit(texts->drafts->engine, error))
        return -1;
    int draws = engine_collect(texts->drafts->engine, &drawn, error);
    for (int i = 0; i < draws; i++) {
        int32_t s = 0;
        while (texts->slot[s] != drawn[i].slot)
            s++;
        if (check_token(texts, s, drawn[i].token, error) ||
            speculation_see(texts->speculation, s, &drawn[i].token, 1, error))
            return -1;
    }
    return draws < 0 ? -1 : speculation_ran(texts->speculation, error);
}

static int read_prompts(struct texts *texts, struct error *error)
{
    struct bench_drafts *drafts = texts->drafts;
    struct engine *engine = drafts->engine;
    for (int32_t s = 0; s < drafts->batch; s++)
        for (int32_t place = 0; place < drafts->prompt; place++) {
            bool last = place + 1 == drafts->prompt;
            int32_t token = drafts->prompts[(size_t)s * (size_t)drafts->prompt + (size_t)place];
            int row = engine_add(engine, texts->sequence[s], token, false, error);
            if (row < 0 || (last && engine_draw(engine, row, texts->slot[s], error)))
                return -1;
            speculation_row(texts->speculation, s, row, place);
            if (engine_room(engine) > 0 && (!last || s + 1 < drafts->batch))
                continue;
            if (interrupt_requested())
                return BENCH_DRAFTS_INTERRUPTED;
            if (run_prompt_step(texts, error))
                return -1;
        }
    return 0;
}

/* Cycles until each text has its tokens. */
static int decode(struct texts *texts, bool measured, struct error *error)
{
    struct bench_drafts *drafts = texts->drafts;
    for (;;) {
        int32_t open = 0;
        for (int32_t s = 0; s < drafts->batch; s++)
            open += (texts->limit[s] = drafts->gen + 1 - texts->made[s]) > 0;
        if (!open)
            return 0;
        if (interrupt_requested())
            return BENCH_DRAFTS_INTERRUPTED;
        double start = clock_seconds();
        if (speculation_cycle(texts->speculation, texts->limit, false, error))
            return -1;
        double seconds = clock_seconds() - start;
        for (int32_t s = 0; s < drafts->batch; s++) {
            const struct drawn *drawn;
            int32_t count = speculation_drawn(texts->speculation, s, &drawn);
            for (int32_t i = 0; texts->limit[s] > 0 && i < count; i++)
                if (check_token(texts, s, drawn[i].token, error))
                    return -1;
        }
        if (!measured)
            continue;
        drafts->seconds += seconds;
        drafts->step[drafts->steps++] = seconds;
    }
}

static int run_once(struct bench_drafts *drafts, struct speculation *speculation, bool measured, struct error *error)
{
    struct texts texts = {.drafts = drafts, .speculation = speculation};
    int outcome = open_texts(&texts, error);
    if (!outcome)
        outcome = read_prompts(&texts, error);
    struct speculation_counts before = speculation_counts(speculation);
    if (!outcome)
        outcome = decode(&texts, measured, error);
    struct speculation_counts counts = speculation_since(speculation, &before), *sum = &drafts->counts;
    if (measured) {
        sum->steps += counts.steps;
        sum->cycles += counts.cycles;
        sum->drafted += counts.drafted;
        sum->accepted += counts.accepted;
        sum->passes += counts.passes;
        sum->draft_seconds += counts.draft_seconds;
        sum->verify_seconds += counts.verify_seconds;
        sum->accept_seconds += counts.accept_seconds;
    }
    close_texts(&texts);
    return outcome;
}

int bench_drafts_run(struct bench_drafts *drafts, struct error *error)
{
    drafts->step =
        malloc(((size_t)drafts->repeat * (size_t)drafts->gen * (size_t)drafts->batch + 1) * sizeof *drafts->step);
    if (!drafts->step)
        return error_set(error, "out of memory for the measurements");
    struct speculation *speculation = speculation_open(drafts->engine, &drafts->options, drafts->batch, error);
    if (!speculation)
        return -1;
    drafts->options = *speculation_options(speculation);
    int outcome = 0;
    for (int32_t i = 0; i <= drafts->repeat && !outcome; i++)
        outcome = run_once(drafts, speculation, i > 0, error);
    speculation_close(speculation);
    return outcome;
}

void bench_drafts_free(struct bench_drafts *drafts)
{
    free(drafts->step);
    drafts->step = NULL;
}

struct figures {
    double accepted; /* tokens that a text gets from a cycle */
    double step, draft, verify, accept;
    double passes, bytes, floor; /* of a step; floor: seconds */
    double speed_up;
};

static struct figures figures_of(const struct bench_drafts *drafts, const struct bench_plain *plain)
{
    const struct model *model = engine_model(drafts->engine);
    const struct speculation_counts *counts = &drafts->counts;
    double steps = counts->steps ? (double)counts->steps : 1, tokens = (double)(counts->cycles + counts->accepted);
    double draft_bytes = drafts->options.kind == DRAFT_EAGLE ? (double)model->draft->weight_bytes_read : 0;
    struct figures figures = {
        .accepted = counts->cycles ? tokens / (double)counts->cycles : 0,
        .step = median(drafts->step, drafts->steps),
        .draft = counts->draft_seconds / steps,
        .verify = counts->verify_seconds / steps,
        .accept = counts->accept_seconds / steps,
        .passes = (double)counts->passes / steps,
    };
    figures.bytes = plain->bytes + figures.passes * draft_bytes;
    figures.floor = plain->bandwidth > 0 ? figures.bytes / plain->bandwidth : 0;
    /* A plain step gives a token to each text. */
    if (drafts->seconds > 0)
        figures.speed_up = plain->seconds * tokens / drafts->batch / drafts->seconds;
    return figures;
}

static const char *kind_name(const struct bench_drafts *drafts)
{
    return drafts->options.kind == DRAFT_EAGLE ? "eagle" : "ngram";
}

void bench_drafts_print(const struct bench_drafts *drafts, const struct bench_plain *plain)
{
    struct figures f = figures_of(drafts, plain);
    double tokens = (double)(drafts->counts.cycles + drafts->counts.accepted);
    printf("drafts     %10.1f tokens/s   %s: %.2f tokens of a text a step, %.2f times the speed of plain steps\n",
           drafts->seconds > 0 ? tokens / drafts->seconds : 0, kind_name(drafts), f.accepted, f.speed_up);
    printf("cycle      %10.3f ms         %.2f of a plain step (median); mean: draft %.3f ms (%.1f passes), verify "
           "%.3f ms, accept %.3f ms\n",
           f.step * 1e3, plain->seconds > 0 ? f.step / plain->seconds : 0, f.draft * 1e3, f.passes, f.verify * 1e3,
           f.accept * 1e3);
    printf("floor      %10.3f ms         %.1f MB of weights; a cycle takes %.2f times as long\n", f.floor * 1e3,
           f.bytes / 1e6, f.floor > 0 ? f.step / f.floor : 0);
}

static void number(struct json_out *out, const char *key, double value)
{
    json_key(out, key);
    json_double(out, value);
}

static void integer(struct json_out *out, const char *key, int64_t value)
{
    json_key(out, key);
    json_integer(out, value);
}

void bench_drafts_json(const struct bench_drafts *drafts, const struct bench_plain *plain, struct json_out *out)
{
    struct figures f = figures_of(drafts, plain);
    json_open_object(out);
    json_key(out, "kind");
    json_text(out, kind_name(drafts));
    integer(out, "tokens", drafts->options.tokens);
    integer(out, "depth", drafts->options.depth);
    integer(out, "top_k", drafts->options.top_k);
    integer(out, "steps", drafts->counts.steps);
    integer(out, "cycles", drafts->counts.cycles);
    integer(out, "drafted", drafts->counts.drafted);
    integer(out, "accepted", drafts->counts.accepted);
    integer(out, "passes", drafts->counts.passes);
    number(out, "accepted_length", f.accepted);
    number(out, "cycle_ms_median", f.step * 1e3);
    number(out, "draft_ms_mean", f.draft * 1e3);
    number(out, "verify_ms_mean", f.verify * 1e3);
    number(out, "accept_ms_mean", f.accept * 1e3);
    number(out, "cycle_of_plain", plain->seconds > 0 ? f.step / plain->seconds : 0);
    number(out, "weight_bytes_read", f.bytes);
    number(out, "floor_ms", f.floor * 1e3);
    number(out, "cycle_of_floor", f.floor > 0 ? f.step / f.floor : 0);
    number(out, "speed_up", f.speed_up);
    json_close_object(out);
}
