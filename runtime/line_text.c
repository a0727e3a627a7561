#include "line_text.h"

#include <string.h>

#include <utf8proc.h>

#include "utf8.h"

static const char *data(const struct line_text *line)
{
    return line->text.data ? line->text.data : "";
}

int line_set(struct line_text *line, const char *text, size_t length)
{
    line->text.length = line->cursor = 0;
    return line_insert(line, text, length);
}

int line_insert(struct line_text *line, const char *text, size_t length)
{
    size_t after = line->text.length - line->cursor;
    if (text_buffer_add(&line->text, text, length))
        return -1;
    memmove(line->text.data + line->cursor + length, line->text.data + line->cursor, after);
    memcpy(line->text.data + line->cursor, text, length);
    line->cursor += length;
    return 0;
}

/* The character at `at`: its code (U+FFFD for what is none) and bytes. */
static utf8proc_int32_t character(const char *text, size_t length, size_t *bytes)
{
    bool valid;
    utf8proc_int32_t code = 0xfffd;
    *bytes = utf8_next(text, length, &valid);
    if (valid)
        utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)*bytes, &code);
    return code;
}

/* Columns of a character; 0 for marks that join the one before. */
static int width(utf8proc_int32_t code)
{
    return code < 0x20 ? 1 : utf8proc_charwidth(code);
}

/* One character on, with the marks that join it. */
static size_t right(const struct line_text *line, size_t at)
{
    size_t bytes;
    if (at >= line->text.length)
        return line->text.length;
    character(data(line) + at, line->text.length - at, &bytes);
    for (at += bytes; at < line->text.length; at += bytes)
        if (width(character(data(line) + at, line->text.length - at, &bytes)) > 0)
            break;
    return at;
}

static size_t left(const struct line_text *line, size_t at)
{
    size_t before = 0;
    for (size_t i = 0; i < at; i = right(line, i))
        before = i;
    return before;
}

static bool is_space(const struct line_text *line, size_t at)
{
    return data(line)[at] == ' ' || data(line)[at] == '\n' || data(line)[at] == '\t';
}

static size_t moved(const struct line_text *line, enum line_move move)
{
    size_t at = line->cursor, length = line->text.length;
    switch (move) {
    case LINE_LEFT:
        return left(line, at);
    case LINE_RIGHT:
        return right(line, at);
    case LINE_WORD_LEFT:
        while (at > 0 && is_space(line, at - 1))
            at--;
        while (at > 0 && !is_space(line, at - 1))
            at--;
        return at;
    case LINE_WORD_RIGHT:
        while (at < length && is_space(line, at))
            at++;
        while (at < length && !is_space(line, at))
            at++;
        return at;
    case LINE_START:
        while (at > 0 && data(line)[at - 1] != '\n')
            at--;
        return at;
    case LINE_STOP:
        while (at < length && data(line)[at] != '\n')
            at++;
        return at;
    }
    return at;
}

void line_move(struct line_text *line, enum line_move move)
{
    line->cursor = moved(line, move);
}

void line_erase(struct line_text *line, enum line_move move)
{
    size_t to = moved(line, move), from = line->cursor;
    if (to < from) {
        size_t swap = to;
        to = from;
        from = swap;
    }
    if (to == from)
        return;
    memmove(line->text.data + from, line->text.data + to, line->text.length - to + 1);
    line->text.length -= to - from;
    line->cursor = from;
}

struct line_place line_place(const char *text, size_t length, int indent, int columns)
{
    struct line_place place = {0, indent};
    for (size_t at = 0, bytes; at < length; at += bytes) {
        utf8proc_int32_t code = character(text + at, length - at, &bytes);
        if (code == '\n') {
            place = (struct line_place){place.row + 1, indent};
            continue;
        }
        int wide = width(code);
        if (place.column + wide > columns) /* a wide character is not cut in two */
            place = (struct line_place){place.row + 1, 0};
        place.column += wide;
    }
    if (place.column >= columns)
        place = (struct line_place){place.row + 1, 0};
    return place;
}
