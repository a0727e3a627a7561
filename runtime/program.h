/* What every command shares: the common options, the opened engine and tokenizer, printing and errors. */
#ifndef LATHE_PROGRAM_H
#define LATHE_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "error.h"
#include "model.h"
#include "options.h"
#include "package.h"
#include "progress.h"
#include "text_buffer.h"
#include "tokenizer.h"

enum { EXIT_OK = 0, EXIT_ERROR = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130, EXIT_BROKEN_PIPE = 141 };

struct common_options {
    const char *device, *cpu, *weights;
    int32_t threads;
    uint64_t kv_memory;
    struct string_list lora_dirs;
    bool no_verify, exact, json, help;
};

struct program {
    const struct model *model;
    struct common_options common;
    struct progress progress;
    struct engine *engine;               /* program_engine */
    struct tokenizer *tokenizer;         /* program_tokenizer; NULL: the package has none */
    struct package package;              /* mapped for the tokenizer alone, when there is no engine */
    struct option table[10];             /* of the common options */
    struct adapter_folder *lora_folders; /* [lora_folder_count] of --lora-dir */
    int lora_folder_count;
    const char *usage, *about; /* for the help: what follows the program's name, and what the command does */
    const char *notes;         /* after the options; may be NULL */
};

void program_init(struct program *program, const struct model *model, const char *usage, const char *about,
                  const char *notes);

/* Parses a command's line. groups[0 .. group_count) are the command's own, the common ones are added.
   The result: -1 to go on; otherwise the exit status (after --help or an error, which has been printed). */
int program_parse(struct program *program, struct option_group *groups, int group_count, int argc, char **argv,
                  int *operands);

/* Opens the engine with state for `positions` positions in each of `sequences` sequences, if --kv-memory says nothing.
   Opens the tokenizer too, if the package has one. Exit status, printed: EXIT_OK or EXIT_ERROR. */
int program_engine(struct program *program, int32_t sequences, int32_t positions);

/* Opens the tokenizer alone, without checking or touching the weights. It is an error if there is none. */
int program_tokenizer(struct program *program);

void program_close(struct program *program);

/* Prints "NAME: error: message" on one line on stderr and returns `status`. */
int program_fail(struct program *program, const struct error *error, int status);

/* Flushes stdout and turns a write error into an exit status: EXIT_BROKEN_PIPE quietly, EXIT_ERROR with a message, else
   `status`. */
int program_finish(struct program *program, int status);

/* After writing: true when stdout can take no more, so that a long command stops early. */
bool program_output_failed(void);

/* The whole file, or stdin for "-". */
int program_read(const char *path, struct text_buffer *out, struct error *error);

#endif
