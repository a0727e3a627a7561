/* Damaged tables: cut, bits flipped, words replaced. Nothing may read outside them or run on for ever (the sanitizers
   watch), and what opens must encode and decode to something. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"
#include "tokenizer_fixture.h"
#include "utf8.h"

static const char text_used[] =
    "<s>The  quick d\xC3\xA9j\xC3\xA0 vu \xF0\x9F\x99\x82 123 hello\xFF world</s>\n\n\xE2\x96\x81x";

static uint64_t state;

static uint64_t next_random(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return state >> 33;
}

/* Whether the tables opened. */
static bool use(const unsigned char *tables, size_t bytes)
{
    struct error error = {""};
    unsigned char *copy = aligned_alloc(8, (bytes + 8) / 8 * 8); /* so that reading behind the end is noticed */
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, tables, bytes);
    struct tokenizer *tokenizer = tokenizer_open(copy, bytes, &error);
    if (tokenizer) {
        struct token_list list = {0};
        size_t length;
        int32_t ids[] = {0, 1, 2, 100, 299, 300, 301, 500, -1, INT32_MAX, tokenizer_vocab(tokenizer) - 1};
        if (tokenizer_encode(tokenizer, text_used, sizeof text_used - 1, true, &list, &error) == 0) {
            for (size_t i = 0; i < list.count; i++) {
                ck_assert_int_ge(list.id[i], 0);
                ck_assert_int_lt(list.id[i], tokenizer_vocab(tokenizer));
            }
            char *decoded = tokenizer_decode(tokenizer, list.id, list.count, false, &length, &error);
            ck_assert(decoded == NULL || utf8_valid(decoded, length));
            free(decoded);
        }
        char *decoded = tokenizer_decode(tokenizer, ids, sizeof ids / sizeof *ids, true, &length, &error);
        ck_assert(decoded == NULL || utf8_valid(decoded, length));
        free(decoded);
        tokenizer_find(tokenizer, "the", 3);
        free(list.id);
    } else {
        ck_assert_msg(error.message[0] != '\0', "refused without a message");
    }
    tokenizer_close(tokenizer);
    free(copy);
    return tokenizer != NULL;
}

/* The tables of one of the synthetic tokenizers. */
static unsigned char *synthetic(const char *wanted, size_t *bytes)
{
    size_t length;
    unsigned char *tables = NULL;
    char *lines = tokenizer_unpack("synthetic.jsonl.xz", &length), *rest = lines;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line;) {
        cJSON *parsed = cases_parse(line);
        if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(parsed, "name")), wanted) == 0) {
            char *json = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(parsed, "tokenizer"));
            struct tokenizer_fixture fixture;
            tokenizer_compile(&fixture, json, strlen(json));
            tokenizer_close(fixture.tokenizer);
            tables = fixture.tables;
            *bytes = fixture.bytes;
            free(json);
        }
        cJSON_Delete(parsed);
    }
    ck_assert_msg(tables != NULL, "no tokenizer '%s'", wanted);
    free(lines);
    return tables;
}

static const char *const subjects[] = {"llama", "qwen", "added {'normalized': True}", "metaspace first True", "suffix"};

START_TEST(cut)
{
    size_t bytes;
    unsigned char *tables = synthetic(subjects[_i], &bytes);
    ck_assert(use(tables, bytes));
    for (size_t length = 0; length < bytes; length += length < 400 ? 1 : bytes / 97) {
        ck_assert_msg(!use(tables, length), "%zu of %zu bytes were taken for whole", length, bytes);
    }
    free(tables);
}
END_TEST

START_TEST(flipped_bits)
{
    size_t bytes;
    unsigned char *tables = synthetic(subjects[_i], &bytes);
    state = (uint64_t)_i + 1;
    for (int round = 0; round < 600; round++) {
        unsigned char *copy = malloc(bytes);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, tables, bytes);
        int flips = 1 + (int)(next_random() % 4);
        for (int i = 0; i < flips; i++) { /* half of them where the header and the small sections are */
            size_t range = round % 2 ? bytes : 320;
            copy[next_random() % range] ^= (unsigned char)(1u << next_random() % 8);
        }
        use(copy, bytes);
        free(copy);
    }
    free(tables);
}
END_TEST

START_TEST(replaced_words)
{
    size_t bytes;
    unsigned char *tables = synthetic(subjects[_i], &bytes);
    static const uint32_t words[] = {0, 1, 7, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFE, 0x01000001};
    state = (uint64_t)_i + 77;
    for (int round = 0; round < 600; round++) {
        unsigned char *copy = malloc(bytes);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, tables, bytes);
        for (int i = 0; i < 1 + round % 3; i++) {
            uint32_t word = words[next_random() % (sizeof words / sizeof *words)];
            size_t range = round % 2 ? bytes : 320, offset = next_random() % range / 4 * 4;
            memcpy(copy + (offset + 4 <= bytes ? offset : 0), &word, 4);
        }
        use(copy, bytes);
        free(copy);
    }
    free(tables);
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("tokenizer/tables");
    TCase *cases = tcase_create("damage");
    int count = sizeof subjects / sizeof *subjects;
    tcase_set_timeout(cases, 300);
    tcase_add_loop_test(cases, cut, 0, count);
    tcase_add_loop_test(cases, flipped_bits, 0, count);
    tcase_add_loop_test(cases, replaced_words, 0, count);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
