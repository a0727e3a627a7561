/* Operators, with Python's numbers: integers do not overflow silently, // and % round down, / gives a float. */
#include <math.h>
#include <string.h>

#include "chat_internal.h"

/* Arithmetic with an undefined value is an error that names it; other operands by their types. */
static struct chat_value unsupported(struct chat_render *r, const char *operator, struct chat_value a,
                                     struct chat_value b)
{
    if (a.kind == CHAT_UNDEFINED || b.kind == CHAT_UNDEFINED) {
        struct chat_value undefined = a.kind == CHAT_UNDEFINED ? a : b;
        return chat_fail(r, undefined.flags ? "'%s' is undefined" : "%s", undefined.text);
    }
    return chat_fail(r, "unsupported operand types for %s: '%s' and '%s'", operator, chat_type(a), chat_type(b));
}

static struct chat_value too_large(struct chat_render *r)
{
    return chat_fail(r, "an integer does not fit in 64 bits");
}

static struct chat_value join_texts(struct chat_render *r, struct chat_value a, struct chat_value b)
{
    if ((a.flags | b.flags) & CHAT_MARKUP) {
        a = chat_escape(r, a);
        b = chat_escape(r, b);
    }
    if (r->failed)
        return chat_undefined("a text that an error left out");
    size_t length = (size_t)a.length + b.length;
    char *text = length < UINT32_MAX ? chat_allocate_many(r, length + 1, 1) : NULL;
    if (!text)
        return chat_fail(r, "a text of %zu bytes is too long", length);
    memcpy(text, a.text, a.length);
    memcpy(text + a.length, b.text, b.length);
    struct chat_value sum = chat_string_in_place(text, length);
    sum.flags = a.flags;
    return sum;
}

static struct chat_value join_lists(struct chat_render *r, struct chat_value a, struct chat_value b)
{
    struct chat_value sum = chat_new_list_of(r, a.list->form, a.list->count + b.list->count);
    for (size_t i = 0; i < a.list->count; i++)
        chat_append(r, sum, a.list->item[i]);
    for (size_t i = 0; i < b.list->count; i++)
        chat_append(r, sum, b.list->item[i]);
    return sum;
}

static struct chat_value add(struct chat_render *r, struct chat_value a, struct chat_value b)
{
    int64_t i, j, sum;
    double x, y;
    if (a.kind == CHAT_STRING && b.kind == CHAT_STRING)
        return join_texts(r, a, b);
    if (chat_as_int(a, &i) && chat_as_int(b, &j))
        return __builtin_add_overflow(i, j, &sum) ? too_large(r) : chat_int(sum);
    if (chat_as_number(a, &x) && chat_as_number(b, &y))
        return chat_float(x + y);
    if (a.kind == CHAT_LIST && b.kind == CHAT_LIST && a.list->form == b.list->form && a.list->form <= FORM_TUPLE)
        return join_lists(r, a, b);
    if (a.kind == CHAT_STRING && b.kind != CHAT_UNDEFINED)
        return chat_fail(r, "can only concatenate str (not \"%s\") to str: use ~ or `| string`", chat_type(b));
    return unsupported(r, "+", a, b);
}

struct chat_value chat_sum(struct chat_render *r, int count, const struct chat_value *items)
{
    struct chat_value sum = items[0];
    for (int i = 1; i < count && !r->failed; i++)
        sum = add(r, sum, items[i]);
    return sum;
}

struct chat_value chat_subtract(struct chat_render *r, struct chat_value a, struct chat_value b)
{
    int64_t i, j, difference;
    double x, y;
    if (chat_as_int(a, &i) && chat_as_int(b, &j))
        return __builtin_sub_overflow(i, j, &difference) ? too_large(r) : chat_int(difference);
    if (chat_as_number(a, &x) && chat_as_number(b, &y))
        return chat_float(x - y);
    return unsupported(r, "-", a, b);
}

static struct chat_value repeat(struct chat_render *r, struct chat_value value, int64_t times)
{
    times = times < 0 ? 0 : times;
    if (value.kind == CHAT_STRING) {
        struct text_buffer out = {0};
        for (int64_t i = 0; value.length && i < times && !r->failed; i++)
            chat_buffer_add(r, &out, value.text, value.length);
        struct chat_value text = chat_buffer_string(r, &out);
        text.flags = value.flags;
        return text;
    }
    struct chat_value list = chat_new_list_of(r, value.list->form, 0);
    for (int64_t i = 0; value.list->count && i < times && !r->failed; i++)
        for (size_t k = 0; k < value.list->count; k++)
            chat_append(r, list, value.list->item[k]);
    return list;
}

static bool repeats(struct chat_value value)
{
    return value.kind == CHAT_STRING || (value.kind == CHAT_LIST && value.list->form <= FORM_TUPLE);
}

struct chat_value chat_multiply(struct chat_render *r, struct chat_value a, struct chat_value b)
{
    int64_t i, j, product;
    double x, y;
    if (chat_as_int(a, &i) && chat_as_int(b, &j))
        return __builtin_mul_overflow(i, j, &product) ? too_large(r) : chat_int(product);
    if (chat_as_number(a, &x) && chat_as_number(b, &y))
        return chat_float(x * y);
    if (repeats(a) && chat_as_int(b, &j))
        return repeat(r, a, j);
    if (repeats(b) && chat_as_int(a, &i))
        return repeat(r, b, i);
    return unsupported(r, "*", a, b);
}

struct chat_value chat_divide(struct chat_render *r, struct chat_value a, struct chat_value b)
{
    double x, y;
    if (!chat_as_number(a, &x) || !chat_as_number(b, &y))
        return unsupported(r, "/", a, b);
    return y == 0 ? chat_fail(r, "division by zero") : chat_float(x / y);
}

/* Python's: the remainder has the divisor's sign. */
static double float_modulo(double x, double y, double *quotient)
{
    double remainder = fmod(x, y);
    double whole = (x - remainder) / y;
    if (remainder != 0) {
        if ((y < 0) != (remainder < 0)) {
            remainder += y;
            whole -= 1;
        }
    } else {
        remainder = copysign(0, y);
    }
    double floored = floor(whole);
    if (whole != 0 && whole - floored > 0.5)
        floored += 1;
    *quotient = whole != 0 ? floored : copysign(0, x / y);
    return remainder;
}

struct chat_value chat_floor_divide(struct chat_render *r, struct chat_value a, struct chat_value b)
{
    int64_t i, j;
    double x, y, quotient;
    if (chat_as_int(a, &i) && chat_as_int(b, &j)) {
        if (j == 0)
            return chat_fail(r, "integer division or modulo by zero");
        if (j == -1)
            return chat_negative(r, chat_int(i));
        return chat_int(i / j - (i % j != 0 && (i < 0) != (j < 0)));
    }
    if (!chat_as_number(a, &x) || !chat_as_number(b, &y))
        return unsupported(r, "//", a, b);
    if (y == 0)
        return chat_fail(r, "float floor division by zero");
    float_modulo(x, y, &quotient);
    return chat_float(quotient);
}

struct chat_value chat_modulo(struct chat_render *r, struct chat_value a, struct chat_value b)
{
    int64_t i, j;
    double x, y, quotient;
    if (a.kind == CHAT_STRING)
        return chat_percent(r, a, b);
    if (chat_as_int(a, &i) && chat_as_int(b, &j)) {
        if (j == 0)
            return chat_fail(r, "integer division or modulo by zero");
        if (j == -1)
            return chat_int(0);
        int64_t remainder = i % j;
        return chat_int(remainder != 0 && (remainder < 0) != (j < 0) ? remainder + j : remainder);
    }
    if (!chat_as_number(a, &x) || !chat_as_number(b, &y))
        return unsupported(r, "%", a, b);
    return y == 0 ? chat_fail(r, "float modulo by zero") : chat_float(float_modulo(x, y, &quotient));
}

struct chat_value chat_power(struct chat_render *r, struct chat_value a, struct chat_value b)
{
    int64_t base, exponent;
    double x, y;
    if (chat_as_int(a, &base) && chat_as_int(b, &exponent) && exponent >= 0) {
        int64_t product = 1;
        if (base == 0 || base == 1)
            return chat_int(exponent ? base : 1);
        if (base == -1)
            return chat_int(exponent % 2 ? -1 : 1);
        for (int64_t i = 0; i < exponent; i++)
            if (__builtin_mul_overflow(product, base, &product))
                return too_large(r);
        return chat_int(product);
    }
    if (!chat_as_number(a, &x) || !chat_as_number(b, &y))
        return unsupported(r, "** or pow()", a, b);
    if (x == 0 && y < 0)
        return chat_fail(r, "0.0 cannot be raised to a negative power");
    if (x < 0 && y != floor(y))
        return chat_fail(r, "a root of a negative number");
    double power = pow(x, y);
    return isinf(power) && !isinf(x) && !isinf(y) ? chat_fail(r, "Numerical result out of range") : chat_float(power);
}

struct chat_value chat_negative(struct chat_render *r, struct chat_value a)
{
    int64_t i;
    if (chat_as_int(a, &i))
        return i == INT64_MIN ? too_large(r) : chat_int(-i);
    if (a.kind == CHAT_FLOAT)
        return chat_float(-a.number);
    return unsupported(r, "unary -", a, a);
}

struct chat_value chat_positive(struct chat_render *r, struct chat_value a)
{
    int64_t i;
    if (chat_as_int(a, &i))
        return chat_int(i);
    return a.kind == CHAT_FLOAT ? a : unsupported(r, "unary +", a, a);
}

struct chat_value chat_concat(struct chat_render *r, int count, const struct chat_value *items)
{
    struct text_buffer out = {0};
    for (int i = 0; i < count && !r->failed; i++) {
        struct chat_value text = chat_str(r, items[i]);
        if (text.kind == CHAT_STRING)
            chat_buffer_add(r, &out, text.text, text.length);
    }
    return chat_buffer_string(r, &out);
}

bool chat_in(struct chat_render *r, struct chat_value item, struct chat_value container)
{
    if (r->failed)
        return false;
    if (container.kind == CHAT_STRING) {
        if (item.kind == CHAT_STRING)
            return chat_find_bytes(container, item, 0) >= 0;
        chat_fail(r, "'in <string>' requires string as left operand, not %s", chat_type(item));
        return false;
    }
    if (container.kind == CHAT_DICT) {
        if (!chat_hashable(item))
            chat_fail(r, "unhashable type: '%s'", chat_type(item));
        return chat_dict_find(r, container.dict, item) != NULL;
    }
    if (container.kind != CHAT_LIST && container.kind != CHAT_UNDEFINED) {
        chat_fail(r, "argument of type '%s' is not iterable", chat_type(container));
        return false;
    }
    const struct chat_list *list = chat_iterate(r, container);
    for (size_t i = 0; i < list->count && chat_step(r); i++)
        if (chat_equal(r, list->item[i], item))
            return true;
    return false;
}
