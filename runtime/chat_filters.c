/* Jinja's filters on texts and numbers, and the table of all of them. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat_filters.h"

/* ---- texts */

/* What filters of texts begin with: the value as text, markup kept. */
static struct chat_value soft(struct chat_render *r, struct chat_value value)
{
    return value.kind == CHAT_STRING ? value : chat_str(r, value);
}

static bool given(struct chat_value value)
{
    return value.kind != CHAT_MISSING && value.kind != CHAT_NONE;
}

FILTER(upper)
{
    (void)a;
    return chat_case(r, soft(r, value), 'u');
}

FILTER(lower)
{
    (void)a;
    return chat_case(r, soft(r, value), 'l');
}

FILTER(capitalize)
{
    (void)a;
    return chat_case(r, soft(r, value), 'c');
}

/* Jinja's title, unlike Python's, begins words at white space, hyphens and brackets only. */
FILTER(title)
{
    (void)a;
    value = soft(r, value);
    struct text_buffer out = {0};
    for (size_t from = 0, at = 0; at <= value.length && !r->failed;) {
        size_t bytes = 1;
        int32_t c = at < value.length ? chat_decode(value.text + at, value.length - at, &bytes) : ' ';
        if (chat_is_space(c) || (c < 0x80 && strchr("-({[<", c))) {
            struct chat_value word = chat_case(r, chat_substring(value, from, at), 'c');
            chat_buffer_add(r, &out, word.text, word.length);
            if (at < value.length)
                chat_buffer_add(r, &out, value.text + at, bytes);
            from = at + bytes;
        }
        at += bytes;
    }
    return chat_buffer_string(r, &out);
}

FILTER(trim)
{
    return chat_strip(soft(r, value), a[0], true, true);
}

FILTER(replace)
{
    int64_t count = -1;
    struct chat_value text = soft(r, value);
    if (a[0].kind == CHAT_MISSING || a[1].kind == CHAT_MISSING)
        return chat_fail(r, "replace: expected what to replace and with what");
    if (given(a[2]) && !chat_as_int(a[2], &count))
        return chat_fail(r, "replace: count: expected an integer, found %s", chat_type(a[2]));
    return chat_replace(r, chat_string_in_place(text.text, text.length), chat_str(r, a[0]), chat_str(r, a[1]), count);
}

FILTER(string)
{
    (void)a;
    return soft(r, value);
}

FILTER(safe)
{
    (void)a;
    value = soft(r, value);
    value.flags = value.kind == CHAT_STRING ? CHAT_MARKUP : value.flags;
    return value;
}

FILTER(escape)
{
    (void)a;
    return chat_escape(r, soft(r, value));
}

FILTER(forceescape)
{
    (void)a;
    return chat_escape(r, chat_str(r, value));
}

/* Lines after the first (with `first`, that too) are indented; empty ones only with `blank`. */
FILTER(indent)
{
    int64_t width = 4;
    struct chat_value by = a[0], text = value;
    if (value.kind != CHAT_STRING)
        return chat_fail(r, "indent: expected a string, found %s", chat_type(value));
    if (by.kind != CHAT_STRING) {
        if (given(by) && !chat_as_int(by, &width))
            return chat_fail(r, "indent: width: expected an integer or a string, found %s", chat_type(by));
        by = chat_multiply(r, CHAT_TEXT(" "), chat_int(width > 10000 ? 10000 : width));
    }
    bool first = chat_true(a[1]), blank = chat_true(a[2]);
    struct chat_value lines =
        chat_call_method(r, chat_concat(r, 2, VALUES(text, CHAT_TEXT("\n"))), "splitlines", NO_ARGS);
    struct text_buffer out = {0};
    for (size_t i = 0; !r->failed && i < lines.list->count; i++) {
        struct chat_value line = lines.list->item[i];
        if (i)
            chat_buffer_add(r, &out, "\n", 1);
        if (i ? blank || line.length : first)
            chat_buffer_add(r, &out, by.text, by.length);
        chat_buffer_add(r, &out, line.text, line.length);
    }
    return chat_buffer_string(r, &out);
}

FILTER(center)
{
    return chat_call_method(r, soft(r, value), "center", ARGS(1, a[0].kind == CHAT_MISSING ? chat_int(80) : a[0]));
}

FILTER(truncate)
{
    int64_t length = 255, leeway = 5;
    if ((given(a[0]) && !chat_as_int(a[0], &length)) || (given(a[3]) && !chat_as_int(a[3], &leeway)))
        return chat_fail(r, "truncate: expected whole numbers");
    struct chat_value end = given(a[2]) ? soft(r, a[2]) : CHAT_TEXT("...");
    if (length < (int64_t)chat_characters(end) || leeway < 0)
        return chat_fail(r, "truncate: expected length >= %zu, got %" PRId64, chat_characters(end), length);
    struct chat_value own_length = chat_filter(r, "length", value, NO_ARGS);
    if (r->failed || own_length.integer <= length + leeway)
        return value;
    if (value.kind != CHAT_STRING)
        return chat_fail(r, "truncate: expected a string, found %s", chat_type(value));
    struct chat_value kept = chat_substring(value, 0, chat_byte_of(value, (size_t)length - chat_characters(end)));
    if (!chat_true(a[1])) {
        size_t at = kept.length;
        while (at > 0 && kept.text[at - 1] != ' ')
            at--;
        if (at > 0)
            kept = chat_substring(kept, 0, at - 1);
    }
    return chat_concat(r, 2, VALUES(kept, end));
}

FILTER(wordcount)
{
    (void)a;
    value = soft(r, value);
    int64_t words = 0;
    bool inside = false;
    for (size_t at = 0, bytes; at < value.length; at += bytes) {
        int32_t c = chat_decode(value.text + at, value.length - at, &bytes);
        struct chat_value one = chat_substring(value, at, at + bytes);
        bool word = c == '_' || chat_true(chat_call_method(r, one, "isalnum", NO_ARGS));
        words += word && !inside;
        inside = word;
    }
    return chat_int(words);
}

FILTER(tojson)
{
    return chat_to_json(r, value, chat_true(a[0]), a[1], a[2], chat_true(a[3]));
}

/* ---- numbers */

/* A decimal number in a text, as Python's int() and float() take it: spaces around, underscores between digits. */
static bool number_text(struct chat_render *r, struct chat_value text, char out[64])
{
    text = chat_strip(text, chat_none(), true, true);
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        bool between = i > 0 && i + 1 < text.length && text.text[i - 1] >= '0' && text.text[i - 1] <= '9' &&
                       text.text[i + 1] >= '0' && text.text[i + 1] <= '9';
        if (text.text[i] == '_' && between)
            continue;
        if (length == 63 || !text.text[i] || text.text[i] == '_' || text.text[i] == 'x' || text.text[i] == 'X' ||
            text.text[i] == '(')
            return false;
        out[length++] = text.text[i];
    }
    out[length] = 0;
    return length > 0 && !r->failed;
}

static bool parse_float(struct chat_render *r, struct chat_value text, double *out)
{
    char number[64], *end;
    if (!number_text(r, text, number) || strchr(" \t\n\v\f\r", number[0]))
        return false;
    *out = strtod(number, &end);
    return !*end;
}

static bool parse_int(struct chat_render *r, struct chat_value text, int64_t base, int64_t *out)
{
    char number[64], *end, *start = number;
    struct chat_value plain = chat_strip(text, chat_none(), true, true);
    if (base == 16 && plain.length > 2 && plain.text[0] == '0' && (plain.text[1] | 32) == 'x')
        text = chat_substring(plain, 2, plain.length);
    if (!number_text(r, text, number) || strchr(" \t\n\v\f\r", number[0]))
        return false;
    if (base == 0)
        base = 10;
    if (base < 2 || base > 36)
        return false;
    errno = 0;
    *out = strtoll(start, &end, (int)base);
    if (errno)
        chat_fail(r, "int: an integer does not fit in 64 bits");
    return !*end && !errno;
}

static struct chat_value whole(struct chat_render *r, double number, struct chat_value otherwise)
{
    if (isnan(number) || isinf(number))
        return isnan(number) ? otherwise : chat_fail(r, "cannot convert float infinity to integer");
    number = trunc(number);
    if (number >= 0x1p63 || number < -0x1p63)
        return chat_fail(r, "int: an integer does not fit in 64 bits");
    return chat_int((int64_t)number);
}

FILTER(int)
{
    struct chat_value otherwise = a[0].kind == CHAT_MISSING ? chat_int(0) : a[0];
    int64_t base = 10, integer;
    double number;
    if (given(a[1]) && !chat_as_int(a[1], &base))
        return chat_fail(r, "int: base: expected an integer");
    if (value.kind == CHAT_UNDEFINED)
        return chat_fail(r, value.flags ? "'%s' is undefined" : "%s", value.text);
    if (value.kind == CHAT_BIG)
        return value;
    if (value.kind == CHAT_STRING) {
        if (parse_int(r, value, base, &integer))
            return chat_int(integer);
        return !r->failed && parse_float(r, value, &number) && !isinf(number) ? whole(r, number, otherwise) : otherwise;
    }
    if (chat_as_int(value, &integer))
        return chat_int(integer);
    return value.kind == CHAT_FLOAT ? whole(r, value.number, otherwise) : otherwise;
}

FILTER(float)
{
    struct chat_value otherwise = a[0].kind == CHAT_MISSING ? chat_float(0) : a[0];
    double number;
    if (value.kind == CHAT_UNDEFINED)
        return chat_fail(r, value.flags ? "'%s' is undefined" : "%s", value.text);
    if (value.kind == CHAT_STRING)
        return parse_float(r, value, &number) ? chat_float(number) : otherwise;
    if (value.kind == CHAT_BIG)
        return chat_float(strtod(value.text, NULL));
    return chat_as_number(value, &number) ? chat_float(number) : otherwise;
}

FILTER(abs)
{
    (void)a;
    int64_t integer;
    if (chat_as_int(value, &integer))
        return integer < 0 ? chat_negative(r, value) : chat_int(integer);
    if (value.kind == CHAT_FLOAT)
        return chat_float(fabs(value.number));
    return chat_fail(r, "bad operand type for abs(): '%s'", chat_type(value));
}

/* Python's round: the decimal that is printed decides, ties go to even. */
static double rounded(double number, int digits)
{
    char text[400];
    if (digits < 0) {
        double unit = pow(10, -digits);
        return nearbyint(number / unit) * unit;
    }
    snprintf(text, sizeof text, "%.*f", digits > 40 ? 40 : digits, number);
    return strtod(text, NULL);
}

FILTER(round)
{
    int64_t digits = 0;
    double number;
    struct chat_value method = given(a[1]) ? a[1] : CHAT_TEXT("common");
    if (given(a[0]) && !chat_as_int(a[0], &digits))
        return chat_fail(r, "round: precision: expected an integer");
    if (value.kind == CHAT_BIG)
        return value;
    if (value.kind == CHAT_BOOL)
        value = chat_int(value.boolean);
    if (!chat_as_number(value, &number))
        return chat_fail(r, "round: expected a number, found %s", chat_type(value));
    if (digits > 40 || digits < -40)
        return chat_fail(r, "round: precision: expected -40 to 40, found %" PRId64, digits);
    if (chat_is_text(method, "common"))
        return value.kind == CHAT_FLOAT || digits < 0
                   ? (value.kind == CHAT_FLOAT ? chat_float(rounded(number, (int)digits))
                                               : chat_int((int64_t)rounded(number, (int)digits)))
                   : value;
    double unit = pow(10, (double)digits);
    if (chat_is_text(method, "ceil"))
        return chat_float(ceil(number * unit) / unit);
    if (chat_is_text(method, "floor"))
        return chat_float(floor(number * unit) / unit);
    return chat_fail(r, "round: method must be common, ceil or floor");
}

/* ---- anything */

FILTER(default)
{
    struct chat_value otherwise = a[0].kind == CHAT_MISSING ? CHAT_TEXT("") : a[0];
    (void)r;
    return value.kind == CHAT_UNDEFINED || (chat_true(a[1]) && !chat_true(value)) ? otherwise : value;
}

FILTER(length)
{
    (void)a;
    switch (value.kind) {
    case CHAT_STRING:
        return chat_int((int64_t)chat_characters(value));
    case CHAT_LIST:
        if (value.list->form == FORM_GENERATOR)
            break;
        return chat_int((int64_t)value.list->count);
    case CHAT_DICT:
        return chat_int(value.dict->count);
    case CHAT_LOOP:
        return chat_int((int64_t)value.loop->items->count);
    case CHAT_UNDEFINED:
        return chat_int(0);
    default:
        break;
    }
    return chat_fail(r, "object of type '%s' has no len()", chat_type(value));
}

/* object.name and nothing else: no item. */
FILTER(attr)
{
    if (a[0].kind != CHAT_STRING)
        return chat_fail(r, "attr: expected a name");
    struct chat_value name = chat_string(r, a[0].text, a[0].length);
    if (value.kind == CHAT_DICT) {
        struct chat_value method = chat_method(r, value, name.text);
        return method.kind == CHAT_MISSING ? chat_undefined_with(r, "'dict object' has no attribute '%s'", name.text)
                                           : method;
    }
    return chat_attribute(r, value, name.text);
}

/* ---- the table */

static const struct {
    const char *name;
    chat_filter_function *function;
    const char *parameters;
    int count;
} filters[] = {
    {"abs", filter_abs, "", 0},
    {"attr", filter_attr, "name", 1},
    {"batch", filter_batch, "linecount fill_with", 2},
    {"capitalize", filter_capitalize, "", 0},
    {"center", filter_center, "width", 1},
    {"count", filter_length, "", 0},
    {"d", filter_default, "default_value boolean", 2},
    {"default", filter_default, "default_value boolean", 2},
    {"dictsort", filter_dictsort, "case_sensitive by reverse", 3},
    {"e", filter_escape, "", 0},
    {"escape", filter_escape, "", 0},
    {"first", filter_first, "", 0},
    {"float", filter_float, "default", 1},
    {"forceescape", filter_forceescape, "", 0},
    {"indent", filter_indent, "width first blank", 3},
    {"int", filter_int, "default base", 2},
    {"items", filter_items, "", 0},
    {"join", filter_join, "d attribute", 2},
    {"last", filter_last, "", 0},
    {"length", filter_length, "", 0},
    {"list", filter_list, "", 0},
    {"lower", filter_lower, "", 0},
    {"max", filter_max, "case_sensitive attribute", 2},
    {"min", filter_min, "case_sensitive attribute", 2},
    {"replace", filter_replace, "old new count", 3},
    {"reverse", filter_reverse, "", 0},
    {"round", filter_round, "precision method", 2},
    {"safe", filter_safe, "", 0},
    {"slice", filter_slice, "slices fill_with", 2},
    {"sort", filter_sort, "reverse case_sensitive attribute", 3},
    {"string", filter_string, "", 0},
    {"sum", filter_sum, "attribute start", 2},
    {"title", filter_title, "", 0},
    {"tojson", filter_tojson, "ensure_ascii indent separators sort_keys", 4},
    {"trim", filter_trim, "chars", 1},
    {"truncate", filter_truncate, "length killwords end leeway", 4},
    {"unique", filter_unique, "case_sensitive attribute", 2},
    {"upper", filter_upper, "", 0},
    {"wordcount", filter_wordcount, "", 0},
};

struct chat_value chat_filter(struct chat_render *r, const char *name, struct chat_value value,
                              const struct chat_arguments *arguments)
{
    enum { MOST = 4 };
    struct chat_value places[MOST];
    if (r->failed)
        return value;
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        if (strcmp(filters[i].name, name) != 0)
            continue;
        if (!chat_bind(r, name, filters[i].parameters, arguments, places, filters[i].count))
            return value;
        return filters[i].function(r, value, places);
    }
    return chat_filter_variadic(r, name, value, arguments);
}
