/* Added tokens: found in the text before (or, those marked so, after) it is normalized, the leftmost first and of
   those the longest. The reference is tokenizers' added_vocabulary.rs. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer_internal.h"

/* A node's children hang in a list; most texts leave the trie at its first byte, which `root` answers at once. */
struct node {
    uint32_t child, sibling; /* 0: none; node 0 is the root and nobody's child */
    uint32_t added;          /* index of the added token that ends here + 1; 0: none */
    unsigned char byte;
};

struct trie {
    const struct tokenizer *tokenizer;
    struct node *nodes;
    size_t count, capacity;
    uint32_t root[256];
    bool cuts; /* a token normalizes to nothing: it is found everywhere, adds no id, but cuts the text */
};

static uint32_t find_child(const struct trie *trie, uint32_t node, unsigned char byte)
{
    if (node == 0) {
        return trie->root[byte];
    }
    uint32_t child = trie->nodes[node].child;
    while (child && trie->nodes[child].byte != byte) {
        child = trie->nodes[child].sibling;
    }
    return child;
}

static uint32_t add_child(struct trie *trie, uint32_t node, unsigned char byte)
{
    if (trie->count == trie->capacity) {
        size_t capacity = trie->capacity * 2 + 64;
        struct node *nodes = capacity < UINT32_MAX ? realloc(trie->nodes, capacity * sizeof *nodes) : NULL;
        if (!nodes) {
            return 0;
        }
        trie->nodes = nodes;
        trie->capacity = capacity;
    }
    uint32_t child = (uint32_t)trie->count++;
    trie->nodes[child] = (struct node){.byte = byte, .sibling = trie->nodes[node].child};
    trie->nodes[node].child = child;
    if (node == 0) {
        trie->root[byte] = child;
    }
    return child;
}

/* Of equal tokens the first stays. */
static int add_token(struct trie *trie, const char *content, size_t length, uint32_t index)
{
    uint32_t node = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)content[i];
        uint32_t child = find_child(trie, node, byte);
        if (!child && !(child = add_child(trie, node, byte))) {
            return -1;
        }
        node = child;
    }
    if (node && !trie->nodes[node].added) {
        trie->nodes[node].added = index + 1;
    }
    return 0;
}

static int add_normalized(struct trie *trie, struct encoder *encoder, struct blob_text content, uint32_t index)
{
    size_t zero = 0;
    encoder->text.length = 0;
    if (text_normalize(encoder, blob_string(trie->tokenizer, content), content.length, &zero, &encoder->text)) {
        return -1;
    }
    trie->cuts = trie->cuts || (encoder->text.length == 0 && content.length > 0);
    return add_token(trie, encoder->text.data, encoder->text.length, index) ? out_of_memory(encoder->error) : 0;
}

struct trie *trie_open(const struct tokenizer *tokenizer, bool normalized, struct error *error)
{
    struct trie *trie = calloc(1, sizeof *trie);
    struct encoder encoder = {.tokenizer = tokenizer, .regex = regex_state_open(), .error = error};
    int failed = !trie || !encoder.regex ? out_of_memory(error) : 0;
    if (trie) {
        trie->tokenizer = tokenizer;
        trie->nodes = calloc(64, sizeof *trie->nodes);
        trie->capacity = trie->nodes ? 64 : 0;
        trie->count = 1;
        if (!trie->nodes) {
            failed = out_of_memory(error);
        }
    }
    for (uint32_t i = 0; !failed && i < tokenizer->added_count; i++) {
        const struct blob_added *added = &tokenizer->added[i];
        if (((added->flags & ADDED_NORMALIZED) != 0) != normalized) {
            continue;
        }
        if (normalized) {
            failed = add_normalized(trie, &encoder, added->content, i);
        } else if (add_token(trie, blob_string(tokenizer, added->content), added->content.length, i)) {
            failed = out_of_memory(error);
        }
    }
    regex_state_close(encoder.regex);
    free(encoder.text.data);
    free(encoder.scratch[0].data);
    free(encoder.scratch[1].data);
    if (failed) {
        trie_close(trie);
        return NULL;
    }
    return trie;
}

void trie_close(struct trie *trie)
{
    if (trie) {
        free(trie->nodes);
        free(trie);
    }
}

/* The longest added token at text[at]; NULL if there is none. *end: where it ends. */
static const struct blob_added *longest(const struct trie *trie, const char *text, size_t at, size_t length,
                                        size_t *end)
{
    const struct blob_added *best = NULL;
    *end = at;
    uint32_t node = trie->root[(unsigned char)text[at]];
    while (node) {
        at++;
        if (trie->nodes[node].added) {
            best = &trie->tokenizer->added[trie->nodes[node].added - 1];
            *end = at;
        }
        node = at < length ? find_child(trie, node, (unsigned char)text[at]) : 0;
    }
    return best;
}

static bool stands_alone(const char *text, size_t start, size_t end, size_t length)
{
    uint32_t character;
    if (start > 0) {
        utf8_read(text + utf8_previous(text, start), &character);
        if (character_is_word(character)) {
            return false;
        }
    }
    if (end < length) {
        utf8_read(text + end, &character);
        if (character_is_word(character)) {
            return false;
        }
    }
    return true;
}

/* Where the white space that ends at `at` begins, not before `least`. */
static size_t spaces_before(const char *text, size_t at, size_t least)
{
    while (at > least) {
        uint32_t character;
        size_t previous = utf8_previous(text, at);
        utf8_read(text + previous, &character);
        if (!character_is_space(character)) {
            break;
        }
        at = previous;
    }
    return at;
}

static size_t spaces_after(const char *text, size_t at, size_t length)
{
    while (at < length) {
        uint32_t character;
        size_t bytes = utf8_read(text + at, &character);
        if (!character_is_space(character)) {
            break;
        }
        at += bytes;
    }
    return at;
}

static struct piece part(size_t base, size_t start, size_t end, size_t zero, int32_t id)
{
    size_t length = end - start;
    size_t left = zero > start ? zero - start : 0;
    return (struct piece){base + start, base + end, left < length ? left : length, id};
}

int trie_split(const struct trie *trie, struct encoder *encoder, size_t start, size_t end, size_t zero)
{
    if (start == end)
        return 0; /* there may be no text at all, not even an address */
    const char *text = encoder->text.data + start;
    size_t length = end - start;
    size_t done = 0;       /* everything before is in a piece */
    size_t spaces_end = 0; /* white space reaches to here from some earlier place: rstrip need not look again */
    size_t at = 0;
    while (at < length) {
        size_t stop;
        const struct blob_added *added = longest(trie, text, at, length, &stop);
        if (!added) {
            at++;
            bool whole = at == length || ((unsigned char)text[at] & 0xC0) != 0x80;
            if (trie->cuts && whole && pieces_add(&encoder->after, part(start, done, at, zero, -1))) {
                return out_of_memory(encoder->error);
            }
            done = trie->cuts && whole ? at : done;
            continue;
        }
        size_t from = at;
        at = stop; /* the search goes on behind the token, whatever white space it takes */
        if ((added->flags & ADDED_SINGLE_WORD) && !stands_alone(text, from, stop, length)) {
            continue;
        }
        if (added->flags & ADDED_LSTRIP) {
            size_t least = done < from ? done : from;
            from = spaces_before(text, from, least);
            from = from > done ? from : done;
        }
        if (added->flags & ADDED_RSTRIP) {
            if (stop >= spaces_end) {
                spaces_end = spaces_after(text, stop, length);
            }
            stop = spaces_end;
        }
        if (done < from && pieces_add(&encoder->after, part(start, done, from, zero, -1))) {
            return out_of_memory(encoder->error);
        }
        if (from < stop && /* else another token's rstrip took it whole, and it vanishes */
            pieces_add(&encoder->after, part(start, from, stop, zero, (int32_t)added->id))) {
            return out_of_memory(encoder->error);
        }
        done = stop;
    }
    if (done < length && pieces_add(&encoder->after, part(start, done, length, zero, -1))) {
        return out_of_memory(encoder->error);
    }
    return 0;
}

/* ---- how added tokens decode ---- */

static bool is_special_content(const struct tokenizer *tokenizer, const struct text *text)
{
    for (uint32_t i = 0; i < tokenizer->added_count; i++) {
        const struct blob_added *added = &tokenizer->added[i];
        if ((added->flags & ADDED_SPECIAL) && added->content.length == text->length &&
            memcmp(blob_string(tokenizer, added->content), text->data, text->length) == 0) {
            return true;
        }
    }
    return false;
}

static int add_spelling(struct tokenizer *tokenizer, uint32_t id, const struct text *text)
{
    struct spelling *spelling = &tokenizer->spellings[tokenizer->spelling_count];
    spelling->text = malloc(text->length + 1);
    if (!spelling->text) {
        return -1;
    }
    if (text->length) {
        memcpy(spelling->text, text->data, text->length);
    }
    spelling->length = text->length;
    spelling->id = id;
    spelling->special = is_special_content(tokenizer, text);
    tokenizer->spelling_count++;
    return 0;
}

static int by_id(const void *one, const void *other)
{
    uint32_t left = ((const struct spelling *)one)->id, right = ((const struct spelling *)other)->id;
    return left < right ? -1 : left > right;
}

int spellings_open(struct tokenizer *tokenizer, struct error *error)
{
    if (tokenizer->header->normalizers == 0 || tokenizer->added_count == 0) {
        return 0;
    }
    struct encoder encoder = {.tokenizer = tokenizer, .regex = regex_state_open(), .error = error};
    tokenizer->spellings = calloc(tokenizer->added_count, sizeof *tokenizer->spellings);
    int failed = !encoder.regex || !tokenizer->spellings ? out_of_memory(error) : 0;
    for (uint32_t i = 0; !failed && i < tokenizer->added_count; i++) {
        const struct blob_added *added = &tokenizer->added[i];
        const char *content = blob_string(tokenizer, added->content);
        size_t zero = 0, length = added->content.length;
        if (!(added->flags & ADDED_NORMALIZED)) {
            continue;
        }
        encoder.text.length = 0;
        failed = text_normalize(&encoder, content, length, &zero, &encoder.text);
        bool same = encoder.text.length == length && (length == 0 || memcmp(encoder.text.data, content, length) == 0);
        if (!failed && !same && add_spelling(tokenizer, added->id, &encoder.text)) {
            failed = out_of_memory(error);
        }
    }
    if (!failed) {
        qsort(tokenizer->spellings, tokenizer->spelling_count, sizeof *tokenizer->spellings, by_id);
    }
    regex_state_close(encoder.regex);
    free(encoder.text.data);
    free(encoder.scratch[0].data);
    free(encoder.scratch[1].data);
    return failed ? -1 : 0;
}

void spellings_close(struct tokenizer *tokenizer)
{
    for (uint32_t i = 0; i < tokenizer->spelling_count; i++) {
        free(tokenizer->spellings[i].text);
    }
    free(tokenizer->spellings);
}

const char *spelling_find(const struct tokenizer *tokenizer, int32_t id, size_t *length, bool *special)
{
    if (tokenizer->spelling_count && id >= 0) {
        struct spelling key = {.id = (uint32_t)id};
        const struct spelling *found =
            bsearch(&key, tokenizer->spellings, tokenizer->spelling_count, sizeof key, by_id);
        if (found) {
            *length = found->length;
            *special = found->special;
            return found->text;
        }
    }
    *special = tokenizer_is_special(tokenizer, id);
    return tokenizer_spelling(tokenizer, id, length);
}
