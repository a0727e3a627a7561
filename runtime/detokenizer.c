/* From ids to text, token by token. The decoder of a tokenizer.json is a row of stages, each from a list of texts to a
   list of texts; here each takes its list as a stream and passes on what nothing later can change:

       source -> stage 0 -> stage 1 -> ... -> out        stage_text: a part of the current text, in whole characters
                                                         stage_end: the current text is complete
                                                         stage_finish: the list is complete

   tokenizer_decode pushes everything through the same stages, so the two cannot differ. The reference is tokenizers'
   decoders/ and pre_tokenizers/{byte_level,metaspace}.rs. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer_internal.h"

struct stage {
    const struct blob_operation *operation;
    struct text held;  /* of the current text, or of the one before it */
    struct text bytes; /* a run of <0xNN>; bytes that may become a character */
    struct text scratch;
    uint64_t count; /* texts so far, or characters cut from the current one */
    uint64_t tail;  /* OP_DECODE_STRIP: characters held that may have to be cut from the end */
    bool started;   /* OP_DECODE_STRIP: past the start of the current text */
};

struct detokenizer {
    const struct tokenizer *tokenizer;
    bool skip_special;
    struct regex_state *regex;
    struct stage *stages;
    uint32_t count;
    struct text out;
    struct error error;
};

static int stage_text(struct detokenizer *detokenizer, uint32_t index, const char *text, size_t length);
static int stage_end(struct detokenizer *detokenizer, uint32_t index);
static int stage_finish(struct detokenizer *detokenizer, uint32_t index);

static const char *first_text(const struct detokenizer *detokenizer, const struct stage *stage, size_t *length)
{
    *length = stage->operation->first.length;
    return blob_string(detokenizer->tokenizer, stage->operation->first);
}

static int pass(struct detokenizer *detokenizer, uint32_t index, const struct text *text)
{
    return stage_text(detokenizer, index + 1, text->data, text->length) || stage_end(detokenizer, index + 1) ? -1 : 0;
}

/* ---- byte-level: all texts become one, of the bytes that their characters stand for ---- */

static int end_byte_characters(struct detokenizer *detokenizer, uint32_t index)
{
    struct stage *stage = &detokenizer->stages[index];
    size_t base = stage->bytes.length;
    if (text_reserve(&stage->bytes, stage->held.length)) {
        return -1;
    }
    for (size_t i = 0; i < stage->held.length;) {
        uint32_t character;
        i += utf8_read(stage->held.data + i, &character);
        int byte = character_byte(character);
        if (byte < 0) { /* one such character, and the whole text stands for itself */
            stage->bytes.length = base;
            if (text_add(&stage->bytes, stage->held.data, stage->held.length)) {
                return -1;
            }
            break;
        }
        stage->bytes.data[stage->bytes.length++] = (char)byte;
    }
    stage->held.length = 0;
    size_t done = 0; /* all but the beginning of a character that may still be completed */
    while (done < stage->bytes.length) {
        size_t bad;
        bool cut;
        const char *bytes = stage->bytes.data + done;
        size_t good = utf8_scan(bytes, stage->bytes.length - done, &bad, &cut);
        if (stage_text(detokenizer, index + 1, bytes, good)) {
            return -1;
        }
        done += good;
        if (cut) {
            break;
        }
        if (bad && stage_text(detokenizer, index + 1, "\xEF\xBF\xBD", 3)) {
            return -1;
        }
        done += bad;
    }
    stage->bytes.length -= done;
    if (done && stage->bytes.length) {
        memmove(stage->bytes.data, stage->bytes.data + done, stage->bytes.length);
    }
    return 0;
}

static int finish_byte_characters(struct detokenizer *detokenizer, uint32_t index)
{
    struct stage *stage = &detokenizer->stages[index];
    if (stage->bytes.length && stage_text(detokenizer, index + 1, "\xEF\xBF\xBD", 3)) {
        return -1;
    }
    stage->bytes.length = 0;
    return stage_end(detokenizer, index + 1);
}

/* ---- byte fallback: a run of <0xNN> is one text if it is valid UTF-8 as a whole, else one U+FFFD a byte ---- */

static int flush_bytes(struct detokenizer *detokenizer, uint32_t index)
{
    struct stage *stage = &detokenizer->stages[index];
    struct text *bytes = &stage->bytes;
    if (bytes->length == 0) {
        return 0;
    }
    if (utf8_valid(bytes->data, bytes->length)) {
        if (pass(detokenizer, index, bytes)) {
            return -1;
        }
    } else {
        for (size_t i = 0; i < bytes->length; i++) {
            if (stage_text(detokenizer, index + 1, "\xEF\xBF\xBD", 3) || stage_end(detokenizer, index + 1)) {
                return -1;
            }
        }
    }
    bytes->length = 0;
    return 0;
}

static int digit(char character)
{
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    char small = (char)(character | 0x20);
    return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

/* The byte that <0xNN> stands for, or -1. A sign in place of the first digit is taken, since the reference does. */
static int fallback_byte(const struct text *text)
{
    if (text->length != 6 || memcmp(text->data, "<0x", 3) != 0 || text->data[5] != '>') {
        return -1;
    }
    int high = text->data[3] == '+' ? 0 : digit(text->data[3]), low = digit(text->data[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static int end_byte_fallback(struct detokenizer *detokenizer, uint32_t index)
{
    struct stage *stage = &detokenizer->stages[index];
    int byte = fallback_byte(&stage->held);
    int failed;
    if (byte >= 0) {
        char one = (char)byte;
        failed = text_add(&stage->bytes, &one, 1);
    } else {
        failed = flush_bytes(detokenizer, index) || pass(detokenizer, index, &stage->held);
    }
    stage->held.length = 0;
    return failed ? -1 : 0;
}

/* ---- strip: at most so many of one character from each text's start and end ---- */

static int emit_tail(struct detokenizer *detokenizer, uint32_t index, uint64_t count)
{
    struct stage *stage = &detokenizer->stages[index];
    size_t length;
    const char *content = first_text(detokenizer, stage, &length);
    for (uint64_t i = 0; i < count; i++) {
        if (stage_text(detokenizer, index + 1, content, length)) {
            return -1;
        }
    }
    stage->tail -= count;
    return 0;
}

static int text_strip(struct detokenizer *detokenizer, uint32_t index, const char *text, size_t length)
{
    struct stage *stage = &detokenizer->stages[index];
    size_t content_length;
    const char *content = first_text(detokenizer, stage, &content_length);
    for (size_t i = 0; i < length;) {
        uint32_t character;
        size_t bytes = utf8_read(text + i, &character);
        bool is_content = bytes == content_length && memcmp(text + i, content, bytes) == 0;
        if (!stage->started && is_content && stage->count < stage->operation->a) {
            stage->count++;
        } else if (is_content) {
            stage->started = true;
            stage->tail++;
            if (stage->tail > stage->operation->b && emit_tail(detokenizer, index, 1)) {
                return -1;
            }
        } else {
            stage->started = true;
            if (emit_tail(detokenizer, index, stage->tail) || stage_text(detokenizer, index + 1, text + i, bytes)) {
                return -1;
            }
        }
        i += bytes;
    }
    return 0;
}

static int end_strip(struct detokenizer *detokenizer, uint32_t index)
{
    struct stage *stage = &detokenizer->stages[index];
    stage->count = 0;
    stage->tail = 0;
    stage->started = false;
    return stage_end(detokenizer, index + 1);
}

/* ---- the others ---- */

/* Each replacement character becomes a space; those of the first text vanish if the encoder put them there. */
static int text_metaspace(struct detokenizer *detokenizer, uint32_t index, const char *text, size_t length)
{
    struct stage *stage = &detokenizer->stages[index];
    size_t mark_length;
    const char *mark = first_text(detokenizer, stage, &mark_length);
    size_t start = 0;
    const char *found;
    while (mark_length && start < length && (found = memmem(text + start, length - start, mark, mark_length))) {
        size_t at = (size_t)(found - text);
        bool drop = stage->count == 0 && stage->operation->a;
        if (stage_text(detokenizer, index + 1, text + start, at - start) ||
            (!drop && stage_text(detokenizer, index + 1, " ", 1))) {
            return -1;
        }
        start = at + mark_length;
    }
    return stage_text(detokenizer, index + 1, text + start, length - start);
}

static int end_replace(struct detokenizer *detokenizer, uint32_t index)
{
    struct stage *stage = &detokenizer->stages[index];
    stage->scratch.length = 0;
    int failed = text_replace(detokenizer->tokenizer, stage->operation, detokenizer->regex, stage->held.data,
                              stage->held.length, NULL, &stage->scratch, &detokenizer->error) ||
                 pass(detokenizer, index, &stage->scratch);
    stage->held.length = 0;
    return failed ? -1 : 0;
}

/* Passes the held text on with the word suffix as a space, or as nothing in the last text. */
static int pass_suffix(struct detokenizer *detokenizer, uint32_t index, bool last)
{
    struct stage *stage = &detokenizer->stages[index];
    size_t suffix_length, done = 0;
    const char *suffix = first_text(detokenizer, stage, &suffix_length), *found;
    struct text *held = &stage->held;
    while (suffix_length && done < held->length &&
           (found = memmem(held->data + done, held->length - done, suffix, suffix_length))) {
        size_t at = (size_t)(found - held->data);
        if (stage_text(detokenizer, index + 1, held->data + done, at - done) ||
            (!last && stage_text(detokenizer, index + 1, " ", 1))) {
            return -1;
        }
        done = at + suffix_length;
    }
    if (done < held->length && stage_text(detokenizer, index + 1, held->data + done, held->length - done)) {
        return -1;
    }
    held->length = 0;
    return stage_end(detokenizer, index + 1);
}

/* The text before the current one is no longer the last. */
static int end_suffix(struct detokenizer *detokenizer, uint32_t index)
{
    struct stage *stage = &detokenizer->stages[index];
    if (stage->count++ > 0 && pass_suffix(detokenizer, index, false)) {
        return -1;
    }
    struct text held = stage->held;
    stage->held = stage->scratch;
    stage->scratch = held;
    stage->scratch.length = 0;
    return 0;
}

static int text_join(struct detokenizer *detokenizer, uint32_t index, const char *text, size_t length)
{
    struct stage *stage = &detokenizer->stages[index];
    size_t between_length;
    const char *between = first_text(detokenizer, stage, &between_length);
    if (!stage->started) {
        stage->started = true;
        if (stage->count > 0 && stage_text(detokenizer, index + 1, between, between_length)) {
            return -1;
        }
    }
    return stage_text(detokenizer, index + 1, text, length);
}

/* ---- the row of stages ---- */

static int stage_text(struct detokenizer *detokenizer, uint32_t index, const char *text, size_t length)
{
    if (index == detokenizer->count) {
        return text_add(&detokenizer->out, text, length);
    }
    struct stage *stage = &detokenizer->stages[index];
    switch (stage->operation->kind) {
    case OP_DECODE_FUSE:
        return length ? stage_text(detokenizer, index + 1, text, length) : 0;
    case OP_DECODE_STRIP:
        return text_strip(detokenizer, index, text, length);
    case OP_DECODE_METASPACE:
        return text_metaspace(detokenizer, index, text, length);
    case OP_DECODE_JOIN:
        return text_join(detokenizer, index, text, length);
    case OP_DECODE_SUFFIX:
        return text_add(&stage->scratch, text, length);
    default: /* the others look at whole texts */
        return text_add(&stage->held, text, length);
    }
}

static int stage_end(struct detokenizer *detokenizer, uint32_t index)
{
    if (index == detokenizer->count) {
        return 0;
    }
    struct stage *stage = &detokenizer->stages[index];
    switch (stage->operation->kind) {
    case OP_DECODE_BYTE_CHARS:
        return end_byte_characters(detokenizer, index);
    case OP_DECODE_BYTE_FALLBACK:
        return end_byte_fallback(detokenizer, index);
    case OP_DECODE_FUSE:
        return 0;
    case OP_DECODE_STRIP:
        return end_strip(detokenizer, index);
    case OP_DECODE_SUFFIX:
        return end_suffix(detokenizer, index);
    case OP_REPLACE_TEXT:
    case OP_REPLACE_REGEX:
        return end_replace(detokenizer, index);
    case OP_DECODE_METASPACE:
        stage->count++;
        return stage_end(detokenizer, index + 1);
    case OP_DECODE_JOIN: /* an empty text is joined like any other */
        if (!stage->started && text_join(detokenizer, index, "", 0)) {
            return -1;
        }
        stage->started = false;
        stage->count++;
        return stage_end(detokenizer, index + 1);
    default:
        return error_set(&detokenizer->error, "tokenizer: operation %u is no decoder", stage->operation->kind);
    }
}

static int stage_finish(struct detokenizer *detokenizer, uint32_t index)
{
    if (index == detokenizer->count) {
        return 0;
    }
    struct stage *stage = &detokenizer->stages[index];
    int failed = 0;
    switch (stage->operation->kind) {
    case OP_DECODE_BYTE_CHARS:
        failed = finish_byte_characters(detokenizer, index);
        break;
    case OP_DECODE_BYTE_FALLBACK:
        failed = flush_bytes(detokenizer, index);
        break;
    case OP_DECODE_FUSE:
        failed = stage_end(detokenizer, index + 1);
        break;
    case OP_DECODE_SUFFIX:
        failed = stage->count > 0 && pass_suffix(detokenizer, index, true);
        break;
    default:
        break;
    }
    stage->count = 0;
    return failed || stage_finish(detokenizer, index + 1) ? -1 : 0;
}

/* ---- the interface ---- */

struct detokenizer *detokenizer_open(const struct tokenizer *tokenizer, bool skip_special)
{
    struct detokenizer *detokenizer = calloc(1, sizeof *detokenizer);
    if (!detokenizer) {
        return NULL;
    }
    detokenizer->tokenizer = tokenizer;
    detokenizer->skip_special = skip_special;
    detokenizer->regex = regex_state_open();
    detokenizer->count = tokenizer->header->decoders;
    detokenizer->stages = calloc((size_t)detokenizer->count + 1, sizeof *detokenizer->stages);
    if (!detokenizer->regex || !detokenizer->stages) {
        detokenizer_close(detokenizer);
        return NULL;
    }
    for (uint32_t i = 0; i < detokenizer->count; i++) {
        detokenizer->stages[i].operation = &tokenizer->decoders[i];
    }
    return detokenizer;
}

void detokenizer_close(struct detokenizer *detokenizer)
{
    if (!detokenizer) {
        return;
    }
    for (uint32_t i = 0; detokenizer->stages && i < detokenizer->count; i++) {
        free(detokenizer->stages[i].held.data);
        free(detokenizer->stages[i].bytes.data);
        free(detokenizer->stages[i].scratch.data);
    }
    free(detokenizer->stages);
    regex_state_close(detokenizer->regex);
    free(detokenizer->out.data);
    free(detokenizer);
}

/* Ids without a token are passed over, as the reference does. */
static int push(struct detokenizer *detokenizer, int32_t id)
{
    const struct tokenizer *tokenizer = detokenizer->tokenizer;
    size_t length;
    bool special;
    const char *token = spelling_find(tokenizer, id, &length, &special);
    if (!token || (detokenizer->skip_special && special)) {
        return 0;
    }
    if (!utf8_valid(token, length)) { /* damaged tables: the stages rely on whole characters */
        token = "\xEF\xBF\xBD";
        length = 3;
    }
    return stage_text(detokenizer, 0, token, length) || stage_end(detokenizer, 0) ? -1 : 0;
}

static const char *take(struct detokenizer *detokenizer, int failed, size_t *length)
{
    *length = 0;
    if (failed || text_reserve(&detokenizer->out, 1)) {
        return NULL;
    }
    *length = detokenizer->out.length;
    detokenizer->out.data[*length] = '\0';
    return detokenizer->out.data;
}

const char *detokenizer_push(struct detokenizer *detokenizer, int32_t id, size_t *length)
{
    detokenizer->out.length = 0;
    return take(detokenizer, push(detokenizer, id), length);
}

const char *detokenizer_flush(struct detokenizer *detokenizer, size_t *length)
{
    detokenizer->out.length = 0;
    return take(detokenizer, stage_finish(detokenizer, 0), length);
}

char *tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
                       size_t *length, struct error *error)
{
    struct detokenizer *detokenizer = detokenizer_open(tokenizer, skip_special);
    int failed = !detokenizer;
    for (size_t i = 0; !failed && i < count; i++) {
        failed = push(detokenizer, ids[i]);
    }
    failed = failed || stage_finish(detokenizer, 0);
    char *text = NULL;
    *length = 0;
    if (!failed && take(detokenizer, 0, length)) {
        text = detokenizer->out.data; /* the caller's from here on */
        detokenizer->out = (struct text){0};
    } else if (detokenizer && detokenizer->error.message[0]) {
        error_set(error, "%s", detokenizer->error.message);
    } else {
        out_of_memory(error);
    }
    detokenizer_close(detokenizer);
    return text;
}
