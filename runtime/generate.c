#include "generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "logits.h"
#include "progress.h"
#include "sampler_filter.h"
#include "stop.h"

/* What lives while one text is generated. */
struct run {
    struct engine *engine;
    const struct model *model;
    const struct generate_options *options;
    struct generation *out;
    int slot;                         /* that draws the tokens; -1: none yet */
    struct speculation_counts drafts; /* before this text */
    int32_t planned;                  /* tokens whose draws have been submitted */
    struct detokenizer *detokenizer;
    struct stop *stop;
    struct candidate *candidates; /* [2 * vocab] for alternatives */
    size_t prompt_count;
    int sequence; /* -1: none yet */
    size_t logprob_capacity;
};

const char *finish_name(enum finish finish)
{
    static const char *const names[] = {"stop", "length", "context", "interrupted"};
    return names[finish];
}

static int check_prompt(const struct model *model, const int32_t *prompt, size_t count, struct error *error)
{
    if (count == 0)
        return error_set(error, "the prompt has no tokens: expected at least one; give some text, or ids with --ids");
    if (count > (size_t)model->max_seq)
        return error_set(error,
                         "the prompt has %zu tokens and the context holds %d: shorten the prompt, or build the "
                         "package again with --max-seq %zu or more",
                         count, (int)model->max_seq, count + 1);
    for (size_t i = 0; i < count; i++)
        if (prompt[i] < 0 || prompt[i] >= model->vocab)
            return error_set(error, "prompt token %zu is id %d: expected 0 to %d, the vocabulary's last", i + 1,
                             (int)prompt[i], (int)model->vocab - 1);
    return 0;
}

static bool interrupted(const struct run *run)
{
    return run->options->interrupted && run->options->interrupted();
}

/* Whether another token may be drawn beyond those that are planned. */
static bool may_plan(const struct run *run)
{
    int32_t limit = run->options->max_tokens;
    return (limit < 0 || run->planned < limit) &&
           run->prompt_count + (size_t)run->planned < (size_t)run->model->max_seq;
}

/* Submits the step being assembled, whose row `row` draws the next token if `draws`. */
static int submit(struct run *run, int row, bool draws, struct error *error)
{
    if ((draws && engine_draw(run->engine, row, run->slot, error)) || engine_submit(run->engine, error))
        return -1;
    run->planned += draws;
    return 0;
}

/* Submits the prompt in chunks; its last row draws the first token. 1: interrupted. */
static int prefill(struct run *run, const int32_t *prompt, struct error *error)
{
    size_t count = run->prompt_count;
    int32_t chunk = run->model->max_rows;
    if (run->options->chunk > 0 && run->options->chunk < chunk)
        chunk = run->options->chunk;
    struct speculation *speculation = run->options->speculation;
    bool waits = speculation && speculation_options(speculation)->kind == DRAFT_EAGLE;
    for (size_t done = (size_t)sequence_length(run->engine, run->sequence); done < count;) {
        if (interrupted(run))
            return 1;
        int row = -1;
        for (int32_t added = 0; added < chunk && done < count; added++, done++) {
            row = engine_add(run->engine, run->sequence, prompt[done],
                             done + 1 == count && run->options->alternatives > 0, error);
            if (row < 0)
                return -1;
            if (speculation)
                speculation_row(speculation, 0, row, (int32_t)done);
        }
        if (engine_under_way(run->engine) == engine_depth(run->engine) && engine_collect(run->engine, NULL, error) < 0)
            return -1;
        if (submit(run, row, done == count && may_plan(run), error))
            return -1;
        run->out->prefill_steps++;
        /* The head takes in each step's rows before the next one. (The last step's token is to be seen first.) */
        if (waits && done < count &&
            (engine_collect(run->engine, NULL, error) < 0 || speculation_ran(speculation, error)))
            return -1;
        if (run->options->progress)
            run->options->progress(run->options->progress_context, "reading the prompt", done, count);
    }
    return 0;
}

static int out_of_memory(struct error *error)
{
    return error_set(error, "out of memory for the generated text");
}

/* Hands finished text to the caller and keeps it. */
static void emit(struct run *run, size_t from)
{
    struct text_buffer *text = &run->out->text;
    if (run->options->text && text->length > from)
        run->options->text(run->options->context, text->data + from, text->length - from);
}

/* Takes text through the stop strings. `watched`: they count already. */
static int push_text(struct run *run, const char *text, size_t length, bool watched, bool *found, struct error *error)
{
    size_t from = run->out->text.length;
    *found = false;
    int failed = run->stop && watched ? stop_push(run->stop, text, length, &run->out->text, found)
                                      : text_buffer_add(&run->out->text, text, length);
    emit(run, from);
    return failed ? out_of_memory(error) : 0;
}

static int push_token(struct run *run, int32_t token, bool *found, struct error *error)
{
    *found = false;
    if (!run->detokenizer)
        return 0;
    size_t length;
    const char *text = detokenizer_push(run->detokenizer, token, &length);
    bool watched = run->out->ids.count > (size_t)run->options->sampler->min_tokens;
    return text ? push_text(run, text, length, watched, found, error) : out_of_memory(error);
}

/* What the detokenizer and the stop strings held back. */
static int flush_text(struct run *run, bool *found, struct error *error)
{
    *found = false;
    if (!run->detokenizer)
        return 0;
    size_t length;
    const char *text = detokenizer_flush(run->detokenizer, &length);
    if (!text)
        return out_of_memory(error);
    if (push_text(run, text, length, true, found, error))
        return -1;
    size_t from = run->out->text.length;
    if (run->stop && !*found && stop_flush(run->stop, &run->out->text))
        return out_of_memory(error);
    emit(run, from);
    return 0;
}

/* The likeliest tokens of these logits, best first. */
static void note_alternatives(struct run *run, const float *logits, double log_sum)
{
    int32_t wanted = run->options->alternatives, vocab = run->model->vocab;
    struct alternative *list = run->out->alternatives + (run->out->ids.count - 1) * (size_t)wanted;
    struct candidate *all = run->candidates, *scratch = run->candidates + vocab;
    for (int32_t token = 0; token < vocab; token++)
        all[token] = (struct candidate){.key = candidate_key(logits[token], token), .weight = 1};
    int32_t count = candidates_top_k(all, vocab, wanted, scratch);
    for (int32_t i = 0; i < wanted; i++) {
        /* A selection sort: `wanted` is small. */
        int32_t best = -1;
        for (int32_t j = 0; j < count; j++)
            if (all[j].weight && (best < 0 || all[j].key > all[best].key))
                best = j;
        list[i] = (struct alternative){.token = -1, .logprob = -INFINITY};
        if (best < 0)
            continue;
        int32_t token = candidate_token(&all[best]);
        list[i] = (struct alternative){.token = token, .logprob = (float)((double)logits[token] - log_sum)};
        all[best].weight = 0;
    }
}

/* Room in the arrays that run beside the ids. */
static int reserve(struct run *run)
{
    struct generation *out = run->out;
    if (out->ids.count < run->logprob_capacity)
        return 0;
    size_t capacity = run->logprob_capacity ? run->logprob_capacity * 2 : 64;
    float *logprobs = realloc(out->logprobs, capacity * sizeof *logprobs);
    if (!logprobs)
        return -1;
    out->logprobs = logprobs;
    if (run->options->alternatives > 0) {
        struct alternative *alternatives =
            realloc(out->alternatives, capacity * (size_t)run->options->alternatives * sizeof *alternatives);
        if (!alternatives)
            return -1;
        out->alternatives = alternatives;
    }
    run->logprob_capacity = capacity;
    return 0;
}

/* Notes a token that the last collected step has drawn, and everything about it. */
static int note_token(struct run *run, const struct drawn *drawn, struct error *error)
{
    struct generation *out = run->out;
    if (reserve(run) || token_list_add(&out->ids, drawn->token))
        return out_of_memory(error);
    out->logprobs[out->ids.count - 1] = drawn->logprob;
    if (run->options->alternatives == 0)
        return 0;
    const float *logits = engine_logits(run->engine, drawn->row);
    float maximum;
    if (logits_maximum(logits, run->model->vocab, &maximum, error))
        return -1;
    note_alternatives(run, logits, logits_log_sum(logits, run->model->vocab, maximum));
    return 0;
}

static bool is_stop(const struct run *run, int32_t token)
{
    const struct sampler_options *sampler = run->options->sampler;
    for (int i = 0; i < sampler->stop_count; i++)
        if (sampler->stop[i] == token)
            return true;
    return false;
}

/* Whether the text ends before another token is chosen; then out->finish says why. */
static bool ended(struct run *run)
{
    struct generation *out = run->out;
    int32_t limit = run->options->max_tokens;
    if (limit >= 0 && out->ids.count >= (size_t)limit)
        out->finish = FINISH_LENGTH;
    else if (run->prompt_count + out->ids.count >= (size_t)run->model->max_seq)
        out->finish = FINISH_CONTEXT;
    else if (interrupted(run))
        out->finish = FINISH_INTERRUPTED;
    else
        return false;
    return true;
}

/* Submits steps for the tokens to come, as many as can be under way: on a GPU the next step is there before the last one's
   token is known. What turns out to be too much is dropped with the sequence. */
static int run_ahead(struct run *run, struct error *error)
{
    int depth = run->options->alternatives > 0 ? 1 : engine_depth(run->engine); /* logits last until the next submit */
    while (engine_under_way(run->engine) < depth && may_plan(run)) {
        int row =
            engine_add(run->engine, run->sequence, ENGINE_DRAWN(run->slot), run->options->alternatives > 0, error);
        if (row < 0 && engine_under_way(run->engine) > 0)
            return 0; /* out of pages, say: it is an error only if the text goes on so far */
        if (row < 0 || submit(run, row, true, error))
            return -1;
    }
    return 0;
}

/* Collects the step of the next token, those of a long prompt before it. */
static int next_token(struct run *run, struct error *error)
{
    const struct drawn *drawn;
    int draws;
    do
        draws = engine_collect(run->engine, &drawn, error);
    while (draws == 0);
    return draws < 0 ? -1 : note_token(run, drawn, error);
}

/* What the token that was noted last does to the text. 1: it ends it. */
static int take_token(struct run *run, bool *found, struct error *error)
{
    struct generation *out = run->out;
    int32_t token = out->ids.id[out->ids.count - 1];
    bool stop = is_stop(run, token);
    if (!stop && push_token(run, token, found, error))
        return -1;
    if (stop || *found)
        out->finish = FINISH_STOP;
    return stop || *found;
}

/* Tokens that the text may still have. */
static int32_t tokens_left(const struct run *run)
{
    size_t context = (size_t)run->model->max_seq - run->prompt_count - run->out->ids.count;
    int64_t limit = run->options->max_tokens < 0 ? INT32_MAX : run->options->max_tokens - (int64_t)run->out->ids.count;
    return (int64_t)context < limit ? (int32_t)context : (int32_t)limit;
}

/* A step with guesses: as many tokens as are right, and one more. Those behind the end of the text are none of it. */
static int decode_cycle(struct run *run, bool *found, struct error *error)
{
    const struct drawn *drawn;
    int32_t left = tokens_left(run);
    if (speculation_cycle(run->options->speculation, &left, run->options->alternatives > 0, error))
        return -1;
    run->out->decode_steps++;
    int32_t count = speculation_drawn(run->options->speculation, 0, &drawn);
    if (token_list_add(&run->out->gained, count))
        return out_of_memory(error);
    int outcome = 0;
    for (int32_t i = 0; i < count && !outcome && !(i && ended(run)); i++) {
        outcome = note_token(run, &drawn[i], error);
        if (!outcome)
            outcome = take_token(run, found, error);
    }
    return outcome;
}

/* Takes tokens until the text ends. *found: a stop string ended it. */
static int decode(struct run *run, bool *found, struct error *error)
{
    struct generation *out = run->out;
    struct speculation *speculation = run->options->speculation;
    double start = clock_seconds();
    int outcome = 0;
    while (!outcome && !ended(run)) {
        if (speculation && out->ids.count) {
            outcome = decode_cycle(run, found, error);
            continue;
        }
        if ((!speculation && run_ahead(run, error)) || next_token(run, error) ||
            (speculation &&
             (speculation_see(speculation, 0, out->ids.id, 1, error) || speculation_ran(speculation, error))))
            return -1;
        if (out->ids.count == 1)
            out->prefill_seconds += clock_seconds() - start;
        else
            out->decode_steps++;
        outcome = take_token(run, found, error);
    }
    return outcome < 0 ? -1 : 0;
}

static int open_parts(struct run *run, struct error *error)
{
    const struct generate_options *options = run->options;
    int32_t vocab = run->model->vocab;
    if ((run->slot = draw_open(run->engine, options->sampler, error)) < 0)
        return -1;
    if (options->tokenizer && !(run->detokenizer = detokenizer_open(options->tokenizer, !options->special)))
        return out_of_memory(error);
    if (options->stop_string_count && !(run->stop = stop_open(options->stop_strings, options->stop_string_count)))
        return out_of_memory(error);
    if (options->alternatives > 0 && !(run->candidates = calloc((size_t)vocab * 2, sizeof *run->candidates)))
        return out_of_memory(error);
    if (options->continues) {
        run->sequence = options->sequence;
        if ((size_t)sequence_length(run->engine, run->sequence) < run->prompt_count)
            return 0;
        return error_set(error, "the sequence stores %d tokens: expected fewer than the prompt's %zu",
                         (int)sequence_length(run->engine, run->sequence), run->prompt_count);
    }
    run->sequence = sequence_open(run->engine, options->adapter, error);
    return run->sequence < 0 ? -1 : 0;
}

/* A sequence that goes on keeps no tokens that were run ahead but are not part of the text. */
static void drop_surplus(const struct run *run)
{
    size_t text = run->prompt_count + run->out->ids.count;
    if ((size_t)sequence_length(run->engine, run->sequence) > text)
        (void)sequence_rollback(run->engine, run->sequence, (int32_t)text, NULL);
}

static void close_parts(struct run *run)
{
    engine_discard(run->engine);
    while (engine_under_way(run->engine) > 0)
        (void)engine_collect(run->engine, NULL, NULL); /* what was run ahead for nothing */
    if (run->sequence >= 0 && run->options->continues)
        drop_surplus(run);
    else if (run->sequence >= 0)
        sequence_close(run->engine, run->sequence);
    if (run->slot >= 0)
        draw_close(run->engine, run->slot);
    if (run->detokenizer)
        detokenizer_close(run->detokenizer);
    stop_close(run->stop);
    free(run->candidates);
}

static int generate_parts(struct run *run, const int32_t *prompt, struct error *error)
{
    struct generation *out = run->out;
    if (draw_see(run->engine, run->slot, prompt, run->prompt_count, false, error))
        return -1;
    if (run->options->speculation) {
        run->drafts = speculation_counts(run->options->speculation);
        speculation_begin(run->options->speculation, 0, run->sequence, run->slot);
        if (speculation_see(run->options->speculation, 0, prompt, run->prompt_count, error))
            return -1;
    }
    double start = clock_seconds();
    int outcome = prefill(run, prompt, error);
    out->prefill_seconds = clock_seconds() - start;
    if (outcome) {
        out->finish = FINISH_INTERRUPTED;
        return outcome < 0 ? -1 : 0;
    }
    bool found = false;
    double before = out->prefill_seconds;
    start = clock_seconds();
    if (decode(run, &found, error) || (!found && flush_text(run, &found, error)))
        return -1;
    if (found)
        out->finish = FINISH_STOP;
    out->decode_seconds = clock_seconds() - start - (out->prefill_seconds - before);
    if (run->options->speculation) /* what the guesses came to in this text */
        out->drafts = speculation_since(run->options->speculation, &run->drafts);
    return 0;
}

int generate(struct engine *engine, const int32_t *prompt, size_t prompt_count, const struct generate_options *options,
             struct generation *generation, struct error *error)
{
    struct run run = {.engine = engine,
                      .model = engine_model(engine),
                      .options = options,
                      .out = generation,
                      .prompt_count = prompt_count,
                      .slot = -1,
                      .sequence = -1};
    memset(generation, 0, sizeof *generation);
    int failed = check_prompt(run.model, prompt, prompt_count, error) || open_parts(&run, error) ||
                 generate_parts(&run, prompt, error);
    close_parts(&run);
    return failed ? -1 : 0;
}

void generation_free(struct generation *generation)
{
    free(generation->ids.id);
    free(generation->gained.id);
    free(generation->logprobs);
    free(generation->alternatives);
    free(generation->text.data);
    memset(generation, 0, sizeof *generation);
}
