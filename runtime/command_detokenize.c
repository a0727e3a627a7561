/* detokenize: token ids on standard input to text on standard output. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "json_out.h"
#include "json_text.h"
#include "program.h"

static const char usage[] = "detokenize [--jsonl] [--skip-special] < IDS";
static const char about[] =
    "Reads token ids from standard input, separated by white space or commas, and prints their text, nothing added.\n"
    "With --jsonl every line of the input is a JSON array of ids, and a JSON string is printed for it.";

/* How the command works on ids. */
struct job {
    struct program *program;
    bool skip_special;
};

/* The text of ids that are all in the vocabulary, or NULL and a message. */
static char *decode(const struct job *job, const struct token_list *ids, size_t *length, struct error *error)
{
    int32_t vocab = tokenizer_vocab(job->program->tokenizer);
    if (job->program->model->vocab > vocab)
        vocab = job->program->model->vocab; /* padding ids have no text, and the model may choose them */
    for (size_t i = 0; i < ids->count; i++)
        if (ids->id[i] < 0 || ids->id[i] >= vocab) {
            error_set(error, "token %zu is id %d: expected 0 to %d, the vocabulary's last", i + 1, (int)ids->id[i],
                      (int)vocab - 1);
            return NULL;
        }
    return tokenizer_decode(job->program->tokenizer, ids->id, ids->count, job->skip_special, length, error);
}

/* Appends the whole numbers of a text. */
static int parse_ids(const char *text, size_t length, struct token_list *ids, struct error *error)
{
    static const char separators[] = " \t\r\n\v\f,[]";
    for (size_t i = 0; i < length;) {
        if (text[i] && strchr(separators, text[i])) {
            i++;
            continue;
        }
        int64_t id = 0;
        size_t start = i;
        while (i < length && text[i] >= '0' && text[i] <= '9' && id <= INT32_MAX)
            id = id * 10 + (text[i++] - '0');
        if (i == start || id > INT32_MAX || (i < length && (!text[i] || !strchr(separators, text[i])))) {
            size_t end = start;
            while (end < length && end - start < 40 && (unsigned char)text[end] > ' ')
                end++;
            return error_set(error, "token %zu: expected a token id, found '%.*s'", ids->count + 1, (int)(end - start),
                             text + start);
        }
        if (token_list_add(ids, (int32_t)id))
            return error_set(error, "out of memory for the token ids");
    }
    return 0;
}

static int print_text(const struct job *job, const struct token_list *ids, bool json, struct error *error)
{
    size_t length;
    char *text = decode(job, ids, &length, error);
    if (!text)
        return -1;
    if (json) {
        struct json_out out = {.file = stdout};
        json_string(&out, text, length);
        fputc('\n', stdout);
        fflush(stdout); /* so that a program can hold a conversation over two pipes */
    } else {
        fwrite(text, 1, length, stdout);
    }
    free(text);
    return 0;
}

static int detokenize_all(const struct job *job, struct error *error)
{
    struct text_buffer input = {0};
    struct token_list ids = {0};
    struct error inner;
    int failed = program_read("-", &input, error);
    if (!failed && (parse_ids(input.data ? input.data : "", input.length, &ids, &inner) ||
                    print_text(job, &ids, job->program->common.json, &inner)))
        failed = error_set(error, "standard input: %.900s", inner.message);
    free(input.data);
    free(ids.id);
    return failed;
}

static int detokenize_lines(const struct job *job, struct error *error)
{
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
        ids.count = 0;
        if (json_read_ids(line, (size_t)length, &ids, &inner) || print_text(job, &ids, true, &inner))
            failed = error_set(error, "standard input: line %ld: %.900s", number, inner.message);
    }
    if (!failed && ferror(stdin))
        failed = error_set(error, "standard input: reading: %s", strerror(errno));
    free(line);
    free(ids.id);
    return failed;
}

int command_detokenize(const struct model *model, int argc, char **argv)
{
    struct program program;
    struct job job = {.program = &program};
    bool lines = false;
    program_init(&program, model, usage, about, NULL);
    const struct option table[] = {
        {.name = "jsonl",
         .kind = OPTION_FLAG,
         .target = &lines,
         .help = "one array of ids a line in, one JSON string a line out"},
        {.name = "skip-special",
         .kind = OPTION_FLAG,
         .target = &job.skip_special,
         .help = "leave special tokens out of the text"},
    };
    struct option_group groups[2] = {{"Options", table, 2}};
    int operands;
    struct error error;
    int status = program_parse(&program, groups, 1, argc, argv, &operands);
    if (status >= 0)
        return status;
    if (operands) {
        error_set(&error, "unexpected '%.100s': detokenize reads standard input", argv[0]);
        return program_fail(&program, &error, EXIT_USAGE);
    }
    if ((status = program_tokenizer(&program)) == EXIT_OK) {
        int failed = lines ? detokenize_lines(&job, &error) : detokenize_all(&job, &error);
        status = failed ? program_fail(&program, &error, EXIT_ERROR) : program_finish(&program, EXIT_OK);
    }
    program_close(&program);
    return status;
}
