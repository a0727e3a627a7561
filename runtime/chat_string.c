/* Strings as Python has them: sequences of Unicode code points, here kept as UTF-8. */
#include <string.h>

#include <utf8proc.h>

#include "chat_internal.h"

int32_t chat_decode(const char *text, size_t length, size_t *bytes)
{
    utf8proc_int32_t character;
    utf8proc_ssize_t read = utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length, &character);
    *bytes = read > 0 ? (size_t)read : 1;
    return read > 0 ? character : 0xfffd;
}

int chat_encode(int32_t character, char out[4])
{
    return (int)utf8proc_encode_char(character, (utf8proc_uint8_t *)out);
}

size_t chat_characters(struct chat_value text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.length; i++)
        count += ((unsigned char)text.text[i] & 0xc0) != 0x80;
    return count;
}

size_t chat_byte_of(struct chat_value text, size_t index)
{
    size_t at = 0;
    if (index >= text.length)
        return text.length;
    for (; at < text.length; at++)
        if (((unsigned char)text.text[at] & 0xc0) != 0x80 && index-- == 0)
            break;
    return at;
}

struct chat_value chat_substring(struct chat_value text, size_t from, size_t to)
{
    struct chat_value part = text;
    part.text += from;
    part.length = (uint32_t)(to > from ? to - from : 0);
    return part;
}

int64_t chat_find_bytes(struct chat_value text, struct chat_value part, size_t from)
{
    if (from > text.length || part.length > text.length - from)
        return -1;
    if (!part.length)
        return (int64_t)from;
    const char *found = memmem(text.text + from, text.length - from, part.text, part.length);
    return found ? found - text.text : -1;
}

bool chat_is_space(int32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool is_one_of(struct chat_value characters, const char *at, size_t bytes)
{
    return chat_find_bytes(characters, chat_string_in_place(at, bytes), 0) >= 0;
}

struct chat_value chat_strip(struct chat_value text, struct chat_value characters, bool left, bool right)
{
    bool spaces = characters.kind != CHAT_STRING;
    size_t from = 0, to = text.length, bytes;
    while (left && from < to) {
        int32_t c = chat_decode(text.text + from, to - from, &bytes);
        if (spaces ? !chat_is_space(c) : !is_one_of(characters, text.text + from, bytes))
            break;
        from += bytes;
    }
    while (right && to > from) {
        size_t begin = to - 1;
        while (begin > from && ((unsigned char)text.text[begin] & 0xc0) == 0x80)
            begin--;
        int32_t c = chat_decode(text.text + begin, to - begin, &bytes);
        if (spaces ? !chat_is_space(c) : !is_one_of(characters, text.text + begin, to - begin))
            break;
        to = begin;
    }
    return chat_substring(text, from, to);
}

static bool is_letter(int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT;
}

/* 'u', 'l', 't' or 's': one character. The German sharp s is the one common letter whose upper case is two. */
static void add_case(struct chat_render *r, struct text_buffer *out, int32_t c, char how)
{
    char bytes[4];
    if (how == 's')
        how = utf8proc_category(c) == UTF8PROC_CATEGORY_LU ? 'l' : 'u';
    if (c == 0xdf && how != 'l') {
        chat_buffer_add(r, out, how == 'u' ? "SS" : "Ss", 2);
        return;
    }
    int32_t mapped = how == 'u' ? utf8proc_toupper(c) : how == 't' ? utf8proc_totitle(c) : utf8proc_tolower(c);
    chat_buffer_add(r, out, bytes, (size_t)chat_encode(mapped, bytes));
}

struct chat_value chat_case(struct chat_render *r, struct chat_value text, char how)
{
    struct text_buffer out = {0};
    bool begins = true; /* a word (title), the text (capitalize) */
    for (size_t at = 0, bytes; at < text.length; at += bytes) {
        int32_t c = chat_decode(text.text + at, text.length - at, &bytes);
        char now = how;
        if (how == 't' || how == 'c')
            now = begins ? 't' : 'l';
        add_case(r, &out, c, now);
        begins = how == 't' && !is_letter(c);
    }
    struct chat_value result = chat_buffer_string(r, &out);
    result.flags = text.flags;
    return result;
}

struct chat_value chat_escape(struct chat_render *r, struct chat_value text)
{
    if (text.flags & CHAT_MARKUP)
        return text;
    struct text_buffer out = {0};
    for (size_t i = 0; i < text.length; i++) {
        const char *with = NULL;
        switch (text.text[i]) {
        case '&':
            with = "&amp;";
            break;
        case '<':
            with = "&lt;";
            break;
        case '>':
            with = "&gt;";
            break;
        case '\'':
            with = "&#39;";
            break;
        case '"':
            with = "&#34;";
            break;
        }
        chat_buffer_add(r, &out, with ? with : &text.text[i], with ? strlen(with) : 1);
    }
    struct chat_value escaped = chat_buffer_string(r, &out);
    escaped.flags = escaped.kind == CHAT_STRING ? CHAT_MARKUP : 0;
    return escaped;
}

struct chat_value chat_replace(struct chat_render *r, struct chat_value text, struct chat_value old,
                               struct chat_value new, int64_t count)
{
    struct text_buffer out = {0};
    size_t at = 0;
    while (count != 0 && !r->failed) {
        int64_t found = chat_find_bytes(text, old, at);
        if (found < 0)
            break;
        chat_buffer_add(r, &out, text.text + at, (size_t)found - at);
        chat_buffer_add(r, &out, new.text, new.length);
        at = (size_t)found + old.length;
        count -= count > 0;
        if (!old.length) { /* between all characters, and at both ends */
            if (at >= text.length) {
                at = text.length;
                break;
            }
            size_t bytes;
            chat_decode(text.text + at, text.length - at, &bytes);
            chat_buffer_add(r, &out, text.text + at, bytes);
            at += bytes;
        }
    }
    chat_buffer_add(r, &out, text.text + at, text.length - at);
    struct chat_value result = chat_buffer_string(r, &out);
    result.flags = text.flags;
    return result;
}
