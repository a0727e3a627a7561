/* What torch.save writes: a zip with the storages' bytes and data.pkl, a program for the pickle machine. Pickles may call any
   function of Python; this machine knows two (_rebuild_tensor_v2, OrderedDict) and the types of torch's storages, runs
   nothing, and refuses everything else by name. Source: CPython's Lib/pickletools.py, torch/_utils.py, torch/serialization.py.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor_file_internal.h"
#include "tensor_zip.h"

/* A pickle of protocol 2 names each tensor in some 200 bytes: these bounds are far from any model's. */
#define LARGEST_PICKLE (64u << 20)
#define MOST_STACK (1u << 16)  /* values: Python writes dictionaries in batches of 1000 pairs */
#define MOST_VALUES (1u << 22) /* values in tuples and dictionaries, remembered values */

enum kind {
    KIND_NONE,
    KIND_BOOL,
    KIND_INTEGER,
    KIND_FLOAT, /* its value is never asked for */
    KIND_TEXT,
    KIND_TUPLE,
    KIND_DICT,
    KIND_GLOBAL,
    KIND_STORAGE,
    KIND_TENSOR,
    KIND_MARK,
};

struct value {
    enum kind kind;
    uint32_t count; /* bytes of a text, values of a tuple */
    union {
        int64_t integer;    /* KIND_BOOL, KIND_INTEGER */
        const char *text;   /* in the pickle */
        uint32_t index;     /* of a tuple's first value, of a dictionary, storage or tensor */
        const char *global; /* one of the names below */
    };
};

/* Values of a growing array that nothing is taken from. */
struct values {
    struct value *items;
    size_t count, capacity;
};

/* A dictionary is the pairs whose `owner` it is: they are few kinds, and only the last one is looked at. */
struct pair {
    uint32_t owner;
    struct value key, value;
};

struct storage {
    const char *dtype;
    uint64_t offset, elements;
};

struct machine {
    struct tensor_file *file;
    struct zip zip;
    const char *root; /* "archive/": the entries' common folder, [root_length] */
    size_t root_length;
    const unsigned char *code, *at, *end;
    struct value stack[MOST_STACK];
    size_t depth;
    struct values memo, kept;
    struct pair *pairs;
    size_t pair_count, pair_capacity;
    uint32_t dictionaries;
    struct storage *storages;
    size_t storage_count, storage_capacity;
    struct stored_tensor *tensors;
    size_t tensor_count, tensor_capacity;
};

static const char ORDERED_DICT[] = "collections OrderedDict", REBUILD[] = "torch._utils _rebuild_tensor_v2";

static const struct {
    const char *global, *dtype;
} storage_types[] = {
    {"torch BFloat16Storage", "BF16"}, {"torch HalfStorage", "F16"}, {"torch FloatStorage", "F32"},
    {"torch DoubleStorage", "F64"},    {"torch LongStorage", "I64"}, {"torch IntStorage", "I32"},
    {"torch ShortStorage", "I16"},     {"torch CharStorage", "I8"},  {"torch ByteStorage", "U8"},
    {"torch BoolStorage", "BOOL"},
};

static int refuse(const struct machine *machine, const char *what, struct error *error)
{
    return error_set(error, "%s: data.pkl: byte %zu: %s; this is not a file of tensors, or it is damaged",
                     machine->file->path, (size_t)(machine->at - machine->code), what);
}

/* Room for one more element of that size in a growing array. */
static int grow(const struct machine *machine, void **items, size_t count, size_t *capacity, size_t size,
                struct error *error)
{
    if (count < *capacity)
        return 0;
    if (count >= MOST_VALUES)
        return refuse(machine, "it makes more values than a file of tensors needs", error);
    size_t wanted = *capacity ? 2 * *capacity : 256;
    void *grown = realloc(*items, wanted * size);
    if (!grown)
        return error_set(error, "%s: out of memory", machine->file->path);
    *items = grown;
    *capacity = wanted;
    return 0;
}

static int keep(const struct machine *machine, struct values *values, struct value value, struct error *error)
{
    if (grow(machine, (void **)&values->items, values->count, &values->capacity, sizeof value, error) != 0)
        return -1;
    values->items[values->count++] = value;
    return 0;
}

static int push(struct machine *machine, struct value value, struct error *error)
{
    if (machine->depth == MOST_STACK)
        return refuse(machine, "its stack grows too deep", error);
    machine->stack[machine->depth++] = value;
    return 0;
}

/* The values above the last mark, which goes with them: *first points at them, *count says how many. */
static int pop_to_mark(struct machine *machine, struct value **first, size_t *count, struct error *error)
{
    size_t at = machine->depth;
    while (at > 0 && machine->stack[at - 1].kind != KIND_MARK)
        at--;
    if (at == 0)
        return refuse(machine, "it takes values that are not there", error);
    *first = machine->stack + at;
    *count = machine->depth - at;
    machine->depth = at - 1;
    return 0;
}

/* The `count` values on top, none of them a mark. */
static int pop(struct machine *machine, size_t count, struct value **first, struct error *error)
{
    if (machine->depth < count)
        return refuse(machine, "it takes values that are not there", error);
    *first = machine->stack + machine->depth - count;
    for (size_t i = 0; i < count; i++)
        if ((*first)[i].kind == KIND_MARK)
            return refuse(machine, "it takes values that are not there", error);
    machine->depth -= count;
    return 0;
}

static int push_tuple(struct machine *machine, const struct value *items, size_t count, struct error *error)
{
    struct value tuple = {.kind = KIND_TUPLE, .count = (uint32_t)count, .index = (uint32_t)machine->kept.count};
    for (size_t i = 0; i < count; i++)
        if (keep(machine, &machine->kept, items[i], error) != 0)
            return -1;
    return push(machine, tuple, error);
}

static int push_dict(struct machine *machine, struct error *error)
{
    return push(machine, (struct value){.kind = KIND_DICT, .index = machine->dictionaries++}, error);
}

/* items: keys and values in turn, for the dictionary that is on top now. */
static int set_items(struct machine *machine, const struct value *items, size_t count, struct error *error)
{
    if (machine->depth == 0 || machine->stack[machine->depth - 1].kind != KIND_DICT || count % 2 != 0)
        return refuse(machine, "it sets items of something that is no dictionary", error);
    uint32_t owner = machine->stack[machine->depth - 1].index;
    for (size_t i = 0; i < count; i += 2) {
        if (grow(machine, (void **)&machine->pairs, machine->pair_count, &machine->pair_capacity,
                 sizeof *machine->pairs, error) != 0)
            return -1;
        machine->pairs[machine->pair_count++] = (struct pair){owner, items[i], items[i + 1]};
    }
    return 0;
}

/* A line of the pickle, without its end. */
static int read_line(struct machine *machine, const char **text, size_t *length, struct error *error)
{
    const unsigned char *end = memchr(machine->at, '\n', (size_t)(machine->end - machine->at));
    if (!end)
        return refuse(machine, "it ends too soon", error);
    *text = (const char *)machine->at;
    *length = (size_t)(end - machine->at);
    machine->at = end + 1;
    return 0;
}

/* A function or a type that the pickle asks for: one of those above, or it is refused by name. */
static int read_global(struct machine *machine, struct error *error)
{
    const char *module = NULL, *name = NULL;
    size_t module_length = 0, name_length = 0;
    if (read_line(machine, &module, &module_length, error) != 0 || read_line(machine, &name, &name_length, error) != 0)
        return -1;
    char full[64];
    int length = module_length + name_length < sizeof full - 2
                     ? snprintf(full, sizeof full, "%.*s %.*s", (int)module_length, module, (int)name_length, name)
                     : 0;
    const char *known = NULL;
    if (length == (int)(module_length + name_length + 1)) {
        if (strcmp(full, ORDERED_DICT) == 0)
            known = ORDERED_DICT;
        if (strcmp(full, REBUILD) == 0)
            known = REBUILD;
        for (size_t i = 0; i < sizeof storage_types / sizeof *storage_types && !known; i++)
            if (strcmp(full, storage_types[i].global) == 0)
                known = storage_types[i].global;
    }
    if (!known)
        return error_set(error,
                         "%s: data.pkl: asks for %.*s.%.*s, which makes no tensor; only tensors are read. Save it with "
                         "safetensors",
                         machine->file->path, module_length < 60 ? (int)module_length : 60, module,
                         name_length < 60 ? (int)name_length : 60, name);
    return push(machine, (struct value){.kind = KIND_GLOBAL, .global = known}, error);
}

static bool is_text(struct value value, const char *text)
{
    return value.kind == KIND_TEXT && value.count == strlen(text) && memcmp(value.text, text, value.count) == 0;
}

/* ('storage', type, key, device, elements): bytes that lie in the entry data/KEY. */
static int load_storage(struct machine *machine, struct error *error)
{
    struct value *id = NULL;
    if (pop(machine, 1, &id, error) != 0)
        return -1;
    if (id->kind != KIND_TUPLE || id->count != 5)
        return refuse(machine, "expected a storage with its type, key, device and size", error);
    const struct value *field = machine->kept.items + id->index;
    const char *dtype = NULL;
    for (size_t i = 0; i < sizeof storage_types / sizeof *storage_types && field[1].kind == KIND_GLOBAL; i++)
        if (field[1].global == storage_types[i].global)
            dtype = storage_types[i].dtype;
    if (!is_text(field[0], "storage") || !dtype || field[2].kind != KIND_TEXT || field[4].kind != KIND_INTEGER)
        return refuse(machine, "expected a storage with its type, key, device and size", error);
    char key[80];
    if (field[2].count > 64)
        return refuse(machine, "a storage's key is too long", error);
    int length = snprintf(key, sizeof key, "data/%.*s", (int)field[2].count, field[2].text);
    const struct zip_entry *entry =
        zip_find(&machine->zip, machine->root, machine->root_length, key, length > 0 ? (size_t)length : 0);
    if (!entry)
        return error_set(error, "%s: data.pkl: names the storage %s, which the file does not hold; %s",
                         machine->file->path, key, TENSOR_FILE_ADVICE);
    uint32_t element = tensor_dtype_bytes(dtype);
    if (field[4].integer < 0 || (uint64_t)field[4].integer > entry->bytes / element)
        return error_set(error, "%s: %s: expected %" PRId64 " elements of %s, found %" PRIu64 " bytes; %s",
                         machine->file->path, key, field[4].integer, dtype, entry->bytes, TENSOR_FILE_ADVICE);
    if (grow(machine, (void **)&machine->storages, machine->storage_count, &machine->storage_capacity,
             sizeof *machine->storages, error) != 0)
        return -1;
    machine->storages[machine->storage_count] = (struct storage){dtype, entry->offset, (uint64_t)field[4].integer};
    return push(machine, (struct value){.kind = KIND_STORAGE, .index = (uint32_t)machine->storage_count++}, error);
}

/* Does the tuple hold whole numbers that are not negative? They go to out[count]. */
static bool read_sizes(const struct machine *machine, struct value tuple, uint64_t *out)
{
    if (tuple.kind != KIND_TUPLE || tuple.count > TENSOR_FILE_DIMENSIONS)
        return false;
    for (uint32_t i = 0; i < tuple.count; i++) {
        const struct value *item = machine->kept.items + tuple.index + i;
        if (item->kind != KIND_INTEGER || item->integer < 0)
            return false;
        out[i] = (uint64_t)item->integer;
    }
    return true;
}

/* _rebuild_tensor_v2(storage, offset, size, stride, ...): what follows says nothing about values. */
static int rebuild(struct machine *machine, struct value arguments, struct error *error)
{
    const struct value *argument = machine->kept.items + arguments.index;
    uint64_t strides[TENSOR_FILE_DIMENSIONS];
    struct stored_tensor tensor = {0};
    if (arguments.count < 4 || argument[0].kind != KIND_STORAGE || argument[1].kind != KIND_INTEGER ||
        argument[1].integer < 0 || !read_sizes(machine, argument[2], tensor.shape) ||
        !read_sizes(machine, argument[3], strides) || argument[2].count != argument[3].count)
        return refuse(machine, "expected a tensor's storage, offset, shape and strides", error);
    const struct storage *storage = &machine->storages[argument[0].index];
    uint64_t first = (uint64_t)argument[1].integer, elements = 1;
    tensor.dtype = storage->dtype;
    tensor.dimensions = (int32_t)argument[2].count;
    for (int32_t i = 0; i < tensor.dimensions; i++)
        if (tensor.shape[i] == 0)
            elements = 0;
    for (int32_t i = tensor.dimensions; i-- > 0 && elements > 0;) {
        if (tensor.shape[i] > 1 && strides[i] != elements)
            return refuse(machine, "a tensor's elements do not follow each other; save it with .contiguous()", error);
        if (tensor.shape[i] > storage->elements / elements)
            return refuse(machine, "a tensor is larger than its storage", error);
        elements *= tensor.shape[i];
    }
    if (first > storage->elements || elements > storage->elements - first)
        return refuse(machine, "a tensor is larger than its storage", error);
    tensor.offset = storage->offset + first * tensor_dtype_bytes(storage->dtype);
    if (grow(machine, (void **)&machine->tensors, machine->tensor_count, &machine->tensor_capacity, sizeof tensor,
             error) != 0)
        return -1;
    machine->tensors[machine->tensor_count] = tensor;
    return push(machine, (struct value){.kind = KIND_TENSOR, .index = (uint32_t)machine->tensor_count++}, error);
}

static int call(struct machine *machine, struct error *error)
{
    struct value *both = NULL;
    if (pop(machine, 2, &both, error) != 0)
        return -1;
    struct value function = both[0], arguments = both[1];
    if (function.kind != KIND_GLOBAL || arguments.kind != KIND_TUPLE)
        return refuse(machine, "it calls something that is no function", error);
    if (function.global == REBUILD)
        return rebuild(machine, arguments, error);
    if (function.global == ORDERED_DICT && arguments.count == 0)
        return push_dict(machine, error);
    return refuse(machine, "it calls a type in a way that makes no tensor", error);
}

/* Attributes of a dictionary (torch's _metadata): they say nothing about values. */
static int build(struct machine *machine, struct error *error)
{
    struct value *state = NULL;
    if (pop(machine, 1, &state, error) != 0)
        return -1;
    if (machine->depth == 0 || machine->stack[machine->depth - 1].kind != KIND_DICT)
        return refuse(machine, "it sets attributes of something that is no dictionary", error);
    return 0;
}

static int remember(struct machine *machine, uint64_t index, struct error *error)
{
    if (machine->depth == 0 || machine->stack[machine->depth - 1].kind == KIND_MARK || index > machine->memo.count)
        return refuse(machine, "it remembers a value out of order", error);
    struct value value = machine->stack[machine->depth - 1];
    if (index < machine->memo.count) {
        machine->memo.items[index] = value;
        return 0;
    }
    return keep(machine, &machine->memo, value, error);
}

static int recall(struct machine *machine, uint64_t index, struct error *error)
{
    if (index >= machine->memo.count)
        return refuse(machine, "it recalls a value that it never remembered", error);
    return push(machine, machine->memo.items[index], error);
}

/* The little-endian number that follows; the caller has checked that it is there. */
static uint64_t operand(struct machine *machine, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)machine->at[i] << 8 * i;
    machine->at += bytes;
    return value;
}

static int push_integer(struct machine *machine, int64_t value, struct error *error)
{
    return push(machine, (struct value){.kind = KIND_INTEGER, .integer = value}, error);
}

/* LONG1: a length, then so many bytes in two's complement. */
static int push_long(struct machine *machine, struct error *error)
{
    int bytes = (int)operand(machine, 1);
    if (bytes > 8 || bytes > machine->end - machine->at)
        return refuse(machine, "a number is too large", error);
    uint64_t value = operand(machine, bytes);
    if (bytes > 0 && bytes < 8 && value >> (8 * bytes - 1))
        value |= UINT64_MAX << 8 * bytes;
    return push_integer(machine, (int64_t)value, error);
}

static int push_text(struct machine *machine, struct error *error)
{
    uint64_t length = operand(machine, 4);
    if (length > (uint64_t)(machine->end - machine->at))
        return refuse(machine, "it ends too soon", error);
    struct value text = {.kind = KIND_TEXT, .count = (uint32_t)length, .text = (const char *)machine->at};
    machine->at += length;
    return push(machine, text, error);
}

static int push_few(struct machine *machine, size_t count, struct error *error)
{
    struct value *items = NULL;
    return pop(machine, count, &items, error) != 0 ? -1 : push_tuple(machine, items, count, error);
}

static int push_bool(struct machine *machine, bool value, struct error *error)
{
    return push(machine, (struct value){.kind = KIND_BOOL, .integer = value}, error);
}

static int set_item(struct machine *machine, struct error *error)
{
    struct value *pair = NULL;
    return pop(machine, 2, &pair, error) != 0 ? -1 : set_items(machine, pair, 2, error);
}

/* SETITEMS and TUPLE. */
static int take_marked(struct machine *machine, bool items, struct error *error)
{
    struct value *first = NULL;
    size_t count = 0;
    if (pop_to_mark(machine, &first, &count, error) != 0)
        return -1;
    return items ? set_items(machine, first, count, error) : push_tuple(machine, first, count, error);
}

/* Bytes that stand behind an operation at least. */
static int operand_bytes(unsigned char operation)
{
    switch (operation) {
    case 'X':
    case 'J':
    case 'j':
    case 'r':
        return 4;
    case 'G':
        return 8;
    case 'M':
        return 2;
    case 0x80:
    case 'K':
    case 'h':
    case 'q':
    case 0x8a:
        return 1;
    default:
        return 0;
    }
}

/* One operation. 1: it was the last. */
static int step(struct machine *machine, struct error *error)
{
    if (machine->at == machine->end)
        return refuse(machine, "it ends too soon", error);
    unsigned char operation = *machine->at++;
    if (machine->end - machine->at < operand_bytes(operation))
        return refuse(machine, "it ends too soon", error);
    switch (operation) {
    case 0x80: /* PROTO */
        return operand(machine, 1) == 2 ? 0 : refuse(machine, "expected protocol 2, found another", error);
    case '.': /* STOP */
        return 1;
    case 'c':
        return read_global(machine, error);
    case '(':
        return push(machine, (struct value){.kind = KIND_MARK}, error);
    case ')':
        return push_tuple(machine, NULL, 0, error);
    case '}':
        return push_dict(machine, error);
    case 'N':
        return push(machine, (struct value){.kind = KIND_NONE}, error);
    case 0x88:
    case 0x89:
        return push_bool(machine, operation == 0x88, error);
    case 'J': /* BININT */
        return push_integer(machine, (int32_t)(uint32_t)operand(machine, 4), error);
    case 'K':
        return push_integer(machine, (int64_t)operand(machine, 1), error);
    case 'M':
        return push_integer(machine, (int64_t)operand(machine, 2), error);
    case 0x8a:
        return push_long(machine, error);
    case 'G': /* BINFLOAT */
        machine->at += 8;
        return push(machine, (struct value){.kind = KIND_FLOAT}, error);
    case 'X': /* BINUNICODE */
        return push_text(machine, error);
    case 't':
        return take_marked(machine, false, error);
    case 0x85:
    case 0x86:
    case 0x87:
        return push_few(machine, operation - 0x84u, error);
    case 'q':
        return remember(machine, operand(machine, 1), error);
    case 'r':
        return remember(machine, operand(machine, 4), error);
    case 'h':
        return recall(machine, operand(machine, 1), error);
    case 'j':
        return recall(machine, operand(machine, 4), error);
    case 'Q': /* BINPERSID */
        return load_storage(machine, error);
    case 'R':
        return call(machine, error);
    case 's':
        return set_item(machine, error);
    case 'u':
        return take_marked(machine, true, error);
    case 'b':
        return build(machine, error);
    default: {
        char what[64];
        snprintf(what, sizeof what, "the operation 0x%02x makes no tensor", operation);
        return refuse(machine, what, error);
    }
    }
}

/* The dictionary that the pickle left: names and tensors. */
static int collect(struct machine *machine, struct error *error)
{
    struct value *top = NULL;
    if (pop(machine, 1, &top, error) != 0)
        return -1;
    if (top->kind != KIND_DICT)
        return refuse(machine, "expected a dictionary of tensors, found another value", error);
    struct tensor_list list = {.file = machine->file};
    for (size_t i = 0; i < machine->pair_count; i++) {
        const struct pair *pair = &machine->pairs[i];
        if (pair->owner != top->index)
            continue;
        if (pair->key.kind != KIND_TEXT)
            return refuse(machine, "expected the names of tensors as keys, found another value", error);
        if (pair->value.kind != KIND_TENSOR)
            return error_set(
                error, "%s: data.pkl: %.*s: expected a tensor, found another value; save the state_dict alone",
                machine->file->path, pair->key.count < TENSOR_NAME_SHOWN ? (int)pair->key.count : TENSOR_NAME_SHOWN,
                pair->key.text);
        if (tensor_list_add(&list, machine->tensors[pair->value.index], pair->key.text, pair->key.count, error) != 0)
            return -1;
    }
    return tensor_list_finish(&list, error);
}

/* The entry FOLDER/data.pkl, which also says what the folder is called. */
static int find_code(struct machine *machine, struct error *error)
{
    static const char name[] = "/data.pkl";
    size_t length = sizeof name - 1;
    const struct zip_entry *code = NULL;
    for (size_t i = 0; i < machine->zip.count && !code; i++) {
        const struct zip_entry *entry = &machine->zip.entries[i];
        if (entry->name_length > length && memcmp(entry->name + entry->name_length - length, name, length) == 0)
            code = entry;
    }
    if (!code || code->bytes > LARGEST_PICKLE)
        return error_set(error, "%s: expected a file of torch.save with data.pkl of at most %u bytes, found %s; %s",
                         machine->file->path, LARGEST_PICKLE, code ? "a larger one" : "another zip file",
                         TENSOR_FILE_ADVICE);
    machine->root = code->name;
    machine->root_length = code->name_length - (length - 1); /* with its slash */
    machine->code = machine->at = machine->file->data + code->offset;
    machine->end = machine->code + code->bytes;
    const struct zip_entry *order = zip_find(&machine->zip, machine->root, machine->root_length, "byteorder", 9);
    if (order && (order->bytes != 6 || memcmp(machine->file->data + order->offset, "little", 6) != 0))
        return error_set(error, "%s: byteorder: expected little, found another; save it on a little-endian machine",
                         machine->file->path);
    return 0;
}

int tensor_file_read_zip(struct tensor_file *file, struct error *error)
{
    struct machine *machine = calloc(1, sizeof *machine);
    if (!machine)
        return error_set(error, "%s: out of memory", file->path);
    machine->file = file;
    int failed = zip_read(&machine->zip, file->data, file->size, file->path, error);
    if (!failed)
        failed = find_code(machine, error);
    while (!failed)
        failed = step(machine, error);
    if (failed == 1)
        failed = collect(machine, error);
    zip_free(&machine->zip);
    free(machine->memo.items);
    free(machine->kept.items);
    free(machine->pairs);
    free(machine->storages);
    free(machine->tensors);
    free(machine);
    return failed;
}
