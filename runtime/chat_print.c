/* Values as text: Python's str and repr. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "chat_internal.h"

/* The shortest decimal that reads back as the same number; an exponent below 1e-4 and from 1e16 on. */
void chat_float_text(double value, char text[40])
{
    if (isnan(value) || isinf(value)) {
        strcpy(text, isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
        return;
    }
    char digits[40];
    int precision = 0;
    do {
        snprintf(digits, sizeof digits, "%.*e", precision, value);
    } while (precision++ < 17 && strtod(digits, NULL) != value);
    char *e = strchr(digits, 'e');
    int exponent = atoi(e + 1);
    if (exponent < -4 || exponent >= 16) {
        *e = 0;
        snprintf(text, 40, "%.24se%c%02d", digits, exponent < 0 ? '-' : '+', abs(exponent) % 1000);
        return;
    }
    int decimals = (int)(e - digits) - (digits[0] == '-') - 1; /* digits after the first */
    decimals = decimals > 0 ? decimals - 1 : 0;
    decimals = decimals > exponent ? decimals - exponent : 1;
    snprintf(text, 40, "%.*f", decimals, value);
}

static void add_text(struct chat_render *r, struct text_buffer *out, const char *text)
{
    chat_buffer_add(r, out, text, strlen(text));
}

static bool is_printable(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    case UTF8PROC_CATEGORY_ZS:
        return c == ' ';
    default:
        return true;
    }
}

static void repr_text(struct chat_render *r, struct chat_value text, struct text_buffer *out)
{
    char quote = memchr(text.text, '\'', text.length) && !memchr(text.text, '"', text.length) ? '"' : '\'';
    chat_buffer_add(r, out, &quote, 1);
    for (size_t at = 0, bytes; at < text.length; at += bytes) {
        char escaped[16];
        int32_t c = chat_decode(text.text + at, text.length - at, &bytes);
        if (c == quote || c == '\\')
            snprintf(escaped, sizeof escaped, "\\%c", (char)c);
        else if (c == '\n' || c == '\r' || c == '\t')
            strcpy(escaped, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        else if (is_printable(c))
            escaped[0] = 0;
        else
            snprintf(escaped, sizeof escaped, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
        chat_buffer_add(r, out, escaped[0] ? escaped : text.text + at, escaped[0] ? strlen(escaped) : bytes);
    }
    chat_buffer_add(r, out, &quote, 1);
}

static void repr_dict(struct chat_render *r, const struct chat_dict *dict, struct text_buffer *out)
{
    add_text(r, out, "{");
    for (uint32_t i = 0; i < dict->count && chat_step(r); i++) {
        add_text(r, out, i ? ", " : "");
        chat_repr(r, dict->entry[i].key, out);
        add_text(r, out, ": ");
        chat_repr(r, dict->entry[i].value, out);
    }
    add_text(r, out, "}");
}

static void repr_items(struct chat_render *r, const struct chat_list *list, const char *open, const char *close,
                       struct text_buffer *out)
{
    add_text(r, out, open);
    for (size_t i = 0; i < list->count && chat_step(r); i++) {
        add_text(r, out, i ? ", " : "");
        chat_repr(r, list->item[i], out);
    }
    add_text(r, out, list->form == FORM_TUPLE && list->count == 1 ? "," : "");
    add_text(r, out, close);
}

static void repr_range(struct chat_render *r, const struct chat_list *list, struct text_buffer *out)
{
    char text[100];
    int64_t first = list->count ? list->item[0].integer : 0;
    int64_t step = list->count > 1 ? list->item[1].integer - first : 1;
    int64_t stop = first + step * (int64_t)list->count;
    snprintf(text, sizeof text,
             step == 1 ? "range(%" PRId64 ", %" PRId64 ")" : "range(%" PRId64 ", %" PRId64 ", %" PRId64 ")", first,
             stop, step);
    add_text(r, out, text);
}

static void repr_list(struct chat_render *r, const struct chat_list *list, struct text_buffer *out)
{
    switch (list->form) {
    case FORM_LIST:
        repr_items(r, list, "[", "]", out);
        break;
    case FORM_TUPLE:
        repr_items(r, list, "(", ")", out);
        break;
    case FORM_KEYS:
        repr_items(r, list, "dict_keys([", "])", out);
        break;
    case FORM_VALUES:
        repr_items(r, list, "dict_values([", "])", out);
        break;
    case FORM_ITEMS:
        repr_items(r, list, "dict_items([", "])", out);
        break;
    case FORM_RANGE:
        repr_range(r, list, out);
        break;
    case FORM_GENERATOR:
        chat_fail(r, "what map, select, items and the like give is printed: put `| list` or `| join` after it");
        break;
    }
}

void chat_repr(struct chat_render *r, struct chat_value value, struct text_buffer *out)
{
    char text[60];
    if (r->failed)
        return;
    switch (value.kind) {
    case CHAT_NONE:
        add_text(r, out, "None");
        break;
    case CHAT_BOOL:
        add_text(r, out, value.boolean ? "True" : "False");
        break;
    case CHAT_INT:
        snprintf(text, sizeof text, "%" PRId64, value.integer);
        add_text(r, out, text);
        break;
    case CHAT_BIG:
        chat_buffer_add(r, out, value.text, value.length);
        break;
    case CHAT_FLOAT:
        chat_float_text(value.number, text);
        add_text(r, out, text);
        break;
    case CHAT_STRING:
        add_text(r, out, value.flags & CHAT_MARKUP ? "Markup(" : "");
        repr_text(r, value, out);
        add_text(r, out, value.flags & CHAT_MARKUP ? ")" : "");
        break;
    case CHAT_LIST:
        repr_list(r, value.list, out);
        break;
    case CHAT_DICT:
        repr_dict(r, value.dict, out);
        break;
    case CHAT_UNDEFINED:
    case CHAT_MISSING:
        add_text(r, out, "Undefined");
        break;
    default:
        chat_fail(r, "a %s is printed",
                  value.kind == CHAT_CALLABLE ? "macro, function or method that is not called" : chat_type(value));
    }
}

struct chat_value chat_str(struct chat_render *r, struct chat_value value)
{
    if (value.kind == CHAT_STRING)
        return chat_string_in_place(value.text, value.length);
    if (value.kind == CHAT_UNDEFINED || value.kind == CHAT_MISSING)
        return CHAT_TEXT("");
    struct text_buffer out = {0};
    chat_repr(r, value, &out);
    return chat_buffer_string(r, &out);
}
