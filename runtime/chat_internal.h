/* What the chat_*.c files share; generated code sees chat_value.h only. */
#ifndef LATHE_CHAT_INTERNAL_H
#define LATHE_CHAT_INTERNAL_H

#include "chat_value.h"
#include "error.h"
#include "text_buffer.h"

enum {
    CHAT_MARKUP = 1,            /* a string that `safe` or `escape` made: adding a plain string to it escapes that */
    CHAT_DEEPEST = 400,         /* lists in lists; also bounds the recursion of everything that walks values */
    CHAT_DEEPEST_CALL = 150,    /* macros in macros */
    CHAT_LONGEST_RANGE = 100000 /* as Jinja's sandbox has it */
};

struct chat_block; /* of the arena */

/* What one rendering may take before it fails. */
struct chat_limits {
    size_t memory, output; /* bytes */
    uint64_t steps;        /* of loops */
};

struct chat_render {
    struct chat_limits limits;
    struct chat_block *blocks;
    size_t arena_bytes, reserve_used;
    struct text_buffer out;
    bool failed;
    struct error error;
    int line;  /* of the template */
    int depth; /* of macro calls */
    uint64_t steps;
    void *variables;
    struct chat_dict *context; /* what chat_resolve finds first */
    max_align_t reserve[4096];
};

/* How a list came to be: Python's types differ in how they print and in what they allow. */
enum chat_form {
    FORM_LIST,
    FORM_TUPLE,
    FORM_KEYS,
    FORM_VALUES,
    FORM_ITEMS,
    FORM_RANGE,
    FORM_GENERATOR, /* of filters such as map: no length, read once */
};

struct chat_list {
    enum chat_form form;
    int depth;
    size_t count, capacity;
    size_t taken; /* of a generator */
    struct chat_value *item;
};

struct chat_entry {
    struct chat_value key, value;
    uint64_t hash;
};

/* In the order of insertion; `slots` is an open hash table of entry numbers + 1, once there are many. */
struct chat_dict {
    int depth;
    uint32_t count, capacity, slot_count;
    struct chat_entry *entry;
    uint32_t *slot;
};

struct chat_loop {
    struct chat_list *items;
    size_t index0, next; /* of the current item; of the one after it */
    struct chat_value changed;
};

typedef struct chat_value chat_function(struct chat_render *r, struct chat_value self,
                                        const struct chat_arguments *arguments);

struct chat_callable {
    const char *name;
    const struct chat_macro *macro; /* NULL: a function */
    const struct chat_value *captured;
    chat_function *function;
    struct chat_value self;
};

/* ---- chat_memory.c */

/* Zeroed. For small things of fixed size, never NULL: when memory is out the rendering fails, and a reserve serves what
   is still asked for on the way out. */
void *chat_allocate(struct chat_render *r, size_t bytes);
/* [count], zeroed. NULL, failed, when memory is out. */
void *chat_allocate_many(struct chat_render *r, size_t count, size_t size);
/* Notes the first error; returns undefined, so that a caller can `return chat_fail(...)`. */
struct chat_value chat_fail(struct chat_render *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Counts work that is not bounded by memory; false (and failed) when there was too much of it. */
bool chat_step(struct chat_render *r);

/* ---- chat_value.c */

struct chat_value chat_string(struct chat_render *r, const char *text, size_t length); /* copied */
struct chat_value chat_string_in_place(const char *text, size_t length);               /* not copied */
struct chat_value chat_undefined_with(struct chat_render *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
struct chat_value chat_new_list_of(struct chat_render *r, enum chat_form form, size_t capacity);
struct chat_value chat_new_dict(struct chat_render *r);
/* Sets or replaces; fails for a key that cannot be one. */
void chat_dict_set(struct chat_render *r, struct chat_dict *dict, struct chat_value key, struct chat_value value);
const struct chat_value *chat_dict_find(struct chat_render *r, const struct chat_dict *dict, struct chat_value key);
const struct chat_value *chat_dict_text(const struct chat_dict *dict, const char *key);
bool chat_hashable(struct chat_value value);
/* What iterating over the value gives; a generator is used up. Fails, with no items, for what cannot be iterated. */
struct chat_list *chat_iterate(struct chat_render *r, struct chat_value value);
/* < 0, 0, > 0; fails for values without an order. */
int chat_compare(struct chat_render *r, struct chat_value a, struct chat_value b);
bool chat_same(struct chat_value a, struct chat_value b); /* the same object */
const char *chat_type(struct chat_value value);           /* Python's name of its type, for messages */
bool chat_is_text(struct chat_value value, const char *text);
/* An integer (or bool) as int64_t; false if it is none. */
bool chat_as_int(struct chat_value value, int64_t *out);
bool chat_as_number(struct chat_value value, double *out);

/* ---- chat_print.c */

struct chat_value chat_str(struct chat_render *r, struct chat_value value);
void chat_repr(struct chat_render *r, struct chat_value value, struct text_buffer *out);
void chat_float_text(double value, char text[40]); /* Python's repr */
/* Adds to a buffer of malloc; fails the rendering when it cannot grow. */
void chat_buffer_add(struct chat_render *r, struct text_buffer *out, const char *text, size_t length);
/* The buffer as a string; the buffer is freed. */
struct chat_value chat_buffer_string(struct chat_render *r, struct text_buffer *buffer);

/* ---- chat_string.c: characters are Unicode code points */

size_t chat_characters(struct chat_value text);
/* The byte at which character `index` begins (the end, if there are fewer). */
size_t chat_byte_of(struct chat_value text, size_t index);
struct chat_value chat_substring(struct chat_value text, size_t from, size_t to); /* bytes */
struct chat_value chat_escape(struct chat_render *r, struct chat_value text);
/* Called for each byte position of `part` in text from `from` on; -1: there is none. */
int64_t chat_find_bytes(struct chat_value text, struct chat_value part, size_t from);
int32_t chat_decode(const char *text, size_t length, size_t *bytes);
int chat_encode(int32_t character, char out[4]);
bool chat_is_space(int32_t character);
struct chat_value chat_strip(struct chat_value text, struct chat_value characters, bool left, bool right);
struct chat_value chat_case(struct chat_render *r, struct chat_value text,
                            char how); /* u, l, t(itle), c(apital), s(wap) */
struct chat_value chat_replace(struct chat_render *r, struct chat_value text, struct chat_value old,
                               struct chat_value new, int64_t count);

/* ---- chat_methods.c */

/* A method of the value's type, bound to it; missing if there is none. */
struct chat_value chat_method(struct chat_render *r, struct chat_value object, const char *name);

/* ---- others */

struct chat_value chat_global(struct chat_render *r, const char *name); /* chat_call.c; missing if there is none */
struct chat_value chat_bound(struct chat_render *r, const char *name, chat_function *function, struct chat_value self);
/* Positional and named arguments to the `count` places of a signature, missing where none was given. `names`: separated
   by spaces. False, failed, when they do not fit. `what`: for the message. */
bool chat_bind(struct chat_render *r, const char *what, const char *names, const struct chat_arguments *arguments,
               struct chat_value *places, int count);
struct chat_value chat_loop_attribute(struct chat_render *r, struct chat_loop *loop, const char *name);
/* text % arguments (a list of them, or a dictionary). */
struct chat_value chat_percent(struct chat_render *r, struct chat_value text, struct chat_value arguments);
struct chat_value chat_format(struct chat_render *r, struct chat_value text, const struct chat_arguments *arguments);
/* JSON text to values; keys of objects that are there twice: the last counts. */
struct chat_value chat_parse_json(struct chat_render *r, const char *text, size_t length);
/* As Python's json.dumps. indent: missing or none, a number or a string; separators: missing, none or two strings. */
struct chat_value chat_to_json(struct chat_render *r, struct chat_value value, bool ascii, struct chat_value indent,
                               struct chat_value separators, bool sort);

#endif
