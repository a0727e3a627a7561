#include "program.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program_lora.h"

void program_init(struct program *program, const struct model *model, const char *usage, const char *about,
                  const char *notes)
{
    memset(program, 0, sizeof *program);
    program->model = model;
    program->usage = usage;
    program->about = about;
    program->notes = notes;
    progress_open(&program->progress);
}

static const char *device_help(const struct model *model)
{
    if (!model->cuda)
        return "where to compute; this package was built for: cpu";
    if (!model->variant_count)
        return "where to compute; this package was built for: cuda";
    return "where to compute; this package was built for both, and takes the GPU unless told otherwise";
}

/* The rows of `table`; their number. */
static int common_table(struct program *program)
{
    struct common_options *common = &program->common;
    const struct option rows[] = {
        {.name = "device",
         .kind = OPTION_STRING,
         .target = &common->device,
         .value = "cpu|cuda",
         .help = device_help(program->model)},
        {.name = "cpu",
         .kind = OPTION_STRING,
         .target = &common->cpu,
         .value = "VARIANT",
         .help = "instruction set to use: scalar, avx2, avx512 or bf16, as far as built (info lists them; the best "
                 "supported one otherwise)"},
        {.name = "threads",
         .letter = 't',
         .kind = OPTION_INTEGER,
         .target = &common->threads,
         .value = "N",
         .help = "threads that compute; 0: one for each core this process may use",
         .minimum = 0,
         .maximum = 4096},
        {.name = "kv-memory",
         .kind = OPTION_BYTES,
         .target = &common->kv_memory,
         .value = "BYTES",
         .help = "memory for sequence state (keys and values), such as 500M or 2G; otherwise what the command needs "
                 "(on a GPU at most what is left)"},
        {.name = "weights",
         .kind = OPTION_STRING,
         .target = &common->weights,
         .value = "FILE",
         .help = "file that holds the weights, if they are neither in the executable nor in weights.bin beside it"},
        lora_dir_option(&common->lora_dirs),
        {.name = "exact",
         .kind = OPTION_FLAG,
         .target = &common->exact,
         .help =
             "on a GPU, read long prompts with the exact kernels too: slower, but the same bits however a prompt is "
             "cut"},
        {.name = "no-verify",
         .kind = OPTION_FLAG,
         .target = &common->no_verify,
         .help = "do not check the weights against their hash at start"},
        {.name = "json",
         .kind = OPTION_FLAG,
         .target = &common->json,
         .help = "print the result as JSON, whose keys are stable"},
        {.name = "help", .letter = 'h', .kind = OPTION_FLAG, .target = &common->help, .help = "print this text"},
    };
    _Static_assert(sizeof rows == sizeof program->table, "struct program has a place for each common option");
    memcpy(program->table, rows, sizeof rows);
    return (int)(sizeof rows / sizeof *rows);
}

static void print_help(const struct program *program, const struct option_group *groups, int group_count)
{
    printf("usage: %s %s\n\n%s\n", program->model->name, program->usage, program->about);
    options_help(stdout, groups, group_count);
    if (program->notes)
        printf("\n%s\n", program->notes);
}

static bool device_known(const char *device)
{
    return !device || strcmp(device, "cpu") == 0 || strcmp(device, "cuda") == 0;
}

/* What a package cannot do is an error before the command begins; a misspelt word is a wrong command line. */
static int check_device(const struct program *program, struct error *error)
{
    const char *device = program->common.device;
    const struct model *model = program->model;
    bool cuda = model->cuda != NULL, cpu = model->variant_count > 0;
    if (!device_known(device))
        return error_set(error, "--device: expected cpu or cuda, found '%s'", device);
    if (device && !(strcmp(device, "cuda") == 0 ? cuda : cpu))
        return error_set(error, "--device %s: this package was built for %s only; leave --device out", device,
                         cuda ? "cuda" : "cpu");
    return 0;
}

/* NAME=DIR of each --lora-dir. */
static int read_lora_dirs(struct program *program, struct error *error)
{
    program->lora_folders = lora_folders(&program->common.lora_dirs, &program->lora_folder_count, error);
    return program->lora_folder_count && !program->lora_folders ? -1 : 0;
}

int program_parse(struct program *program, struct option_group *groups, int group_count, int argc, char **argv,
                  int *operands)
{
    /* groups has room for one more: the common options come last. */
    groups[group_count++] = (struct option_group){"Common options", program->table, common_table(program)};
    struct error error;
    if (options_parse(groups, group_count, argc, argv, operands, &error) || read_lora_dirs(program, &error)) {
        options_free(groups, group_count);
        return program_fail(program, &error, EXIT_USAGE);
    }
    if (program->common.help) {
        print_help(program, groups, group_count);
        options_free(groups, group_count);
        program_close(program);
        return program_finish(program, EXIT_OK);
    }
    if (check_device(program, &error)) {
        options_free(groups, group_count);
        program_close(program);
        return program_fail(program, &error, device_known(program->common.device) ? EXIT_ERROR : EXIT_USAGE);
    }
    return -1;
}

/* Bytes of state pages for so many sequences of so many positions; 0 (the engine's own default) if that is less. */
static uint64_t state_bytes(const struct model *model, int32_t sequences, int32_t positions)
{
    uint64_t page_bytes = 0;
    for (int32_t i = 0; i < model->state_count; i++)
        if (model->states[i].kind == STATE_PAGED)
            page_bytes += model->states[i].page_bytes;
    uint64_t pages = ((uint64_t)positions + (uint64_t)model->page - 1) / (uint64_t)model->page * (uint64_t)sequences;
    uint64_t own = ((uint64_t)model->max_seq + (uint64_t)model->page - 1) / (uint64_t)model->page;
    if (pages <= own || (page_bytes && pages > UINT64_MAX / page_bytes))
        return 0;
    return pages * page_bytes;
}

/* Something that the user should know, though nothing is wrong. */
static void notice(void *context, const char *message)
{
    struct progress *progress = context;
    struct program *program = (struct program *)(void *)((char *)progress - offsetof(struct program, progress));
    progress_clear(progress);
    fprintf(stderr, "%s: note: %s\n", program->model->name, message);
}

int program_engine(struct program *program, int32_t sequences, int32_t positions)
{
    const struct common_options *common = &program->common;
    struct engine_options options = {
        .weights = common->weights,
        .device = common->device,
        .cpu = common->cpu,
        .threads = common->threads,
        .kv_memory = common->kv_memory,
        .kv_wanted = state_bytes(program->model, sequences, positions),
        .skip_verify = common->no_verify,
        .exact = common->exact,
        .adapters = program->lora_folders,
        .adapter_count = program->lora_folder_count,
        .notice = notice,
        .progress = progress_report,
        .progress_context = &program->progress,
    };
    struct error error;
    program->engine = engine_open(program->model, &options, &error);
    progress_clear(&program->progress);
    if (!program->engine)
        return program_fail(program, &error, EXIT_ERROR);
    uint64_t bytes = 0;
    const void *tables = engine_section(program->engine, "tokenizer", &bytes);
    if (tables && bytes && !(program->tokenizer = tokenizer_open(tables, bytes, &error)))
        return program_fail(program, &error, EXIT_ERROR);
    return EXIT_OK;
}

int program_tokenizer(struct program *program)
{
    const struct model *model = program->model;
    struct error error;
    const struct tensor *section = model_tensor(model, "tokenizer");
    if (!section || !section->bytes) {
        error_set(&error, "this package has no tokenizer (its checkpoint had none): build it from a folder with "
                          "tokenizer.json");
        return program_fail(program, &error, EXIT_ERROR);
    }
    /* Not verified: hashing gigabytes of weights to split a line into tokens would take longer than anything else, and
       the tables are checked when they are opened and used. */
    if (package_open(&program->package, model, program->common.weights, false, NULL, NULL, &error) ||
        !(program->tokenizer = tokenizer_open(program->package.payload + section->offset, section->bytes, &error)))
        return program_fail(program, &error, EXIT_ERROR);
    return EXIT_OK;
}

void program_close(struct program *program)
{
    if (program->tokenizer)
        tokenizer_close(program->tokenizer);
    engine_close(program->engine);
    package_close(&program->package);
    free(program->lora_folders);
    free(program->common.lora_dirs.item);
    program->lora_folders = NULL;
    program->common.lora_dirs = (struct string_list){0};
    program->tokenizer = NULL;
    program->engine = NULL;
}

int program_fail(struct program *program, const struct error *error, int status)
{
    progress_clear(&program->progress);
    fflush(stdout); /* what was printed comes before the message, also in a log */
    fprintf(stderr, "%s: error: ", program->model->name);
    /* One line whatever a file's name holds. */
    for (const char *c = error->message; *c; c++)
        fputc((unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c, stderr);
    fputc('\n', stderr);
    return status;
}

bool program_output_failed(void)
{
    return ferror(stdout);
}

/* Why stdout cannot be written. An earlier write's reason is lost, so one more byte asks for it again: what was to be
   printed is incomplete anyway. */
static int output_errno(void)
{
    clearerr(stdout);
    errno = 0;
    if (fputc('\n', stdout) == EOF || fflush(stdout))
        return errno ? errno : EIO;
    return EIO;
}

int program_finish(struct program *program, int status)
{
    errno = 0;
    bool flushed = fflush(stdout) == 0;
    int number = flushed ? 0 : errno;
    if (flushed && !ferror(stdout))
        return status;
    if (!number)
        number = output_errno();
    if (number == EPIPE)
        return EXIT_BROKEN_PIPE;
    struct error error;
    error_set(&error, "writing to standard output: %s", strerror(number));
    return program_fail(program, &error, EXIT_ERROR);
}

int program_read(const char *path, struct text_buffer *out, struct error *error)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "rb");
    const char *name = standard ? "standard input" : path;
    if (!file)
        return error_set(error, "%s: %s", name, strerror(errno));
    errno = 0;
    int failed = text_buffer_read(out, file);
    if (failed)
        error_set(error, "%s: reading: %s", name, strerror(errno ? errno : EIO));
    if (!standard)
        fclose(file);
    return failed;
}
