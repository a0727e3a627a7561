/* Calls: macros, functions, methods; binding arguments to parameters; Jinja's global functions. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "chat_internal.h"

struct chat_value chat_bound(struct chat_render *r, const char *name, chat_function *function, struct chat_value self)
{
    struct chat_callable *callable = chat_allocate(r, sizeof *callable);
    *callable = (struct chat_callable){.name = name, .function = function, .self = self};
    return (struct chat_value){.kind = CHAT_CALLABLE, .callable = callable};
}

/* The number of the parameter called `name` in a list of names separated by spaces, or -1. */
static int place_of(const char *names, const char *name)
{
    size_t length = strlen(name);
    for (int place = 0; *names; place++) {
        size_t own = strcspn(names, " ");
        if (own == length && memcmp(names, name, length) == 0)
            return place;
        names += own;
        names += strspn(names, " ");
    }
    return -1;
}

bool chat_bind(struct chat_render *r, const char *what, const char *names, const struct chat_arguments *arguments,
               struct chat_value *places, int count)
{
    for (int i = 0; i < count; i++)
        places[i] = chat_missing();
    if (arguments->count > count)
        chat_fail(r, "%s takes at most %d arguments, found %d", what, count, arguments->count);
    for (int i = 0; i < arguments->count && i < count; i++)
        places[i] = arguments->item[i];
    for (int i = 0; i < arguments->named_count; i++) {
        int place = place_of(names, arguments->named[i].name);
        if (place < 0)
            chat_fail(r, "%s has no argument called '%s'", what, arguments->named[i].name);
        else if (places[place].kind != CHAT_MISSING)
            chat_fail(r, "%s got two values for its argument '%s'", what, arguments->named[i].name);
        else
            places[place] = arguments->named[i].value;
    }
    return !r->failed;
}

const struct chat_arguments *chat_spread(struct chat_render *r, const struct chat_arguments *arguments,
                                         struct chat_value list, struct chat_value dict)
{
    struct chat_arguments *all = chat_allocate(r, sizeof *all);
    const struct chat_list *more = list.kind == CHAT_MISSING ? NULL : chat_iterate(r, list);
    size_t count = (size_t)arguments->count + (more ? more->count : 0);
    if (dict.kind != CHAT_MISSING && dict.kind != CHAT_DICT)
        chat_fail(r, "argument after ** must be a mapping, not %s", chat_type(dict));
    uint32_t pairs = dict.kind == CHAT_DICT ? dict.dict->count : 0;
    struct chat_value *items = chat_allocate_many(r, count + 1, sizeof *items);
    struct chat_named *named = chat_allocate_many(r, (size_t)arguments->named_count + pairs + 1, sizeof *named);
    if (!items || !named || r->failed)
        return all;
    for (size_t i = 0; i < count; i++)
        items[i] = i < (size_t)arguments->count ? arguments->item[i] : more->item[i - (size_t)arguments->count];
    for (int i = 0; i < arguments->named_count; i++)
        named[i] = arguments->named[i];
    for (uint32_t i = 0; i < pairs; i++) {
        struct chat_value key = dict.dict->entry[i].key;
        if (key.kind != CHAT_STRING)
            chat_fail(r, "keywords must be strings, found %s", chat_type(key));
        key = chat_str(r, key);
        key = chat_string(r, key.text, key.length); /* with a NUL at its end */
        named[arguments->named_count + (int)i] = (struct chat_named){key.text, dict.dict->entry[i].value};
    }
    *all = (struct chat_arguments){(int)count, items, arguments->named_count + (int)pairs, named};
    if (r->failed)
        *all = (struct chat_arguments){0};
    return all;
}

/* ---- macros */

struct chat_value chat_macro(struct chat_render *r, const struct chat_macro *macro, int captured_count,
                             const struct chat_value *captured)
{
    struct chat_callable *callable = chat_allocate(r, sizeof *callable);
    struct chat_value *copy = NULL;
    if (captured_count) {
        copy = chat_allocate(r, (size_t)captured_count * sizeof *copy);
        memcpy(copy, captured, (size_t)captured_count * sizeof *copy);
    }
    *callable = (struct chat_callable){.name = macro->name, .macro = macro, .captured = copy};
    return (struct chat_value){.kind = CHAT_CALLABLE, .callable = callable};
}

static int parameter_of(const struct chat_macro *macro, const char *name)
{
    for (int i = 0; i < macro->count; i++)
        if (strcmp(macro->parameters[i], name) == 0)
            return i;
    return -1;
}

/* Named arguments: to parameters, to `caller`, the rest to kwargs. */
static void bind_named(struct chat_render *r, const struct chat_macro *macro, const struct chat_arguments *arguments,
                       struct chat_value *places, struct chat_value *caller, struct chat_value kwargs)
{
    for (int i = 0; i < arguments->named_count && !r->failed; i++) {
        const struct chat_named *named = &arguments->named[i];
        int place = parameter_of(macro, named->name);
        if (place >= arguments->count)
            places[place] = named->value;
        else if (macro->caller && strcmp(named->name, "caller") == 0)
            *caller = named->value;
        else if (macro->kwargs)
            chat_dict_set(r, kwargs.dict, chat_string_in_place(named->name, strlen(named->name)), named->value);
        else
            chat_fail(r, "macro '%s' takes no keyword argument '%s'", macro->name, named->name);
    }
}

static struct chat_value call_macro(struct chat_render *r, const struct chat_callable *callable,
                                    const struct chat_arguments *arguments)
{
    enum { MOST = 64 }; /* the generator allows no more parameters */
    const struct chat_macro *macro = callable->macro;
    struct chat_value places[MOST + 3];
    if (arguments->count > macro->count && !macro->varargs)
        return chat_fail(r, "macro '%s' takes not more than %d argument(s)", macro->name, macro->count);
    if (macro->count > MOST || r->depth >= CHAT_DEEPEST_CALL)
        return chat_fail(r, "macros call each other more than %d deep", CHAT_DEEPEST_CALL);
    int next = macro->count;
    for (int i = 0; i < macro->count; i++)
        places[i] = i < arguments->count ? arguments->item[i] : chat_missing();
    struct chat_value caller = chat_undefined("caller"), kwargs = chat_new_dict(r);
    bind_named(r, macro, arguments, places, &caller, kwargs);
    if (macro->caller)
        places[next++] = caller;
    if (macro->kwargs)
        places[next++] = kwargs;
    if (macro->varargs) {
        int extra = arguments->count > macro->count ? arguments->count - macro->count : 0;
        places[next++] = chat_tuple(r, extra, arguments->item + (extra ? macro->count : 0));
    }
    if (r->failed || !chat_step(r))
        return chat_undefined("a macro");
    size_t begin = chat_capture_begin(r);
    r->depth++;
    macro->body(r, places, callable->captured);
    r->depth--;
    return chat_capture_end(r, begin);
}

struct chat_value chat_call(struct chat_render *r, struct chat_value value, const struct chat_arguments *arguments)
{
    if (r->failed)
        return value;
    if (value.kind == CHAT_UNDEFINED)
        return chat_fail(r, value.flags ? "'%s' is undefined" : "%s", value.text);
    if (value.kind == CHAT_LOOP)
        return chat_fail(r, "the loop must have the 'recursive' marker to be called recursively");
    if (value.kind != CHAT_CALLABLE)
        return chat_fail(r, "'%s' object is not callable", chat_type(value));
    if (value.callable->macro)
        return call_macro(r, value.callable, arguments);
    return value.callable->function(r, value.callable->self, arguments);
}

struct chat_value chat_call_method(struct chat_render *r, struct chat_value object, const char *name,
                                   const struct chat_arguments *arguments)
{
    struct chat_value method = chat_attribute(r, object, name);
    return r->failed ? method : chat_call(r, method, arguments);
}

/* ---- Jinja's global functions, and transformers' */

static struct chat_value global_range(struct chat_render *r, struct chat_value self,
                                      const struct chat_arguments *arguments)
{
    (void)self;
    int64_t bounds[3] = {0, 0, 1};
    if (arguments->count < 1 || arguments->count > 3 || arguments->named_count)
        return chat_fail(r, "range expected 1 to 3 arguments");
    for (int i = 0; i < arguments->count; i++)
        if (!chat_as_int(arguments->item[i], &bounds[arguments->count == 1 ? 1 : i]))
            return chat_fail(r, "'%s' object cannot be interpreted as an integer", chat_type(arguments->item[i]));
    if (bounds[2] == 0)
        return chat_fail(r, "range() arg 3 must not be zero");
    bool up = bounds[2] > 0;
    uint64_t low = (uint64_t)(up ? bounds[0] : bounds[1]), high = (uint64_t)(up ? bounds[1] : bounds[0]);
    uint64_t stride = up ? (uint64_t)bounds[2] : 0 - (uint64_t)bounds[2];
    bool empty = up ? bounds[0] >= bounds[1] : bounds[0] <= bounds[1];
    uint64_t count = empty ? 0 : (high - low - 1) / stride + 1;
    if (count > CHAT_LONGEST_RANGE)
        return chat_fail(r, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", CHAT_LONGEST_RANGE);
    struct chat_value list = chat_new_list_of(r, FORM_RANGE, count);
    for (uint64_t i = 0; i < count && !r->failed; i++)
        chat_append(r, list, chat_int((int64_t)((uint64_t)bounds[0] + i * (uint64_t)bounds[2])));
    return list;
}

/* What dict() takes: a dictionary or a list of pairs, and named values. */
static struct chat_value global_dict(struct chat_render *r, struct chat_value self,
                                     const struct chat_arguments *arguments)
{
    (void)self;
    struct chat_value dict = chat_new_dict(r);
    if (arguments->count > 1)
        return chat_fail(r, "dict expected at most 1 argument, got %d", arguments->count);
    if (arguments->count && (arguments->item[0].kind == CHAT_DICT || arguments->item[0].kind == CHAT_NAMESPACE)) {
        const struct chat_dict *other = arguments->item[0].dict;
        for (uint32_t i = 0; i < other->count; i++)
            chat_dict_set(r, dict.dict, other->entry[i].key, other->entry[i].value);
    } else if (arguments->count) {
        const struct chat_list *pairs = chat_iterate(r, arguments->item[0]);
        for (size_t i = 0; i < pairs->count && !r->failed; i++) {
            struct chat_value key, value;
            chat_unpack(r, pairs->item[i], 2, (struct chat_value *[]){&key, &value});
            chat_dict_set(r, dict.dict, key, value);
        }
    }
    for (int i = 0; i < arguments->named_count; i++)
        chat_dict_set(r, dict.dict, chat_string_in_place(arguments->named[i].name, strlen(arguments->named[i].name)),
                      arguments->named[i].value);
    return dict;
}

static struct chat_value global_namespace(struct chat_render *r, struct chat_value self,
                                          const struct chat_arguments *arguments)
{
    struct chat_value dict = global_dict(r, self, arguments);
    if (r->failed)
        return dict;
    for (uint32_t i = 0; i < dict.dict->count; i++)
        if (dict.dict->entry[i].key.kind == CHAT_STRING && dict.dict->entry[i].key.length &&
            dict.dict->entry[i].key.text[0] == '_')
            return chat_fail(r, "a namespace cannot have attributes that begin with _: rename it");
    return (struct chat_value){.kind = CHAT_NAMESPACE, .dict = dict.dict};
}

static struct chat_value global_raise_exception(struct chat_render *r, struct chat_value self,
                                                const struct chat_arguments *arguments)
{
    (void)self;
    struct chat_value message;
    if (!chat_bind(r, "raise_exception", "message", arguments, &message, 1))
        return message;
    message = chat_str(r, message);
    return chat_fail(r, "the template refuses this conversation: %.*s", (int)message.length, message.text);
}

static struct chat_value global_strftime_now(struct chat_render *r, struct chat_value self,
                                             const struct chat_arguments *arguments)
{
    (void)self;
    struct chat_value format;
    if (!chat_bind(r, "strftime_now", "format", arguments, &format, 1))
        return format;
    if (format.kind != CHAT_STRING || format.length > 500)
        return chat_fail(r, "strftime_now: expected a format of at most 500 bytes, found %s", chat_type(format));
    struct timespec now;
    struct tm local;
    clock_gettime(CLOCK_REALTIME, &now);
    if (!localtime_r(&now.tv_sec, &local))
        return chat_fail(r, "strftime_now: the time cannot be told");
    /* Microseconds are Python's own addition; the space keeps an empty result apart from one that does not fit. */
    char micro[8], pattern[4096], text[8192];
    snprintf(micro, sizeof micro, "%06d", (int)(now.tv_nsec / 1000 % 1000000));
    struct chat_value full = chat_replace(r, format, CHAT_TEXT("%f"), chat_string_in_place(micro, 6), -1);
    snprintf(pattern, sizeof pattern, " %.*s", (int)full.length, full.text);
    size_t length = strftime(text, sizeof text, pattern, &local);
    return length ? chat_string(r, text + 1, length - 1) : chat_fail(r, "strftime_now: the result is too long");
}

/* joiner(", "): nothing when it is called first, the separator ever after. */
static struct chat_value call_joiner(struct chat_render *r, struct chat_value self,
                                     const struct chat_arguments *arguments)
{
    (void)arguments;
    struct chat_value used = chat_item(r, self, CHAT_TEXT("used"));
    chat_dict_set(r, self.dict, CHAT_TEXT("used"), chat_bool(true));
    return chat_true(used) ? chat_item(r, self, CHAT_TEXT("separator")) : CHAT_TEXT("");
}

static struct chat_value global_joiner(struct chat_render *r, struct chat_value self,
                                       const struct chat_arguments *arguments)
{
    (void)self;
    struct chat_value separator;
    if (!chat_bind(r, "joiner", "sep", arguments, &separator, 1))
        return separator;
    struct chat_value state = chat_new_dict(r);
    chat_dict_set(r, state.dict, CHAT_TEXT("used"), chat_bool(false));
    chat_dict_set(r, state.dict, CHAT_TEXT("separator"), separator.kind == CHAT_MISSING ? CHAT_TEXT(", ") : separator);
    return chat_bound(r, "joiner", call_joiner, state);
}

struct chat_value chat_global(struct chat_render *r, const char *name)
{
    static const struct {
        const char *name;
        chat_function *function;
    } globals[] = {
        {"range", global_range},
        {"dict", global_dict},
        {"namespace", global_namespace},
        {"raise_exception", global_raise_exception},
        {"strftime_now", global_strftime_now},
        {"joiner", global_joiner},
    };
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (strcmp(globals[i].name, name) == 0)
            return chat_bound(r, name, globals[i].function, chat_none());
    return chat_missing();
}

struct chat_value chat_resolve(struct chat_render *r, const char *name)
{
    const struct chat_value *given = r->context ? chat_dict_text(r->context, name) : NULL;
    if (given)
        return *given;
    struct chat_value global = chat_global(r, name);
    return global.kind == CHAT_MISSING ? chat_undefined(name) : global;
}
