/* chat: a conversation with the model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"
#include "command.h"
#include "conversation.h"
#include "draft_options.h"
#include "generate.h"
#include "interrupt.h"
#include "line_editor.h"
#include "program.h"
#include "program_lora.h"
#include "sampling_options.h"
#include "utf8.h"

/* The command line of chat. */
struct chat_options {
    struct sampler_options sampler;
    struct bias_list bias;
    struct string_list stop;
    const char *system, *lora;
    struct draft_choice draft;
    int32_t count, adapter;
    bool special, verbose;
};

/* Everything that is open while a person talks. */
struct chat {
    struct program *program;
    struct chat_options *options;
    struct line_editor *editor;
    struct conversation conversation;
    uint64_t attempt; /* added to the seed: /again draws other numbers */
    bool failed;      /* an answer failed where nobody can react */
};

static const char usage[] = "chat [OPTION]...";
static const char about[] =
    "Holds a conversation through the model's chat template. Ctrl-C ends an answer; Ctrl-D, or Ctrl-C twice at the\n"
    "prompt, ends the conversation. Where standard input is no terminal, every line of it is a message.";
static const char notes[] =
    "In the conversation: /help, /reset, /system TEXT, /again, /quit. A backslash at the end of a line continues the\n"
    "message on the next one; pasted lines stay one message. Earlier messages come back with the arrow keys.";
static const char help[] = "/reset         forget the conversation (the system message stays)\n"
                           "/system TEXT   set the system message; without a text, remove it\n"
                           "/again         another answer to the last message\n"
                           "/help          this text\n"
                           "/quit          end (so does Ctrl-D)\n"
                           "Ctrl-C ends an answer. A backslash at the end of a line continues it on the next.\n"
                           "A message that begins with / is written with two.\n";

enum { TEXT_OPTIONS = 6 };

static void text_table(struct chat_options *o, struct option table[TEXT_OPTIONS])
{
    const struct option rows[TEXT_OPTIONS] = {
        {.name = "system",
         .kind = OPTION_STRING,
         .target = &o->system,
         .value = "TEXT",
         .help = "the system message, with which the conversation begins"},
        {.name = "count",
         .letter = 'n',
         .kind = OPTION_INTEGER,
         .target = &o->count,
         .value = "N",
         .help = "tokens of an answer at most; -1: until it ends or the context is full",
         .minimum = -1,
         .maximum = INT32_MAX},
        {.name = "stop",
         .kind = OPTION_STRINGS,
         .target = &o->stop,
         .value = "STRING",
         .help = "end an answer before this text; repeatable"},
        lora_option(&o->lora),
        {.name = "special",
         .kind = OPTION_FLAG,
         .target = &o->special,
         .help = "print special tokens as the vocabulary spells them"},
        {.name = "verbose",
         .letter = 'v',
         .kind = OPTION_FLAG,
         .target = &o->verbose,
         .help = "after each answer, print how many tokens were read and made, and how fast, on stderr"},
    };
    memcpy(table, rows, sizeof rows);
}

/* ---- answers */

static void print_text(void *context, const char *text, size_t length)
{
    progress_clear(context);
    fwrite(text, 1, length, stdout);
    fflush(stdout);
}

static bool must_end(void)
{
    return interrupt_requested() || program_output_failed();
}

/* One line for a person between messages: on stderr where standard output is read by a program. */
static void say(const struct chat *chat, const char *text)
{
    fflush(stdout);
    fprintf(line_editor_interactive(chat->editor) ? stdout : stderr, "%s\n", text);
}

static void print_speed(const struct chat *chat, const struct generation *generation)
{
    const struct conversation *conversation = &chat->conversation;
    fprintf(stderr, "prompt: %zu tokens, %zu of them kept, %.3f s; answer: %zu tokens in %.3f s (%.1f/s); finish: %s\n",
            conversation->prompt_tokens, conversation->reused_tokens, generation->prefill_seconds,
            generation->ids.count, generation->decode_seconds,
            generation->decode_seconds > 0 ? (double)generation->ids.count / generation->decode_seconds : 0,
            finish_name(generation->finish));
    if (generation->drafts.cycles)
        fprintf(stderr, "drafts: %lld of %lld tokens accepted in %lld steps\n", (long long)generation->drafts.accepted,
                (long long)generation->drafts.drafted, (long long)generation->drafts.cycles);
}

/* What a person should know of how the answer ended. */
static void explain_finish(const struct chat *chat, enum finish finish)
{
    if (finish == FINISH_CONTEXT)
        say(chat, "[the context is full: /reset forgets the conversation]");
    else if (finish == FINISH_LENGTH)
        say(chat, "[cut off: -n allows no more tokens]");
}

/* Answers the last message. On an error the message is dropped, so that the conversation can go on without it. */
static void answer(struct chat *chat)
{
    struct program *program = chat->program;
    struct sampler_options sampler = chat->options->sampler;
    sampler.seed += chat->attempt;
    sampler.bias = chat->options->bias.item;
    sampler.bias_count = chat->options->bias.count;
    struct generate_options options = {
        .max_tokens = chat->options->count,
        .sampler = &sampler,
        .special = chat->options->special,
        .stop_strings = chat->options->stop.item,
        .stop_string_count = chat->options->stop.count,
        .text = print_text,
        .progress = progress_report,
        .interrupted = must_end,
        .context = &program->progress,
        .progress_context = &program->progress,
    };
    struct generation generation;
    struct error error;
    interrupt_watch();
    int failed = conversation_answer(&chat->conversation, &options, &generation, &error);
    interrupt_unwatch();
    progress_clear(&program->progress);
    if (failed) {
        if (generation.text.length)
            fputc('\n', stdout);
        program_fail(program, &error, EXIT_ERROR);
        conversation_drop_last(&chat->conversation);
        chat->failed = true;
    } else if (generation.finish == FINISH_INTERRUPTED && !generation.text.length) {
        conversation_drop_last(&chat->conversation);
        conversation_drop_last(&chat->conversation);
        say(chat, "[ended before there was an answer: the message is left out]");
    } else {
        fputc('\n', stdout);
        explain_finish(chat, generation.finish);
        if (chat->options->verbose)
            print_speed(chat, &generation);
    }
    if (line_editor_interactive(chat->editor))
        fputc('\n', stdout);
    fflush(stdout);
    generation_free(&generation);
}

/* A message with bytes that are not UTF-8 would not be what the person meant. */
static void send(struct chat *chat, const char *text, size_t length)
{
    struct error error;
    chat->attempt = 0;
    if (!utf8_valid(text, length)) {
        error_set(&error, "the message is not UTF-8: it is left out");
        program_fail(chat->program, &error, EXIT_ERROR);
        chat->failed = true;
    } else if (conversation_add(&chat->conversation, "user", text, length, &error)) {
        program_fail(chat->program, &error, EXIT_ERROR);
        chat->failed = true;
    } else {
        answer(chat);
    }
}

/* ---- commands */

static void answer_again(struct chat *chat)
{
    const char *last = conversation_last_role(&chat->conversation);
    if (!last || strcmp(last, "assistant") != 0) {
        say(chat, "There is no answer yet.");
        return;
    }
    if (chat->options->sampler.temperature <= 0)
        say(chat, "[at temperature 0 the answer is always the same; --temp 0.8 makes it vary]");
    conversation_drop_last(&chat->conversation);
    chat->attempt++;
    answer(chat);
}

static void set_system(struct chat *chat, const char *text)
{
    struct error error;
    if (conversation_set_system(&chat->conversation, text, strlen(text), &error)) {
        program_fail(chat->program, &error, EXIT_ERROR);
        chat->failed = true;
    } else if (line_editor_interactive(chat->editor)) {
        say(chat, *text ? "The system message is set." : "There is no system message now.");
    }
}

/* What begins with a slash; false: the conversation is over. */
static bool obey(struct chat *chat, const char *line)
{
    static const char *const names[] = {"/help", "/reset", "/system", "/again", "/quit"};
    size_t length = strcspn(line, " \t\n");
    char word[32] = "", message[200];
    snprintf(word, sizeof word, "%.*s", length < sizeof word ? (int)length : 31, line);
    const char *rest = line + length + strspn(line + length, " \t\n");
    if (strcmp(word, "/quit") == 0 || strcmp(word, "/exit") == 0 || strcmp(word, "/bye") == 0)
        return false;
    if (strcmp(word, "/reset") == 0) {
        conversation_reset(&chat->conversation);
        if (line_editor_interactive(chat->editor))
            say(chat, "The conversation begins anew.");
    } else if (strcmp(word, "/system") == 0) {
        set_system(chat, rest);
    } else if (strcmp(word, "/again") == 0 || strcmp(word, "/regen") == 0) {
        answer_again(chat);
    } else if (strcmp(word, "/help") == 0 || strcmp(word, "/?") == 0) {
        fputs(help, line_editor_interactive(chat->editor) ? stdout : stderr);
    } else {
        const char *closest = options_closest(word, names, sizeof names / sizeof *names);
        snprintf(message, sizeof message,
                 closest ? "%s is no command; did you mean %s?" : "%s is no command%.0s; /help lists them", word,
                 closest ? closest : "");
        say(chat, message);
    }
    return true;
}

/* One line of a person; false: the conversation is over. */
static bool take(struct chat *chat, const struct text_buffer *line)
{
    const char *text = line->data;
    if (line->length == strspn(text, " \t\n"))
        return true;
    if (text[0] == '/' && text[1] != '/')
        return obey(chat, text);
    send(chat, text + (text[0] == '/'), line->length - (text[0] == '/'));
    return true;
}

static int converse(struct chat *chat)
{
    struct text_buffer line = {0};
    struct error error;
    bool warned = false, over = false;
    int status = EXIT_OK;
    if (line_editor_interactive(chat->editor))
        printf("%s: write a message, or /help.\n\n", chat->program->model->name);
    while (!over && !program_output_failed()) {
        enum line_result result = line_editor_read(chat->editor, "> ", &line, &error);
        if (result == LINE_INTERRUPTED && !warned) {
            say(chat, "(Ctrl-C again, or Ctrl-D, ends the conversation)");
            warned = true;
            continue;
        }
        warned = false;
        if (result == LINE_FAILED)
            status = program_fail(chat->program, &error, EXIT_ERROR);
        over = result != LINE_READ || !take(chat, &line);
    }
    free(line.data);
    /* Where nobody reacts to a failed answer, the exit status tells. */
    if (status == EXIT_OK && chat->failed && !line_editor_interactive(chat->editor))
        status = EXIT_ERROR;
    return program_finish(chat->program, status);
}

static int check_options(const struct program *program, const struct chat_options *o, int operands, char **argv,
                         struct error *error)
{
    if (operands)
        return error_set(error, "unexpected '%.100s': messages are written in the conversation", argv[0]);
    if (program->common.json)
        return error_set(error, "--json: a conversation is not printed as JSON; run --json is for programs");
    for (int i = 0; i < o->stop.count; i++)
        if (!o->stop.item[i][0] || !utf8_valid(o->stop.item[i], strlen(o->stop.item[i])))
            return error_set(error, "--stop: expected some text in UTF-8, found %s",
                             o->stop.item[i][0] ? "other bytes" : "an empty string");
    if (o->system && !utf8_valid(o->system, strlen(o->system)))
        return error_set(error, "--system: expected UTF-8, found other bytes");
    return sampler_check(&o->sampler, program->model->vocab, error);
}

static int chat_opened(struct chat *chat)
{
    struct program *program = chat->program;
    struct error error;
    const char *system = chat->options->system;
    struct draft_options drafts = draft_chosen(&chat->options->draft, program->engine);
    if (!(chat->editor = line_editor_open())) {
        error_set(&error, "out of memory");
        return program_fail(program, &error, EXIT_ERROR);
    }
    if (conversation_open(&chat->conversation, program->model, program->engine, program->tokenizer,
                          chat->options->adapter, &error) ||
        (system && conversation_set_system(&chat->conversation, system, strlen(system), &error)))
        return program_fail(program, &error, EXIT_ERROR);
    if (drafts.kind != DRAFT_NONE &&
        !(chat->conversation.speculation = speculation_open(program->engine, &drafts, 1, &error)))
        return program_fail(program, &error, EXIT_ERROR);
    return converse(chat);
}

int command_chat(const struct model *model, int argc, char **argv)
{
    struct program program;
    struct chat_options options = {.count = -1, .sampler = sampling_defaults(&model->generation)};
    struct chat chat = {.program = &program, .options = &options, .conversation = {.sequence = -1}};
    program_init(&program, model, usage, about, notes);
    struct option texts[TEXT_OPTIONS], choice[SAMPLING_OPTIONS], drafts[DRAFT_OPTIONS];
    text_table(&options, texts);
    sampling_table(&options.sampler, &options.bias, choice);
    draft_table(&options.draft, model, drafts);
    struct option_group groups[4] = {{"Conversation", texts, TEXT_OPTIONS},
                                     {"Choice of tokens", choice, SAMPLING_OPTIONS},
                                     {"Speculation", drafts, DRAFT_OPTIONS}};
    int operands;
    int status = program_parse(&program, groups, 3, argc, argv, &operands);
    if (status >= 0)
        return status;
    struct error error;
    if (check_options(&program, &options, operands, argv, &error) || draft_check(&options.draft, model, &error) ||
        (options.adapter = lora_slot(&program, options.lora, &error)) < -1)
        status = program_fail(&program, &error, EXIT_USAGE);
    else if (chat_check(model->chat, NULL, &error)) /* before the weights are read */
        status = program_fail(&program, &error, EXIT_ERROR);
    else if ((status = program_engine(&program, 1, model->max_seq)) == EXIT_OK)
        status = chat_opened(&chat);
    speculation_close(chat.conversation.speculation);
    conversation_close(&chat.conversation);
    line_editor_close(chat.editor);
    program_close(&program);
    options_free(groups, 3);
    return status;
}
