#include "dump.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "npy_out.h"

struct dump {
    const struct model *model;
    struct trace trace;
    char *folder;
    bool *wanted;          /* [trace_count] */
    struct npy_out *array; /* [trace_count] opened when the tensor first comes by */
    bool failed;           /* later tensors are ignored */
    struct error error;
};

/* The index of a tensor among model.traces, or -1. */
static int32_t find_trace(const struct model *model, const char *name, int layer)
{
    char full[256];
    if (layer >= 0)
        snprintf(full, sizeof full, "layer.%d.%s", layer, name);
    else
        snprintf(full, sizeof full, "%s", name);
    for (int32_t i = 0; i < model->trace_count; i++)
        if (strcmp(model->traces[i], full) == 0)
            return i;
    return -1;
}

/* bf16 is the upper half of a float. */
static float *widen(const uint16_t *values, size_t count)
{
    float *wide = malloc(count ? count * sizeof *wide : 1);
    for (size_t i = 0; wide && i < count; i++) {
        uint32_t bits = (uint32_t)values[i] << 16;
        memcpy(&wide[i], &bits, sizeof bits);
    }
    return wide;
}

static int add_rows(struct dump *dump, int32_t index, int dtype, const void *data, int rows, int columns)
{
    struct npy_out *array = &dump->array[index];
    char path[4096];
    if (!array->file) {
        int length = snprintf(path, sizeof path, "%s/%s.npy", dump->folder, dump->model->traces[index]);
        if (length < 0 || (size_t)length >= sizeof path)
            return error_set(&dump->error, "--dump: the path of %s is too long", dump->model->traces[index]);
        if (npy_out_open(array, path, columns, &dump->error))
            return -1;
    }
    if (array->columns != columns)
        return error_set(&dump->error, "--dump %s: a step has %d columns, earlier ones had %lld",
                         dump->model->traces[index], columns, (long long)array->columns);
    if (dtype == DTYPE_F32)
        return npy_out_add(array, data, rows, &dump->error);
    if (dtype != DTYPE_BF16)
        return error_set(&dump->error, "--dump %s: expected bf16 or f32 values", dump->model->traces[index]);
    float *wide = widen(data, (size_t)rows * (size_t)columns);
    int failed = wide ? npy_out_add(array, wide, rows, &dump->error) : error_set(&dump->error, "--dump: out of memory");
    free(wide);
    return failed;
}

static void receive(void *context, const char *name, int layer, int dtype, const void *data, int rows, int columns)
{
    struct dump *dump = context;
    int32_t index = find_trace(dump->model, name, layer);
    if (index >= 0 && dump->wanted[index] && !dump->failed)
        dump->failed = add_rows(dump, index, dtype, data, rows, columns) != 0;
}

/* "layer.*.NAME" against "layer.3.NAME". */
static bool matches(const char *pattern, const char *name)
{
    const char *star = strchr(pattern, '*');
    if (!star)
        return strcmp(pattern, name) == 0;
    size_t before = (size_t)(star - pattern), after = strlen(star + 1), length = strlen(name);
    return length >= before + after && strncmp(pattern, name, before) == 0 &&
           strcmp(star + 1, name + length - after) == 0;
}

/* Names that exist, as many as the message holds. */
static int unknown_name(const struct model *model, const char *name, struct error *error)
{
    char list[600] = "";
    size_t length = 0;
    for (int32_t i = 0; i < model->trace_count; i++) {
        size_t more = strlen(model->traces[i]) + 2;
        if (length + more + 5 > sizeof list) {
            strcpy(list + length, ", ...");
            break;
        }
        length += (size_t)snprintf(list + length, sizeof list - length, "%s%s", i ? ", " : "", model->traces[i]);
    }
    return error_set(error, "--dump: there is no tensor '%.100s'; expected all, or some of: %s", name,
                     model->trace_count ? list : "(this package has none)");
}

static int choose(struct dump *dump, const char *names, struct error *error)
{
    char *copy = strdup(names), *rest = NULL;
    if (!copy)
        return error_set(error, "--dump: out of memory");
    int failed = *names ? 0 : unknown_name(dump->model, "", error);
    for (char *name = strtok_r(copy, ",", &rest); name && !failed; name = strtok_r(NULL, ",", &rest)) {
        bool found = false;
        for (int32_t i = 0; i < dump->model->trace_count; i++)
            if (strcmp(name, "all") == 0 || matches(name, dump->model->traces[i]))
                found = dump->wanted[i] = true;
        if (!found)
            failed = unknown_name(dump->model, name, error);
    }
    free(copy);
    return failed;
}

static void release(struct dump *dump)
{
    free(dump->folder);
    free(dump->wanted);
    free(dump->array);
    free(dump);
}

struct dump *dump_open(const struct model *model, const char *names, const char *folder, struct error *error)
{
    size_t count = model->trace_count > 0 ? (size_t)model->trace_count : 1;
    struct dump *dump = calloc(1, sizeof *dump);
    if (!dump) {
        error_set(error, "--dump: out of memory");
        return NULL;
    }
    dump->model = model;
    dump->trace = (struct trace){.tensor = receive, .context = dump};
    dump->folder = strdup(folder);
    dump->wanted = calloc(count, sizeof *dump->wanted);
    dump->array = calloc(count, sizeof *dump->array);
    int failed = dump->folder && dump->wanted && dump->array ? choose(dump, names, error)
                                                             : error_set(error, "--dump: out of memory");
    if (!failed && mkdir(folder, 0777) && errno != EEXIST)
        failed = error_set(error, "--dump: %s: cannot make the folder: %s", folder, strerror(errno));
    if (failed) {
        release(dump);
        return NULL;
    }
    return dump;
}

const struct trace *dump_trace(const struct dump *dump)
{
    return &dump->trace;
}

int dump_close(struct dump *dump, struct error *error)
{
    if (!dump)
        return 0;
    for (int32_t i = 0; i < dump->model->trace_count; i++)
        if (npy_out_close(&dump->array[i], dump->failed ? NULL : &dump->error))
            dump->failed = true;
    int failed = dump->failed ? error_set(error, "%s", dump->error.message) : 0;
    release(dump);
    return failed;
}
