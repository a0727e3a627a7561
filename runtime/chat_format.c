/* Python's two ways to format: text % values, and text.format(values). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat_internal.h"

enum { WIDEST = 10000, FINEST = 100 };

/* How a value is to look: of "%-08.3f" and of "{:>8.3f}". */
struct style {
    char align; /* '<', '>', '^', '=' or 0: as the kind of value has it */
    char sign;  /* '+', ' ' or 0 */
    bool alternate, zeros, commas;
    char fill[4];
    int fill_bytes;
    int width, precision; /* -1: none */
    char type;            /* 0: none */
};

static const struct style PLAIN = {.fill = " ", .fill_bytes = 1, .precision = -1};

static size_t read_number(const char *text, size_t length, int *out)
{
    size_t at = 0;
    for (*out = 0; at < length && text[at] >= '0' && text[at] <= '9'; at++)
        *out = *out > WIDEST ? WIDEST + 1 : *out * 10 + text[at] - '0';
    return at;
}

static void add_filled(struct chat_render *r, struct text_buffer *out, const struct style *style, char align,
                       struct chat_value sign, struct chat_value body)
{
    int count = (int)(chat_characters(sign) + chat_characters(body));
    int more = style->width > count ? style->width - count : 0;
    int left = align == '>' || align == '=' ? more : align == '^' ? more / 2 : 0;
    if (align == '=')
        chat_buffer_add(r, out, sign.text, sign.length);
    for (int i = 0; i < left; i++)
        chat_buffer_add(r, out, style->fill, (size_t)style->fill_bytes);
    if (align != '=')
        chat_buffer_add(r, out, sign.text, sign.length);
    chat_buffer_add(r, out, body.text, body.length);
    for (int i = left; i < more; i++)
        chat_buffer_add(r, out, style->fill, (size_t)style->fill_bytes);
}

/* A comma at every third digit before the point. */
static struct chat_value with_commas(struct chat_render *r, struct chat_value digits)
{
    struct text_buffer out = {0};
    size_t whole = 0;
    while (whole < digits.length && digits.text[whole] >= '0' && digits.text[whole] <= '9')
        whole++;
    for (size_t i = 0; i < digits.length; i++) {
        if (i && i < whole && (whole - i) % 3 == 0)
            chat_buffer_add(r, &out, ",", 1);
        chat_buffer_add(r, &out, &digits.text[i], 1);
    }
    return chat_buffer_string(r, &out);
}

static void add_number(struct chat_render *r, struct text_buffer *out, const struct style *style, bool negative,
                       const char *digits)
{
    const char *sign = negative ? "-" : style->sign == '+' ? "+" : style->sign == ' ' ? " " : "";
    struct chat_value body = chat_string(r, digits, strlen(digits));
    if (style->commas)
        body = with_commas(r, body);
    char align = style->align ? style->align : '>';
    struct style own = *style;
    if (style->zeros && !style->align) {
        align = '=';
        own.fill[0] = '0';
        own.fill_bytes = 1;
    }
    if (!r->failed)
        add_filled(r, out, &own, align, chat_string_in_place(sign, strlen(sign)), body);
}

static void add_integer(struct chat_render *r, struct text_buffer *out, const struct style *style, int64_t value)
{
    char digits[80];
    uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    const char *prefix = !style->alternate    ? ""
                         : style->type == 'x' ? "0x"
                         : style->type == 'X' ? "0X"
                         : style->type == 'o' ? "0o"
                                              : "";
    if (style->type == 'x')
        snprintf(digits, sizeof digits, "%s%" PRIx64, prefix, size);
    else if (style->type == 'X')
        snprintf(digits, sizeof digits, "%s%" PRIX64, prefix, size);
    else if (style->type == 'o')
        snprintf(digits, sizeof digits, "%s%" PRIo64, prefix, size);
    else
        snprintf(digits, sizeof digits, "%" PRIu64, size);
    add_number(r, out, style, value < 0, digits);
}

static void add_float(struct chat_render *r, struct text_buffer *out, const struct style *style, double value)
{
    char digits[512], format[16];
    int precision = style->precision < 0 ? 6 : style->precision;
    double size = value < 0 ? -value : value;
    char type = style->type == '%' ? 'f' : style->type;
    if (!type && style->precision < 0) {
        chat_float_text(size, digits);
    } else {
        snprintf(format, sizeof format, "%%%s.*%c", style->alternate ? "#" : "", type ? type : 'g');
        snprintf(digits, sizeof digits - 1, format, precision, style->type == '%' ? size * 100 : size);
        if (style->type == '%')
            strcat(digits, "%");
    }
    add_number(r, out, style, value < 0, digits);
}

static void add_string(struct chat_render *r, struct text_buffer *out, const struct style *style,
                       struct chat_value text, char align)
{
    if (style->precision >= 0)
        text = chat_substring(text, 0, chat_byte_of(text, (size_t)style->precision));
    add_filled(r, out, style, style->align ? style->align : align, CHAT_TEXT(""), text);
}

static struct chat_value repr(struct chat_render *r, struct chat_value value)
{
    struct text_buffer out = {0};
    chat_repr(r, value, &out);
    return chat_buffer_string(r, &out);
}

/* ---- % */

/* Flags, width, precision and the letter after a %; the bytes read, 0 if they are no such thing. */
static size_t read_percent(const char *text, size_t length, struct style *style)
{
    size_t at = 0;
    *style = PLAIN;
    for (; at < length && text[at] && strchr("-+ 0#", text[at]); at++) {
        if (text[at] == '-')
            style->align = '<';
        else if (text[at] == '0')
            style->zeros = true;
        else if (text[at] == '#')
            style->alternate = true;
        else
            style->sign = style->sign == '+' ? '+' : text[at];
    }
    at += read_number(text + at, length - at, &style->width);
    if (at < length && text[at] == '.') {
        at++;
        at += read_number(text + at, length - at, &style->precision);
    }
    if (at >= length || style->width > WIDEST || style->precision > FINEST || !text[at] ||
        !strchr("sradiuxXoeEfFgGc", text[at]))
        return 0;
    style->type = text[at];
    return at + 1;
}

static void add_percent(struct chat_render *r, struct text_buffer *out, struct style *style, struct chat_value value)
{
    int64_t integer;
    double number;
    if (style->type == 's' || style->type == 'r' || style->type == 'a') {
        add_string(r, out, style, style->type == 's' ? chat_str(r, value) : repr(r, value), '>');
    } else if (style->type == 'c') {
        char bytes[4];
        if (value.kind == CHAT_STRING && chat_characters(value) == 1)
            add_string(r, out, style, value, '>');
        else if (chat_as_int(value, &integer) && integer >= 0 && integer < 0x110000)
            add_string(r, out, style, chat_string_in_place(bytes, (size_t)chat_encode((int32_t)integer, bytes)), '>');
        else
            chat_fail(r, "%%c requires an integer or a character");
    } else if (strchr("diuxXo", style->type)) {
        if (value.kind == CHAT_FLOAT && strchr("diu", style->type) && value.number < 0x1p63 && value.number >= -0x1p63)
            value = chat_int((int64_t)value.number);
        style->precision = -1;
        if (chat_as_int(value, &integer))
            add_integer(r, out, style, integer);
        else
            chat_fail(r, "%%%c format: an integer is required, not %s", style->type, chat_type(value));
    } else if (chat_as_number(value, &number)) {
        add_float(r, out, style, number);
    } else {
        chat_fail(r, "%%%c format: a number is required, not %s", style->type, chat_type(value));
    }
}

struct chat_value chat_percent(struct chat_render *r, struct chat_value text, struct chat_value arguments)
{
    struct text_buffer out = {0};
    bool tuple = arguments.kind == CHAT_LIST && arguments.list->form == FORM_TUPLE;
    size_t count = tuple ? arguments.list->count : 1, next = 0;
    bool keyed = false;
    for (size_t at = 0; at < text.length && !r->failed;) {
        int64_t found = chat_find_bytes(text, CHAT_TEXT("%"), at);
        size_t end = found < 0 ? text.length : (size_t)found;
        chat_buffer_add(r, &out, text.text + at, end - at);
        at = end + 1;
        if (found < 0)
            break;
        if (at < text.length && text.text[at] == '%') {
            chat_buffer_add(r, &out, "%", 1);
            at++;
            continue;
        }
        struct chat_value value = chat_missing();
        if (at < text.length && text.text[at] == '(' && arguments.kind == CHAT_DICT) {
            int64_t close = chat_find_bytes(text, CHAT_TEXT(")"), at);
            if (close >= 0) {
                value = chat_item(r, arguments, chat_substring(text, at + 1, (size_t)close));
                at = (size_t)close + 1;
                keyed = true;
            }
        }
        struct style style;
        size_t bytes = read_percent(text.text + at, text.length - at, &style);
        if (value.kind == CHAT_MISSING && next < count)
            value = tuple ? arguments.list->item[next++] : (next++, arguments);
        if (!bytes)
            chat_fail(r, "%% formatting: this conversion is not known");
        else if (value.kind == CHAT_MISSING)
            chat_fail(r, "not enough arguments for format string");
        else
            add_percent(r, &out, &style, value);
        at += bytes;
    }
    /* What has items by key, Python takes for a mapping, of which not all has to be used. */
    bool mapping = arguments.kind == CHAT_DICT || arguments.kind == CHAT_UNDEFINED ||
                   (arguments.kind == CHAT_LIST && !tuple &&
                    (arguments.list->form == FORM_LIST || arguments.list->form == FORM_RANGE));
    if (!keyed && next < count && !mapping)
        chat_fail(r, "not all arguments converted during string formatting");
    return chat_buffer_string(r, &out);
}

/* ---- format */

/* [[fill]align][sign][#][0][width][,][.precision][type] */
static bool read_spec(struct chat_value spec, struct style *style)
{
    size_t at = 0, bytes = 0;
    *style = PLAIN;
    if (spec.length)
        chat_decode(spec.text, spec.length, &bytes);
    if (bytes < spec.length && bytes && strchr("<>^=", spec.text[bytes]) && spec.text[bytes]) {
        memcpy(style->fill, spec.text, bytes);
        style->fill_bytes = (int)bytes;
        style->align = spec.text[bytes];
        at = bytes + 1;
    } else if (spec.length && spec.text[0] && strchr("<>^=", spec.text[0])) {
        style->align = spec.text[0];
        at = 1;
    }
    if (at < spec.length && spec.text[at] && strchr("+- ", spec.text[at]))
        style->sign = spec.text[at++];
    if (at < spec.length && spec.text[at] == '#')
        style->alternate = at++ < spec.length;
    if (at < spec.length && spec.text[at] == '0')
        style->zeros = at++ < spec.length;
    at += read_number(spec.text + at, spec.length - at, &style->width);
    if (at < spec.length && spec.text[at] == ',')
        style->commas = at++ < spec.length;
    if (at < spec.length && spec.text[at] == '.') {
        at++;
        at += read_number(spec.text + at, spec.length - at, &style->precision);
    }
    if (at < spec.length && spec.text[at] && strchr("sdxXofFeEgG%", spec.text[at]))
        style->type = spec.text[at++];
    return at == spec.length && style->width <= WIDEST && style->precision <= FINEST;
}

static void add_formatted(struct chat_render *r, struct text_buffer *out, struct chat_value value,
                          struct chat_value spec)
{
    struct style style;
    int64_t integer;
    double number;
    bool numeric = chat_as_number(value, &number);
    if (!read_spec(spec, &style)) {
        chat_fail(r, "format: Invalid format specifier '%.*s'", (int)spec.length, spec.text);
    } else if (!spec.length || (!numeric && (value.kind == CHAT_STRING || value.kind == CHAT_UNDEFINED))) {
        struct chat_value text = chat_str(r, value);
        if (style.type && style.type != 's')
            chat_fail(r, "format: Unknown format code '%c' for object of type '%s'", style.type, chat_type(value));
        if (!r->failed)
            add_string(r, out, &style, text, '<');
    } else if (!numeric || style.type == 's') {
        chat_fail(r, "format: unsupported format string for %s", chat_type(value));
    } else if (chat_as_int(value, &integer) && (!style.type || strchr("dxXo", style.type))) {
        add_integer(r, out, &style, integer);
    } else if (style.type && strchr("dxXo", style.type)) {
        chat_fail(r, "format: Unknown format code '%c' for object of type 'float'", style.type);
    } else {
        add_float(r, out, &style, number);
    }
}

/* The value that a field's name means: "", "0", "name", then .name and [key]. */
static struct chat_value field_value(struct chat_render *r, struct chat_value name,
                                     const struct chat_arguments *arguments, int *next)
{
    size_t end = 0;
    struct chat_value value = chat_missing();
    while (end < name.length && name.text[end] != '.' && name.text[end] != '[')
        end++;
    int number;
    if (!end)
        number = (*next)++;
    else if (read_number(name.text, end, &number) != end)
        number = -1;
    if (number >= 0 && number < arguments->count)
        value = arguments->item[number];
    for (int i = 0; number < 0 && i < arguments->named_count; i++)
        if (chat_is_text(chat_substring(name, 0, end), arguments->named[i].name))
            value = arguments->named[i].value;
    if (value.kind == CHAT_MISSING)
        return chat_fail(r, "format: no argument for the field '%.*s'", (int)name.length, name.text);
    while (end < name.length && !r->failed) {
        bool bracket = name.text[end] == '[';
        size_t from = ++end;
        while (end < name.length && (bracket ? name.text[end] != ']' : name.text[end] != '.' && name.text[end] != '['))
            end++;
        struct chat_value key = chat_substring(name, from, end);
        int index;
        bool digits = bracket && key.length && read_number(key.text, key.length, &index) == key.length;
        value = chat_item(r, value, digits ? chat_int(index) : key);
        end += bracket;
    }
    return value;
}

static void add_field(struct chat_render *r, struct text_buffer *out, struct chat_value field,
                      const struct chat_arguments *arguments, int *next)
{
    size_t name_end = 0;
    while (name_end < field.length && field.text[name_end] != ':' && field.text[name_end] != '!')
        name_end++;
    struct chat_value value = field_value(r, chat_substring(field, 0, name_end), arguments, next);
    size_t at = name_end;
    if (at + 1 < field.length && field.text[at] == '!') {
        value = field.text[at + 1] == 's' ? chat_str(r, value) : repr(r, value);
        at += 2;
    }
    if (at < field.length && field.text[at] == ':')
        at++;
    if (!r->failed)
        add_formatted(r, out, value, chat_substring(field, at, field.length));
}

struct chat_value chat_format(struct chat_render *r, struct chat_value text, const struct chat_arguments *arguments)
{
    struct text_buffer out = {0};
    int next = 0;
    for (size_t at = 0; at < text.length && !r->failed;) {
        char c = text.text[at], after = at + 1 < text.length ? text.text[at + 1] : 0;
        if ((c == '{' || c == '}') && after == c) {
            chat_buffer_add(r, &out, &c, 1);
            at += 2;
        } else if (c == '{') {
            int64_t close = chat_find_bytes(text, CHAT_TEXT("}"), at);
            if (close < 0)
                chat_fail(r, "format: expected '}' before end of string");
            else
                add_field(r, &out, chat_substring(text, at + 1, (size_t)close), arguments, &next);
            at = (size_t)close + 1;
        } else if (c == '}') {
            chat_fail(r, "format: Single '}' encountered in format string");
        } else {
            chat_buffer_add(r, &out, &c, 1);
            at++;
        }
    }
    return chat_buffer_string(r, &out);
}
