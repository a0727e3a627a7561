/* The tokenizer: its tables, checked and looked up in place, and the way from text to ids. */
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "tokenizer_internal.h"

int token_list_add(struct token_list *list, int32_t id)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity * 2 + 64;
        int32_t *more = capacity < SIZE_MAX / sizeof *more ? realloc(list->id, capacity * sizeof *more) : NULL;
        if (!more) {
            return -1;
        }
        list->id = more;
        list->capacity = capacity;
    }
    list->id[list->count++] = id;
    return 0;
}

/* ---- look-ups ----
   Both hash tables: FNV-1a over bytes or over two ids, finished by a multiplication; the slot is taken from the top
   bits' neighbours, the tag from the lowest eight. codegen/lua/tokenizer/blob.lua computes the same. */

static uint64_t finish(uint64_t hash)
{
    hash ^= hash >> 32;
    hash *= UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 29;
}

static uint64_t hash_text(const char *text, size_t length)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001B3);
    }
    return finish(hash);
}

static uint64_t hash_pair(uint32_t left, uint32_t right)
{
    return finish((uint64_t)left << 32 | right);
}

/* The text between two entries of `spans`; empty if they are damaged. */
static const char *spelling(const struct tokenizer *tokenizer, uint32_t index, size_t *length)
{
    uint64_t start = tokenizer->spans[index], end = tokenizer->spans[index + 1];
    if (start > end || end > tokenizer->strings_bytes) {
        *length = 0;
        return "";
    }
    *length = (size_t)(end - start);
    return tokenizer->strings + start;
}

int32_t vocab_find(const struct tokenizer *tokenizer, const char *text, size_t length)
{
    uint64_t hash = hash_text(text, length);
    uint32_t slot = (uint32_t)(hash >> 8) & tokenizer->vocab_mask;
    for (uint32_t probe = 0; probe <= tokenizer->header->probe_limit; probe++) {
        uint32_t entry = tokenizer->vocab_slots[(slot + probe) & tokenizer->vocab_mask];
        if (entry == 0) {
            return -1;
        }
        if (entry >> 24 != (hash & 0xFF)) {
            continue;
        }
        uint32_t index = (entry & 0xFFFFFF) - 1, vocab = tokenizer->header->vocab;
        if (index >= vocab + tokenizer->alias_count) {
            continue;
        }
        size_t other_length;
        const char *other = spelling(tokenizer, index, &other_length);
        if (other_length == length && memcmp(other, text, length) == 0) {
            return (int32_t)(index < vocab ? index : tokenizer->aliases[index - vocab]);
        }
    }
    return -1;
}

int32_t merge_find(const struct tokenizer *tokenizer, uint32_t left, uint32_t right, uint32_t *merged)
{
    uint64_t hash = hash_pair(left, right);
    uint32_t slot = (uint32_t)(hash >> 8) & tokenizer->merge_mask;
    for (uint32_t probe = 0; probe <= tokenizer->header->probe_limit; probe++) {
        uint32_t entry = tokenizer->merge_slots[(slot + probe) & tokenizer->merge_mask];
        if (entry == 0) {
            return -1;
        }
        if (entry >> 24 != (hash & 0xFF)) {
            continue;
        }
        uint32_t index = (entry & 0xFFFFFF) - 1;
        if (index >= tokenizer->merge_count) {
            continue;
        }
        const struct blob_merge *merge = &tokenizer->merges[index];
        if (merge->left == left && merge->right == right && merge->merged < tokenizer->header->vocab) {
            *merged = merge->merged;
            return (int32_t)(tokenizer->ranks ? tokenizer->ranks[index] & BLOB_RANK_MASK : index);
        }
    }
    return -1;
}

const struct regex *operation_regex(const struct tokenizer *tokenizer, const struct blob_operation *operation)
{
    return tokenizer->regexes[operation - tokenizer->normalizers];
}

/* ---- opening ---- */

static int damaged(struct error *error, const char *what)
{
    return error_set(error, "tokenizer tables: damaged (%s); build the package again", what);
}

static bool text_fits(const struct tokenizer *tokenizer, struct blob_text text)
{
    return text.offset <= tokenizer->strings_bytes && text.length <= tokenizer->strings_bytes - text.offset &&
           utf8_valid(tokenizer->strings + text.offset, text.length);
}

static bool is_power_of_two(uint64_t value)
{
    return value && (value & (value - 1)) == 0;
}

/* Sections lie inside the blob, aligned, and are as long as what the header says. */
static int check_sections(struct tokenizer *tokenizer, const unsigned char *data, size_t bytes, struct error *error)
{
    const struct blob_header *header = (const void *)data;
    if (bytes < sizeof *header || (uintptr_t)data % 8 != 0 || memcmp(header->magic, BLOB_MAGIC, 8) != 0) {
        return damaged(error, "no header");
    }
    if (header->bytes != bytes || header->vocab == 0 || header->vocab > BLOB_MAX_INDEX ||
        header->probe_limit > BLOB_MAX_PROBE || header->normalizers > BLOB_MAX_OPERATIONS ||
        header->pretokenizers > BLOB_MAX_OPERATIONS || header->decoders > BLOB_MAX_OPERATIONS ||
        header->before > BLOB_MAX_INDEX || header->after > BLOB_MAX_INDEX) {
        return damaged(error, "header");
    }
    const unsigned char *at[SECTION_COUNT];
    uint64_t length[SECTION_COUNT];
    for (int i = 0; i < SECTION_COUNT; i++) {
        uint64_t offset = header->section[i].offset;
        length[i] = header->section[i].bytes;
        if (offset % 8 || offset < sizeof *header || offset > bytes || length[i] > bytes - offset) {
            return damaged(error, "section outside the tables");
        }
        at[i] = data + offset;
    }
    uint64_t operations = (uint64_t)header->normalizers + header->pretokenizers + header->decoders;
    uint64_t vocab_slots = length[SECTION_VOCAB_SLOTS] / 4, merge_slots = length[SECTION_MERGE_SLOTS] / 4;
    uint64_t aliases = length[SECTION_ALIASES] / 4;
    if (length[SECTION_ALIASES] % 4 || header->vocab + aliases > BLOB_MAX_INDEX ||
        length[SECTION_SPANS] != (header->vocab + aliases + 1) * 4 || length[SECTION_FLAGS] != header->vocab ||
        length[SECTION_VOCAB_SLOTS] % 4 || !is_power_of_two(vocab_slots) || length[SECTION_MERGE_SLOTS] % 4 ||
        !is_power_of_two(merge_slots) || vocab_slots > UINT32_MAX || merge_slots > UINT32_MAX ||
        length[SECTION_MERGES] % sizeof(struct blob_merge) ||
        length[SECTION_MERGES] / sizeof(struct blob_merge) > BLOB_MAX_INDEX ||
        length[SECTION_OPERATIONS] != operations * sizeof(struct blob_operation) ||
        length[SECTION_ADDED] % sizeof(struct blob_added) ||
        length[SECTION_ADDED] / sizeof(struct blob_added) > BLOB_MAX_INDEX ||
        length[SECTION_TEMPLATE] != ((uint64_t)header->before + header->after) * 4 ||
        (length[SECTION_RANKS] && length[SECTION_RANKS] != length[SECTION_MERGES] / sizeof(struct blob_merge) * 4)) {
        return damaged(error, "section of a wrong length");
    }
    tokenizer->header = header;
    tokenizer->spans = (const void *)at[SECTION_SPANS];
    tokenizer->strings = (const void *)at[SECTION_STRINGS];
    tokenizer->strings_bytes = length[SECTION_STRINGS];
    tokenizer->flags = at[SECTION_FLAGS];
    tokenizer->vocab_slots = (const void *)at[SECTION_VOCAB_SLOTS];
    tokenizer->vocab_mask = (uint32_t)(vocab_slots - 1);
    tokenizer->merges = (const void *)at[SECTION_MERGES];
    tokenizer->merge_count = (uint32_t)(length[SECTION_MERGES] / sizeof(struct blob_merge));
    tokenizer->merge_slots = (const void *)at[SECTION_MERGE_SLOTS];
    tokenizer->merge_mask = (uint32_t)(merge_slots - 1);
    tokenizer->normalizers = (const void *)at[SECTION_OPERATIONS];
    tokenizer->pretokenizers = tokenizer->normalizers + header->normalizers;
    tokenizer->decoders = tokenizer->pretokenizers + header->pretokenizers;
    tokenizer->added = (const void *)at[SECTION_ADDED];
    tokenizer->added_count = (uint32_t)(length[SECTION_ADDED] / sizeof(struct blob_added));
    tokenizer->template_ids = (const void *)at[SECTION_TEMPLATE];
    tokenizer->aliases = (const void *)at[SECTION_ALIASES];
    tokenizer->alias_count = (uint32_t)aliases;
    tokenizer->ranks = length[SECTION_RANKS] ? (const void *)at[SECTION_RANKS] : NULL;
    return 0;
}

/* The smaller things that the sections hold: ids, texts, operations. */
static int check_contents(const struct tokenizer *tokenizer, struct error *error)
{
    const struct blob_header *header = tokenizer->header;
    if ((header->unk != BLOB_NONE && header->unk >= header->vocab) || !text_fits(tokenizer, header->subword_prefix) ||
        !text_fits(tokenizer, header->word_suffix)) {
        return damaged(error, "model");
    }
    for (uint32_t i = 0; i < header->before + header->after; i++) {
        if (tokenizer->template_ids[i] >= header->vocab) {
            return damaged(error, "template");
        }
    }
    for (uint32_t i = 0; i < tokenizer->alias_count; i++) {
        if (tokenizer->aliases[i] >= header->vocab) {
            return damaged(error, "alias");
        }
    }
    for (uint32_t i = 0; i < tokenizer->added_count; i++) {
        if (tokenizer->added[i].id >= header->vocab || !text_fits(tokenizer, tokenizer->added[i].content)) {
            return damaged(error, "added token");
        }
    }
    for (uint32_t i = 0; i < header->normalizers + header->pretokenizers + header->decoders; i++) {
        const struct blob_operation *operation = &tokenizer->normalizers[i];
        if (operation->kind == 0 || operation->kind >= OP_KIND_COUNT || !text_fits(tokenizer, operation->first) ||
            !text_fits(tokenizer, operation->second)) {
            return damaged(error, "operation");
        }
    }
    return 0;
}

static int open_regexes(struct tokenizer *tokenizer, struct error *error)
{
    const struct blob_header *header = tokenizer->header;
    uint32_t count = header->normalizers + header->pretokenizers + header->decoders;
    tokenizer->regexes = calloc((size_t)count + 1, sizeof(struct regex *));
    if (!tokenizer->regexes) {
        return out_of_memory(error);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct blob_operation *operation = &tokenizer->normalizers[i];
        if (operation->kind != OP_REPLACE_REGEX && operation->kind != OP_SPLIT_REGEX) {
            continue;
        }
        tokenizer->regexes[i] = regex_open(blob_string(tokenizer, operation->first), operation->first.length, error);
        if (!tokenizer->regexes[i]) {
            return -1;
        }
    }
    return 0;
}

static void open_characters(struct tokenizer *tokenizer)
{
    for (unsigned i = 0; i < 256; i++) {
        static const char digits[] = "0123456789ABCDEF";
        char spelled[6] = {'<', '0', 'x', digits[i >> 4], digits[i & 15], '>'};
        tokenizer->byte_ids[i] = vocab_find(tokenizer, spelled, sizeof spelled);
    }
    for (uint32_t i = 0; i < 512; i++) {
        char spelled[4];
        tokenizer->character_ids[i] = vocab_find(tokenizer, spelled, utf8_write(spelled, i));
    }
}

struct tokenizer *tokenizer_open(const void *data, size_t bytes, struct error *error)
{
    struct tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (!tokenizer) {
        out_of_memory(error);
        return NULL;
    }
    if (check_sections(tokenizer, data, bytes, error) || check_contents(tokenizer, error) ||
        open_regexes(tokenizer, error)) {
        tokenizer_close(tokenizer);
        return NULL;
    }
    open_characters(tokenizer);
    tokenizer->plain = trie_open(tokenizer, false, error);
    tokenizer->normalized = tokenizer->plain ? trie_open(tokenizer, true, error) : NULL;
    if (!tokenizer->normalized || spellings_open(tokenizer, error)) {
        tokenizer_close(tokenizer);
        return NULL;
    }
    return tokenizer;
}

void tokenizer_close(struct tokenizer *tokenizer)
{
    if (!tokenizer) {
        return;
    }
    if (tokenizer->regexes) {
        const struct blob_header *header = tokenizer->header;
        for (uint32_t i = 0; i < header->normalizers + header->pretokenizers + header->decoders; i++) {
            regex_close(tokenizer->regexes[i]);
        }
        free(tokenizer->regexes);
    }
    trie_close(tokenizer->plain);
    trie_close(tokenizer->normalized);
    spellings_close(tokenizer);
    free(tokenizer);
}

int32_t tokenizer_vocab(const struct tokenizer *tokenizer)
{
    return (int32_t)tokenizer->header->vocab;
}

bool tokenizer_is_special(const struct tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && (uint32_t)id < tokenizer->header->vocab && (tokenizer->flags[id] & TOKEN_SPECIAL);
}

const char *tokenizer_spelling(const struct tokenizer *tokenizer, int32_t id, size_t *length)
{
    *length = 0;
    if (id < 0 || (uint32_t)id >= tokenizer->header->vocab || !(tokenizer->flags[id] & TOKEN_PRESENT)) {
        return NULL;
    }
    return spelling(tokenizer, (uint32_t)id, length);
}

int32_t tokenizer_find(const struct tokenizer *tokenizer, const char *text, size_t length)
{
    for (uint32_t i = 0; i < tokenizer->added_count; i++) {
        struct blob_text content = tokenizer->added[i].content;
        if (content.length == length && memcmp(blob_string(tokenizer, content), text, length) == 0) {
            return (int32_t)tokenizer->added[i].id;
        }
    }
    return vocab_find(tokenizer, text, length);
}

/* ---- encoding ---- */

static void swap_pieces(struct encoder *encoder)
{
    struct pieces pieces = encoder->pieces;
    encoder->pieces = encoder->after;
    encoder->after = pieces;
    encoder->after.count = 0;
}

/* Splits encoder->text, the input, at the added tokens that are looked for as they are written. */
static int split_plain(struct encoder *encoder)
{
    encoder->after.count = 0;
    if (trie_split(encoder->tokenizer->plain, encoder, 0, encoder->text.length, encoder->text.length ? 1 : 0)) {
        return -1;
    }
    swap_pieces(encoder);
    if (encoder->pieces.count && encoder->pieces.piece[0].start == 0 && encoder->pieces.piece[0].id < 0) {
        uint32_t character; /* the input's first character is what stands at its very start */
        encoder->pieces.piece[0].zero = utf8_read(encoder->text.data, &character);
    }
    return 0;
}

/* Normalizes what is left between them and splits that at the added tokens that are normalized too. */
static int split_normalized(struct encoder *encoder)
{
    encoder->other.length = 0;
    for (size_t i = 0; i < encoder->pieces.count; i++) {
        struct piece *piece = &encoder->pieces.piece[i];
        size_t base = encoder->other.length;
        if (piece->id < 0 && text_normalize(encoder, encoder->text.data + piece->start, piece->end - piece->start,
                                            &piece->zero, &encoder->other)) {
            return -1;
        }
        piece->start = base;
        piece->end = encoder->other.length;
    }
    struct text text = encoder->text;
    encoder->text = encoder->other;
    encoder->other = text;
    for (size_t i = 0; i < encoder->pieces.count; i++) {
        struct piece piece = encoder->pieces.piece[i];
        if (piece.id >= 0) {
            if (pieces_add(&encoder->after, piece)) {
                return out_of_memory(encoder->error);
            }
        } else if (trie_split(encoder->tokenizer->normalized, encoder, piece.start, piece.end, piece.zero)) {
            return -1;
        }
    }
    swap_pieces(encoder);
    return 0;
}

static int add_template(const struct tokenizer *tokenizer, uint32_t first, uint32_t count, struct token_list *out)
{
    for (uint32_t i = first; i < first + count; i++) {
        if (token_list_add(out, (int32_t)tokenizer->template_ids[i])) {
            return -1;
        }
    }
    return 0;
}

int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length, bool add_special,
                     struct token_list *out, struct error *error)
{
    struct encoder encoder = {.tokenizer = tokenizer, .regex = regex_state_open(), .error = error};
    const struct blob_header *header = tokenizer->header;
    int failed = 0;
    if (!encoder.regex || utf8_repair(&encoder.text, text, length) ||
        (add_special && add_template(tokenizer, 0, header->before, out))) {
        failed = out_of_memory(error);
    }
    failed = failed || split_plain(&encoder) || split_normalized(&encoder) || pretokenize(&encoder) ||
             bpe_encode(&encoder, out);
    if (!failed && add_special && add_template(tokenizer, header->before, header->after, out)) {
        failed = out_of_memory(error);
    }
    regex_state_close(encoder.regex);
    free(encoder.text.data);
    free(encoder.other.data);
    free(encoder.scratch[0].data);
    free(encoder.scratch[1].data);
    free(encoder.pieces.piece);
    free(encoder.after.piece);
    return failed ? -1 : 0;
}
