#include "json_text.h"

#include <stdint.h>

struct cursor {
    const char *start, *at, *end;
};

static int fail(const struct cursor *cursor, const char *expected, struct error *error)
{
    size_t column = (size_t)(cursor->at - cursor->start) + 1;
    if (cursor->at == cursor->end)
        return error_set(error, "column %zu: expected %s, found the end of the line", column, expected);
    unsigned char found = (unsigned char)*cursor->at;
    if (found < 0x20 || found >= 0x7f)
        return error_set(error, "column %zu: expected %s, found byte 0x%02x", column, expected, found);
    return error_set(error, "column %zu: expected %s, found '%c'", column, expected, found);
}

static void skip_space(struct cursor *cursor)
{
    while (cursor->at < cursor->end &&
           (*cursor->at == ' ' || *cursor->at == '\t' || *cursor->at == '\n' || *cursor->at == '\r'))
        cursor->at++;
}

static bool take(struct cursor *cursor, char wanted)
{
    if (cursor->at == cursor->end || *cursor->at != wanted)
        return false;
    cursor->at++;
    return true;
}

static int hexadecimal(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static int read_hex4(struct cursor *cursor, unsigned *value, struct error *error)
{
    *value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = cursor->at < cursor->end ? hexadecimal(*cursor->at) : -1;
        if (digit < 0)
            return fail(cursor, "four hexadecimal digits after \\u", error);
        *value = *value << 4 | (unsigned)digit;
        cursor->at++;
    }
    return 0;
}

static int add_code(struct text_buffer *out, uint32_t code)
{
    char bytes[4];
    size_t length;
    if (code < 0x80) {
        bytes[0] = (char)code;
        length = 1;
    } else if (code < 0x800) {
        bytes[0] = (char)(0xc0 | code >> 6);
        bytes[1] = (char)(0x80 | (code & 63));
        length = 2;
    } else if (code < 0x10000) {
        bytes[0] = (char)(0xe0 | code >> 12);
        bytes[1] = (char)(0x80 | (code >> 6 & 63));
        bytes[2] = (char)(0x80 | (code & 63));
        length = 3;
    } else {
        bytes[0] = (char)(0xf0 | code >> 18);
        bytes[1] = (char)(0x80 | (code >> 12 & 63));
        bytes[2] = (char)(0x80 | (code >> 6 & 63));
        bytes[3] = (char)(0x80 | (code & 63));
        length = 4;
    }
    return text_buffer_add(out, bytes, length);
}

/* After \u: one code, or two that are a surrogate pair. */
static int read_unicode(struct cursor *cursor, uint32_t *code, struct error *error)
{
    unsigned high, low;
    if (read_hex4(cursor, &high, error))
        return -1;
    *code = high >= 0xd800 && high <= 0xdfff ? 0xfffd : high;
    if (high < 0xd800 || high > 0xdbff || cursor->end - cursor->at < 6 || cursor->at[0] != '\\' || cursor->at[1] != 'u')
        return 0;
    struct cursor second = *cursor;
    second.at += 2;
    if (read_hex4(&second, &low, error))
        return 0; /* the next round of the caller meets the same digits and reports them */
    if (low >= 0xdc00 && low <= 0xdfff) {
        *code = 0x10000 + ((high - 0xd800) << 10 | (low - 0xdc00));
        *cursor = second;
    }
    return 0;
}

static int read_escape(struct cursor *cursor, struct text_buffer *out, struct error *error)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    uint32_t code = 0;
    bool known = false;
    if (take(cursor, 'u')) {
        if (read_unicode(cursor, &code, error))
            return -1;
        known = true;
    }
    for (int i = 0; !known && names[i]; i++)
        if (take(cursor, names[i])) {
            code = (unsigned char)values[i];
            known = true;
        }
    if (!known)
        return fail(cursor, "one of \" \\ / b f n r t u after \\", error);
    return add_code(out, code) ? error_set(error, "out of memory for a string") : 0;
}

static int read_string(struct cursor *cursor, struct text_buffer *out, struct error *error)
{
    if (!take(cursor, '"'))
        return fail(cursor, "a JSON string in double quotes", error);
    for (;;) {
        const char *start = cursor->at;
        while (cursor->at < cursor->end && *cursor->at != '"' && *cursor->at != '\\' &&
               (unsigned char)*cursor->at >= 0x20)
            cursor->at++;
        if (text_buffer_add(out, start, (size_t)(cursor->at - start)))
            return error_set(error, "out of memory for a string");
        if (take(cursor, '"'))
            return 0;
        if (!take(cursor, '\\'))
            return fail(cursor, "the string to go on (control characters are written \\u00XX) or end with \"", error);
        if (read_escape(cursor, out, error))
            return -1;
    }
}

static int read_id(struct cursor *cursor, struct token_list *out, struct error *error)
{
    const char *start = cursor->at;
    int64_t id = 0;
    while (cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9') {
        id = id * 10 + (*cursor->at - '0');
        if (id > INT32_MAX)
            return fail(cursor, "a token id of at most 2147483647", error);
        cursor->at++;
    }
    if (cursor->at == start || (cursor->at - start > 1 && *start == '0'))
        return fail(cursor, "a token id (a whole number)", error);
    return token_list_add(out, (int32_t)id) ? error_set(error, "out of memory for the token ids") : 0;
}

static int read_ids(struct cursor *cursor, struct token_list *out, struct error *error)
{
    if (!take(cursor, '['))
        return fail(cursor, "an array of token ids such as [1, 2, 3]", error);
    skip_space(cursor);
    if (take(cursor, ']'))
        return 0;
    for (;;) {
        skip_space(cursor);
        if (read_id(cursor, out, error))
            return -1;
        skip_space(cursor);
        if (take(cursor, ']'))
            return 0;
        if (!take(cursor, ','))
            return fail(cursor, "',' or ']'", error);
    }
}

static int expect_end(struct cursor *cursor, struct error *error)
{
    skip_space(cursor);
    return cursor->at == cursor->end ? 0 : fail(cursor, "nothing after the value", error);
}

int json_read_string(const char *line, size_t length, struct text_buffer *out, struct error *error)
{
    struct cursor cursor = {line, line, line + length};
    skip_space(&cursor);
    return read_string(&cursor, out, error) ? -1 : expect_end(&cursor, error);
}

int json_read_ids(const char *line, size_t length, struct token_list *out, struct error *error)
{
    struct cursor cursor = {line, line, line + length};
    skip_space(&cursor);
    return read_ids(&cursor, out, error) ? -1 : expect_end(&cursor, error);
}

char json_first(const char *line, size_t length)
{
    struct cursor cursor = {line, line, line + length};
    skip_space(&cursor);
    return cursor.at < cursor.end ? *cursor.at : 0;
}
