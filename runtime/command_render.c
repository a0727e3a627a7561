/* render: the prompt that the chat template makes of a conversation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"
#include "command.h"
#include "program.h"

static const char usage[] = "render [OPTION]... < messages.json";
static const char about[] = "Prints the prompt that the model's chat template makes of {\"messages\": [...], "
                            "\"tools\": [...], ...}, exactly: no\n"
                            "line feed follows it. Keys besides messages are variables of the template.";

struct render_options {
    const char *file, *template;
    bool no_generation_prompt;
};

static int render(struct program *program, const struct render_options *options)
{
    struct error error;
    struct text_buffer json = {0}, prompt = {0};
    struct chat_value conversation;
    struct chat_render *r = chat_open();
    int failed = r ? 0 : error_set(&error, "out of memory");
    /* A package without a template says so without waiting for input. */
    failed = failed || chat_check(program->model->chat, options->template, &error);
    if (!failed && program_read(options->file ? options->file : "-", &json, &error))
        failed = -1;
    const char *name = options->file && strcmp(options->file, "-") != 0 ? options->file : "standard input";
    if (!failed && chat_read_conversation(r, json.data ? json.data : "", json.length, &conversation, &error)) {
        struct error inner = error;
        failed = error_set(&error, "%s: %.900s", name, inner.message);
    }
    failed = failed || chat_render(r, program->model->chat, options->template, conversation,
                                   options->no_generation_prompt ? 0 : -1, &prompt, &error);
    int status = failed ? program_fail(program, &error, EXIT_ERROR) : EXIT_OK;
    if (!failed) {
        fwrite(prompt.data ? prompt.data : "", 1, prompt.length, stdout);
        status = program_finish(program, EXIT_OK);
    }
    free(json.data);
    free(prompt.data);
    chat_close(r);
    return status;
}

int command_render(const struct model *model, int argc, char **argv)
{
    struct program program;
    struct render_options options = {0};
    program_init(&program, model, usage, about, NULL);
    const struct option table[] = {
        {.name = "file",
         .letter = 'f',
         .kind = OPTION_STRING,
         .target = &options.file,
         .value = "FILE",
         .help = "read the conversation from a file instead of standard input"},
        {.name = "no-generation-prompt",
         .kind = OPTION_FLAG,
         .target = &options.no_generation_prompt,
         .help = "end after the last message, without what begins the answer"},
        {.name = "template",
         .kind = OPTION_STRING,
         .target = &options.template,
         .value = "NAME",
         .help = "the template of this name, where the model has several; otherwise tool_use if there are tools, else "
                 "default"},
    };
    struct option_group groups[2] = {{"Conversation", table, sizeof table / sizeof *table}};
    int operands;
    int status = program_parse(&program, groups, 1, argc, argv, &operands);
    if (status >= 0)
        return status;
    struct error error;
    if (operands) {
        error_set(&error, "unexpected '%.100s': the conversation comes from standard input or -f FILE", argv[0]);
        status = program_fail(&program, &error, EXIT_USAGE);
    } else {
        status = render(&program, &options);
    }
    program_close(&program);
    options_free(groups, 2);
    return status;
}
