/* Jinja's tests: value is NAME. */
#include <string.h>

#include "chat_internal.h"

typedef bool chat_test_function(struct chat_render *r, struct chat_value value, const struct chat_value *a);

#define TEST(name) static bool test_##name(struct chat_render *r, struct chat_value value, const struct chat_value *a)
#define UNUSED (void)r, (void)a

TEST(defined)
{
    UNUSED;
    return chat_is_defined(value);
}

TEST(undefined)
{
    UNUSED;
    return !chat_is_defined(value);
}

TEST(none)
{
    UNUSED;
    return value.kind == CHAT_NONE;
}

TEST(boolean)
{
    UNUSED;
    return value.kind == CHAT_BOOL;
}

TEST(true)
{
    UNUSED;
    return value.kind == CHAT_BOOL && value.boolean;
}

TEST(false)
{
    UNUSED;
    return value.kind == CHAT_BOOL && !value.boolean;
}

/* Python counts true and false among the numbers, Jinja not among the integers. */
TEST(integer)
{
    UNUSED;
    return value.kind == CHAT_INT || value.kind == CHAT_BIG;
}

TEST(float)
{
    UNUSED;
    return value.kind == CHAT_FLOAT;
}

TEST(number)
{
    return test_integer(r, value, a) || test_float(r, value, a) || value.kind == CHAT_BOOL;
}

TEST(string)
{
    UNUSED;
    return value.kind == CHAT_STRING;
}

TEST(mapping)
{
    UNUSED;
    return value.kind == CHAT_DICT;
}

TEST(iterable)
{
    UNUSED;
    return value.kind == CHAT_STRING || value.kind == CHAT_LIST || value.kind == CHAT_DICT ||
           value.kind == CHAT_UNDEFINED || value.kind == CHAT_LOOP;
}

/* What has a length and items by number or key. */
TEST(sequence)
{
    UNUSED;
    if (value.kind == CHAT_LIST)
        return value.list->form <= FORM_TUPLE || value.list->form == FORM_RANGE;
    return value.kind == CHAT_STRING || value.kind == CHAT_DICT || value.kind == CHAT_UNDEFINED;
}

TEST(callable)
{
    UNUSED;
    return value.kind == CHAT_CALLABLE || value.kind == CHAT_LOOP || value.kind == CHAT_UNDEFINED;
}

TEST(escaped)
{
    UNUSED;
    return value.kind == CHAT_STRING && (value.flags & CHAT_MARKUP);
}

static bool remainder_is(struct chat_render *r, struct chat_value value, struct chat_value divisor, int64_t wanted)
{
    return chat_equal(r, chat_modulo(r, value, divisor), chat_int(wanted)) && !r->failed;
}

TEST(odd)
{
    (void)a;
    return remainder_is(r, value, chat_int(2), 1);
}

TEST(even)
{
    (void)a;
    return remainder_is(r, value, chat_int(2), 0);
}

TEST(divisibleby)
{
    return remainder_is(r, value, a[0], 0);
}

static bool is_case(struct chat_render *r, struct chat_value value, const char *method)
{
    struct chat_value text = chat_str(r, value);
    return chat_true(chat_call_method(r, text, method, NO_ARGS));
}

TEST(upper)
{
    (void)a;
    return is_case(r, value, "isupper");
}

TEST(lower)
{
    (void)a;
    return is_case(r, value, "islower");
}

TEST(eq)
{
    return chat_equal(r, value, a[0]);
}

TEST(ne)
{
    return !chat_equal(r, value, a[0]);
}

TEST(lt)
{
    return chat_less(r, value, a[0]);
}

TEST(le)
{
    return chat_less_equal(r, value, a[0]);
}

TEST(gt)
{
    return chat_less(r, a[0], value);
}

TEST(ge)
{
    return chat_less_equal(r, a[0], value);
}

TEST(in)
{
    return chat_in(r, value, a[0]);
}

TEST(sameas)
{
    UNUSED;
    return chat_same(value, a[0]);
}

static const struct {
    const char *name;
    chat_test_function *function;
    int arguments;
} tests[] = {
    {"defined", test_defined, 0},
    {"undefined", test_undefined, 0},
    {"none", test_none, 0},
    {"boolean", test_boolean, 0},
    {"true", test_true, 0},
    {"false", test_false, 0},
    {"integer", test_integer, 0},
    {"float", test_float, 0},
    {"number", test_number, 0},
    {"string", test_string, 0},
    {"mapping", test_mapping, 0},
    {"iterable", test_iterable, 0},
    {"sequence", test_sequence, 0},
    {"callable", test_callable, 0},
    {"escaped", test_escaped, 0},
    {"odd", test_odd, 0},
    {"even", test_even, 0},
    {"divisibleby", test_divisibleby, 1},
    {"upper", test_upper, 0},
    {"lower", test_lower, 0},
    {"eq", test_eq, 1},
    {"equalto", test_eq, 1},
    {"==", test_eq, 1},
    {"ne", test_ne, 1},
    {"!=", test_ne, 1},
    {"lt", test_lt, 1},
    {"lessthan", test_lt, 1},
    {"<", test_lt, 1},
    {"le", test_le, 1},
    {"<=", test_le, 1},
    {"gt", test_gt, 1},
    {"greaterthan", test_gt, 1},
    {">", test_gt, 1},
    {"ge", test_ge, 1},
    {">=", test_ge, 1},
    {"in", test_in, 1},
    {"sameas", test_sameas, 1},
};

bool chat_test(struct chat_render *r, const char *name, struct chat_value value, const struct chat_arguments *arguments)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests && !r->failed; i++) {
        if (strcmp(tests[i].name, name) != 0)
            continue;
        if (arguments->count != tests[i].arguments || arguments->named_count) {
            chat_fail(r, "test '%s' takes %d arguments, found %d", name, tests[i].arguments,
                      arguments->count + arguments->named_count);
            return false;
        }
        return tests[i].function(r, value, arguments->item);
    }
    chat_fail(r, "No test named '%s'", name);
    return false;
}
