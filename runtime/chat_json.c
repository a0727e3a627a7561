/* JSON: what the user gives becomes values, and the filter tojson writes values, as Python's json module does both. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat_internal.h"

/* ---- reading */

struct reader {
    struct chat_render *r;
    const char *text;
    size_t length, at;
    int depth;
};

static struct chat_value read_value(struct reader *reader);

static struct chat_value bad(struct reader *reader, const char *expected)
{
    size_t line = 1, begin = 0;
    for (size_t i = 0; i < reader->at && i < reader->length; i++)
        if (reader->text[i] == '\n') {
            line++;
            begin = i + 1;
        }
    char found[20] = "the end";
    if (reader->at < reader->length) {
        unsigned char byte = (unsigned char)reader->text[reader->at];
        snprintf(found, sizeof found, byte >= 0x20 && byte < 0x7f ? "'%c'" : "byte 0x%02x", byte);
    }
    return chat_fail(reader->r, "line %zu, column %zu: expected %s, found %s", line, reader->at - begin + 1, expected,
                     found);
}

static char peek(struct reader *reader)
{
    while (reader->at < reader->length && strchr(" \t\r\n", reader->text[reader->at]) && reader->text[reader->at])
        reader->at++;
    return reader->at < reader->length ? reader->text[reader->at] : 0;
}

static bool read_hex(struct reader *reader, int32_t *unit)
{
    *unit = 0;
    for (int i = 0; i < 4; i++) {
        char c = reader->at < reader->length ? reader->text[reader->at] : 0;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return false;
        *unit = *unit << 4 | digit;
        reader->at++;
    }
    return true;
}

/* After \u: a character; half of a pair that stands alone becomes U+FFFD. */
static bool read_unicode(struct reader *reader, int32_t *character)
{
    int32_t low;
    if (!read_hex(reader, character))
        return false;
    if (*character < 0xd800 || *character > 0xdfff)
        return true;
    size_t after = reader->at;
    if (*character <= 0xdbff && reader->at + 1 < reader->length && memcmp(reader->text + reader->at, "\\u", 2) == 0) {
        reader->at += 2;
        if (read_hex(reader, &low) && low >= 0xdc00 && low <= 0xdfff) {
            *character = 0x10000 + ((*character - 0xd800) << 10) + (low - 0xdc00);
            return true;
        }
        reader->at = after;
    }
    *character = 0xfffd;
    return true;
}

static bool read_escape(struct reader *reader, char bytes[4], int *count)
{
    static const char named[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    char c = reader->at < reader->length ? reader->text[reader->at++] : 0;
    int32_t character;
    if (c == 'u') {
        if (!read_unicode(reader, &character))
            return false;
        *count = chat_encode(character, bytes);
        return true;
    }
    for (const char *pair = named; *pair; pair += 2)
        if (pair[0] == c) {
            bytes[0] = pair[1];
            *count = 1;
            return true;
        }
    return false;
}

static struct chat_value read_string(struct reader *reader)
{
    struct text_buffer out = {0};
    struct chat_value none = chat_undefined("a string");
    size_t from = ++reader->at;
    for (;;) {
        unsigned char c = reader->at < reader->length ? (unsigned char)reader->text[reader->at] : 0;
        if (c < 0x20) {
            bad(reader, reader->at < reader->length ? "an escaped character" : "the end of the string");
            break;
        }
        if (c != '"' && c != '\\') {
            reader->at++;
            continue;
        }
        chat_buffer_add(reader->r, &out, reader->text + from, reader->at - from);
        reader->at++;
        if (c == '"')
            return chat_buffer_string(reader->r, &out);
        char bytes[4];
        int count;
        if (!read_escape(reader, bytes, &count)) {
            bad(reader, "an escape of JSON such as \\n or \\u00e9");
            break;
        }
        chat_buffer_add(reader->r, &out, bytes, (size_t)count);
        from = reader->at;
    }
    free(out.data);
    return none;
}

static size_t digits(struct reader *reader)
{
    size_t from = reader->at;
    while (reader->at < reader->length && reader->text[reader->at] >= '0' && reader->text[reader->at] <= '9')
        reader->at++;
    return reader->at - from;
}

static bool skip(struct reader *reader, const char *any)
{
    bool here = reader->at < reader->length && reader->text[reader->at] && strchr(any, reader->text[reader->at]);
    reader->at += here;
    return here;
}

static struct chat_value read_number(struct reader *reader)
{
    size_t from = reader->at;
    bool whole = true;
    skip(reader, "-");
    size_t first = reader->at;
    if (!digits(reader) || (reader->text[first] == '0' && reader->at - first > 1))
        return bad(reader, "a JSON value");
    if (reader->at + 1 < reader->length && reader->text[reader->at] == '.' && reader->text[reader->at + 1] >= '0' &&
        reader->text[reader->at + 1] <= '9') {
        reader->at++;
        digits(reader);
        whole = false;
    }
    size_t before = reader->at;
    if (skip(reader, "eE")) {
        skip(reader, "+-");
        if (digits(reader))
            whole = false;
        else
            reader->at = before;
    }
    struct chat_value text = chat_string(reader->r, reader->text + from, reader->at - from);
    if (text.kind != CHAT_STRING)
        return text;
    if (!whole)
        return chat_float(strtod(text.text, NULL));
    errno = 0;
    long long value = strtoll(text.text, NULL, 10);
    return errno ? chat_big(text.text) : chat_int(value);
}

static bool skip_word(struct reader *reader, const char *word)
{
    size_t length = strlen(word);
    if (reader->length - reader->at < length || memcmp(reader->text + reader->at, word, length) != 0)
        return false;
    reader->at += length;
    return true;
}

static struct chat_value read_array(struct reader *reader)
{
    struct chat_value list = chat_new_list(reader->r);
    reader->at++;
    if (peek(reader) == ']') {
        reader->at++;
        return list;
    }
    while (!reader->r->failed) {
        chat_append(reader->r, list, read_value(reader));
        char c = peek(reader);
        if (c == ']' || c == ',')
            reader->at++;
        else
            bad(reader, "',' or ']'");
        if (c == ']')
            break;
    }
    return list;
}

static struct chat_value read_object(struct reader *reader)
{
    struct chat_value dict = chat_new_dict(reader->r);
    reader->at++;
    if (peek(reader) == '}') {
        reader->at++;
        return dict;
    }
    while (!reader->r->failed) {
        if (peek(reader) != '"')
            return bad(reader, "a key in double quotes");
        struct chat_value key = read_string(reader);
        if (!reader->r->failed && peek(reader) != ':')
            return bad(reader, "':'");
        reader->at++;
        if (!reader->r->failed)
            chat_dict_set(reader->r, dict.dict, key, read_value(reader));
        char c = peek(reader);
        if (c == '}' || c == ',')
            reader->at++;
        else
            bad(reader, "',' or '}'");
        if (c == '}')
            break;
    }
    return dict;
}

static struct chat_value read_value(struct reader *reader)
{
    struct chat_value value;
    char c = peek(reader);
    if (reader->r->failed)
        return chat_none();
    if (reader->depth >= CHAT_DEEPEST)
        return chat_fail(reader->r, "lists and objects nest more than %d deep", CHAT_DEEPEST);
    reader->depth++;
    if (c == '{')
        value = read_object(reader);
    else if (c == '[')
        value = read_array(reader);
    else if (c == '"')
        value = read_string(reader);
    else if (skip_word(reader, "true"))
        value = chat_bool(true);
    else if (skip_word(reader, "false"))
        value = chat_bool(false);
    else if (skip_word(reader, "null"))
        value = chat_none();
    else if (skip_word(reader, "NaN"))
        value = chat_float(NAN);
    else if (skip_word(reader, "Infinity"))
        value = chat_float(INFINITY);
    else if (skip_word(reader, "-Infinity"))
        value = chat_float(-INFINITY);
    else if (c == '-' || (c >= '0' && c <= '9'))
        value = read_number(reader);
    else
        value = bad(reader, "a JSON value");
    reader->depth--;
    return value;
}

struct chat_value chat_parse_json(struct chat_render *r, const char *text, size_t length)
{
    struct reader reader = {.r = r, .text = text, .length = length};
    struct chat_value value = read_value(&reader);
    peek(&reader);
    if (!r->failed && reader.at < length)
        bad(&reader, "the end of the JSON text");
    return value;
}

/* ---- writing */

struct writer {
    struct chat_render *r;
    struct text_buffer out;
    bool ascii, sort, pretty;
    struct chat_value indent, item, key; /* one level's white space; what stands between items, and after a key */
};

static void write_value(struct writer *writer, struct chat_value value, int level);

static void put(struct writer *writer, const char *text, size_t length)
{
    chat_buffer_add(writer->r, &writer->out, text, length);
}

static void put_text(struct writer *writer, struct chat_value text)
{
    put(writer, text.text, text.length);
}

static void new_line(struct writer *writer, int level)
{
    if (!writer->pretty)
        return;
    put(writer, "\n", 1);
    for (int i = 0; i < level; i++)
        put_text(writer, writer->indent);
}

static void write_string(struct writer *writer, struct chat_value text)
{
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    put(writer, "\"", 1);
    for (size_t at = 0, bytes; at < text.length; at += bytes) {
        char escaped[16];
        int32_t c = chat_decode(text.text + at, text.length - at, &bytes);
        const char *named = c > 0 && c < 0x80 ? strchr(from, c) : NULL;
        if (named)
            snprintf(escaped, sizeof escaped, "\\%c", to[named - from]);
        else if (c < 0x20 || (writer->ascii && c > 0x7e && c < 0x10000))
            snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)c);
        else if (writer->ascii && c >= 0x10000)
            snprintf(escaped, sizeof escaped, "\\u%04x\\u%04x", 0xd800 + (unsigned)((c - 0x10000) >> 10),
                     0xdc00 + (unsigned)((c - 0x10000) & 0x3ff));
        else
            escaped[0] = 0;
        put(writer, escaped[0] ? escaped : text.text + at, escaped[0] ? strlen(escaped) : bytes);
    }
    put(writer, "\"", 1);
}

/* Numbers, true, false, null: values and keys alike. False: it is none of them. */
static bool write_scalar(struct writer *writer, struct chat_value value)
{
    if (value.kind == CHAT_NONE) {
        put(writer, "null", 4);
    } else if (value.kind == CHAT_BOOL) {
        put(writer, value.boolean ? "true" : "false", value.boolean ? 4 : 5);
    } else if (value.kind == CHAT_FLOAT && (isnan(value.number) || isinf(value.number))) {
        const char *name = isnan(value.number) ? "NaN" : value.number < 0 ? "-Infinity" : "Infinity";
        put(writer, name, strlen(name));
    } else if (value.kind == CHAT_INT || value.kind == CHAT_BIG || value.kind == CHAT_FLOAT) {
        chat_repr(writer->r, value, &writer->out);
    } else {
        return false;
    }
    return true;
}

static void write_list(struct writer *writer, const struct chat_list *list, int level)
{
    if (list->form > FORM_TUPLE) {
        chat_fail(writer->r, "tojson: Object of type %s is not JSON serializable: put `| list` before it",
                  chat_type((struct chat_value){.kind = CHAT_LIST, .list = (struct chat_list *)list}));
        return;
    }
    put(writer, "[", 1);
    for (size_t i = 0; i < list->count && chat_step(writer->r); i++) {
        if (i)
            put_text(writer, writer->item);
        new_line(writer, level + 1);
        write_value(writer, list->item[i], level + 1);
    }
    if (list->count)
        new_line(writer, level);
    put(writer, "]", 1);
}

/* Numbers of the entries in the order in which they are written. */
static uint32_t *entry_order(struct writer *writer, const struct chat_dict *dict)
{
    uint32_t *order = chat_allocate_many(writer->r, (size_t)dict->count * 2 + 1, sizeof *order);
    uint32_t *other = order + dict->count;
    for (uint32_t i = 0; order && i < dict->count; i++)
        order[i] = i;
    for (uint32_t width = 1; order && writer->sort && width < dict->count; width *= 2) {
        for (uint32_t begin = 0; begin < dict->count; begin += 2 * width) {
            uint32_t middle = begin + width < dict->count ? begin + width : dict->count;
            uint32_t end = middle + width < dict->count ? middle + width : dict->count;
            uint32_t left = begin, right = middle;
            for (uint32_t i = begin; i < end; i++) {
                bool from_right =
                    left == middle || (right < end && chat_compare(writer->r, dict->entry[order[right]].key,
                                                                   dict->entry[order[left]].key) < 0);
                other[i] = from_right ? order[right++] : order[left++];
            }
        }
        memcpy(order, other, dict->count * sizeof *order);
    }
    return order;
}

static void write_dict(struct writer *writer, const struct chat_dict *dict, int level)
{
    uint32_t *order = entry_order(writer, dict);
    put(writer, "{", 1);
    for (uint32_t i = 0; order && i < dict->count && chat_step(writer->r); i++) {
        const struct chat_entry *entry = &dict->entry[order[i]];
        if (i)
            put_text(writer, writer->item);
        new_line(writer, level + 1);
        if (entry->key.kind == CHAT_STRING) {
            write_string(writer, entry->key);
        } else {
            put(writer, "\"", 1);
            if (!write_scalar(writer, entry->key))
                chat_fail(writer->r, "tojson: keys must be str, int, float, bool or None, not %s",
                          chat_type(entry->key));
            put(writer, "\"", 1);
        }
        put_text(writer, writer->key);
        write_value(writer, entry->value, level + 1);
    }
    if (dict->count)
        new_line(writer, level);
    put(writer, "}", 1);
}

static void write_value(struct writer *writer, struct chat_value value, int level)
{
    if (value.kind == CHAT_STRING)
        write_string(writer, value);
    else if (value.kind == CHAT_LIST)
        write_list(writer, value.list, level);
    else if (value.kind == CHAT_DICT)
        write_dict(writer, value.dict, level);
    else if (value.kind == CHAT_UNDEFINED)
        chat_fail(writer->r, value.flags ? "tojson: '%s' is undefined" : "tojson: %s", value.text);
    else if (!write_scalar(writer, value))
        chat_fail(writer->r, "tojson: Object of type %s is not JSON serializable", chat_type(value));
}

struct chat_value chat_to_json(struct chat_render *r, struct chat_value value, bool ascii, struct chat_value indent,
                               struct chat_value separators, bool sort)
{
    struct writer writer = {.r = r, .ascii = ascii, .sort = sort, .indent = CHAT_TEXT("")};
    int64_t spaces;
    if (chat_as_int(indent, &spaces)) {
        writer.pretty = true;
        writer.indent = chat_multiply(r, CHAT_TEXT(" "), chat_int(spaces > 1000 ? 1000 : spaces));
    } else if (indent.kind == CHAT_STRING) {
        writer.pretty = true;
        writer.indent = indent;
    }
    writer.item = writer.pretty ? CHAT_TEXT(",") : CHAT_TEXT(", ");
    writer.key = CHAT_TEXT(": ");
    if (separators.kind != CHAT_MISSING && separators.kind != CHAT_NONE) {
        chat_unpack(r, separators, 2, (struct chat_value *[]){&writer.item, &writer.key});
        if (!r->failed && (writer.item.kind != CHAT_STRING || writer.key.kind != CHAT_STRING))
            chat_fail(r, "tojson: separators: expected two strings");
    }
    if (!r->failed)
        write_value(&writer, value, 0);
    return chat_buffer_string(r, &writer.out);
}
