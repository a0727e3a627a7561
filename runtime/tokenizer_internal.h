/* The tokenizer's own header: the compiled tables (the blob that codegen/lua/tokenizer writes) and the parts that the
   tokenizer*.c files offer each other.

   The format compiled is Hugging Face's tokenizer.json; the reference for its behaviour is the `tokenizers` library
   (https://github.com/huggingface/tokenizers), whose results, oddities included, these files reproduce.

   A blob, little-endian, every section at a multiple of 8 from its start:

       struct blob_header | spans | strings | flags | vocab slots | merges | merge slots | operations | added | template | aliases | ranks

   Nothing in it is trusted: sections are checked when it is opened, everything that they point to when it is used. */
#ifndef LATHE_TOKENIZER_INTERNAL_H
#define LATHE_TOKENIZER_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "tokenizer.h"
#include "utf8.h"

#define BLOB_MAGIC "LATHETK2"
#define BLOB_NONE UINT32_MAX
/* Ids and merges are below this: a slot holds 24 bits of index + 1 under 8 bits of hash. */
#define BLOB_MAX_INDEX 0xFFFFFEu
#define BLOB_MAX_PROBE 4096u
#define BLOB_RANK_MASK 0xFFFFFFu /* ranks are below BLOB_MAX_INDEX; whatever stands there is made a number like one */
#define BLOB_MAX_OPERATIONS 256u

/* The sections, in order; codegen/lua/tokenizer/blob.lua numbers them the same way. */
enum blob_section {
    SECTION_SPANS,       /* uint32 [vocab + aliases + 1]: token i is strings[spans[i] .. spans[i + 1]) */
    SECTION_STRINGS,     /* bytes */
    SECTION_FLAGS,       /* uint8 [vocab]: enum token_flag */
    SECTION_VOCAB_SLOTS, /* uint32 [power of two]: hash table, spelling -> index into spans (the model's own tokens) */
    SECTION_MERGES,      /* struct blob_merge [merges], in the order of their ranks */
    SECTION_MERGE_SLOTS, /* uint32 [power of two]: hash table, (left, right) -> index into merges */
    SECTION_OPERATIONS,  /* struct blob_operation: normalizer, then pre-tokenizer, then decoder */
    SECTION_ADDED,       /* struct blob_added, in the order in which they are matched */
    SECTION_TEMPLATE,    /* uint32: ids before the text, then ids after it */
    SECTION_ALIASES,     /* uint32 [aliases]: the ids of further spellings, spans[vocab] and on, that ids share */
    SECTION_RANKS,       /* uint32 [merges]: the rank of each; empty: a merge's rank is its index */
    SECTION_COUNT
};

enum token_flag {
    TOKEN_PRESENT = 1, /* the id has a spelling */
    TOKEN_SPECIAL = 2, /* left out when decoding with skip_special */
};

enum model_flag {
    MODEL_IGNORE_MERGES = 1, /* a word that is a token is that token, whatever the merges say */
    MODEL_BYTE_FALLBACK = 2, /* unknown characters become <0xNN> tokens */
    MODEL_FUSE_UNK = 4,      /* neighbouring unknown characters become one unknown token */
    MODEL_HAS_UNK = 8,       /* unknown characters become the unknown token; without it they vanish */
};

struct blob_text {
    uint32_t offset, length; /* in strings; always valid UTF-8 (checked at open) */
};

struct blob_header {
    char magic[8];
    uint64_t bytes;
    uint32_t vocab;                  /* ids are below this */
    uint32_t model_flags;            /* enum model_flag */
    uint32_t unk;                    /* id of the unknown token, BLOB_NONE if the vocabulary lacks it */
    uint32_t probe_limit;            /* no key lies further than this from its first slot, in either hash table */
    struct blob_text subword_prefix; /* continuing_subword_prefix, put before every character but a word's first */
    struct blob_text word_suffix;    /* end_of_word_suffix, put after a word's last character */
    uint32_t normalizers, pretokenizers, decoders; /* how many operations of each */
    uint32_t before, after;                        /* how many ids of the template come before and after the text */
    uint32_t reserved;
    struct {
        uint64_t offset, bytes;
    } section[SECTION_COUNT];
};

struct blob_merge {
    uint32_t left, right, merged;
};

/* What normalizers, pre-tokenizers and decoders are made of. codegen/lua/tokenizer/blob.lua has the same numbers. */
enum operation_kind {
    OP_NORMAL_FORM = 1, /* a: enum normal_form */
    OP_REPLACE_TEXT,    /* first: what, second: with what */
    OP_REPLACE_REGEX,   /* first: pattern, second: with what */
    OP_PREPEND,         /* first; to text that is not empty */
    OP_APPEND,          /* first; to text that is not empty */
    OP_LOWERCASE,
    OP_STRIP, /* a: 1 left, 2 right, 3 both: white space */
    OP_STRIP_ACCENTS,
    OP_BYTE_CHARS,  /* each byte becomes the character that GPT-2 writes for it */
    OP_PREFIX,      /* first: put before each piece that does not begin with it; a: enum prefix_when */
    OP_SPLIT_TEXT,  /* first: the separator; a: enum split_behavior; b: 1 inverted */
    OP_SPLIT_REGEX, /* first: the pattern; a, b as above */
    OP_SPLIT_CLASS, /* a, b as above; c: enum character_class */
    OP_SPLIT_WORDS, /* runs of word characters and runs of others, white space dropped */
    OP_DECODE_BYTE_CHARS,
    OP_DECODE_BYTE_FALLBACK,
    OP_DECODE_FUSE,
    OP_DECODE_STRIP,     /* first: a character; a: most at the start, b: most at the end of each token */
    OP_DECODE_METASPACE, /* first: the character that stands for a space; a: 1 if those of the first token vanish */
    OP_DECODE_SUFFIX,    /* first: what becomes a space, or nothing in the last token */
    OP_DECODE_JOIN,      /* first: what stands between tokens */
    OP_KIND_COUNT
};

enum normal_form { FORM_NFC, FORM_NFD, FORM_NFKC, FORM_NFKD };
enum prefix_when { PREFIX_ALWAYS, PREFIX_FIRST /* only the piece at the start of the input */ };
enum split_behavior {
    SPLIT_REMOVED,
    SPLIT_ISOLATED,
    SPLIT_MERGED_WITH_PREVIOUS,
    SPLIT_MERGED_WITH_NEXT,
    SPLIT_CONTIGUOUS
};
enum character_class { CLASS_WHITE_SPACE, CLASS_NUMERIC, CLASS_PUNCTUATION };

struct blob_operation {
    uint32_t kind; /* enum operation_kind */
    uint32_t a, b, c;
    struct blob_text first, second;
};

enum added_flag {
    ADDED_SINGLE_WORD = 1,
    ADDED_LSTRIP = 2,
    ADDED_RSTRIP = 4,
    ADDED_NORMALIZED = 8, /* looked for in the normalized text, itself normalized; decodes so too */
    ADDED_SPECIAL = 16,
};

struct blob_added {
    uint32_t id, flags; /* enum added_flag */
    struct blob_text content;
};

/* ---- text ---- */

/* Bytes that grow. Start with {0}; free `data` with free(). Not NUL-terminated. */
struct text {
    char *data;
    size_t length, capacity;
};

int text_reserve(struct text *text, size_t more); /* room for `more` further bytes; -1 when memory is out */
int text_add(struct text *text, const char *data, size_t length);
int text_add_character(struct text *text, uint32_t character);

/* Puts the character at the start of valid, not empty UTF-8 in *character; returns its length in bytes. */
size_t utf8_read(const char *text, uint32_t *character);
/* The start of the character that ends at text[end], for 0 < end within valid UTF-8. */
size_t utf8_previous(const char *text, size_t end);
size_t utf8_write(char *out, uint32_t character); /* at most 4 bytes; the length */
/* How many leading bytes are valid; what follows, *bad bytes, is one maximal invalid sequence (Unicode 15, 3.9,
   "substitution of maximal subparts"). *cut: it is the beginning of a character that the end cuts off. */
size_t utf8_scan(const char *text, size_t length, size_t *bad, bool *cut);
/* Appends the text with each invalid sequence as U+FFFD. */
int utf8_repair(struct text *out, const char *text, size_t length);

bool character_is_space(uint32_t character); /* White_Space */
bool character_is_word(uint32_t character);  /* \w of UTS #18 */
bool character_is_mark(uint32_t character);  /* Mn, Mc, Me */
bool character_in_class(uint32_t character, enum character_class class);
uint32_t byte_character(unsigned char byte); /* the character that GPT-2's byte-level BPE writes for a byte */
int character_byte(uint32_t character);      /* the reverse; -1 for characters that stand for no byte */

/* ---- differences between Unicode versions (tokenizer_unicode.c) ---- */

/* An older character of the same category and UTF-8 length, for one that PCRE2 and utf8proc do not know; else itself. */
uint32_t unicode_stand_in(uint32_t character);
/* The small form that utf8proc does not know; else the character itself. */
uint32_t unicode_small_form(uint32_t character);
/* What the reference's tables are too old to know. */
bool unicode_is_young_mark(uint32_t character);
bool unicode_is_young_punctuation(uint32_t character);
bool unicode_is_young_decomposition(uint32_t character);

/* ---- regular expressions ---- */

struct regex;       /* a compiled pattern: constant, shared between threads */
struct regex_state; /* what one thread needs for matching */

struct regex *regex_open(const char *pattern, size_t length, struct error *error);
void regex_close(struct regex *regex);
struct regex_state *regex_state_open(void); /* NULL when memory is out */
void regex_state_close(struct regex_state *state);

/* Walks over the matches of a pattern in a text, as the reference's engine does: an empty match that touches the match
   before it is skipped. */
struct regex_walk {
    const struct regex *regex;
    struct regex_state *state;
    const char *text; /* valid UTF-8; the caller sets these four */
    size_t length;
    const char *subject; /* what PCRE2 sees: the text, or a copy of it in `state` with stand-ins */
    size_t at, last_end;
    bool any;
};

/* 1: a match at [*start, *end); 0: no more; -1: an error. */
int regex_next(struct regex_walk *walk, size_t *start, size_t *end, struct error *error);

/* ---- added tokens ---- */

struct trie;

/* From the added tokens with (or without) ADDED_NORMALIZED. NULL when memory is out. */
struct trie *trie_open(const struct tokenizer *tokenizer, bool normalized, struct error *error);
void trie_close(struct trie *trie);

/* An added token that decodes to something else than its content: to what the normalizers make of it. */
struct spelling {
    uint32_t id;
    bool special; /* its text is that of a special token */
    char *text;
    size_t length;
};

/* Fills tokenizer->spellings. */
int spellings_open(struct tokenizer *tokenizer, struct error *error);
void spellings_close(struct tokenizer *tokenizer);
/* How the id decodes, and whether skip_special leaves it out; NULL for an id without a token. */
const char *spelling_find(const struct tokenizer *tokenizer, int32_t id, size_t *length, bool *special);

/* ---- the tokenizer ---- */

struct tokenizer {
    const struct blob_header *header;
    const uint32_t *spans;
    const char *strings;
    uint64_t strings_bytes;
    const uint8_t *flags;
    const uint32_t *vocab_slots, *merge_slots;
    uint32_t vocab_mask, merge_mask; /* slots - 1 */
    const struct blob_merge *merges;
    uint32_t merge_count;
    const struct blob_operation *normalizers, *pretokenizers, *decoders;
    const struct blob_added *added;
    uint32_t added_count;
    const uint32_t *aliases;
    uint32_t alias_count;
    const uint32_t *ranks;        /* [merge_count], or NULL */
    const uint32_t *template_ids; /* header->before, then header->after */
    struct regex **regexes;       /* [operations] compiled patterns, NULL for the other operations */
    struct trie *plain, *normalized;
    struct spelling *spellings; /* [spelling_count] by id: added tokens that normalizing changes */
    uint32_t spelling_count;
    int32_t byte_ids[256];      /* <0xNN>, or -1 */
    int32_t character_ids[512]; /* tokens of one character below U+0200, or -1: no look-up for byte-level text */
};

/* A text of the blob that was checked at open. */
static inline const char *blob_string(const struct tokenizer *tokenizer, struct blob_text text)
{
    return tokenizer->strings + text.offset;
}

/* The model's own token spelled so, or -1. */
int32_t vocab_find(const struct tokenizer *tokenizer, const char *spelling, size_t length);
/* The merge of two tokens: its rank, with *merged; or -1. */
int32_t merge_find(const struct tokenizer *tokenizer, uint32_t left, uint32_t right, uint32_t *merged);
/* The compiled pattern of an operation. */
const struct regex *operation_regex(const struct tokenizer *tokenizer, const struct blob_operation *operation);

/* A part of the text on its way to ids. */
struct piece {
    size_t start, end; /* in the text of the stage */
    size_t zero;       /* leading bytes that stand for the very start of the input (PREFIX_FIRST asks) */
    int32_t id;        /* an added token; -1: text still to be encoded */
};

struct pieces {
    struct piece *piece;
    size_t count, capacity;
};

int pieces_add(struct pieces *pieces, struct piece piece);

/* Everything that one call of tokenizer_encode owns. */
struct encoder {
    const struct tokenizer *tokenizer;
    struct regex_state *regex;
    struct text text, other;     /* what the pieces point into; the next stage's text */
    struct pieces pieces, after; /* the pieces; those of the next stage */
    struct text scratch[2];      /* the normalizers' */
    struct error *error;
};

/* Finds the added tokens of `trie` in text[start, end) of encoder->text and appends the pieces to encoder->after.
   `zero`: as in struct piece. */
int trie_split(const struct trie *trie, struct encoder *encoder, size_t start, size_t end, size_t zero);

/* Appends the normalized form of text [length] to `out`; *zero counts as in struct piece, and is updated. */
int text_normalize(struct encoder *encoder, const char *text, size_t length, size_t *zero, struct text *out);

/* Runs all pre-tokenizers over encoder->pieces. */
int pretokenize(struct encoder *encoder);

/* Appends the ids of encoder->pieces to `out`. */
int bpe_encode(struct encoder *encoder, struct token_list *out);

/* The text of OP_REPLACE_TEXT and OP_REPLACE_REGEX: appends `text` to `out` with each match replaced. `zero` may be
   NULL. */
int text_replace(const struct tokenizer *tokenizer, const struct blob_operation *operation, struct regex_state *state,
                 const char *text, size_t length, size_t *zero, struct text *out, struct error *error);

int out_of_memory(struct error *error); /* sets the message; -1 */

#endif
