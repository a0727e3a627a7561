/* Making values, lists and dictionaries; truth, equality and order. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "chat_internal.h"

struct chat_value chat_missing(void)
{
    return (struct chat_value){.kind = CHAT_MISSING};
}

struct chat_value chat_none(void)
{
    return (struct chat_value){.kind = CHAT_NONE};
}

struct chat_value chat_bool(bool value)
{
    return (struct chat_value){.kind = CHAT_BOOL, .boolean = value};
}

struct chat_value chat_int(int64_t value)
{
    return (struct chat_value){.kind = CHAT_INT, .integer = value};
}

struct chat_value chat_big(const char *digits)
{
    return (struct chat_value){.kind = CHAT_BIG, .length = (uint32_t)strlen(digits), .text = digits};
}

struct chat_value chat_float(double value)
{
    return (struct chat_value){.kind = CHAT_FLOAT, .number = value};
}

struct chat_value chat_string_in_place(const char *text, size_t length)
{
    return (struct chat_value){.kind = CHAT_STRING, .length = (uint32_t)length, .text = text};
}

struct chat_value chat_string(struct chat_render *r, const char *text, size_t length)
{
    char *copy = length < UINT32_MAX ? chat_allocate_many(r, length + 1, 1) : NULL;
    if (!copy)
        return chat_fail(r, "a text of %zu bytes is too long", length);
    memcpy(copy, text, length);
    return chat_string_in_place(copy, length);
}

/* The message of an undefined value that only has a name is made when it is needed: chat_undefined_message. */
struct chat_value chat_undefined(const char *name)
{
    return (struct chat_value){.kind = CHAT_UNDEFINED, .flags = 1, .text = name};
}

struct chat_value chat_undefined_with(struct chat_render *r, const char *format, ...)
{
    char message[200];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    size_t bytes = length < 0 ? 0 : length < (int)sizeof message ? (size_t)length : sizeof message - 1;
    char *copy = chat_allocate(r, bytes + 1);
    memcpy(copy, message, bytes);
    return (struct chat_value){.kind = CHAT_UNDEFINED, .text = copy};
}

struct chat_value chat_no_else(void)
{
    return (struct chat_value){.kind = CHAT_UNDEFINED,
                               .text = "the inline if-expression evaluated to false and no else section was defined"};
}

struct chat_value chat_not_given(const char *name)
{
    return chat_undefined(name);
}

bool chat_is_defined(struct chat_value value)
{
    return value.kind != CHAT_UNDEFINED;
}

/* ---- lists */

struct chat_value chat_new_list_of(struct chat_render *r, enum chat_form form, size_t capacity)
{
    struct chat_list *list = chat_allocate(r, sizeof *list);
    list->form = form;
    if (capacity) {
        list->item = chat_allocate_many(r, capacity, sizeof *list->item);
        list->capacity = list->item ? capacity : 0;
    }
    return (struct chat_value){.kind = CHAT_LIST, .list = list};
}

struct chat_value chat_new_list(struct chat_render *r)
{
    return chat_new_list_of(r, FORM_LIST, 0);
}

/* How deep a value nests. Namespaces do not count: nothing walks into them. */
static int depth_of(struct chat_value value)
{
    if (value.kind == CHAT_LIST)
        return value.list->depth + 1;
    return value.kind == CHAT_DICT ? value.dict->depth + 1 : 0;
}

/* The depth of a container that gets this item; fails when that is too deep. */
static int deeper(struct chat_render *r, int depth, struct chat_value item)
{
    int own = depth_of(item);
    if (own >= CHAT_DEEPEST)
        chat_fail(r, "lists and dictionaries nest more than %d deep", CHAT_DEEPEST);
    return own > depth ? own : depth;
}

void chat_append(struct chat_render *r, struct chat_value value, struct chat_value item)
{
    struct chat_list *list = value.kind == CHAT_LIST ? value.list : NULL;
    if (!list || r->failed)
        return;
    list->depth = deeper(r, list->depth, item);
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 4;
        struct chat_value *items = chat_allocate_many(r, capacity, sizeof *items);
        if (!items)
            return;
        if (list->count)
            memcpy(items, list->item, list->count * sizeof *items);
        list->item = items;
        list->capacity = capacity;
    }
    if (!r->failed)
        list->item[list->count++] = item;
}

static struct chat_value make_list(struct chat_render *r, enum chat_form form, int count,
                                   const struct chat_value *items)
{
    struct chat_value list = chat_new_list_of(r, form, (size_t)count);
    for (int i = 0; i < count; i++)
        chat_append(r, list, items[i]);
    return list;
}

struct chat_value chat_list(struct chat_render *r, int count, const struct chat_value *items)
{
    return make_list(r, FORM_LIST, count, items);
}

struct chat_value chat_tuple(struct chat_render *r, int count, const struct chat_value *items)
{
    return make_list(r, FORM_TUPLE, count, items);
}

static void add_characters(struct chat_render *r, struct chat_value list, struct chat_value text)
{
    for (size_t at = 0, bytes; at < text.length && !r->failed; at += bytes) {
        chat_decode(text.text + at, text.length - at, &bytes);
        chat_append(r, list, chat_string_in_place(text.text + at, bytes));
    }
}

struct chat_list *chat_iterate(struct chat_render *r, struct chat_value value)
{
    struct chat_value list;
    if (value.kind == CHAT_LIST && value.list->form != FORM_GENERATOR)
        return value.list;
    if (value.kind == CHAT_LIST) {
        size_t taken = value.list->taken;
        list = make_list(r, FORM_LIST, (int)(value.list->count - taken),
                         taken ? value.list->item + taken : value.list->item);
        value.list->taken = value.list->count;
        return list.list;
    }
    list = chat_new_list(r);
    if (value.kind == CHAT_STRING) {
        add_characters(r, list, value);
    } else if (value.kind == CHAT_DICT) {
        for (uint32_t i = 0; i < value.dict->count; i++)
            chat_append(r, list, value.dict->entry[i].key);
    } else if (value.kind == CHAT_LOOP) {
        chat_fail(r, "the loop object cannot be looped over");
    } else if (value.kind != CHAT_UNDEFINED) {
        chat_fail(r, "'%s' object is not iterable", chat_type(value));
    }
    return list.list;
}

/* ---- dictionaries */

/* 1, 1.0 and true are one key, as they are equal. */
static uint64_t hash_of(struct chat_value key)
{
    double number;
    switch (key.kind) {
    case CHAT_STRING:
    case CHAT_BIG:
        return XXH3_64bits_withSeed(key.text, key.length, key.kind);
    case CHAT_BOOL:
    case CHAT_INT:
    case CHAT_FLOAT:
        chat_as_number(key, &number);
        number = number == 0 ? 0 : number; /* no negative zero */
        return XXH3_64bits(&number, sizeof number);
    case CHAT_LIST: {
        uint64_t hash = key.list->count;
        for (size_t i = 0; i < key.list->count; i++) {
            uint64_t pair[2] = {hash, hash_of(key.list->item[i])};
            hash = XXH3_64bits(pair, sizeof pair);
        }
        return hash;
    }
    default:
        return key.kind;
    }
}

bool chat_hashable(struct chat_value value)
{
    if (value.kind == CHAT_DICT)
        return false;
    if (value.kind != CHAT_LIST)
        return true;
    bool hashable = value.list->form == FORM_TUPLE;
    for (size_t i = 0; hashable && i < value.list->count; i++)
        hashable = chat_hashable(value.list->item[i]);
    return hashable;
}

struct chat_value chat_new_dict(struct chat_render *r)
{
    return (struct chat_value){.kind = CHAT_DICT, .dict = chat_allocate(r, sizeof(struct chat_dict))};
}

/* The number of the entry with this key, or -1. */
static int64_t find(struct chat_render *r, const struct chat_dict *dict, struct chat_value key, uint64_t hash)
{
    if (!dict->slot_count) {
        for (uint32_t i = 0; i < dict->count; i++)
            if (dict->entry[i].hash == hash && chat_equal(r, dict->entry[i].key, key))
                return i;
        return -1;
    }
    for (uint32_t at = (uint32_t)hash & (dict->slot_count - 1); dict->slot[at];
         at = (at + 1) & (dict->slot_count - 1)) {
        const struct chat_entry *entry = &dict->entry[dict->slot[at] - 1];
        if (entry->hash == hash && chat_equal(r, entry->key, key))
            return dict->slot[at] - 1;
    }
    return -1;
}

static void put_slot(struct chat_dict *dict, uint32_t number)
{
    uint32_t at = (uint32_t)dict->entry[number].hash & (dict->slot_count - 1);
    while (dict->slot[at])
        at = (at + 1) & (dict->slot_count - 1);
    dict->slot[at] = number + 1;
}

/* Room for one more entry; false when memory is out. */
static bool grow(struct chat_render *r, struct chat_dict *dict)
{
    if (dict->count < dict->capacity)
        return true;
    uint32_t capacity = dict->capacity ? dict->capacity * 2 : 4;
    struct chat_entry *entries = chat_allocate_many(r, capacity, sizeof *entries);
    uint32_t slots = capacity > 8 ? capacity * 2 : 0;
    uint32_t *slot = slots && entries ? chat_allocate_many(r, slots, sizeof *slot) : NULL;
    if (!entries || (slots && !slot))
        return false;
    if (dict->count)
        memcpy(entries, dict->entry, dict->count * sizeof *entries);
    dict->entry = entries;
    dict->capacity = capacity;
    dict->slot = slot;
    dict->slot_count = slots;
    for (uint32_t i = 0; slots && i < dict->count; i++)
        put_slot(dict, i);
    return true;
}

void chat_dict_set(struct chat_render *r, struct chat_dict *dict, struct chat_value key, struct chat_value value)
{
    if (!chat_hashable(key))
        chat_fail(r, "unhashable type: '%s'", chat_type(key));
    if (r->failed)
        return;
    dict->depth = deeper(r, deeper(r, dict->depth, key), value);
    uint64_t hash = hash_of(key);
    int64_t number = find(r, dict, key, hash);
    if (number >= 0) {
        dict->entry[number].value = value;
    } else if (grow(r, dict)) {
        dict->entry[dict->count++] = (struct chat_entry){.key = key, .value = value, .hash = hash};
        if (dict->slot_count)
            put_slot(dict, dict->count - 1);
    }
}

const struct chat_value *chat_dict_find(struct chat_render *r, const struct chat_dict *dict, struct chat_value key)
{
    int64_t number = chat_hashable(key) ? find(r, dict, key, hash_of(key)) : -1;
    return number < 0 ? NULL : &dict->entry[number].value;
}

const struct chat_value *chat_dict_text(const struct chat_dict *dict, const char *key)
{
    struct chat_value text = chat_string_in_place(key, strlen(key));
    int64_t number = find(NULL, dict, text, hash_of(text));
    return number < 0 ? NULL : &dict->entry[number].value;
}

struct chat_value chat_dict(struct chat_render *r, int pairs, const struct chat_value *items)
{
    struct chat_value dict = chat_new_dict(r);
    for (int i = 0; i < pairs; i++)
        chat_dict_set(r, dict.dict, items[2 * i], items[2 * i + 1]);
    return dict;
}

/* ---- what all values have */

const char *chat_type(struct chat_value value)
{
    static const char *const lists[] = {"list",       "tuple", "dict_keys", "dict_values",
                                        "dict_items", "range", "generator"};
    switch (value.kind) {
    case CHAT_NONE:
        return "NoneType";
    case CHAT_BOOL:
        return "bool";
    case CHAT_INT:
    case CHAT_BIG:
        return "int";
    case CHAT_FLOAT:
        return "float";
    case CHAT_STRING:
        return value.flags & CHAT_MARKUP ? "Markup" : "str";
    case CHAT_LIST:
        return lists[value.list->form];
    case CHAT_DICT:
        return "dict";
    case CHAT_NAMESPACE:
        return "Namespace";
    case CHAT_CALLABLE:
        return value.callable->macro ? "Macro" : "function";
    case CHAT_LOOP:
        return "LoopContext";
    default:
        return "Undefined";
    }
}

bool chat_is_text(struct chat_value value, const char *text)
{
    return value.kind == CHAT_STRING && value.length == strlen(text) && memcmp(value.text, text, value.length) == 0;
}

bool chat_as_int(struct chat_value value, int64_t *out)
{
    if (value.kind != CHAT_INT && value.kind != CHAT_BOOL)
        return false;
    *out = value.kind == CHAT_INT ? value.integer : value.boolean;
    return true;
}

bool chat_as_number(struct chat_value value, double *out)
{
    int64_t integer;
    if (value.kind == CHAT_FLOAT)
        *out = value.number;
    else if (chat_as_int(value, &integer))
        *out = (double)integer;
    else
        return false;
    return true;
}

bool chat_true(struct chat_value value)
{
    switch (value.kind) {
    case CHAT_MISSING:
    case CHAT_UNDEFINED:
    case CHAT_NONE:
        return false;
    case CHAT_BOOL:
        return value.boolean;
    case CHAT_INT:
        return value.integer != 0;
    case CHAT_FLOAT:
        return value.number != 0;
    case CHAT_STRING:
        return value.length != 0;
    case CHAT_LIST:
        return value.list->count != 0 || value.list->form == FORM_GENERATOR;
    case CHAT_DICT:
        return value.dict->count != 0;
    case CHAT_LOOP:
        return value.loop->items->count != 0;
    default:
        return true;
    }
}

bool chat_same(struct chat_value a, struct chat_value b)
{
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case CHAT_LIST:
        return a.list == b.list;
    case CHAT_DICT:
    case CHAT_NAMESPACE:
        return a.dict == b.dict;
    case CHAT_CALLABLE:
        return a.callable == b.callable;
    case CHAT_LOOP:
        return a.loop == b.loop;
    case CHAT_NONE:
        return true;
    case CHAT_BOOL:
        return a.boolean == b.boolean;
    case CHAT_INT:
        return a.integer == b.integer;
    case CHAT_STRING:
        return a.length == b.length && memcmp(a.text, b.text, a.length) == 0;
    default:
        return false;
    }
}

static bool equal_lists(struct chat_render *r, const struct chat_list *a, const struct chat_list *b)
{
    if (a->form != b->form || a->form == FORM_GENERATOR || a->form == FORM_VALUES || a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!chat_step(r) || !chat_equal(r, a->item[i], b->item[i]))
            return false;
    return true;
}

static bool equal_dicts(struct chat_render *r, const struct chat_dict *a, const struct chat_dict *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct chat_value *other = chat_step(r) ? chat_dict_find(r, b, a->entry[i].key) : NULL;
        if (!other || !chat_equal(r, a->entry[i].value, *other))
            return false;
    }
    return true;
}

bool chat_equal(struct chat_render *r, struct chat_value a, struct chat_value b)
{
    if (chat_same(a, b))
        return true;
    double x, y;
    if (a.kind == CHAT_BIG || b.kind == CHAT_BIG)
        return a.kind == b.kind && a.length == b.length && memcmp(a.text, b.text, a.length) == 0;
    if (a.kind != CHAT_FLOAT && b.kind != CHAT_FLOAT) {
        int64_t i, j;
        if (chat_as_int(a, &i) && chat_as_int(b, &j))
            return i == j;
    }
    if (chat_as_number(a, &x) && chat_as_number(b, &y))
        return x == y;
    if (a.kind != b.kind)
        return false;
    if (a.kind == CHAT_UNDEFINED)
        return true;
    if (a.kind == CHAT_LIST)
        return equal_lists(r, a.list, b.list);
    return a.kind == CHAT_DICT && equal_dicts(r, a.dict, b.dict);
}

/* Integers of any size: by sign, number of digits, digits. */
static int compare_big(struct chat_render *r, struct chat_value a, struct chat_value b)
{
    struct chat_value x = chat_str(r, a.kind == CHAT_BOOL ? chat_int(a.boolean) : a);
    struct chat_value y = chat_str(r, b.kind == CHAT_BOOL ? chat_int(b.boolean) : b);
    bool minus = x.text[0] == '-', other_minus = y.text[0] == '-';
    if (minus != other_minus)
        return minus ? -1 : 1;
    int order = x.length != y.length ? (x.length > y.length) - (x.length < y.length) : memcmp(x.text, y.text, x.length);
    return minus ? -order : order;
}

static bool is_integer(struct chat_value value)
{
    return value.kind == CHAT_INT || value.kind == CHAT_BIG || value.kind == CHAT_BOOL;
}

static int compare_texts(struct chat_value a, struct chat_value b)
{
    /* The order of UTF-8 bytes is that of code points. */
    size_t length = a.length < b.length ? a.length : b.length;
    int order = length ? memcmp(a.text, b.text, length) : 0;
    return order ? order : (a.length > b.length) - (a.length < b.length);
}

int chat_compare(struct chat_render *r, struct chat_value a, struct chat_value b)
{
    double x, y;
    int64_t i, j;
    if (a.kind == CHAT_STRING && b.kind == CHAT_STRING)
        return compare_texts(a, b);
    if (chat_as_int(a, &i) && chat_as_int(b, &j))
        return (i > j) - (i < j);
    if (is_integer(a) && is_integer(b))
        return r->failed ? 0 : compare_big(r, a, b);
    if (chat_as_number(a, &x) && chat_as_number(b, &y))
        return (x > y) - (x < y);
    if (a.kind == CHAT_UNDEFINED || b.kind == CHAT_UNDEFINED) {
        struct chat_value undefined = a.kind == CHAT_UNDEFINED ? a : b;
        chat_fail(r, undefined.flags ? "'%s' is undefined" : "%s", undefined.text);
        return 0;
    }
    if (a.kind == CHAT_LIST && b.kind == CHAT_LIST && a.list->form == b.list->form && a.list->form <= FORM_TUPLE) {
        for (size_t k = 0; k < a.list->count && k < b.list->count && chat_step(r); k++)
            if (!chat_equal(r, a.list->item[k], b.list->item[k]))
                return chat_compare(r, a.list->item[k], b.list->item[k]);
        return (a.list->count > b.list->count) - (a.list->count < b.list->count);
    }
    chat_fail(r, "'<' not supported between instances of '%s' and '%s'", chat_type(a), chat_type(b));
    return 0;
}

bool chat_less(struct chat_render *r, struct chat_value a, struct chat_value b)
{
    if ((a.kind == CHAT_FLOAT && isnan(a.number)) || (b.kind == CHAT_FLOAT && isnan(b.number)))
        return false;
    return chat_compare(r, a, b) < 0 && !r->failed;
}

bool chat_less_equal(struct chat_render *r, struct chat_value a, struct chat_value b)
{
    if ((a.kind == CHAT_FLOAT && isnan(a.number)) || (b.kind == CHAT_FLOAT && isnan(b.number)))
        return false;
    return chat_compare(r, a, b) <= 0 && !r->failed;
}
