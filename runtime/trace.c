#include "trace.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    NAME_BYTES = 128,
    HEADER_BYTES = 128, /* of an .npy file: the same whatever the number of rows, so that it can be rewritten */
    BLOCK = 4096,       /* values converted at a time */
};

/* A tensor that has been seen, and its file. */
struct dumped {
    char name[NAME_BYTES];
    long long rows;
    int columns;
};

struct trace_dump {
    struct trace trace;
    char *selection, *directory;
    struct dumped *dumped; /* [count] */
    int count, capacity;
    bool failed; /* and `error` says why */
    struct error error;
};

/* Do two names match, part by part, `*` on either side being any one part? A part is what lies between dots.
 */
static bool matches(const char *a, size_t a_length, const char *b)
{
    const char *a_end = a + a_length;
    for (;;) {
        size_t a_part = 0, b_part = strcspn(b, ".");
        while (a + a_part < a_end && a[a_part] != '.')
            a_part++;
        bool any = (a_part == 1 && *a == '*') || (b_part == 1 && *b == '*');
        if (!any && (a_part != b_part || memcmp(a, b, a_part) != 0))
            return false;
        a += a_part;
        b += b_part;
        if (a == a_end || *b == '\0')
            return a == a_end && *b == '\0';
        a++;
        b++;
    }
}

/* Walks the names of a selection: *next points behind the name returned. NULL at the end. */
static const char *next_name(const char **next, size_t *length)
{
    const char *name = *next;
    if (!name)
        return NULL;
    *length = strcspn(name, ",");
    *next = name[*length] ? name + *length + 1 : NULL;
    return name;
}

static bool is_all(const char *name, size_t length)
{
    return length == 3 && memcmp(name, "all", 3) == 0;
}

static bool selected(const struct trace_dump *dump, const char *tensor)
{
    size_t length;
    const char *next = dump->selection;
    for (const char *name; (name = next_name(&next, &length));)
        if (is_all(name, length) || matches(name, length, tensor))
            return true;
    return false;
}

/* Does the model have such a tensor? A name like "layer.99.qkv" matches "layer.*.qkv" but must be a layer it
 * has. */
static bool exists(const struct model *model, const char *const *names, int32_t count, const char *name, size_t length)
{
    if (is_all(name, length))
        return true;
    if (length > 6 && memcmp(name, "layer.", 6) == 0 && name[6] != '*') {
        int32_t layer = 0;
        size_t i = 6;
        for (; i < length && name[i] >= '0' && name[i] <= '9' && layer < model->layers; i++)
            layer = layer * 10 + (name[i] - '0');
        if (i == 6 || i == length || name[i] != '.' || layer >= model->layers || (name[6] == '0' && i > 7))
            return false;
    }
    for (int32_t i = 0; i < count; i++)
        if (matches(name, length, names[i]))
            return true;
    return false;
}

static int check_selection(const struct model *model, const char *const *names, int32_t count, const char *selection,
                           struct error *error)
{
    size_t length;
    const char *next = selection;
    for (const char *name; (name = next_name(&next, &length));) {
        if (exists(model, names, count, name, length))
            continue;
        char list[768] = "";
        size_t used = 0;
        for (int32_t i = 0; i < count && used < sizeof list; i++) {
            int more = snprintf(list + used, sizeof list - used, "%s, ", names[i]);
            used += more > 0 ? (size_t)more : 0;
        }
        return error_set(error, "--dump %.*s: no such tensor; there are %sall (layers 0 to %d)",
                         length < NAME_BYTES ? (int)length : NAME_BYTES, name, list, model->layers - 1);
    }
    return 0;
}

static void file_path(const struct trace_dump *dump, const struct dumped *dumped, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s.npy", dump->directory, dumped->name);
}

/* The entry of a tensor; a new one, with an empty file, when it is seen first. NULL after a failure. */
static struct dumped *find(struct trace_dump *dump, const char *name, int columns)
{
    for (int i = 0; i < dump->count; i++)
        if (strcmp(dump->dumped[i].name, name) == 0)
            return &dump->dumped[i];
    if (dump->count == dump->capacity) {
        int capacity = dump->capacity ? dump->capacity * 2 : 64;
        struct dumped *grown = realloc(dump->dumped, (size_t)capacity * sizeof *grown);
        if (!grown) {
            error_set(&dump->error, "out of memory for --dump");
            return NULL;
        }
        dump->dumped = grown;
        dump->capacity = capacity;
    }
    struct dumped *dumped = &dump->dumped[dump->count];
    *dumped = (struct dumped){.columns = columns};
    snprintf(dumped->name, sizeof dumped->name, "%s", name);
    char path[PATH_MAX];
    file_path(dump, dumped, path);
    FILE *file = fopen(path, "wbe");
    if (!file) {
        error_set(&dump->error, "%s: cannot write it: %s", path, strerror(errno));
        return NULL;
    }
    fclose(file);
    dump->count++;
    return dumped;
}

static bool write_header(FILE *file, long long rows, int columns)
{
    char header[HEADER_BYTES + 1];
    int length = snprintf(header, sizeof header,
                          "%cNUMPY%c%c%c%c{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %d), }", 0x93, 1, 0,
                          HEADER_BYTES - 10, 0, rows, columns);
    memset(header + length, ' ', (size_t)(HEADER_BYTES - length));
    header[HEADER_BYTES - 1] = '\n';
    return fwrite(header, 1, HEADER_BYTES, file) == HEADER_BYTES;
}

static bool write_values(FILE *file, int dtype, const void *data, size_t count)
{
    if (dtype == DTYPE_F32)
        return fwrite(data, sizeof(float), count, file) == count;
    const uint16_t *bf16 = data;
    uint32_t wide[BLOCK];
    for (size_t done = 0; done < count;) {
        size_t block = count - done < BLOCK ? count - done : BLOCK;
        for (size_t i = 0; i < block; i++)
            wide[i] = (uint32_t)bf16[done + i] << 16;
        if (fwrite(wide, sizeof *wide, block, file) != block)
            return false;
        done += block;
    }
    return true;
}

/* Adds rows to the tensor's file: the values first, then the header that counts them. A file is opened for
   each call: a model has more tensors than a process may have open files. */
static bool append(struct trace_dump *dump, struct dumped *dumped, int dtype, const void *data, int rows)
{
    char path[PATH_MAX];
    file_path(dump, dumped, path);
    FILE *file = fopen(path, "r+be");
    off_t end = HEADER_BYTES + (off_t)dumped->rows * (off_t)dumped->columns * (off_t)sizeof(float);
    bool written = file && fseeko(file, end, SEEK_SET) == 0 &&
                   write_values(file, dtype, data, (size_t)rows * (size_t)dumped->columns) && fflush(file) == 0 &&
                   fseeko(file, 0, SEEK_SET) == 0 && write_header(file, dumped->rows + rows, dumped->columns) &&
                   fflush(file) == 0;
    int failure = errno;
    if (file)
        fclose(file); /* nothing is left in its buffer that could fail */
    if (!written) {
        error_set(&dump->error, "%s: cannot write it: %s", path, strerror(failure));
        return false;
    }
    dumped->rows += rows;
    return true;
}

static void on_tensor(void *context, const char *name, int layer, int dtype, const void *data, int rows, int columns)
{
    struct trace_dump *dump = context;
    char full[NAME_BYTES];
    if (layer < 0)
        snprintf(full, sizeof full, "%s", name);
    else
        snprintf(full, sizeof full, "layer.%d.%s", layer, name);
    if (dump->failed || !selected(dump, full))
        return;
    struct dumped *dumped = find(dump, full, columns);
    if (dumped && (dumped->columns != columns || (dtype != DTYPE_F32 && dtype != DTYPE_BF16))) {
        error_set(&dump->error, "--dump %s: it had %d columns and has %d now (dtype %d); this is a bug", full,
                  dumped->columns, columns, dtype);
        dumped = NULL;
    }
    dump->failed = !dumped || !append(dump, dumped, dtype, data, rows);
}

struct trace_dump *trace_dump_open(const struct model *model, const char *const *names, int32_t count,
                                   const char *selection, const char *directory, struct error *error)
{
    if (check_selection(model, names, count, selection, error) != 0)
        return NULL;
    if (strlen(directory) > PATH_MAX - NAME_BYTES - 8) {
        error_set(error, "--dump: the directory's name has %zu bytes, at most %d are possible", strlen(directory),
                  PATH_MAX - NAME_BYTES - 8);
        return NULL;
    }
    struct stat status;
    if (mkdir(directory, 0777) != 0 && errno != EEXIST) {
        error_set(error, "--dump: cannot make the directory %s: %s", directory, strerror(errno));
        return NULL;
    }
    if (stat(directory, &status) != 0 || !S_ISDIR(status.st_mode)) {
        error_set(error, "--dump: %s is not a directory", directory);
        return NULL;
    }
    struct trace_dump *dump = calloc(1, sizeof *dump);
    if (dump) {
        dump->trace = (struct trace){.tensor = on_tensor, .context = dump};
        dump->selection = strdup(selection);
        dump->directory = strdup(directory);
    }
    if (!dump || !dump->selection || !dump->directory) {
        error_set(error, "out of memory for --dump");
        trace_dump_close(dump, NULL);
        return NULL;
    }
    return dump;
}

const struct trace *trace_dump_trace(const struct trace_dump *dump)
{
    return &dump->trace;
}

int trace_dump_close(struct trace_dump *dump, struct error *error)
{
    if (!dump)
        return 0;
    bool failed = dump->failed;
    if (failed && error)
        *error = dump->error;
    free(dump->selection);
    free(dump->directory);
    free(dump->dumped);
    free(dump);
    return failed ? -1 : 0;
}
