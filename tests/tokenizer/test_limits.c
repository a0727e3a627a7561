/* Long texts in time, hostile bytes, and tokenizers that lathe must refuse with a message that says what and where. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "process.h"
#include "share.h"
#include "tokenizer_fixture.h"

#define MEGABYTE 1000000u

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void open_real(struct tokenizer_fixture *fixture, const char *name)
{
    size_t length;
    char *json = tokenizer_unpack(text("%s.tokenizer.json.xz", name), &length);
    tokenizer_compile(fixture, json, length);
    free(json);
}

/* Repeats `unit` up to a megabyte (less under sanitizers), encodes and decodes it, and sees it come back. A square of the length would take
   hours, so the bound can be wide enough for sanitizers and busy machines. */
static void round_trip(const struct tokenizer *tokenizer, const char *unit, bool exact)
{
    struct error error = {""};
    struct token_list list = {0};
    size_t unit_length = strlen(unit), length = SHARE_OF(MEGABYTE) / unit_length * unit_length, decoded_length;
    char *input = malloc(length);
    ck_assert_ptr_nonnull(input);
    for (size_t i = 0; i < length; i += unit_length) {
        memcpy(input + i, unit, unit_length);
    }
    double start = now();
    ck_assert_msg(tokenizer_encode(tokenizer, input, length, false, &list, &error) == 0, "%s", error.message);
    char *decoded = tokenizer_decode(tokenizer, list.id, list.count, false, &decoded_length, &error);
    double seconds = now() - start;
    ck_assert_msg(decoded != NULL, "%s", error.message);
    ck_assert_msg(seconds < 60, "a megabyte of '%s' took %.1f s", unit, seconds);
    if (exact) {
        ck_assert_uint_eq(decoded_length, length);
        ck_assert(memcmp(decoded, input, length) == 0);
    }
    free(decoded);
    free(list.id);
    free(input);
}

static const char *const names[] = {"llama2", "llama3_1", "qwen3"};

START_TEST(megabyte)
{
    struct tokenizer_fixture fixture;
    open_real(&fixture, names[_i]);
    round_trip(fixture.tokenizer, "a", true);
    round_trip(fixture.tokenizer, "thequickbrownfox", true);
    round_trip(fixture.tokenizer, " ", true);
    round_trip(fixture.tokenizer, "\n", true);
    round_trip(fixture.tokenizer, "<|", true);
    round_trip(fixture.tokenizer, "1", true);
    round_trip(fixture.tokenizer, "!", true);
    round_trip(fixture.tokenizer, "\xE4\xB8\xAD\xE6\x96\x87", true);
    round_trip(fixture.tokenizer, "The quick brown fox jumps over the lazy dog. ", true);
    round_trip(fixture.tokenizer, "a\xCC\x81\xCC\xA3", false); /* marks to be reordered */
    round_trip(fixture.tokenizer, "\xCC\x81\xCC\xA3", false);  /* one run of them */
    round_trip(fixture.tokenizer, "\xFF", false);
    tokenizer_fixture_free(&fixture);
}
END_TEST

static void check_repair(const struct tokenizer *tokenizer, const char *bytes, const char *same_as)
{
    struct token_list one = {0}, other = {0};
    struct error error;
    ck_assert_int_eq(tokenizer_encode(tokenizer, bytes, strlen(bytes), false, &one, &error), 0);
    ck_assert_int_eq(tokenizer_encode(tokenizer, same_as, strlen(same_as), false, &other, &error), 0);
    ck_assert_uint_eq(one.count, other.count);
    ck_assert(memcmp(one.id, other.id, one.count * sizeof *one.id) == 0);
    free(one.id);
    free(other.id);
}

/* What Python's errors="replace" makes of them. */
START_TEST(invalid_utf8)
{
#define BAD "\xEF\xBF\xBD"
    struct tokenizer_fixture fixture;
    open_real(&fixture, "llama3_1");
    check_repair(fixture.tokenizer,
                 "a\xFF"
                 "b",
                 "a" BAD "b");
    check_repair(fixture.tokenizer, "a\xE2\x82", "a" BAD);
    check_repair(fixture.tokenizer,
                 "\xE2\x82"
                 "b\xF0\x9F\x99",
                 BAD "b" BAD);
    check_repair(fixture.tokenizer, "\xC0\xAF\xED\xA0\x80\xF5", BAD BAD BAD BAD BAD BAD);
    check_repair(fixture.tokenizer, "\xF0\x80\x80\x80", BAD BAD BAD BAD);
    tokenizer_fixture_free(&fixture);
}
END_TEST

START_TEST(lookups)
{
    struct tokenizer_fixture fixture;
    size_t length;
    open_real(&fixture, "llama3_1");
    const struct tokenizer *tokenizer = fixture.tokenizer;
    ck_assert_int_eq(tokenizer_vocab(tokenizer), 128256);
    ck_assert_int_eq(tokenizer_find(tokenizer, "<|begin_of_text|>", 17), 128000);
    ck_assert_int_eq(tokenizer_find(tokenizer, "Hello", 5), 9906);
    ck_assert_int_eq(tokenizer_find(tokenizer, "no such token", 13), -1);
    ck_assert(tokenizer_is_special(tokenizer, 128000));
    ck_assert(!tokenizer_is_special(tokenizer, 9906));
    ck_assert(!tokenizer_is_special(tokenizer, -1));
    ck_assert_ptr_null(tokenizer_spelling(tokenizer, -1, &length));
    ck_assert_ptr_null(tokenizer_spelling(tokenizer, 128256, &length));
    const char *spelling = tokenizer_spelling(tokenizer, 9906, &length);
    ck_assert(length == 5 && memcmp(spelling, "Hello", 5) == 0);
    tokenizer_fixture_free(&fixture);
}
END_TEST

#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}"

static const struct {
    const char *json, *must_say[3];
} refused[] = {
    {"{}", {"model", "expected an object"}},
    {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", {"model.type", "\"Unigram\""}},
    {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}", {"model.type", "\"WordPiece\""}},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", {"model.vocab", "-1"}},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999},\"merges\":[]}}", {"model.vocab", "99999999"}},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1048578},\"merges\":[]}}",
     {"model.vocab", "ids below 65544", "1048578"}},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}", {"model.vocab", "at least one token"}},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a q\"]}}", {"model.merges[0]", "'q'"}},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}", {"model.merges[0]", "two tokens"}},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}}", {"model.dropout", "0.1"}},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[\"a a\"],\"merge_ranks\":[]}}",
     {"model.merge_ranks", "a list of 1 ranks"}},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[\"a a\"],\"merge_ranks\":[1]}}",
     {"model.merge_ranks[0]", "a rank from 0 to 0"}},
    {"{" MODEL ",\"normalizer\":{\"type\":\"Nmt\"}}", {"normalizer.type", "\"Nmt\"", "NFKC"}},
    {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"UnicodeScripts\"}]}}",
     {"pre_tokenizer.pretokenizers[0].type", "UnicodeScripts"}},
    {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a(b\"},\"behavior\":\"Isolated\"}}",
     {"pre_tokenizer.pattern.Regex", "a(b", "parenthesis"}},
    {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"Sideways\"}}",
     {"pre_tokenizer.behavior", "Sideways"}},
    {"{" MODEL ",\"decoder\":{\"type\":\"CTC\"}}", {"decoder.type", "\"CTC\""}},
    {"{" MODEL ",\"post_processor\":{\"type\":\"Magic\"}}", {"post_processor.type", "Magic"}},
    {"{" MODEL ",\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"x\",2],\"sep\":[\"x\",0]}}",
     {"post_processor", "ids below 2", "found 2"}},
    {"{" MODEL ",\"added_tokens\":[{\"id\":5,\"content\":7}]}", {"added_tokens[0].content", "7"}},
};

START_TEST(refusals)
{
    char *message = tokenizer_refusal(refused[_i].json);
    ck_assert_msg(strstr(message, "refused.json: ") != NULL, "no file in: %s", message);
    ck_assert_msg(strchr(message, '\n') == message + strlen(message) - 1, "not one line: %s", message);
    for (int i = 0; i < 3 && refused[_i].must_say[i]; i++) {
        ck_assert_msg(strstr(message, refused[_i].must_say[i]) != NULL, "no '%s' in: %s", refused[_i].must_say[i],
                      message);
    }
    free(message);
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("tokenizer/limits");
    TCase *cases = tcase_create("limits");
    tcase_set_timeout(cases, 500);
    tcase_add_loop_test(cases, megabyte, 0, SANITIZED ? 1 : 3);
    tcase_add_test(cases, invalid_utf8);
    tcase_add_test(cases, lookups);
    tcase_add_loop_test(cases, refusals, 0, sizeof refused / sizeof *refused);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
