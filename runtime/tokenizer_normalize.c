/* Normalizers: from text to text. Each also carries `zero` along, the number of leading bytes that stand for the very
   start of the input, since one pre-tokenizer (OP_PREFIX with PREFIX_FIRST) asks where its piece came from. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "tokenizer_internal.h"

/* Characters of one text, decomposed, with room to grow. */
struct characters {
    utf8proc_int32_t *at;
    size_t count, capacity;
};

static int reserve_characters(struct characters *characters, size_t more)
{
    if (more <= characters->capacity - characters->count) {
        return 0;
    }
    size_t capacity = (characters->count + more) * 2 + 64;
    utf8proc_int32_t *at = capacity < SIZE_MAX / 8 ? realloc(characters->at, capacity * sizeof *at) : NULL;
    if (!at) {
        return -1;
    }
    characters->at = at;
    characters->capacity = capacity;
    return 0;
}

static int decompose(const char *text, size_t length, utf8proc_option_t options, struct characters *out)
{
    for (size_t i = 0; i < length;) {
        uint32_t character;
        i += utf8_read(text + i, &character);
        if (unicode_is_young_decomposition(character)) {
            if (reserve_characters(out, 1)) {
                return -1;
            }
            out->at[out->count++] = (utf8proc_int32_t)character;
            continue;
        }
        utf8proc_ssize_t room, used;
        int boundary = 0;
        do {
            if (reserve_characters(out, 32)) {
                return -1;
            }
            room = (utf8proc_ssize_t)(out->capacity - out->count);
            used = utf8proc_decompose_char((utf8proc_int32_t)character, out->at + out->count, room, options, &boundary);
            if (used < 0) {
                return -1;
            }
        } while (used > room && !reserve_characters(out, (size_t)used));
        out->count += (size_t)used;
    }
    return 0;
}

/* The combining class, as the reference knows it: marks younger than its tables have none. */
static unsigned combining_class(utf8proc_int32_t character)
{
    if (character < 0x300 || unicode_is_young_mark((uint32_t)character)) {
        return 0;
    }
    return (unsigned)utf8proc_get_property(character)->combining_class & 0xFF;
}

/* Composes in place what stands between young marks, which part it as letters would. */
static int compose(struct characters *characters)
{
    size_t written = 0;
    for (size_t start = 0; start < characters->count;) {
        size_t end = start;
        while (end < characters->count && !unicode_is_young_mark((uint32_t)characters->at[end])) {
            end++;
        }
        if (end > start) {
            utf8proc_ssize_t count = utf8proc_normalize_utf32(characters->at + start, (utf8proc_ssize_t)(end - start),
                                                              UTF8PROC_STABLE | UTF8PROC_COMPOSE);
            if (count < 0) {
                return -1;
            }
            memmove(characters->at + written, characters->at + start, (size_t)count * sizeof *characters->at);
            written += (size_t)count;
        }
        if (end < characters->count) {
            characters->at[written++] = characters->at[end++];
        }
        start = end;
    }
    characters->count = written;
    return 0;
}

/* Sorts each run of combining characters by class, stably: the classes are bytes, so counting them takes time in
   proportion to the run, where utf8proc's own reordering takes the square of it. */
static int reorder(struct characters *characters)
{
    utf8proc_int32_t *sorted = NULL;
    size_t room = 0;
    for (size_t i = 0; i < characters->count;) {
        size_t start = i;
        bool ordered = true;
        unsigned last = 0;
        for (; i < characters->count; i++) {
            unsigned class = combining_class(characters->at[i]);
            if (class == 0) {
                break;
            }
            ordered = ordered && class >= last;
            last = class;
        }
        size_t run = i - start;
        i += run == 0;
        if (ordered) {
            continue;
        }
        if (run > room) {
            utf8proc_int32_t *more = realloc(sorted, run * sizeof *more);
            if (!more) {
                free(sorted);
                return -1;
            }
            sorted = more;
            room = run;
        }
        size_t place[257] = {0};
        for (size_t k = start; k < start + run; k++) {
            place[combining_class(characters->at[k]) + 1]++;
        }
        for (int class = 1; class < 257; class ++) {
            place[class] += place[class - 1];
        }
        for (size_t k = start; k < start + run; k++) {
            sorted[place[combining_class(characters->at[k])]++] = characters->at[k];
        }
        memcpy(characters->at + start, sorted, run * sizeof *sorted);
    }
    free(sorted);
    return 0;
}

/* Text below U+0300 is in NFC already, unless it holds no such text: what most input is. */
static bool surely_nfc(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] >= 0xCC) { /* the first byte of U+0300 and on */
            return false;
        }
    }
    return true;
}

static bool is_ascii(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] & 0x80) {
            return false;
        }
    }
    return true;
}

static int to_form(const char *text, size_t length, enum normal_form form, struct text *out)
{
    if (is_ascii(text, length) || (form == FORM_NFC && surely_nfc(text, length))) {
        return text_add(out, text, length);
    }
    struct characters characters = {0};
    bool compatibility = form == FORM_NFKC || form == FORM_NFKD;
    utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatibility ? UTF8PROC_COMPAT : 0);
    int failed = decompose(text, length, options, &characters) || reorder(&characters);
    if (!failed && (form == FORM_NFC || form == FORM_NFKC)) {
        failed = compose(&characters);
    }
    for (size_t i = 0; !failed && i < characters.count; i++) {
        failed = text_add_character(out, (uint32_t)characters.at[i]);
    }
    free(characters.at);
    return failed ? -1 : 0;
}

static size_t count_characters(const char *text, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length; i++) {
        count += ((unsigned char)text[i] & 0xC0) != 0x80;
    }
    return count;
}

static size_t bytes_of_characters(const char *text, size_t length, size_t count)
{
    size_t i = 0;
    while (i < length && (count > 0 || ((unsigned char)text[i] & 0xC0) == 0x80)) {
        count -= ((unsigned char)text[i] & 0xC0) != 0x80;
        i++;
    }
    return i;
}

static int normal_form(const char *text, size_t length, enum normal_form form, size_t *zero, struct text *out)
{
    size_t base = out->length;
    if (to_form(text, length, form, out)) {
        return -1;
    }
    if (*zero) { /* as many characters as the start alone would give */
        struct text head = {0};
        if (to_form(text, *zero, form, &head)) {
            free(head.data);
            return -1;
        }
        *zero = bytes_of_characters(out->data + base, out->length - base, count_characters(head.data, head.length));
        free(head.data);
    }
    return 0;
}

/* One replacement of [start, end): the characters put in share the origin of the last one that goes. */
static int replace_match(const struct tokenizer *tokenizer, const struct blob_operation *operation, size_t end,
                         size_t zero, size_t *new_zero, size_t base, struct text *out)
{
    if (text_add(out, blob_string(tokenizer, operation->second), operation->second.length)) {
        return -1;
    }
    if (end > 0 && end <= zero) {
        *new_zero = out->length - base;
    }
    return 0;
}

int text_replace(const struct tokenizer *tokenizer, const struct blob_operation *operation, struct regex_state *state,
                 const char *text, size_t length, size_t *zero, struct text *out, struct error *error)
{
    size_t base = out->length, done = 0, start, end, old_zero = zero ? *zero : 0, new_zero = 0;
    struct regex_walk walk = {.text = text, .length = length, .state = state};
    const char *what = blob_string(tokenizer, operation->first);
    if (length == 0) { /* even where the pattern matches nothing */
        return 0;
    }
    bool literal = operation->kind == OP_REPLACE_TEXT;
    if (!literal) {
        walk.regex = operation_regex(tokenizer, operation);
    }
    for (;;) {
        if (literal) {
            const char *found = length ? memmem(text + done, length - done, what, operation->first.length) : NULL;
            if (!found || operation->first.length == 0) {
                break;
            }
            start = (size_t)(found - text);
            end = start + operation->first.length;
        } else {
            int more = regex_next(&walk, &start, &end, error);
            if (more < 0) {
                return -1;
            }
            if (more == 0) {
                break;
            }
        }
        if (text_add(out, text + done, start - done)) {
            return out_of_memory(error);
        }
        if (start > done && done < old_zero) { /* the kept text reaches into the start */
            new_zero = out->length - base - (start > old_zero ? start - old_zero : 0);
        }
        if (replace_match(tokenizer, operation, end, old_zero, &new_zero, base, out)) {
            return out_of_memory(error);
        }
        done = end;
    }
    if (text_add(out, text + done, length - done)) {
        return out_of_memory(error);
    }
    if (done < old_zero) {
        new_zero = out->length - base - (length - old_zero);
    }
    if (zero) {
        *zero = new_zero;
    }
    return 0;
}

static int prepend(const struct tokenizer *tokenizer, const struct blob_operation *operation, const char *text,
                   size_t length, size_t *zero, struct text *out)
{
    if (length == 0) {
        return 0;
    }
    if (*zero) {
        *zero += operation->first.length;
    }
    return text_add(out, blob_string(tokenizer, operation->first), operation->first.length) ||
                   text_add(out, text, length)
               ? -1
               : 0;
}

/* Character by character, as the reference does: no final sigma; U+0130 is the one character whose small form is two
   (SpecialCasing.txt). */
static int lowercase(const char *text, size_t length, size_t *zero, struct text *out)
{
    size_t base = out->length, new_zero = 0;
    for (size_t i = 0; i < length;) {
        uint32_t character;
        size_t bytes = utf8_read(text + i, &character);
        if (character == 0x130) {
            if (text_add_character(out, 'i') || text_add_character(out, 0x307)) {
                return -1;
            }
        } else if (text_add_character(out,
                                      (uint32_t)utf8proc_tolower((utf8proc_int32_t)unicode_small_form(character)))) {
            return -1;
        }
        if (i < *zero) {
            new_zero = out->length - base;
        }
        i += bytes;
    }
    *zero = new_zero;
    return 0;
}

static int strip(const char *text, size_t length, uint32_t sides, size_t *zero, struct text *out)
{
    size_t start = 0, end = length;
    uint32_t character;
    while ((sides & 1) && start < end) {
        size_t bytes = utf8_read(text + start, &character);
        if (!character_is_space(character)) {
            break;
        }
        start += bytes;
    }
    while ((sides & 2) && end > start) {
        size_t previous = utf8_previous(text, end);
        utf8_read(text + previous, &character);
        if (!character_is_space(character)) {
            break;
        }
        end = previous;
    }
    *zero = *zero > start ? *zero - start : 0;
    return text_add(out, text + start, end - start);
}

static int strip_accents(const char *text, size_t length, size_t *zero, struct text *out)
{
    size_t base = out->length, new_zero = 0;
    for (size_t i = 0; i < length;) {
        uint32_t character;
        size_t bytes = utf8_read(text + i, &character);
        if (!character_is_mark(character) && text_add(out, text + i, bytes)) {
            return -1;
        }
        if (i < *zero) {
            new_zero = out->length - base;
        }
        i += bytes;
    }
    *zero = new_zero;
    return 0;
}

static int byte_characters(const char *text, size_t length, size_t *zero, struct text *out)
{
    size_t base = out->length, new_zero = 0;
    for (size_t i = 0; i < length; i++) {
        if (text_add_character(out, byte_character((unsigned char)text[i]))) {
            return -1;
        }
        if (i < *zero) {
            new_zero = out->length - base;
        }
    }
    *zero = new_zero;
    return 0;
}

static int apply(struct encoder *encoder, const struct blob_operation *operation, const char *text, size_t length,
                 size_t *zero, struct text *out)
{
    const struct tokenizer *tokenizer = encoder->tokenizer;
    int failed;
    switch (operation->kind) {
    case OP_NORMAL_FORM:
        failed = normal_form(text, length, (enum normal_form)operation->a, zero, out);
        break;
    case OP_REPLACE_TEXT:
    case OP_REPLACE_REGEX:
        return text_replace(tokenizer, operation, encoder->regex, text, length, zero, out, encoder->error);
    case OP_PREPEND:
        failed = prepend(tokenizer, operation, text, length, zero, out);
        break;
    case OP_APPEND:
        failed = length && (text_add(out, text, length) ||
                            text_add(out, blob_string(tokenizer, operation->first), operation->first.length));
        break;
    case OP_LOWERCASE:
        failed = lowercase(text, length, zero, out);
        break;
    case OP_STRIP:
        failed = strip(text, length, operation->a, zero, out);
        break;
    case OP_STRIP_ACCENTS:
        failed = strip_accents(text, length, zero, out);
        break;
    case OP_BYTE_CHARS:
        failed = byte_characters(text, length, zero, out);
        break;
    default:
        return error_set(encoder->error, "tokenizer: operation %u is no normalizer", operation->kind);
    }
    return failed ? out_of_memory(encoder->error) : 0;
}

int text_normalize(struct encoder *encoder, const char *text, size_t length, size_t *zero, struct text *out)
{
    uint32_t count = encoder->tokenizer->header->normalizers;
    if (count == 0) {
        return text_add(out, text, length) ? out_of_memory(encoder->error) : 0;
    }
    for (uint32_t i = 0; i < count; i++) { /* from one scratch text into the other; the last into `out` */
        struct text *target = i + 1 == count ? out : &encoder->scratch[i % 2];
        if (target != out) {
            target->length = 0;
        }
        size_t base = target->length;
        if (apply(encoder, &encoder->tokenizer->normalizers[i], text, length, zero, target)) {
            return -1;
        }
        text = target->data ? target->data + base : "";
        length = target->length - base;
    }
    return 0;
}
