/* score: log-probabilities and perplexity of a text. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "interrupt.h"
#include "json_out.h"
#include "json_text.h"
#include "program.h"
#include "program_lora.h"
#include "prompt.h"
#include "score.h"
#include "trace.h"

static const char usage[] = "score [OPTION]... FILE | - | --ids 1,2,3";
static const char about[] =
    "Log-probability of every token of a text given those before it, and the text's perplexity.\n"
    "A text longer than the context is cut into windows.";
static const char notes[] =
    "--json gives for each place of the text its id, log-probability, the likeliest token there and how far it leads\n"
    "(`gap`), and `logits_hash`, which is equal only if every bit of every logit is.";

struct score_command {
    struct program *program;
    struct id_list ids;
    struct score_options score;
    const char *logits; /* path */
    const char *lora;
    const char *dump[2];
    bool lines, no_special;
    struct npy_out array;
    /* Totals over the lines of --jsonl. */
    double nll;
    uint64_t tokens, scored;
};

enum { OPTIONS = 11 };

static void make_table(struct score_command *c, struct option table[OPTIONS])
{
    const struct option rows[OPTIONS] = {
        {.name = "ids",
         .kind = OPTION_IDS,
         .target = &c->ids,
         .value = "1,2,3",
         .help = "the text as token ids; nothing is added to them"},
        {.name = "jsonl",
         .kind = OPTION_FLAG,
         .target = &c->lines,
         .help = "FILE has one JSON string or array of ids a line; each is scored by itself"},
        {.name = "no-special",
         .kind = OPTION_FLAG,
         .target = &c->no_special,
         .help = "do not put the tokenizer's special tokens (usually a beginning-of-text) around a text"},
        lora_option(&c->lora),
        {.name = "context",
         .kind = OPTION_INTEGER,
         .target = &c->score.context,
         .value = "N",
         .help = "tokens in a window at most; 0: what the model's context holds",
         .maximum = INT32_MAX},
        {.name = "stride",
         .kind = OPTION_INTEGER,
         .target = &c->score.stride,
         .value = "N",
         .help = "tokens from one window to the next; tokens that two windows share are scored in the first; "
                 "0: as many as --context, so windows do not overlap",
         .maximum = INT32_MAX},
        {.name = "chunk",
         .kind = OPTION_INTEGER,
         .target = &c->score.chunk,
         .value = "N",
         .help = "tokens in a step, which changes no bit of the result; 0: as many as a step can give logits for",
         .maximum = INT32_MAX},
        {.name = "batch",
         .kind = OPTION_INTEGER,
         .target = &c->score.batch,
         .value = "N",
         .help = "score N copies beside each other, interleaved, and report the first: no bit may change",
         .minimum = 1,
         .maximum = 65536},
        {.name = "neighbours",
         .kind = OPTION_FLAG,
         .target = &c->score.neighbours,
         .help = "with --batch: the others are sequences of random tokens instead of copies"},
        {.name = "logits",
         .kind = OPTION_STRING,
         .target = &c->logits,
         .value = "FILE",
         .help = "write all logits to FILE: a NumPy array, float32, [tokens, vocabulary]"},
        {.name = "dump",
         .kind = OPTION_PAIR,
         .target = c->dump,
         .value = "TENSOR[,...] DIR",
         .help = "write tensors between the stages to DIR/TENSOR.npy (info lists them; `all`, or `*` for every layer)"},
    };
    memcpy(table, rows, sizeof rows);
}

static void json_predictions(struct json_out *out, const struct score *score)
{
    json_key(out, "logprobs");
    json_open_array(out);
    for (size_t i = 0; i < score->count; i++)
        json_float(out, score->place[i].logprob);
    json_close_array(out);
    json_key(out, "argmax");
    json_open_array(out);
    for (size_t i = 0; i < score->count; i++)
        if (score->place[i].argmax < 0)
            json_null(out);
        else
            json_integer(out, score->place[i].argmax);
    json_close_array(out);
    json_key(out, "gap");
    json_open_array(out);
    for (size_t i = 0; i < score->count; i++)
        json_float(out, score->place[i].gap);
    json_close_array(out);
    json_key(out, "next");
    json_open_object(out);
    json_key(out, "id");
    json_integer(out, score->next.argmax);
    json_key(out, "logprob");
    json_float(out, score->next.logprob);
    json_key(out, "gap");
    json_float(out, score->next.gap);
    json_close_object(out);
}

static void print_json(const struct token_list *ids, const struct score *score)
{
    char hash[17];
    snprintf(hash, sizeof hash, "%016" PRIx64, score->logits_hash);
    struct json_out out = {.file = stdout};
    json_open_object(&out);
    json_key(&out, "ids");
    json_integers(&out, ids->id, ids->count);
    json_predictions(&out, score);
    json_key(&out, "tokens");
    json_unsigned(&out, score->count);
    json_key(&out, "scored");
    json_unsigned(&out, score->scored);
    json_key(&out, "nll");
    json_double(&out, score->nll);
    json_key(&out, "perplexity");
    json_double(&out, score->scored ? exp(score->nll / (double)score->scored) : NAN);
    json_key(&out, "windows");
    json_integer(&out, score->windows);
    json_key(&out, "steps");
    json_integer(&out, score->steps);
    json_key(&out, "logits_hash");
    json_text(&out, hash);
    json_key(&out, "seconds");
    json_double(&out, score->seconds);
    json_close_object(&out);
    fputc('\n', stdout);
    fflush(stdout);
}

static void print_totals(uint64_t tokens, uint64_t scored, double nll)
{
    printf("tokens %" PRIu64 ", scored %" PRIu64, tokens, scored);
    if (scored)
        printf(", nll %.6f a token, perplexity %.4f", nll / (double)scored, exp(nll / (double)scored));
    fputc('\n', stdout);
}

/* Scores one sequence and prints its object. 1: interrupted. */
static int score_ids(struct score_command *c, const struct token_list *ids, struct error *error)
{
    struct score score;
    if (!ids->count)
        return error_set(error, "expected at least one token, found an empty text");
    int failed = score_sequence(c->program->engine, ids->id, ids->count, &c->score, &score, error);
    progress_clear(&c->program->progress);
    int outcome = failed ? -1 : score.interrupted;
    if (outcome == 0) {
        c->nll += score.nll;
        c->tokens += score.count;
        c->scored += score.scored;
        if (c->program->common.json)
            print_json(ids, &score);
    }
    score_free(&score);
    return outcome;
}

static int score_text(struct score_command *c, const char *path, struct error *error)
{
    struct text_buffer text = {0};
    struct token_list ids = {0};
    int outcome = program_read(path, &text, error) || prompt_encode(c->program, text.data ? text.data : "", text.length,
                                                                    !c->no_special, &ids, error)
                      ? -1
                      : score_ids(c, &ids, error);
    free(text.data);
    free(ids.id);
    return outcome;
}

static int score_line(struct score_command *c, const char *line, size_t length, struct error *error)
{
    struct text_buffer text = {0};
    struct token_list ids = {0}, checked = {0};
    int failed;
    if (json_first(line, length) == '[')
        failed = json_read_ids(line, length, &ids, error) ||
                 prompt_ids(c->program, ids.id, ids.count, "array", &checked, error);
    else
        failed = json_read_string(line, length, &text, error) ||
                 prompt_encode(c->program, text.data ? text.data : "", text.length, !c->no_special, &checked, error);
    int outcome = failed ? -1 : score_ids(c, &checked, error);
    free(text.data);
    free(ids.id);
    free(checked.id);
    return outcome;
}

static int score_lines(struct score_command *c, const char *path, struct error *error)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "rb");
    if (!file)
        return error_set(error, "%s: %s", path, strerror(errno));
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    int outcome = 0;
    for (long number = 1; outcome == 0 && (length = getline(&line, &capacity, file)) >= 0; number++) {
        struct error inner;
        if (json_first(line, (size_t)length) && (outcome = score_line(c, line, (size_t)length, &inner)) < 0)
            error_set(error, "%s: line %ld: %.800s", standard ? "standard input" : path, number, inner.message);
    }
    if (outcome == 0 && ferror(file))
        outcome = error_set(error, "%s: reading: %s", path, strerror(errno));
    free(line);
    if (!standard)
        fclose(file);
    return outcome;
}

static int score_given_ids(struct score_command *c, struct error *error)
{
    struct token_list ids = {0};
    int outcome = prompt_ids(c->program, c->ids.item, (size_t)c->ids.count, "--ids", &ids, error)
                      ? -1
                      : score_ids(c, &ids, error);
    free(ids.id);
    return outcome;
}

static bool must_end(void)
{
    return interrupt_requested() || program_output_failed();
}

static int score_opened(struct score_command *c, int operands, char **argv)
{
    struct program *program = c->program;
    struct error error;
    struct trace_dump *dump = NULL;
    if (c->logits) {
        if (npy_out_open(&c->array, c->logits, program->model->vocab, &error))
            return program_fail(program, &error, EXIT_ERROR);
        c->score.logits = &c->array;
    }
    if (c->dump[0]) {
        int32_t count;
        const char *const *names = engine_traces(program->engine, &count);
        if (!(dump = trace_dump_open(program->model, names, count, c->dump[0], c->dump[1], &error))) {
            npy_out_abandon(&c->array);
            return program_fail(program, &error, EXIT_ERROR);
        }
        engine_set_trace(program->engine, trace_dump_trace(dump));
    }
    c->score.progress = progress_report;
    c->score.progress_context = &program->progress;
    c->score.interrupted = must_end;
    interrupt_watch();
    int outcome = operands ? c->lines ? score_lines(c, argv[0], &error) : score_text(c, argv[0], &error)
                           : score_given_ids(c, &error);
    interrupt_unwatch();
    engine_set_trace(program->engine, NULL);
    /* The first thing that went wrong is the one to report. */
    if (outcome == 0)
        outcome = npy_out_close(&c->array, &error);
    else
        npy_out_abandon(&c->array);
    struct error dump_error;
    if (trace_dump_close(dump, &dump_error) && outcome == 0) {
        error = dump_error;
        outcome = -1;
    }
    if (outcome < 0)
        return program_fail(program, &error, EXIT_ERROR);
    if (outcome == 0 && !program->common.json)
        print_totals(c->tokens, c->scored, c->nll);
    return program_finish(program, outcome && interrupt_requested() ? EXIT_INTERRUPTED : EXIT_OK);
}

static int check_options(const struct score_command *c, int operands, char **argv, struct error *error)
{
    if (operands > 1)
        return error_set(error, "unexpected '%.100s': score takes one FILE", argv[1]);
    if (operands + c->ids.given != 1)
        return error_set(error, "expected one of FILE, - (standard input) or --ids 1,2,3 (score --help)");
    if (c->lines && c->ids.given)
        return error_set(error, "--jsonl needs a FILE or -, and goes without --ids");
    if (c->score.stride > c->score.context && c->score.context > 0)
        return error_set(error, "--stride %d: expected at most --context, %d", (int)c->score.stride,
                         (int)c->score.context);
    if (c->score.neighbours && c->score.batch < 2)
        return error_set(error, "--neighbours: expected --batch 2 or more with it");
    return 0;
}

int command_score(const struct model *model, int argc, char **argv)
{
    struct program program;
    struct score_command c = {.program = &program, .score = {.batch = 1}};
    struct option table[OPTIONS];
    program_init(&program, model, usage, about, notes);
    make_table(&c, table);
    struct option_group groups[2] = {{"Options", table, OPTIONS}};
    int operands;
    int status = program_parse(&program, groups, 1, argc, argv, &operands);
    if (status >= 0)
        return status;
    struct error error;
    if (check_options(&c, operands, argv, &error) || (c.score.adapter = lora_slot(&program, c.lora, &error)) < -1) {
        status = program_fail(&program, &error, EXIT_USAGE);
    } else {
        int32_t longest = c.score.context > 0 && c.score.context < model->max_seq ? c.score.context : model->max_seq;
        /* Ids are known before the state is allocated; the length of a file is not. */
        if (c.ids.given && c.ids.count < longest)
            longest = c.ids.count;
        if ((status = program_engine(&program, c.score.batch, longest)) == EXIT_OK)
            status = score_opened(&c, operands, argv);
    }
    program_close(&program);
    options_free(groups, 1);
    return status;
}
