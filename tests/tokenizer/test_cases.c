/* The tokenizer against what the reference made of the same texts: three real tokenizers, and the synthetic ones of
   tests/fixtures/tokenizer/make_cases.py, one for each component. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"
#include "tokenizer_fixture.h"
#include "utf8.h"

static void check_encoding(const struct tokenizer *tokenizer, const cJSON *line, const char *name, bool special)
{
    size_t length;
    char *input = cases_string(line, "text", &length);
    struct token_list list = {0};
    struct error error = {""};
    int failed = tokenizer_encode(tokenizer, input, length, special, &list, &error);
    ck_assert_msg(failed == 0, "%s: %s", name, error.message);
    cases_check_ids(cJSON_GetObjectItemCaseSensitive(line, special ? "ids_special" : "ids"), &list, name, input);
    free(list.id);
    free(input);
}

/* The whole decoding is the expected text; the pieces, each in whole characters, add up to it. */
static void check_decoding(const struct tokenizer *tokenizer, const cJSON *line, const char *name, const char *ids,
                           const char *decoded, bool skip)
{
    size_t expected_length, length, total = 0;
    char *expected = cases_string(line, decoded, &expected_length);
    const cJSON *array = cJSON_GetObjectItemCaseSensitive(line, ids), *item;
    struct token_list list = {0};
    struct error error = {""};
    cJSON_ArrayForEach(item, array) ck_assert_int_eq(token_list_add(&list, item->valueint), 0);
    char *whole = tokenizer_decode(tokenizer, list.id, list.count, skip, &length, &error);
    ck_assert_msg(whole != NULL, "%s: %s", name, error.message);
    ck_assert_msg(length == expected_length && memcmp(whole, expected, length) == 0, "%s: expected '%s', decoded '%s'",
                  name, expected, whole);
    struct detokenizer *detokenizer = detokenizer_open(tokenizer, skip);
    ck_assert_ptr_nonnull(detokenizer);
    for (size_t i = 0; i <= list.count; i++) {
        const char *piece = i < list.count ? detokenizer_push(detokenizer, list.id[i], &length)
                                           : detokenizer_flush(detokenizer, &length);
        ck_assert_ptr_nonnull(piece);
        ck_assert_msg(utf8_valid(piece, length), "%s: half a character in a piece of '%s'", name, expected);
        ck_assert_msg(total + length <= expected_length && memcmp(piece, expected + total, length) == 0,
                      "%s: piece %zu '%s' is not what '%s' has at %zu", name, i, piece, expected, total);
        total += length;
    }
    ck_assert_uint_eq(total, expected_length);
    detokenizer_close(detokenizer);
    free(list.id);
    free(whole);
    free(expected);
}

static const char *const real[] = {"llama2", "llama3_1", "qwen3"};

START_TEST(real_tokenizers)
{
    size_t length, count = 0;
    char *json = tokenizer_unpack(text("%s.tokenizer.json.xz", real[_i]), &length);
    struct tokenizer_fixture fixture;
    tokenizer_compile(&fixture, json, length);
    free(json);
    char *cases = tokenizer_unpack("tokenizer_cases.jsonl.xz", &length), *rest = cases;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (*line == '\0') {
            continue;
        }
        cJSON *parsed = cases_parse(line);
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(parsed, "tokenizer"));
        if (strcmp(name, real[_i]) == 0) {
            check_encoding(fixture.tokenizer, parsed, name, false);
            check_encoding(fixture.tokenizer, parsed, name, true);
            check_decoding(fixture.tokenizer, parsed, name, "ids", "decoded", false);
            count++;
        }
        cJSON_Delete(parsed);
    }
    ck_assert_uint_eq(count, 441);
    free(cases);
    tokenizer_fixture_free(&fixture);
}
END_TEST

START_TEST(synthetic_tokenizers)
{
    size_t length, count = 0;
    char *lines = tokenizer_unpack("synthetic.jsonl.xz", &length), *rest = lines;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (*line == '\0') {
            continue;
        }
        cJSON *parsed = cases_parse(line);
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(parsed, "name"));
        char *json = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(parsed, "tokenizer"));
        struct tokenizer_fixture fixture;
        tokenizer_compile(&fixture, json, strlen(json));
        const cJSON *item;
        cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(parsed, "cases"))
        {
            check_encoding(fixture.tokenizer, item, name, false);
            check_encoding(fixture.tokenizer, item, name, true);
            check_decoding(fixture.tokenizer, item, name, "ids_special", "decoded", false);
            check_decoding(fixture.tokenizer, item, name, "ids_special", "decoded_skip", true);
            count++;
        }
        tokenizer_fixture_free(&fixture);
        free(json);
        cJSON_Delete(parsed);
    }
    ck_assert_uint_gt(count, 1000);
    free(lines);
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("tokenizer/cases");
    TCase *cases = tcase_create("reference");
    tcase_set_timeout(cases, 300);
    tcase_add_loop_test(cases, real_tokenizers, 0, 3);
    tcase_add_test(cases, synthetic_tokenizers);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
