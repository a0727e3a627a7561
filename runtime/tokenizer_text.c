/* Growing bytes, UTF-8, and the classes of characters that tokenizers ask for. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "tokenizer_internal.h"

int out_of_memory(struct error *error)
{
    return error_set(error, "tokenizer: out of memory");
}

int text_reserve(struct text *text, size_t more)
{
    if (more <= text->capacity - text->length) {
        return 0;
    }
    if (more > SIZE_MAX / 4 - text->length) {
        return -1;
    }
    size_t capacity = (text->length + more) * 2 + 64;
    char *data = realloc(text->data, capacity);
    if (!data) {
        return -1;
    }
    text->data = data;
    text->capacity = capacity;
    return 0;
}

int text_add(struct text *text, const char *data, size_t length)
{
    if (text_reserve(text, length)) {
        return -1;
    }
    if (length) { /* text->data may be NULL otherwise */
        memcpy(text->data + text->length, data, length);
        text->length += length;
    }
    return 0;
}

int text_add_character(struct text *text, uint32_t character)
{
    if (text_reserve(text, 4)) {
        return -1;
    }
    text->length += utf8_write(text->data + text->length, character);
    return 0;
}

size_t utf8_read(const char *text, uint32_t *character)
{
    const unsigned char *byte = (const unsigned char *)text;
    if (byte[0] < 0x80) {
        *character = byte[0];
        return 1;
    }
    if (byte[0] < 0xE0) {
        *character = (byte[0] & 0x1Fu) << 6 | (byte[1] & 0x3Fu);
        return 2;
    }
    if (byte[0] < 0xF0) {
        *character = (byte[0] & 0x0Fu) << 12 | (byte[1] & 0x3Fu) << 6 | (byte[2] & 0x3Fu);
        return 3;
    }
    *character = (byte[0] & 0x07u) << 18 | (byte[1] & 0x3Fu) << 12 | (byte[2] & 0x3Fu) << 6 | (byte[3] & 0x3Fu);
    return 4;
}

size_t utf8_previous(const char *text, size_t end)
{
    do {
        end--;
    } while (end > 0 && ((unsigned char)text[end] & 0xC0) == 0x80);
    return end;
}

size_t utf8_write(char *out, uint32_t character)
{
    if (character < 0x80) {
        out[0] = (char)character;
        return 1;
    }
    if (character < 0x800) {
        out[0] = (char)(0xC0 | character >> 6);
        out[1] = (char)(0x80 | (character & 0x3F));
        return 2;
    }
    if (character < 0x10000) {
        out[0] = (char)(0xE0 | character >> 12);
        out[1] = (char)(0x80 | (character >> 6 & 0x3F));
        out[2] = (char)(0x80 | (character & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | character >> 18);
    out[1] = (char)(0x80 | (character >> 12 & 0x3F));
    out[2] = (char)(0x80 | (character >> 6 & 0x3F));
    out[3] = (char)(0x80 | (character & 0x3F));
    return 4;
}

/* The length of the character at the start of `byte` [length > 0]; 0 when it is not valid UTF-8, and then *bad is the
   length of the maximal invalid sequence and *cut says that more bytes could have completed it. The bounds of the
   second byte are those of the Unicode standard's table 3-7. */
static size_t check_character(const unsigned char *byte, size_t length, size_t *bad, bool *cut)
{
    *cut = false;
    *bad = 1;
    unsigned first = byte[0];
    if (first < 0x80) {
        return 1;
    }
    if (first < 0xC2 || first > 0xF4) {
        return 0;
    }
    size_t need = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    unsigned low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    unsigned high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    for (size_t i = 1; i < need; i++) {
        if (i == length) {
            *cut = true;
            *bad = i;
            return 0;
        }
        if (byte[i] < low || byte[i] > high) {
            *bad = i;
            return 0;
        }
        low = 0x80;
        high = 0xBF;
    }
    return need;
}

size_t utf8_scan(const char *text, size_t length, size_t *bad, bool *cut)
{
    size_t at = 0;
    while (at < length) {
        uint64_t eight;
        if (length - at >= sizeof eight) { /* plain ASCII, eight bytes at a time */
            memcpy(&eight, text + at, sizeof eight);
            if (!(eight & UINT64_C(0x8080808080808080))) {
                at += sizeof eight;
                continue;
            }
        }
        size_t good = check_character((const unsigned char *)text + at, length - at, bad, cut);
        if (!good) {
            return at;
        }
        at += good;
    }
    *bad = 0;
    *cut = false;
    return length;
}

int utf8_repair(struct text *out, const char *text, size_t length)
{
    while (length) {
        size_t bad;
        bool cut;
        size_t good = utf8_scan(text, length, &bad, &cut);
        if (text_add(out, text, good) || (bad && text_add_character(out, 0xFFFD))) {
            return -1;
        }
        text += good + bad;
        length -= good + bad;
    }
    return 0;
}

bool character_is_space(uint32_t character)
{
    if (character < 0x80) {
        return character == ' ' || (character >= '\t' && character <= '\r');
    }
    return character == 0x85 || character == 0xA0 || character == 0x1680 ||
           (character >= 0x2000 && character <= 0x200A) || character == 0x2028 || character == 0x2029 ||
           character == 0x202F || character == 0x205F || character == 0x3000;
}

bool character_is_mark(uint32_t character)
{
    if (character < 0x300) {
        return false;
    }
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)character);
    bool mark =
        category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
    return mark != unicode_is_young_mark(character);
}

/* Other_Alphabetic that is neither letter nor mark: the circled, squared and parenthesised Latin letters
   (PropList.txt). */
static bool is_enclosed_letter(uint32_t character)
{
    return (character >= 0x24B6 && character <= 0x24E9) || (character >= 0x1F130 && character <= 0x1F149) ||
           (character >= 0x1F150 && character <= 0x1F169) || (character >= 0x1F170 && character <= 0x1F189);
}

bool character_is_word(uint32_t character)
{
    if (character < 0x80) {
        return (character >= '0' && character <= '9') || (character >= 'A' && character <= 'Z') || character == '_' ||
               (character >= 'a' && character <= 'z');
    }
    character = unicode_stand_in(character);
    switch (utf8proc_category((utf8proc_int32_t)character)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default: /* 200C and 200D are Join_Control */
        return character == 0x200C || character == 0x200D || is_enclosed_letter(character);
    }
}

static bool is_numeric(uint32_t character)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)unicode_stand_in(character));
    return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

static bool is_punctuation(uint32_t character)
{
    if (character < 0x80) { /* ASCII punctuation counts whole, symbols such as '$' included */
        return (character >= '!' && character <= '/') || (character >= ':' && character <= '@') ||
               (character >= '[' && character <= '`') || (character >= '{' && character <= '~');
    }
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)character);
    return (category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO) !=
           unicode_is_young_punctuation(character);
}

bool character_in_class(uint32_t character, enum character_class class)
{
    switch (class) {
    case CLASS_WHITE_SPACE:
        return character_is_space(character);
    case CLASS_NUMERIC:
        return is_numeric(character);
    case CLASS_PUNCTUATION:
    default:
        return is_punctuation(character);
    }
}

/* GPT-2's table (openai/gpt-2, src/encoder.py, bytes_to_unicode): printable Latin-1 stands for itself, the 68 other
   bytes take U+0100 and on, in order. */
static bool stands_for_itself(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

uint32_t byte_character(unsigned char byte)
{
    if (stands_for_itself(byte)) {
        return byte;
    }
    if (byte <= 0x20) {
        return 0x100u + byte;
    }
    return byte == 0xAD ? 0x143u : 0x121u + (byte - 0x7Fu);
}

int character_byte(uint32_t character)
{
    if (character < 0x100) {
        return stands_for_itself(character) ? (int)character : -1;
    }
    if (character <= 0x120) {
        return (int)(character - 0x100);
    }
    if (character <= 0x142) {
        return (int)(character - 0x121 + 0x7F);
    }
    return character == 0x143 ? 0xAD : -1;
}
