#include "commands.h"

#include <stdio.h>
#include <string.h>

#include "command.h"
#include "program.h"

struct command {
    const char *name;
    command_function *run;
    const char *about;
};

static const struct command commands[] = {
    {"run", command_run, "continue a prompt"},
    {"chat", command_chat, "hold a conversation"},
    {"render", command_render, "the prompt that the chat template makes of a conversation"},
    {"score", command_score, "log-probabilities and perplexity of a text"},
    {"bench", command_bench, "speed of prefill and decode beside the machine's memory bandwidth"},
    {"info", command_info, "what this package is, and what it would use"},
    {"tokenize", command_tokenize, "text on standard input to token ids"},
    {"detokenize", command_detokenize, "token ids on standard input to text"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_help(FILE *file, const struct model *model)
{
    fprintf(file,
            "%s: a language model as a program (%s, %s, made by %s)\n\n"
            "usage: %s COMMAND [OPTION]...\n\nCommands:\n",
            model->name, model->architecture, model->dtype, model->generator, model->name);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(file, "  %-12s %s\n", commands[i].name, commands[i].about);
    fprintf(file,
            "\n  %s COMMAND --help    describes a command and its options\n"
            "  %s --version         prints what made this program\n\n"
            "Example:\n  %s run \"Once upon a time\" -n 100\n",
            model->name, model->name, model->name);
}

static int unknown(struct program *program, const char *word)
{
    const char *names[COMMANDS];
    for (int i = 0; i < COMMANDS; i++)
        names[i] = commands[i].name;
    struct error error;
    const char *closest = options_closest(word, names, COMMANDS);
    const char *kind = word[0] == '-' ? "option" : "command";
    if (closest)
        error_set(&error, "unknown %s '%s'; did you mean %s? (--help lists the commands)", kind, word, closest);
    else
        error_set(&error,
                  "unknown %s '%s': expected run, chat, render, score, bench, info, tokenize or detokenize (--help)",
                  kind, word);
    return program_fail(program, &error, EXIT_USAGE);
}

int commands_main(const struct model *model, int argc, char **argv)
{
    struct program program;
    program_init(&program, model, "", "", NULL);
    if (argc < 2) {
        print_help(stderr, model);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        print_help(stdout, model);
        return program_finish(&program, EXIT_OK);
    }
    if (strcmp(word, "--version") == 0) {
        printf("%s (%s, %s) made by %s\n", model->name, model->architecture, model->dtype, model->generator);
        return program_finish(&program, EXIT_OK);
    }
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(word, commands[i].name) == 0)
            return commands[i].run(model, argc - 2, argv + 2);
    return unknown(&program, word);
}
