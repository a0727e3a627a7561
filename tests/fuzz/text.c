#include "text.h"

#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "tokenizer.h"
#include "utf8.h"

/* The pieces of the incremental decoder, each of whole characters, must add up to what decoding at once gives. */
static void decode(const struct tokenizer *tokenizer, const struct token_list *list, bool skip_special)
{
    struct error error = {""};
    size_t whole_length, length, total = 0;
    char *whole = tokenizer_decode(tokenizer, list->id, list->count, skip_special, &whole_length, &error);
    if (!whole) {
        fuzz_check_message(error.message, strlen(error.message));
        return;
    }
    struct detokenizer *detokenizer = detokenizer_open(tokenizer, skip_special);
    for (size_t i = 0; detokenizer && i <= list->count; i++) {
        const char *piece = i < list->count ? detokenizer_push(detokenizer, list->id[i], &length)
                                            : detokenizer_flush(detokenizer, &length);
        if (!piece)
            break;
        if (!utf8_valid(piece, length))
            fuzz_abort("piece %zu ends inside a character", i);
        if (length > whole_length - total || memcmp(piece, whole + total, length) != 0)
            fuzz_abort("piece %zu is not what stands at %zu of the whole text", i, total);
        total += length;
        if (i == list->count && total != whole_length)
            fuzz_abort("the pieces have %zu bytes, the whole text %zu", total, whole_length);
    }
    detokenizer_close(detokenizer);
    free(whole);
}

static void check_ids(const struct tokenizer *tokenizer, const struct token_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->id[i] < 0 || list->id[i] >= tokenizer_vocab(tokenizer))
            fuzz_abort("id %d of %zu lies outside the vocabulary of %d", (int)list->id[i], i,
                       (int)tokenizer_vocab(tokenizer));
    }
}

void fuzz_text(const void *tables, size_t bytes, const char *text, size_t length, bool must_open)
{
    struct error error = {""};
    struct tokenizer *tokenizer = tokenizer_open(tables, bytes, &error);
    if (!tokenizer && must_open)
        fuzz_abort("tables that were just written are refused: %s", error.message);
    if (!tokenizer) {
        fuzz_check_message(error.message, strlen(error.message));
        return;
    }
    for (int special = 0; special < 2; special++) {
        struct token_list list = {0};
        if (tokenizer_encode(tokenizer, text, length, special, &list, &error) != 0) {
            fuzz_check_message(error.message, strlen(error.message));
        } else {
            check_ids(tokenizer, &list);
            decode(tokenizer, &list, special);
        }
        free(list.id);
    }
    /* Ids that no text gave: bytes of the text, some beyond the vocabulary. */
    struct token_list list = {0};
    for (size_t i = 0; i < length && i < 64; i++) {
        if (token_list_add(&list, (int32_t)(unsigned char)text[i] - 1) != 0)
            break;
    }
    decode(tokenizer, &list, false);
    for (size_t i = 0; i < list.count; i++) {
        size_t spelled;
        const char *spelling = tokenizer_spelling(tokenizer, list.id[i], &spelled);
        if (spelling && tokenizer_find(tokenizer, spelling, spelled) >= tokenizer_vocab(tokenizer))
            fuzz_abort("the token %d is found outside the vocabulary", (int)list.id[i]);
    }
    free(list.id);
    tokenizer_close(tokenizer);
}
