/* The JSON writer, parsed back with cJSON; the readers of strings and ids. */
#include <cJSON.h>
#include <check.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json_out.h"
#include "json_text.h"
#include "random.h"
#include "utf8.h"

struct sheet {
    char *text;
    size_t length;
    struct json_out out;
};

static void sheet_open(struct sheet *sheet)
{
    *sheet = (struct sheet){0};
    sheet->out.file = open_memstream(&sheet->text, &sheet->length);
    ck_assert_ptr_nonnull(sheet->out.file);
}

static cJSON *sheet_parse(struct sheet *sheet)
{
    fclose(sheet->out.file);
    cJSON *json = cJSON_ParseWithLengthOpts(sheet->text, sheet->length + 1, NULL, true);
    ck_assert_msg(json != NULL, "not JSON: %s", sheet->text);
    free(sheet->text);
    return json;
}

START_TEST(structure)
{
    struct sheet sheet;
    sheet_open(&sheet);
    static const int32_t ids[] = {0, INT32_MAX, INT32_MIN};
    json_open_object(&sheet.out);
    json_key(&sheet.out, "a\"b");
    json_open_array(&sheet.out);
    json_close_array(&sheet.out);
    json_key(&sheet.out, "ids");
    json_integers(&sheet.out, ids, 3);
    json_key(&sheet.out, "flags");
    json_open_array(&sheet.out);
    json_boolean(&sheet.out, true);
    json_boolean(&sheet.out, false);
    json_null(&sheet.out);
    json_text(&sheet.out, NULL);
    json_open_object(&sheet.out);
    json_close_object(&sheet.out);
    json_close_array(&sheet.out);
    json_key(&sheet.out, "nan");
    json_float(&sheet.out, NAN);
    json_key(&sheet.out, "inf");
    json_double(&sheet.out, -INFINITY);
    json_close_object(&sheet.out);
    cJSON *json = sheet_parse(&sheet);
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "a\"b")), 0);
    ck_assert_double_eq(cJSON_GetArrayItem(cJSON_GetObjectItem(json, "ids"), 2)->valuedouble, INT32_MIN);
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "flags")), 5);
    ck_assert(cJSON_IsNull(cJSON_GetObjectItem(json, "nan")));
    ck_assert(cJSON_IsNull(cJSON_GetObjectItem(json, "inf")));
    cJSON_Delete(json);
}
END_TEST

START_TEST(numbers_read_back)
{
    struct sheet sheet;
    enum { COUNT = 2000 };
    static float floats[COUNT];
    static double doubles[COUNT];
    sheet_open(&sheet);
    json_open_array(&sheet.out);
    for (int i = 0; i < COUNT; i++) {
        uint64_t bits = random_bits(1, 0, (uint64_t)i);
        uint32_t half = (uint32_t)bits;
        memcpy(&floats[i], &half, sizeof half);
        memcpy(&doubles[i], &bits, sizeof bits);
        json_float(&sheet.out, floats[i]);
        json_double(&sheet.out, doubles[i]);
    }
    json_float(&sheet.out, FLT_TRUE_MIN);
    json_double(&sheet.out, DBL_MAX);
    json_close_array(&sheet.out);
    cJSON *json = sheet_parse(&sheet), *item = json->child;
    for (int i = 0; i < COUNT; i++) {
        if (isfinite(floats[i]))
            ck_assert((float)item->valuedouble == floats[i]);
        item = item->next;
        if (isfinite(doubles[i]))
            ck_assert(item->valuedouble == doubles[i]);
        item = item->next;
    }
    ck_assert((float)item->valuedouble == FLT_TRUE_MIN);
    ck_assert(item->next->valuedouble == DBL_MAX);
    cJSON_Delete(json);
}
END_TEST

/* Any bytes at all give JSON; what is UTF-8 comes back as it was. */
START_TEST(odd_bytes)
{
    for (uint64_t trial = 0; trial < 5000; trial++) {
        char bytes[24];
        size_t length = random_below(random_bits(trial, 1, 0), sizeof bytes);
        for (size_t i = 0; i < length; i++) {
            /* Mostly bytes that matter to UTF-8. */
            static const unsigned char odd[] = {0x7f, 0x80, 0xbf, 0xc1, 0xc2, 0xe0, 0xa0, 0xed, 0x9f, 0xf0, 0x90, 0xf4,
                                                0x8f, 0xf5, 0xff, '"',  '\\', '\n', 0x01, 'a',  0xef, 0xbf, 0xbd, '/'};
            bytes[i] = (char)odd[random_below(random_bits(trial, 2, i), sizeof odd)];
        }
        struct sheet sheet;
        sheet_open(&sheet);
        json_string(&sheet.out, bytes, length);
        fflush(sheet.out.file);
        ck_assert(utf8_valid(sheet.text, sheet.length));
        struct text_buffer back = {0};
        struct error error = {""};
        ck_assert_msg(json_read_string(sheet.text, sheet.length, &back, &error) == 0, "%s", error.message);
        cJSON *json = sheet_parse(&sheet);
        const char *seen = cJSON_GetStringValue(json);
        ck_assert_uint_eq(strlen(seen), back.length);
        ck_assert(memcmp(seen, back.data ? back.data : "", back.length) == 0);
        if (utf8_valid(bytes, length))
            ck_assert(back.length == length && (!length || memcmp(back.data, bytes, length) == 0));
        free(back.data);
        cJSON_Delete(json);
    }
}
END_TEST

/* One U+FFFD for each maximal part, as Python's bytes.decode("utf-8", "replace") does: the expected numbers are its. */
START_TEST(replacements_are_counted_as_python_does)
{
    static const struct {
        const char *bytes;
        int replacements;
    } cases[] = {{"\xf0\x90\x80", 1},     {"\xf0\x80\x80", 3}, {"\xed\xa0\x80", 3}, {"\xe2\x82", 1},
                 {"\xe2\x82\xe2\x82", 2}, {"\xff\xfe", 2},     {"\xc0\xaf", 2},     {"\xf4\x90\x80\x80", 4},
                 {"\x80\x80", 2},         {"\xc3", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sheet sheet;
        sheet_open(&sheet);
        json_string(&sheet.out, cases[i].bytes, strlen(cases[i].bytes));
        cJSON *json = sheet_parse(&sheet);
        ck_assert_uint_eq(strlen(cJSON_GetStringValue(json)), (size_t)cases[i].replacements * 3);
        cJSON_Delete(json);
    }
}
END_TEST

static void expect_string(const char *line, const char *bytes, size_t length)
{
    struct text_buffer out = {0};
    struct error error = {""};
    ck_assert_msg(json_read_string(line, strlen(line), &out, &error) == 0, "%s: %s", line, error.message);
    ck_assert_uint_eq(out.length, length);
    ck_assert(memcmp(out.data, bytes, length) == 0);
    free(out.data);
}

START_TEST(strings_are_read)
{
    expect_string(" \"plain\" \n", "plain", 5);
    expect_string("\"\\u0000a\\u0000\"", "\0a\0", 3);
    expect_string("\"\\\" \\\\ \\/ \\b\\f\\n\\r\\t\"", "\" \\ / \b\f\n\r\t", 11);
    expect_string("\"\\u00e9\\u20AC\\ud83d\\ude00\"", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9);
    expect_string("\"\\ud83d\"", "\xef\xbf\xbd", 3);
    expect_string("\"\\ude00x\"", "\xef\xbf\xbdx", 4);
    expect_string("\"\\ud83d\\u0041\"",
                  "\xef\xbf\xbd"
                  "A",
                  4);
}
END_TEST

START_TEST(bad_lines_are_errors)
{
    static const char *const strings[] = {"",
                                          "a",
                                          "\"",
                                          "\"a",
                                          "\"\\",
                                          "\"\\x\"",
                                          "\"\\u12\"",
                                          "\"\\u12g4\"",
                                          "\"a\" b",
                                          "\"a\nb\"",
                                          "[1]",
                                          "null",
                                          "\"\\ud83d\\u12\""};
    static const char *const arrays[] = {"",      "[",       "[1",
                                         "[1,",   "[1,]",    "[,]",
                                         "[01]",  "[-1]",    "[1.5]",
                                         "[1e2]", "[\"1\"]", "[2147483648]",
                                         "[1]2",  "[[1]]",   "[99999999999999999999999]",
                                         "{}",    "[1 2]"};
    struct error error;
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        struct text_buffer out = {0};
        ck_assert_msg(json_read_string(strings[i], strlen(strings[i]), &out, &error) == -1, "%s", strings[i]);
        ck_assert_ptr_nonnull(strstr(error.message, "column"));
        free(out.data);
    }
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        struct token_list out = {0};
        ck_assert_msg(json_read_ids(arrays[i], strlen(arrays[i]), &out, &error) == -1, "%s", arrays[i]);
        free(out.id);
    }
}
END_TEST

START_TEST(ids_are_read)
{
    struct token_list out = {0};
    struct error error;
    const char *line = " [ 0,1 , 2147483647 ]\r\n";
    ck_assert_int_eq(json_read_ids(line, strlen(line), &out, &error), 0);
    ck_assert_int_eq(json_read_ids("[]", 2, &out, &error), 0);
    ck_assert_uint_eq(out.count, 3);
    ck_assert_int_eq(out.id[2], INT32_MAX);
    free(out.id);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("commands/json");
    TCase *test = tcase_create("json");
    tcase_set_timeout(test, 60);
    tcase_add_test(test, structure);
    tcase_add_test(test, numbers_read_back);
    tcase_add_test(test, odd_bytes);
    tcase_add_test(test, replacements_are_counted_as_python_does);
    tcase_add_test(test, strings_are_read);
    tcase_add_test(test, bad_lines_are_errors);
    tcase_add_test(test, ids_are_read);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
