/* Pre-tokenizers: from pieces of text to smaller pieces. A piece is what the merges never cross. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer_internal.h"

int pieces_add(struct pieces *pieces, struct piece piece)
{
    if (pieces->count == pieces->capacity) {
        size_t capacity = pieces->capacity * 2 + 32;
        struct piece *more =
            capacity < SIZE_MAX / sizeof *more ? realloc(pieces->piece, capacity * sizeof *more) : NULL;
        if (!more) {
            return -1;
        }
        pieces->piece = more;
        pieces->capacity = capacity;
    }
    pieces->piece[pieces->count++] = piece;
    return 0;
}

/* Gathers the parts of one piece, matches and what lies between them, as a split behaviour wants them. The parts come
   in order and cover the piece. */
struct splitter {
    struct encoder *encoder;
    struct piece whole;
    enum split_behavior behavior;
    bool invert;
    bool open, last_match; /* a part waits for its end; the last part that came was a match */
    size_t start, end;     /* the part that waits */
};

static int emit(struct splitter *splitter, size_t start, size_t end)
{
    if (start >= end) { /* empty pieces vanish */
        return 0;
    }
    size_t before = start - splitter->whole.start;
    size_t zero = splitter->whole.zero > before ? splitter->whole.zero - before : 0;
    struct piece piece = {start, end, zero < end - start ? zero : end - start, -1};
    return pieces_add(&splitter->encoder->after, piece) ? out_of_memory(splitter->encoder->error) : 0;
}

static int emit_open(struct splitter *splitter)
{
    if (!splitter->open) {
        return 0;
    }
    splitter->open = false;
    return emit(splitter, splitter->start, splitter->end);
}

/* Whether this part lengthens the one that waits. `match` and `last_match` tell what both are. */
static bool joins(const struct splitter *splitter, bool match)
{
    switch (splitter->behavior) {
    case SPLIT_CONTIGUOUS:
        return match == splitter->last_match;
    case SPLIT_MERGED_WITH_PREVIOUS:
        return match && !splitter->last_match;
    case SPLIT_MERGED_WITH_NEXT: /* seen from the left: what follows a single match joins it */
        return !match && splitter->last_match;
    default:
        return false;
    }
}

static int add_part(struct splitter *splitter, size_t start, size_t end, bool match)
{
    match = match != splitter->invert;
    if (splitter->behavior == SPLIT_REMOVED) {
        return match ? 0 : emit(splitter, start, end);
    }
    if (splitter->open && joins(splitter, match)) {
        splitter->end = end;
    } else {
        if (emit_open(splitter)) {
            return -1;
        }
        splitter->open = true;
        splitter->start = start;
        splitter->end = end;
    }
    splitter->last_match = match;
    return 0;
}

/* A match [start, end) after `done`: the part between them, if any, and the match. */
static int add_match(struct splitter *splitter, size_t *done, size_t start, size_t end)
{
    if (*done != start && add_part(splitter, *done, start, false)) {
        return -1;
    }
    *done = end;
    return add_part(splitter, start, end, true);
}

static int add_rest(struct splitter *splitter, size_t done)
{
    if (done != splitter->whole.end && add_part(splitter, done, splitter->whole.end, false)) {
        return -1;
    }
    return emit_open(splitter);
}

static int split_text(struct splitter *splitter, const struct blob_operation *operation)
{
    const char *text = splitter->encoder->text.data;
    const char *what = blob_string(splitter->encoder->tokenizer, operation->first);
    size_t done = splitter->whole.start, end = splitter->whole.end;
    const char *found;
    while (operation->first.length && (found = memmem(text + done, end - done, what, operation->first.length))) {
        size_t start = (size_t)(found - text);
        if (add_match(splitter, &done, start, start + operation->first.length)) {
            return -1;
        }
    }
    return add_rest(splitter, done);
}

static int split_regex(struct splitter *splitter, const struct blob_operation *operation)
{
    struct encoder *encoder = splitter->encoder;
    size_t base = splitter->whole.start, done = base, start, end;
    struct regex_walk walk = {
        .regex = operation_regex(encoder->tokenizer, operation),
        .state = encoder->regex,
        .text = encoder->text.data + base,
        .length = splitter->whole.end - base,
    };
    int more;
    while ((more = regex_next(&walk, &start, &end, encoder->error)) > 0) {
        if (add_match(splitter, &done, base + start, base + end)) {
            return -1;
        }
    }
    return more < 0 ? -1 : add_rest(splitter, done);
}

static int split_class(struct splitter *splitter, enum character_class class)
{
    const char *text = splitter->encoder->text.data;
    size_t done = splitter->whole.start;
    for (size_t i = done; i < splitter->whole.end;) {
        uint32_t character;
        size_t bytes = utf8_read(text + i, &character);
        if (character_in_class(character, class) && add_match(splitter, &done, i, i + bytes)) {
            return -1;
        }
        i += bytes;
    }
    return add_rest(splitter, done);
}

/* The reference's "Whitespace": \w+|[^\w\s]+ */
static int split_words(struct splitter *splitter)
{
    const char *text = splitter->encoder->text.data;
    size_t start = splitter->whole.start, i = start;
    int kind = 0, last = 0; /* 0: white space, 1: word, 2: the rest */
    while (i < splitter->whole.end) {
        uint32_t character;
        size_t bytes = utf8_read(text + i, &character);
        kind = character_is_word(character) ? 1 : character_is_space(character) ? 0 : 2;
        if (kind != last) {
            if (last && emit(splitter, start, i)) {
                return -1;
            }
            start = i;
            last = kind;
        }
        i += bytes;
    }
    return last ? emit(splitter, start, i) : 0;
}

static int split_piece(struct encoder *encoder, const struct blob_operation *operation, struct piece piece)
{
    struct splitter splitter = {
        .encoder = encoder,
        .whole = piece,
        .behavior = (enum split_behavior)operation->a,
        .invert = operation->b != 0,
    };
    switch (operation->kind) {
    case OP_SPLIT_TEXT:
        return split_text(&splitter, operation);
    case OP_SPLIT_REGEX:
        return split_regex(&splitter, operation);
    case OP_SPLIT_CLASS:
        return split_class(&splitter, (enum character_class)operation->c);
    case OP_SPLIT_WORDS:
        return split_words(&splitter);
    default:
        return error_set(encoder->error, "tokenizer: operation %u is no pre-tokenizer", operation->kind);
    }
}

static int prefix(struct encoder *encoder, const struct blob_operation *operation, struct piece *piece,
                  struct text *out)
{
    const char *text = encoder->text.data + piece->start;
    const char *what = blob_string(encoder->tokenizer, operation->first);
    size_t length = piece->end - piece->start, more = operation->first.length;
    bool has_it = length >= more && memcmp(text, what, more) == 0;
    if (length && !has_it && (operation->a == PREFIX_ALWAYS || piece->zero > 0)) {
        if (text_add(out, what, more)) {
            return -1;
        }
        piece->zero += piece->zero > 0 ? more : 0;
    }
    return text_add(out, text, length);
}

static int characters_of_bytes(struct encoder *encoder, struct piece *piece, struct text *out)
{
    const char *text = encoder->text.data + piece->start;
    size_t length = piece->end - piece->start, base = out->length, zero = 0;
    if (text_reserve(out, 2 * length)) {
        return -1;
    }
    for (size_t i = 0; i < length; i++) {
        out->length += utf8_write(out->data + out->length, byte_character((unsigned char)text[i]));
        if (i < piece->zero) {
            zero = out->length - base;
        }
    }
    piece->zero = zero;
    return 0;
}

/* An operation that changes the text of a piece rather than where it ends; the new text goes to encoder->other. */
static int rewrite_piece(struct encoder *encoder, const struct blob_operation *operation, struct piece piece)
{
    struct text *out = &encoder->other;
    size_t base = out->length;
    int failed;
    if (operation->kind == OP_PREFIX) {
        failed = prefix(encoder, operation, &piece, out);
    } else if (operation->kind == OP_BYTE_CHARS) {
        failed = characters_of_bytes(encoder, &piece, out);
    } else {
        if (text_replace(encoder->tokenizer, operation, encoder->regex, encoder->text.data + piece.start,
                         piece.end - piece.start, &piece.zero, out, encoder->error)) {
            return -1;
        }
        failed = 0;
    }
    piece.start = base;
    piece.end = out->length;
    if (piece.end > piece.start) {
        failed = failed || pieces_add(&encoder->after, piece);
    }
    return failed ? out_of_memory(encoder->error) : 0;
}

static bool changes_text(const struct blob_operation *operation)
{
    return operation->kind == OP_PREFIX || operation->kind == OP_BYTE_CHARS || operation->kind == OP_REPLACE_TEXT;
}

int pretokenize(struct encoder *encoder)
{
    for (uint32_t i = 0; i < encoder->tokenizer->header->pretokenizers; i++) {
        const struct blob_operation *operation = &encoder->tokenizer->pretokenizers[i];
        bool rewrites = changes_text(operation);
        encoder->after.count = 0;
        encoder->other.length = 0;
        for (size_t k = 0; k < encoder->pieces.count; k++) {
            struct piece piece = encoder->pieces.piece[k];
            if (piece.id >= 0) {
                if (pieces_add(&encoder->after, piece)) {
                    return out_of_memory(encoder->error);
                }
            } else if (rewrites ? rewrite_piece(encoder, operation, piece) : split_piece(encoder, operation, piece)) {
                return -1;
            }
        }
        struct pieces pieces = encoder->pieces;
        encoder->pieces = encoder->after;
        encoder->after = pieces;
        if (rewrites) {
            struct text text = encoder->text;
            encoder->text = encoder->other;
            encoder->other = text;
        }
    }
    return 0;
}
