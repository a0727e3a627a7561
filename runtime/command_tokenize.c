/* tokenize: text on standard input to token ids on standard output. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "json_out.h"
#include "json_text.h"
#include "program.h"

static const char usage[] = "tokenize [--jsonl] [--special] < TEXT";
static const char about[] =
    "Reads text from standard input and prints its token ids: one line for everything, separated by spaces.\n"
    "With --jsonl every line of the input is a JSON string, and a JSON array of ids is printed for it.";

static int encode(const struct program *program, const char *text, size_t length, bool special, struct token_list *ids,
                  struct error *error)
{
    ids->count = 0;
    return tokenizer_encode(program->tokenizer, text, length, special, ids, error);
}

static int tokenize_all(struct program *program, bool special, struct error *error)
{
    struct text_buffer text = {0};
    struct token_list ids = {0};
    int failed = program_read("-", &text, error) ||
                 encode(program, text.data ? text.data : "", text.length, special, &ids, error);
    if (!failed && program->common.json) {
        struct json_out out = {.file = stdout};
        json_integers(&out, ids.id, ids.count);
    } else if (!failed) {
        for (size_t i = 0; i < ids.count; i++)
            printf("%s%d", i ? " " : "", (int)ids.id[i]);
    }
    if (!failed)
        fputc('\n', stdout);
    free(text.data);
    free(ids.id);
    return failed ? -1 : 0;
}

static int tokenize_line(struct program *program, const char *line, size_t length, bool special,
                         struct text_buffer *text, struct token_list *ids, struct error *error)
{
    text->length = 0;
    if (json_read_string(line, length, text, error) ||
        encode(program, text->data ? text->data : "", text->length, special, ids, error))
        return -1;
    struct json_out out = {.file = stdout};
    json_integers(&out, ids->id, ids->count);
    fputc('\n', stdout);
    fflush(stdout); /* so that a program can hold a conversation over two pipes */
    return 0;
}

static int tokenize_lines(struct program *program, bool special, struct error *error)
{
    struct text_buffer text = {0};
    struct token_list ids = {0};
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    int failed = 0;
    for (long number = 1; !failed && !program_output_failed() && (length = getline(&line, &capacity, stdin)) >= 0;
         number++) {
        struct error inner;
        if (!json_first(line, (size_t)length))
            continue; /* an empty line */
        if (tokenize_line(program, line, (size_t)length, special, &text, &ids, &inner))
            failed = error_set(error, "standard input: line %ld: %.900s", number, inner.message);
    }
    if (!failed && ferror(stdin))
        failed = error_set(error, "standard input: reading: %s", strerror(errno));
    free(line);
    free(text.data);
    free(ids.id);
    return failed;
}

int command_tokenize(const struct model *model, int argc, char **argv)
{
    struct program program;
    bool lines = false, special = false;
    program_init(&program, model, usage, about, NULL);
    const struct option table[] = {
        {.name = "jsonl",
         .kind = OPTION_FLAG,
         .target = &lines,
         .help = "one JSON string a line in, one array of ids a line out"},
        {.name = "special",
         .kind = OPTION_FLAG,
         .target = &special,
         .help = "add the special tokens that the tokenizer puts around a text"},
    };
    struct option_group groups[2] = {{"Options", table, 2}};
    int operands;
    struct error error;
    int status = program_parse(&program, groups, 1, argc, argv, &operands);
    if (status >= 0)
        return status;
    if (operands) {
        error_set(&error, "unexpected '%.100s': tokenize reads standard input", argv[0]);
        return program_fail(&program, &error, EXIT_USAGE);
    }
    if ((status = program_tokenizer(&program)) == EXIT_OK) {
        int failed = lines ? tokenize_lines(&program, special, &error) : tokenize_all(&program, special, &error);
        status = failed ? program_fail(&program, &error, EXIT_ERROR) : program_finish(&program, EXIT_OK);
    }
    program_close(&program);
    return status;
}
