/* run: continue a prompt. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "draft_options.h"
#include "generate.h"
#include "interrupt.h"
#include "json_out.h"
#include "program.h"
#include "program_lora.h"
#include "prompt.h"
#include "sampling_options.h"
#include "trace.h"
#include "utf8.h"

/* The command line of run. */
struct run_options {
    struct id_list ids, stop_ids;
    struct string_list stop;
    struct bias_list bias;
    struct sampler_options sampler;
    struct draft_choice draft;
    const char *file, *lora;
    const char *dump[2];
    int32_t count, chunk, logprobs, adapter;
    bool ignore_eos, no_special, special, echo, verbose;
};

static const char usage[] = "run [OPTION]... \"PROMPT\" | - | -f FILE | --ids 1,2,3";
static const char about[] =
    "Continues a prompt and prints what comes as it comes. The prompt is taken as it is: no chat template is applied.\n"
    "`-` reads it from standard input.";
static const char notes[] =
    "Without options, tokens are chosen as the model's generation_config.json recommends; the defaults above are its.\n"
    "At temperature 0 the likeliest token is taken and --top-k, --top-p, --min-p and --seed change nothing.\n"
    "Ctrl-C ends the text after the current token (exit status 130); a second one kills.";

enum { INPUT_OPTIONS = 5, LENGTH_OPTIONS = 5, OUTPUT_OPTIONS = 5 };

static void input_table(struct run_options *o, struct option table[INPUT_OPTIONS])
{
    const struct option rows[INPUT_OPTIONS] = {
        {.name = "file",
         .letter = 'f',
         .kind = OPTION_STRING,
         .target = &o->file,
         .value = "FILE",
         .help = "read the prompt from a file, every byte of it; - is standard input"},
        {.name = "ids",
         .kind = OPTION_IDS,
         .target = &o->ids,
         .value = "1,2,3",
         .help = "the prompt as token ids; nothing is added to them"},
        {.name = "no-special",
         .kind = OPTION_FLAG,
         .target = &o->no_special,
         .help = "do not put the tokenizer's special tokens (usually a beginning-of-text) around the prompt"},
        lora_option(&o->lora),
        {.name = "chunk",
         .kind = OPTION_INTEGER,
         .target = &o->chunk,
         .value = "N",
         .help = "prompt tokens in a step, which changes no bit of the result; 0: as many as a step can have",
         .maximum = INT32_MAX},
    };
    memcpy(table, rows, sizeof rows);
}

static void length_table(struct run_options *o, struct option table[LENGTH_OPTIONS])
{
    const struct option rows[LENGTH_OPTIONS] = {
        {.name = "count",
         .letter = 'n',
         .kind = OPTION_INTEGER,
         .target = &o->count,
         .value = "N",
         .help = "tokens to make at most; -1: until the text ends or the context is full",
         .minimum = -1,
         .maximum = INT32_MAX},
        {.name = "stop",
         .kind = OPTION_STRINGS,
         .target = &o->stop,
         .value = "STRING",
         .help = "end before this text; repeatable"},
        {.name = "stop-id",
         .kind = OPTION_IDS,
         .target = &o->stop_ids,
         .value = "ID",
         .help = "end at this token, besides the model's own; repeatable"},
        {.name = "ignore-eos",
         .kind = OPTION_FLAG,
         .target = &o->ignore_eos,
         .help = "treat the model's end-of-text tokens like any other and go on"},
        {.name = "min-tokens",
         .kind = OPTION_INTEGER,
         .target = &o->sampler.min_tokens,
         .value = "N",
         .help = "forbid stop ids, and overlook stop strings, until N tokens are out",
         .maximum = INT32_MAX},
    };
    memcpy(table, rows, sizeof rows);
}

static void output_table(struct run_options *o, struct option table[OUTPUT_OPTIONS])
{
    const struct option rows[OUTPUT_OPTIONS] = {
        {.name = "echo", .kind = OPTION_FLAG, .target = &o->echo, .help = "print the prompt before what follows it"},
        {.name = "special",
         .kind = OPTION_FLAG,
         .target = &o->special,
         .help = "print special tokens as the vocabulary spells them"},
        {.name = "logprobs",
         .kind = OPTION_INTEGER,
         .target = &o->logprobs,
         .value = "K",
         .help = "with --json: note the K likeliest tokens at every place",
         .maximum = 1000},
        {.name = "dump",
         .kind = OPTION_PAIR,
         .target = o->dump,
         .value = "TENSOR[,...] DIR",
         .help = "write tensors between the stages to DIR/TENSOR.npy (info lists them; `all`, or `*` for every layer)"},
        {.name = "verbose",
         .letter = 'v',
         .kind = OPTION_FLAG,
         .target = &o->verbose,
         .help = "print what ended the text and the speed on stderr"},
    };
    memcpy(table, rows, sizeof rows);
}

static int check_options(const struct program *program, const struct run_options *o, int operands, char **argv,
                         struct error *error)
{
    int sources = (o->file != NULL) + o->ids.given + (operands > 0);
    if (operands > 1)
        return error_set(error, "unexpected '%.100s' after the prompt: put the prompt in quotes", argv[1]);
    if (sources != 1)
        return error_set(error,
                         sources ? "expected one prompt, found %d: give a text, -f FILE or --ids"
                                 : "no prompt (%d found): give a text in quotes, - for standard input, -f FILE "
                                   "or --ids 1,2,3 (run --help)",
                         sources);
    for (int i = 0; i < o->stop.count; i++) {
        if (!o->stop.item[i][0])
            return error_set(error, "--stop: expected some text, found an empty string");
        if (!utf8_valid(o->stop.item[i], strlen(o->stop.item[i])))
            return error_set(error, "--stop: expected UTF-8, found other bytes in string %d", i + 1);
    }
    /* The names of bad ids are those of the options; the sampler would find them too, but only after loading. */
    for (int i = 0; i < o->stop_ids.count; i++)
        if (o->stop_ids.item[i] >= program->model->vocab)
            return error_set(error, "--stop-id %d: expected an id from 0 to %d, the vocabulary's last",
                             (int)o->stop_ids.item[i], (int)program->model->vocab - 1);
    for (int i = 0; i < o->bias.count; i++)
        if (o->bias.item[i].token >= program->model->vocab)
            return error_set(error, "--logit-bias %d: expected an id from 0 to %d, the vocabulary's last",
                             (int)o->bias.item[i].token, (int)program->model->vocab - 1);
    return 0;
}

/* The prompt's tokens, from wherever they come. */
static int read_prompt(const struct program *program, const struct run_options *o, int operands, char **argv,
                       struct token_list *prompt, struct error *error)
{
    if (o->ids.given)
        return prompt_ids(program, o->ids.item, (size_t)o->ids.count, "--ids", prompt, error);
    const char *file = o->file ? o->file : operands && strcmp(argv[0], "-") == 0 ? "-" : NULL;
    if (!file)
        return prompt_encode(program, argv[0], strlen(argv[0]), !o->no_special, prompt, error);
    struct text_buffer text = {0};
    int failed = program_read(file, &text, error) ||
                 prompt_encode(program, text.data ? text.data : "", text.length, !o->no_special, prompt, error);
    free(text.data);
    return failed ? -1 : 0;
}

static void print_text(void *context, const char *text, size_t length)
{
    progress_clear(context);
    fwrite(text, 1, length, stdout);
    fflush(stdout);
}

/* The user's Ctrl-C, or nobody left to read. */
static bool must_end(void)
{
    return interrupt_requested() || program_output_failed();
}

static void print_alternatives(struct json_out *out, const struct generation *generation, int32_t count)
{
    json_key(out, "top_logprobs");
    json_open_array(out);
    for (size_t i = 0; i < generation->ids.count; i++) {
        json_open_array(out);
        for (int32_t j = 0; j < count; j++) {
            const struct alternative *alternative = &generation->alternatives[i * (size_t)count + (size_t)j];
            if (alternative->token < 0)
                break;
            json_open_object(out);
            json_key(out, "id");
            json_integer(out, alternative->token);
            json_key(out, "logprob");
            json_float(out, alternative->logprob);
            json_close_object(out);
        }
        json_close_array(out);
    }
    json_close_array(out);
}

static void print_json(const struct program *program, const struct run_options *o, const struct token_list *prompt,
                       const struct generation *generation, bool drafts)
{
    struct json_out out = {.file = stdout};
    json_open_object(&out);
    json_key(&out, "prompt_ids");
    json_integers(&out, prompt->id, prompt->count);
    json_key(&out, "ids");
    json_integers(&out, generation->ids.id, generation->ids.count);
    json_key(&out, "logprobs");
    json_floats(&out, generation->logprobs, generation->ids.count);
    if (o->logprobs > 0)
        print_alternatives(&out, generation, o->logprobs);
    json_key(&out, "text");
    if (program->tokenizer)
        json_string(&out, generation->text.data ? generation->text.data : "", generation->text.length);
    else
        json_null(&out);
    json_key(&out, "finish");
    json_text(&out, finish_name(generation->finish));
    json_key(&out, "lora");
    if (o->lora)
        json_text(&out, o->lora);
    else
        json_null(&out);
    json_key(&out, "seed");
    json_unsigned(&out, o->sampler.seed);
    json_key(&out, "prefill_steps");
    json_integer(&out, generation->prefill_steps);
    json_key(&out, "decode_steps");
    json_integer(&out, generation->decode_steps);
    json_key(&out, "prefill_seconds");
    json_double(&out, generation->prefill_seconds);
    json_key(&out, "decode_seconds");
    json_double(&out, generation->decode_seconds);
    if (drafts) {
        json_key(&out, "steps");
        json_integer(&out, generation->drafts.cycles);
        json_key(&out, "drafted");
        json_integer(&out, generation->drafts.drafted);
        json_key(&out, "accepted");
        json_integer(&out, generation->drafts.accepted);
        json_key(&out, "gained");
        json_integers(&out, generation->gained.id, generation->gained.count);
    }
    json_close_object(&out);
    fputc('\n', stdout);
}

/* Ids instead of text where the package has no tokenizer. */
static void print_ids(const struct generation *generation)
{
    for (size_t i = 0; i < generation->ids.count; i++)
        printf("%s%d", i ? " " : "", (int)generation->ids.id[i]);
    fputc('\n', stdout);
}

static void print_speed(const struct token_list *prompt, const struct generation *generation)
{
    if (generation->drafts.cycles)
        fprintf(stderr, "drafts: %lld of %lld tokens accepted in %lld steps\n", (long long)generation->drafts.accepted,
                (long long)generation->drafts.drafted, (long long)generation->drafts.cycles);
    fprintf(stderr, "prompt: %zu tokens in %.3f s (%.1f/s); output: %zu tokens in %.3f s (%.1f/s); finish: %s\n",
            prompt->count, generation->prefill_seconds,
            generation->prefill_seconds > 0 ? (double)prompt->count / generation->prefill_seconds : 0,
            generation->ids.count, generation->decode_seconds,
            generation->decode_seconds > 0 ? (double)generation->ids.count / generation->decode_seconds : 0,
            finish_name(generation->finish));
}

static int echo_prompt(const struct program *program, const struct token_list *prompt, bool special,
                       struct error *error)
{
    size_t length;
    char *text = tokenizer_decode(program->tokenizer, prompt->id, prompt->count, !special, &length, error);
    if (!text)
        return -1;
    fwrite(text, 1, length, stdout);
    fflush(stdout);
    free(text);
    return 0;
}

/* The ids that end the text: the model's own and the user's. */
static int32_t *stop_list(const struct model *model, const struct run_options *o, int *count)
{
    int own = o->ignore_eos ? 0 : model->generation.eos_count;
    int32_t *list = malloc(((size_t)own + (size_t)o->stop_ids.count + 1) * sizeof *list);
    *count = own + o->stop_ids.count;
    if (list && own)
        memcpy(list, model->generation.eos, (size_t)own * sizeof *list);
    if (list && o->stop_ids.count)
        memcpy(list + own, o->stop_ids.item, (size_t)o->stop_ids.count * sizeof *list);
    return list;
}

/* Everything that is open while the text is made. */
struct run {
    struct program *program;
    struct run_options *options;
    struct token_list prompt;
    struct generation generation;
    struct speculation *speculation;
    struct trace_dump *dump;
    int32_t *stop;
};

static int produce(struct run *run, struct error *error)
{
    struct program *program = run->program;
    struct run_options *o = run->options;
    bool streaming = !program->common.json && program->tokenizer;
    if (o->echo && streaming && echo_prompt(program, &run->prompt, o->special, error))
        return -1;
    if (o->dump[0]) {
        int32_t count;
        const char *const *names = engine_traces(program->engine, &count);
        if (!(run->dump = trace_dump_open(program->model, names, count, o->dump[0], o->dump[1], error)))
            return -1;
        engine_set_trace(program->engine, trace_dump_trace(run->dump));
    }
    if (!(run->stop = stop_list(program->model, o, &o->sampler.stop_count)))
        return error_set(error, "out of memory");
    o->sampler.stop = run->stop;
    o->sampler.bias = o->bias.item;
    o->sampler.bias_count = o->bias.count;
    struct draft_options drafts = draft_chosen(&o->draft, program->engine);
    if (o->dump[0] && !o->draft.kind)
        drafts.kind = DRAFT_NONE; /* rows of guesses would stand among those of the text */
    if (drafts.kind != DRAFT_NONE && !(run->speculation = speculation_open(program->engine, &drafts, 1, error)))
        return -1;
    struct generate_options options = {
        .speculation = run->speculation,
        .max_tokens = o->count,
        .chunk = o->chunk,
        .sampler = &o->sampler,
        .adapter = o->adapter,
        .alternatives = o->logprobs,
        .tokenizer = program->tokenizer,
        .special = o->special,
        .stop_strings = o->stop.item,
        .stop_string_count = o->stop.count,
        .text = streaming ? print_text : NULL,
        .progress = progress_report,
        .interrupted = must_end,
        .context = &program->progress,
        .progress_context = &program->progress,
    };
    return generate(program->engine, run->prompt.id, run->prompt.count, &options, &run->generation, error);
}

static int print_result(struct run *run)
{
    struct program *program = run->program;
    if (program->common.json)
        print_json(program, run->options, &run->prompt, &run->generation, run->speculation != NULL);
    else if (program->tokenizer)
        fputc('\n', stdout);
    else
        print_ids(&run->generation);
    int status = program_finish(
        program, run->generation.finish == FINISH_INTERRUPTED && interrupt_requested() ? EXIT_INTERRUPTED : EXIT_OK);
    if (run->options->verbose)
        print_speed(&run->prompt, &run->generation);
    return status;
}

static int run_opened(struct run *run, int operands, char **argv)
{
    struct program *program = run->program;
    struct error error;
    if (read_prompt(program, run->options, operands, argv, &run->prompt, &error))
        return program_fail(program, &error, EXIT_ERROR);
    if (run->options->stop.count && !program->tokenizer) {
        error_set(&error, "--stop: this package has no tokenizer, so it makes no text; use --stop-id");
        return program_fail(program, &error, EXIT_ERROR);
    }
    interrupt_watch();
    int failed = produce(run, &error);
    progress_clear(&program->progress);
    int status = failed ? program_fail(program, &error, EXIT_ERROR) : print_result(run);
    interrupt_unwatch();
    if (program->engine)
        engine_set_trace(program->engine, NULL);
    if (trace_dump_close(run->dump, &error) && !failed)
        status = program_fail(program, &error, EXIT_ERROR);
    return status;
}

int command_run(const struct model *model, int argc, char **argv)
{
    struct program program;
    struct run_options options = {0};
    program_init(&program, model, usage, about, notes);
    options.count = 256;
    options.sampler = sampling_defaults(&model->generation);
    struct option input[INPUT_OPTIONS], length[LENGTH_OPTIONS], choice[SAMPLING_OPTIONS], drafts[DRAFT_OPTIONS],
        output[OUTPUT_OPTIONS];
    input_table(&options, input);
    length_table(&options, length);
    sampling_table(&options.sampler, &options.bias, choice);
    draft_table(&options.draft, model, drafts);
    output_table(&options, output);
    struct option_group groups[6] = {{"Prompt", input, INPUT_OPTIONS},
                                     {"Length", length, LENGTH_OPTIONS},
                                     {"Choice of tokens", choice, SAMPLING_OPTIONS},
                                     {"Speculation", drafts, DRAFT_OPTIONS},
                                     {"Output", output, OUTPUT_OPTIONS}};
    int operands;
    int status = program_parse(&program, groups, 5, argc, argv, &operands);
    if (status >= 0)
        return status;
    struct error error;
    struct run run = {.program = &program, .options = &options};
    if (check_options(&program, &options, operands, argv, &error) || draft_check(&options.draft, model, &error) ||
        (options.adapter = lora_slot(&program, options.lora, &error)) < -1)
        status = program_fail(&program, &error, EXIT_USAGE);
    else if ((status = program_engine(&program, 1, model->max_seq)) == EXIT_OK)
        status = run_opened(&run, operands, argv);
    generation_free(&run.generation);
    speculation_close(run.speculation);
    free(run.prompt.id);
    free(run.stop);
    program_close(&program);
    options_free(groups, 5);
    return status;
}
