/* The values that chat templates compute with, and every operation that a translated template calls. The generator turns
   a Jinja template into C (codegen/lua/chat/) that is made of these calls; what they do is what Jinja and Python do.

   Errors are sticky: the first one is noted in the render (chat_fail), after which operations return undefined, loops end
   and nothing is printed; generated code needs no checks. All memory is the render's and goes with it. */
#ifndef LATHE_CHAT_VALUE_H
#define LATHE_CHAT_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chat_render; /* one rendering: memory, output, error */
struct chat_list;
struct chat_dict;
struct chat_callable;
struct chat_loop;

enum chat_kind {
    CHAT_MISSING, /* an argument that was not given; never seen by a template */
    CHAT_UNDEFINED,
    CHAT_NONE,
    CHAT_BOOL,
    CHAT_INT,
    CHAT_BIG, /* an integer beyond 64 bits, as its decimal digits: it can be printed and compared for equality */
    CHAT_FLOAT,
    CHAT_STRING,
    CHAT_LIST, /* and tuples, views of dictionaries, ranges, generators: see enum chat_form */
    CHAT_DICT,
    CHAT_NAMESPACE,
    CHAT_CALLABLE, /* a macro, a function, a method of a value */
    CHAT_LOOP,
};

struct chat_value {
    uint8_t kind;
    uint8_t flags;   /* a string's: CHAT_MARKUP */
    uint32_t length; /* of text, in bytes */
    union {
        bool boolean;
        int64_t integer;
        double number;
        const char *text; /* a string's or big integer's bytes (UTF-8); an undefined value's message, NUL-terminated */
        struct chat_list *list;
        struct chat_dict *dict; /* of a namespace too */
        const struct chat_callable *callable;
        struct chat_loop *loop;
    };
};

struct chat_named {
    const char *name;
    struct chat_value value;
};

/* What a call passes. */
struct chat_arguments {
    int count;
    const struct chat_value *item;
    int named_count;
    const struct chat_named *named;
};

/* ---- literals: chat_text("abc"), VALUES(a, b), ARGS(2, a, b), NAMED_ARGS(1, VALUES(a), 1, {"indent", b}) */

#define CHAT_TEXT(literal) ((struct chat_value){.kind = CHAT_STRING, .length = sizeof(literal) - 1, .text = literal})
#define VALUES(...) ((const struct chat_value[]){__VA_ARGS__})
#define NO_ARGS (&(const struct chat_arguments){0})
#define ARGS(count_, ...) (&(const struct chat_arguments){count_, VALUES(__VA_ARGS__), 0, NULL})
#define NAMED_ARGS(count_, values_, named_count_, ...)                                                                 \
    (&(const struct chat_arguments){count_, values_, named_count_, (const struct chat_named[]){__VA_ARGS__}})

struct chat_value chat_missing(void);
struct chat_value chat_none(void);
struct chat_value chat_bool(bool value);
struct chat_value chat_int(int64_t value);
struct chat_value chat_big(const char *digits);
struct chat_value chat_float(double value);
struct chat_value chat_list(struct chat_render *r, int count, const struct chat_value *items);
struct chat_value chat_tuple(struct chat_render *r, int count, const struct chat_value *items);
/* key, value, key, value ... */
struct chat_value chat_dict(struct chat_render *r, int pairs, const struct chat_value *items);

/* ---- names */

/* A variable without a value. */
struct chat_value chat_undefined(const char *name);
/* A variable of the conversation (messages, tools ...) or one of Jinja's own (range, namespace ...). */
struct chat_value chat_resolve(struct chat_render *r, const char *name);
/* The conditional expression without else whose condition does not hold. */
struct chat_value chat_no_else(void);

/* ---- operators */

struct chat_value chat_sum(struct chat_render *r, int count, const struct chat_value *items); /* a + b + ... */
struct chat_value chat_subtract(struct chat_render *r, struct chat_value a, struct chat_value b);
struct chat_value chat_multiply(struct chat_render *r, struct chat_value a, struct chat_value b);
struct chat_value chat_divide(struct chat_render *r, struct chat_value a, struct chat_value b);
struct chat_value chat_floor_divide(struct chat_render *r, struct chat_value a, struct chat_value b);
struct chat_value chat_modulo(struct chat_render *r, struct chat_value a, struct chat_value b);
struct chat_value chat_power(struct chat_render *r, struct chat_value a, struct chat_value b);
struct chat_value chat_negative(struct chat_render *r, struct chat_value a);
struct chat_value chat_positive(struct chat_render *r, struct chat_value a);
struct chat_value chat_concat(struct chat_render *r, int count, const struct chat_value *items); /* a ~ b ~ ... */

bool chat_true(struct chat_value value);
bool chat_equal(struct chat_render *r, struct chat_value a, struct chat_value b);
bool chat_less(struct chat_render *r, struct chat_value a, struct chat_value b);
bool chat_less_equal(struct chat_render *r, struct chat_value a, struct chat_value b);
bool chat_in(struct chat_render *r, struct chat_value item, struct chat_value container);

/* ---- parts of values */

struct chat_value chat_attribute(struct chat_render *r, struct chat_value object, const char *name); /* object.name */
struct chat_value chat_item(struct chat_render *r, struct chat_value object, struct chat_value key); /* object[key] */
/* object[start:stop:step]; what is not given is none. */
struct chat_value chat_slice(struct chat_render *r, struct chat_value object, struct chat_value start,
                             struct chat_value stop, struct chat_value step);

/* ---- calls */

struct chat_value chat_filter(struct chat_render *r, const char *name, struct chat_value value,
                              const struct chat_arguments *arguments);
bool chat_test(struct chat_render *r, const char *name, struct chat_value value,
               const struct chat_arguments *arguments);
bool chat_is_defined(struct chat_value value);
struct chat_value chat_call(struct chat_render *r, struct chat_value callable, const struct chat_arguments *arguments);
struct chat_value chat_call_method(struct chat_render *r, struct chat_value object, const char *name,
                                   const struct chat_arguments *arguments);
/* `arguments` with those of a list after the positional ones, and those of a dictionary after the named ones: *list,
   **dict; what is not given is missing. */
const struct chat_arguments *chat_spread(struct chat_render *r, const struct chat_arguments *arguments,
                                         struct chat_value list, struct chat_value dict);

/* A macro's body: its parameters are those that it declares and then, where it uses them, caller, kwargs and varargs;
   one that was not given is missing. `captured`: variables of the loops and macros around it. It prints. */
typedef void chat_macro_body(struct chat_render *r, struct chat_value *parameters, const struct chat_value *captured);

struct chat_macro {
    const char *name;
    chat_macro_body *body;
    const char *const *parameters; /* [count] */
    int count;
    bool caller, kwargs, varargs; /* which of them the body uses */
};

struct chat_value chat_macro(struct chat_render *r, const struct chat_macro *macro, int captured_count,
                             const struct chat_value *captured);
/* A parameter's message when nothing was given for it. */
struct chat_value chat_not_given(const char *name);

/* ---- statements */

/* The template's line that runs now, for messages. */
void chat_line(struct chat_render *r, int line);
void chat_print(struct chat_render *r, struct chat_value value);
#define CHAT_PRINT(literal) chat_write(r, literal, sizeof(literal) - 1)
void chat_write(struct chat_render *r, const char *text, size_t length);

/* What is printed from begin to end becomes a string instead. */
size_t chat_capture_begin(struct chat_render *r);
struct chat_value chat_capture_end(struct chat_render *r, size_t begin);

/* for: while (chat_next(r, loop, &item)). */
struct chat_loop *chat_loop_begin(struct chat_render *r, struct chat_value sequence);
bool chat_next(struct chat_render *r, struct chat_loop *loop, struct chat_value *item);
bool chat_loop_empty(const struct chat_loop *loop); /* after the loop: there was no item */
struct chat_value chat_loop_value(struct chat_loop *loop);

/* for ... if: a list that is filled with what passes. */
struct chat_value chat_new_list(struct chat_render *r);
void chat_append(struct chat_render *r, struct chat_value list, struct chat_value item);

/* `count` targets take the items of `value`. */
void chat_unpack(struct chat_render *r, struct chat_value value, int count, struct chat_value *const *targets);
/* namespace.name = value */
void chat_set_member(struct chat_render *r, struct chat_value space, const char *name, struct chat_value value);

/* The variables of the template's outermost level, which macros share: one block, zeroed when it is first asked for. */
void *chat_variables(struct chat_render *r, size_t bytes);

#endif
