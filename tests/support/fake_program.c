#include "fake_program.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "fake_cuda_model.h"
#include "fake_model.h"

static const int32_t end_of_text[] = {63};
static const char *tokenizer_tables = "";

struct fake_options fake_program_options(void)
{
    return (struct fake_options){.vocab = 64,
                                 .max_seq = 4096,
                                 .max_rows = 16,
                                 .max_outputs = 8,
                                 .random = true,
                                 .random_seed = 1,
                                 .generation = {.eos = end_of_text, .eos_count = 1}};
}

/* Check's assertions are for tests; this process is none. */
static void demand(bool true_here, const char *what)
{
    if (true_here)
        return;
    fprintf(stderr, "fake program: %s failed\n", what);
    exit(99);
}

static void load_tokenizer(struct fake_options *options, const char *path)
{
    static char tables[1 << 20];
    FILE *file = fopen(path, "rb");
    demand(file != NULL, path);
    options->tokenizer_bytes = fread(tables, 1, sizeof tables, file);
    options->tokenizer = tables;
    fclose(file);
}

void fake_program_main(int argc, char **argv)
{
    const char *tables = getenv("FAKE_PROGRAM");
    if (!tables)
        return;
    struct fake_options options = fake_program_options();
    struct fake_model fake;
    char weights[4096];
    bool has_tokenizer = tables[0] != 0;
    if (has_tokenizer)
        load_tokenizer(&options, tables);
    fake_model_init(&fake, &options);
    if (has_tokenizer) {
        /* A payload of the tokenizer alone, beside the tables, which every command finds with --weights. */
        snprintf(weights, sizeof weights, "%s.%d.bin", tables, (int)getpid());
        demand(fake_model_write(&fake, weights, 0) == 0, weights);
        char **longer = calloc((size_t)argc + 3, sizeof *longer);
        demand(longer != NULL, "calloc");
        memcpy(longer, argv, (size_t)argc * sizeof *longer);
        longer[argc++] = (char *)"--weights";
        longer[argc++] = weights;
        argv = longer;
    }
    struct fake_cuda gpu;
    const char *targets = getenv("FAKE_TARGETS");
    if (targets)
        fake_cuda_init(&gpu, &fake, &(struct fake_cuda_options){.only = strcmp(targets, "cuda") == 0});
    int status = commands_main(&fake.model, argc, argv);
    if (has_tokenizer) {
        unlink(weights);
        free(argv);
    }
    exit(status);
}

void fake_program_tokenizer(const char *tables)
{
    tokenizer_tables = tables ? tables : "";
}

void fake_program_run(struct process_result *result, struct process_options options, const char *const *arguments)
{
    static char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    ck_assert_int_gt(length, 0);
    const char *all[64] = {self};
    int count = 1;
    while (arguments[count - 1]) {
        ck_assert_int_lt(count, 63);
        all[count] = arguments[count - 1];
        count++;
    }
    options.environment = text("FAKE_PROGRAM=%s", tokenizer_tables);
    process_run(result, &options, all);
}

void fake_program(struct process_result *result, const char *argument, ...)
{
    const char *all[64] = {argument};
    va_list list;
    va_start(list, argument);
    for (int count = 1; count < 63 && (all[count] = va_arg(list, const char *)) != NULL; count++) {
    }
    va_end(list);
    fake_program_run(result, (struct process_options){0}, all);
}
