/* libNAME.so: lathe.h over the engine and the tokenizer. Only a library pulls this file from the archive; executables
   have main.c instead. */
#include "lathe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "tokenizer.h"
#include "weights.h"

/* Generated: package.c of the package. */
extern const struct model package_model;

struct lathe_model {
    struct engine *engine;
    struct tokenizer *tokenizer; /* NULL: the package has none */
    struct lathe_info info;
    struct error error; /* of the last failure */
};

static void fill_info(struct lathe_model *model)
{
    const struct model *package = engine_model(model->engine);
    struct lathe_info *info = &model->info;
    *info = (struct lathe_info){
        .name = package->name,
        .architecture = package->architecture,
        .generator = package->generator,
        .dtype = package->dtype,
        .cpu = engine_variant(model->engine),
        .vocab = package->vocab,
        .max_seq = package->max_seq,
        .max_rows = package->max_rows,
        .max_outputs = package->max_outputs,
        .threads = engine_threads(model->engine),
        .eos = package->generation.eos,
        .eos_count = package->generation.eos_count,
        .chat_template = package->chat_template,
        .parameters = package->parameters,
        .weight_bytes = weights_region_bytes(package),
        .device = engine_device(model->engine),
        .gpu = engine_gpu(model->engine),
    };
    engine_memory(model->engine, NULL, &info->state_bytes_total, NULL);
}

static int open_model(struct lathe_model *model, const struct lathe_options *given)
{
    /* A caller compiled against an older header has fewer fields, one against a newer has more. */
    struct lathe_options options = {0};
    if (given) {
        if (given->bytes < sizeof given->bytes || given->bytes > 4096)
            return error_set(&model->error, "lathe_open: options.bytes is %zu, expected sizeof(struct lathe_options)",
                             given->bytes);
        memcpy(&options, given, given->bytes < sizeof options ? given->bytes : sizeof options);
    }
    if (options.adapter_count < 0 || (options.adapter_count && !options.adapters))
        return error_set(&model->error, "lathe_open: options.adapter_count is %d, expected that of options.adapters",
                         (int)options.adapter_count);
    struct adapter_folder *folders = calloc((size_t)options.adapter_count + 1, sizeof *folders);
    if (!folders)
        return error_set(&model->error, "out of memory");
    for (int32_t i = 0; i < options.adapter_count; i++)
        folders[i] = (struct adapter_folder){options.adapters[i].name, options.adapters[i].folder};
    struct engine_options engine_options = {
        .adapters = folders,
        .adapter_count = options.adapter_count,
        .weights = options.weights,
        .cpu = options.cpu,
        .threads = options.threads,
        .kv_memory = options.kv_memory,
        .skip_verify = options.skip_verify,
        .device = options.device,
        .exact = options.exact,
    };
    model->engine = engine_open(&package_model, &engine_options, &model->error);
    free(folders);
    if (!model->engine)
        return -1;
    uint64_t bytes;
    const void *tables = engine_section(model->engine, "tokenizer", &bytes);
    if (tables) {
        model->tokenizer = tokenizer_open(tables, (size_t)bytes, &model->error);
        if (!model->tokenizer)
            return -1;
    }
    fill_info(model);
    return 0;
}

lathe_model *lathe_open(const struct lathe_options *options, char *message, size_t message_bytes)
{
    struct lathe_model *model = calloc(1, sizeof *model);
    if (model && open_model(model, options) == 0)
        return model;
    if (message && message_bytes)
        snprintf(message, message_bytes, "%s", model ? model->error.message : "out of memory");
    lathe_close(model);
    return NULL;
}

void lathe_close(lathe_model *model)
{
    if (!model)
        return;
    if (model->tokenizer)
        tokenizer_close(model->tokenizer);
    engine_close(model->engine);
    free(model);
}

const char *lathe_error(const lathe_model *model)
{
    return model->error.message;
}

const struct lathe_info *lathe_info(const lathe_model *model)
{
    return &model->info;
}

int32_t lathe_vocab(const lathe_model *model)
{
    return model->info.vocab;
}

static int need_tokenizer(lathe_model *model)
{
    if (!model->tokenizer)
        return error_set(&model->error, "\"%s\" was built without a tokenizer: use token ids", model->info.name);
    return 0;
}

long lathe_tokenize(lathe_model *model, const char *text, size_t length, bool add_special, int32_t *ids,
                    size_t capacity)
{
    if (need_tokenizer(model) != 0)
        return -1;
    struct token_list list = {0};
    long count = -1;
    if (tokenizer_encode(model->tokenizer, text, length, add_special, &list, &model->error) == 0) {
        size_t copied = list.count < capacity ? list.count : capacity;
        if (copied)
            memcpy(ids, list.id, copied * sizeof *ids);
        count = (long)list.count;
    }
    free(list.id);
    return count;
}

long lathe_detokenize(lathe_model *model, const int32_t *ids, size_t count, bool skip_special, char *text,
                      size_t capacity)
{
    if (need_tokenizer(model) != 0)
        return -1;
    size_t length;
    char *whole = tokenizer_decode(model->tokenizer, ids, count, skip_special, &length, &model->error);
    if (!whole)
        return -1;
    size_t copied = length < capacity ? length + 1 : capacity; /* with the NUL, if it fits */
    if (copied)
        memcpy(text, whole, copied);
    free(whole);
    return (long)length;
}

int lathe_sequence_open(lathe_model *model)
{
    return sequence_open(model->engine, -1, &model->error);
}

int lathe_sequence_open_adapter(lathe_model *model, const char *adapter)
{
    int slot = engine_adapter(model->engine, adapter, &model->error);
    return slot < 0 ? -1 : sequence_open(model->engine, slot, &model->error);
}

const char *lathe_adapter_name(const lathe_model *model, int32_t number)
{
    struct adapter_info info;
    return engine_adapter_info(model->engine, number, &info) ? info.name : NULL;
}

void lathe_sequence_close(lathe_model *model, int sequence)
{
    sequence_close(model->engine, sequence);
}

int32_t lathe_sequence_length(const lathe_model *model, int sequence)
{
    return sequence_length(model->engine, sequence);
}

int lathe_sequence_rollback(lathe_model *model, int sequence, int32_t length)
{
    return sequence_rollback(model->engine, sequence, length, &model->error);
}

int lathe_sequence_fork(lathe_model *model, int sequence)
{
    return sequence_fork(model->engine, sequence, &model->error);
}

int lathe_add(lathe_model *model, int sequence, int32_t token, bool logits)
{
    return engine_add(model->engine, sequence, token, logits, &model->error);
}

int lathe_add_child(lathe_model *model, int sequence, int parent, int32_t token, bool logits)
{
    return engine_add_child(model->engine, sequence, parent, token, logits, &model->error);
}

int lathe_accept(lathe_model *model, const int32_t *rows, size_t count)
{
    return engine_accept(model->engine, rows, count < INT32_MAX ? (int32_t)count : INT32_MAX, &model->error);
}

int32_t lathe_room(const lathe_model *model)
{
    return engine_room(model->engine);
}

int lathe_run(lathe_model *model)
{
    return engine_run(model->engine, &model->error);
}

void lathe_discard(lathe_model *model)
{
    engine_discard(model->engine);
}

float *lathe_logits(lathe_model *model, int row)
{
    float *logits = engine_logits(model->engine, row);
    if (!logits)
        error_set(&model->error, "row %d of the last step has no logits: they were not asked for", row);
    return logits;
}
