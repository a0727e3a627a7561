/* Byte-pair encoding of pieces. Of all neighbours that may merge, the pair of the lowest rank goes first, and of equal
   pairs the leftmost; a heap finds it, so that a piece of n characters takes O(n log n). The reference is tokenizers'
   models/bpe (merge_word, merge_all). */
#include <stdlib.h>
#include <string.h>

#include "tokenizer_internal.h"

#define NOWHERE SIZE_MAX

struct symbol {
    uint32_t id;
    bool gone; /* merged into its left neighbour */
    size_t previous, next;
};

/* A merge that was possible when it was queued. */
struct candidate {
    uint32_t rank, merged, left, right;
    size_t at; /* the left symbol */
};

/* Pieces encoded before in this call. Text repeats its words, so most pieces are found here. */
#define CACHE_SLOTS 4096u
#define CACHE_LONGEST 64u
struct cached {
    uint64_t hash;
    size_t start, length;   /* in encoder->text */
    size_t first_id, count; /* in the list of ids */
};

struct bpe {
    const struct tokenizer *tokenizer;
    struct error *error;
    struct symbol *symbols;
    size_t count, capacity;
    struct candidate *heap;
    size_t heap_count, heap_capacity;
    struct text word; /* a character with prefix and suffix */
    struct cached *cache;
};

static int add_symbol(struct bpe *bpe, int32_t id)
{
    if (bpe->count == bpe->capacity) {
        size_t capacity = bpe->capacity * 2 + 64;
        struct symbol *more = capacity < SIZE_MAX / 64 ? realloc(bpe->symbols, capacity * sizeof *more) : NULL;
        if (!more) {
            return out_of_memory(bpe->error);
        }
        bpe->symbols = more;
        bpe->capacity = capacity;
    }
    size_t at = bpe->count++;
    bpe->symbols[at] = (struct symbol){(uint32_t)id, false, at ? at - 1 : NOWHERE, NOWHERE};
    if (at) {
        bpe->symbols[at - 1].next = at;
    }
    return 0;
}

static bool comes_first(const struct candidate *one, const struct candidate *other)
{
    return one->rank != other->rank ? one->rank < other->rank : one->at < other->at;
}

static int heap_push(struct bpe *bpe, struct candidate candidate)
{
    if (bpe->heap_count == bpe->heap_capacity) {
        size_t capacity = bpe->heap_capacity * 2 + 64;
        struct candidate *more = capacity < SIZE_MAX / 64 ? realloc(bpe->heap, capacity * sizeof *more) : NULL;
        if (!more) {
            return out_of_memory(bpe->error);
        }
        bpe->heap = more;
        bpe->heap_capacity = capacity;
    }
    size_t at = bpe->heap_count++;
    while (at > 0 && comes_first(&candidate, &bpe->heap[(at - 1) / 2])) {
        bpe->heap[at] = bpe->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    bpe->heap[at] = candidate;
    return 0;
}

static struct candidate heap_pop(struct bpe *bpe)
{
    struct candidate top = bpe->heap[0], last = bpe->heap[--bpe->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= bpe->heap_count) {
            break;
        }
        if (child + 1 < bpe->heap_count && comes_first(&bpe->heap[child + 1], &bpe->heap[child])) {
            child++;
        }
        if (!comes_first(&bpe->heap[child], &last)) {
            break;
        }
        bpe->heap[at] = bpe->heap[child];
        at = child;
    }
    bpe->heap[at] = last;
    return top;
}

/* Queues the merge of the symbol and its right neighbour, if there is one. */
static int queue(struct bpe *bpe, size_t at)
{
    size_t next = bpe->symbols[at].next;
    if (next == NOWHERE) {
        return 0;
    }
    uint32_t left = bpe->symbols[at].id, right = bpe->symbols[next].id, merged;
    int32_t rank = merge_find(bpe->tokenizer, left, right, &merged);
    return rank < 0 ? 0 : heap_push(bpe, (struct candidate){(uint32_t)rank, merged, left, right, at});
}

/* Whether the queued merge can still happen. As in the reference, another pair that has come to stand there may do,
   if it merges into the same token. */
static bool still_possible(const struct bpe *bpe, const struct candidate *candidate)
{
    const struct symbol *left = &bpe->symbols[candidate->at];
    if (left->gone || left->next == NOWHERE) {
        return false;
    }
    uint32_t right = bpe->symbols[left->next].id, merged;
    if (left->id == candidate->left && right == candidate->right) {
        return true;
    }
    return merge_find(bpe->tokenizer, left->id, right, &merged) >= 0 && merged == candidate->merged;
}

static int merge_all(struct bpe *bpe)
{
    bpe->heap_count = 0;
    for (size_t i = 0; i + 1 < bpe->count; i++) {
        if (queue(bpe, i)) {
            return -1;
        }
    }
    while (bpe->heap_count) {
        struct candidate candidate = heap_pop(bpe);
        if (!still_possible(bpe, &candidate)) {
            continue;
        }
        struct symbol *left = &bpe->symbols[candidate.at], *right = &bpe->symbols[left->next];
        left->id = candidate.merged;
        left->next = right->next;
        right->gone = true;
        if (left->next != NOWHERE) {
            bpe->symbols[left->next].previous = candidate.at;
        }
        if ((left->previous != NOWHERE && queue(bpe, left->previous)) || queue(bpe, candidate.at)) {
            return -1;
        }
    }
    return 0;
}

/* The token of one character, `first` and `last` in its piece; or -1. *text, *length: how it is spelled there. */
static int32_t character_token(struct bpe *bpe, const char **text, size_t *length, bool first, bool last)
{
    const struct tokenizer *tokenizer = bpe->tokenizer;
    const struct blob_header *header = tokenizer->header;
    size_t before = first ? 0 : header->subword_prefix.length, after = last ? header->word_suffix.length : 0;
    if (before + after) {
        bpe->word.length = 0;
        if (text_add(&bpe->word, blob_string(tokenizer, header->subword_prefix), before) ||
            text_add(&bpe->word, *text, *length) ||
            text_add(&bpe->word, blob_string(tokenizer, header->word_suffix), after)) {
            return out_of_memory(bpe->error) - 1; /* -2 */
        }
        *text = bpe->word.data;
        *length = bpe->word.length;
    } else if (*length <= 2) {
        uint32_t character;
        utf8_read(*text, &character);
        if (character < 512) {
            return tokenizer->character_ids[character];
        }
    }
    return vocab_find(tokenizer, *text, *length);
}

/* The <0xNN> tokens of a character: 1 if all its bytes have one, 0 if not (then nothing is added), -1 on error. */
static int add_bytes(struct bpe *bpe, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bpe->tokenizer->byte_ids[(unsigned char)text[i]] < 0) {
            return 0;
        }
    }
    for (size_t i = 0; i < length; i++) {
        if (add_symbol(bpe, bpe->tokenizer->byte_ids[(unsigned char)text[i]])) {
            return -1;
        }
    }
    return 1;
}

/* The symbols that a piece starts from. An unknown token waits until it is known that the next is not fused with it;
   the bytes of byte fallback overtake it, as they do in the reference. */
static int add_characters(struct bpe *bpe, const char *piece, size_t length)
{
    const struct blob_header *header = bpe->tokenizer->header;
    bool unknown = false;
    bpe->count = 0;
    for (size_t i = 0; i < length;) {
        uint32_t character;
        const char *text = piece + i;
        size_t bytes = utf8_read(text, &character), spelled = bytes;
        int32_t id = character_token(bpe, &text, &spelled, i == 0, i + bytes == length);
        i += bytes;
        if (id < -1) {
            return -1;
        }
        if (id >= 0) {
            if ((unknown && add_symbol(bpe, (int32_t)header->unk)) || add_symbol(bpe, id)) {
                return -1;
            }
            unknown = false;
            continue;
        }
        if (header->model_flags & MODEL_BYTE_FALLBACK) {
            int added = add_bytes(bpe, text, spelled);
            if (added < 0) {
                return -1;
            }
            if (added) {
                continue;
            }
        }
        if (!(header->model_flags & MODEL_HAS_UNK)) {
            continue;
        }
        if (header->unk == BLOB_NONE) {
            return error_set(bpe->error, "tokenizer: the text has a character without a token, and model.unk_token is "
                                         "not in the vocabulary");
        }
        if (unknown && !(header->model_flags & MODEL_FUSE_UNK) && add_symbol(bpe, (int32_t)header->unk)) {
            return -1;
        }
        unknown = true;
    }
    return unknown ? add_symbol(bpe, (int32_t)header->unk) : 0;
}

static int encode_piece(struct bpe *bpe, const char *text, size_t length, struct token_list *out)
{
    if (bpe->tokenizer->header->model_flags & MODEL_IGNORE_MERGES) {
        int32_t id = vocab_find(bpe->tokenizer, text, length);
        if (id >= 0) {
            return token_list_add(out, id) ? out_of_memory(bpe->error) : 0;
        }
    }
    if (add_characters(bpe, text, length) || merge_all(bpe)) {
        return -1;
    }
    for (size_t i = 0; i < bpe->count; i++) {
        if (!bpe->symbols[i].gone && token_list_add(out, (int32_t)bpe->symbols[i].id)) {
            return out_of_memory(bpe->error);
        }
    }
    return 0;
}

static uint64_t cache_hash(const char *text, size_t length)
{
    uint64_t hash = UINT64_C(0x9E3779B97F4A7C15) + length;
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001B3);
    }
    return hash ^ hash >> 29;
}

static int encode_cached(struct bpe *bpe, const struct encoder *encoder, struct piece piece, struct token_list *out)
{
    const char *text = encoder->text.data + piece.start;
    size_t length = piece.end - piece.start;
    if (!bpe->cache || length > CACHE_LONGEST) {
        return encode_piece(bpe, text, length, out);
    }
    uint64_t hash = cache_hash(text, length);
    struct cached *cached = &bpe->cache[hash % CACHE_SLOTS];
    if (cached->length == length && cached->hash == hash &&
        memcmp(encoder->text.data + cached->start, text, length) == 0) {
        for (size_t i = 0; i < cached->count; i++) {
            if (token_list_add(out, out->id[cached->first_id + i])) {
                return out_of_memory(bpe->error);
            }
        }
        return 0;
    }
    size_t first = out->count;
    if (encode_piece(bpe, text, length, out)) {
        return -1;
    }
    *cached = (struct cached){hash, piece.start, length, first, out->count - first};
    return 0;
}

int bpe_encode(struct encoder *encoder, struct token_list *out)
{
    struct bpe bpe = {.tokenizer = encoder->tokenizer, .error = encoder->error};
    int failed = 0;
    if (encoder->pieces.count > 8) { /* a short text repeats little; without memory for it, it is done without */
        bpe.cache = calloc(CACHE_SLOTS, sizeof *bpe.cache);
    }
    for (size_t i = 0; !failed && i < encoder->pieces.count; i++) {
        struct piece piece = encoder->pieces.piece[i];
        if (piece.id >= 0) {
            failed = token_list_add(out, piece.id) ? out_of_memory(encoder->error) : 0;
        } else {
            failed = encode_cached(&bpe, encoder, piece, out);
        }
    }
    free(bpe.symbols);
    free(bpe.heap);
    free(bpe.word.data);
    free(bpe.cache);
    return failed ? -1 : 0;
}
