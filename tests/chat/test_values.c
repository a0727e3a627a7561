/* What a hostile conversation or template can ask for: the rendering ends with one line of error, in bounded time and memory.
   And the subset's lists of names are those that the runtime knows. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"
#include "chat_internal.h"
#include "host.h"

static struct chat_render *r;

static void open_render(void)
{
    r = chat_open();
    ck_assert_ptr_nonnull(r);
}

static void close_render(void)
{
    chat_close(r);
}

static void expect_failure(const char *part)
{
    ck_assert_msg(r->failed && strstr(r->error.message, part), "expected '%s', found '%s'", part,
                  r->failed ? r->error.message : "no error");
}

/* ---- conversations */

static const struct {
    const char *json, *message;
} refusals[] = {
    {"", "JSON: line 1, column 1: expected a JSON value, found the end"},
    {"{", "expected a key in double quotes, found the end"},
    {"[]", "expected an object with the key \"messages\", found list"},
    {"3", "expected an object with the key \"messages\", found int"},
    {"{}", "expected an object with the key \"messages\", found one without it"},
    {"{\"messages\": []}", "messages: expected a list with one message at least, found an empty one"},
    {"{\"messages\": {}}", "messages: expected a list with one message at least, found dict"},
    {"{\"messages\": [1]}", "messages[0]: expected an object with role and content, found int"},
    {"{\"messages\": [{}]} x", "line 1, column 20: expected the end of the JSON text, found 'x'"},
    {"{\"messages\": [{}],\n \"a\": 01}", "line 2, column 9: expected a JSON value, found '}'"},
    {"{\"messages\": [{}], \"a\": \"\\x\"}", "expected an escape of JSON"},
    {"{\"messages\": [{}], \"a\": \"\n\"}", "expected an escaped character, found byte 0x0a"},
    {"{\"messages\": [{}], \"a\": \"\xff\"}", "expected UTF-8, found byte 0xff at offset 25"},
    {"{\"messages\": [{}], \"a\": \"\xed\xa0\x80\"}", "expected UTF-8"},
    {"{\"messages\": [{}], \"a\": tru}", "expected a JSON value, found 't'"},
    {"{\"messages\": [{}], \"a\": 1.}", "expected ',' or '}', found '.'"},
    {"{\"messages\" [{}]}", "expected ':', found '['"},
};

START_TEST(bad_conversations)
{
    struct error error;
    struct chat_value conversation;
    ck_assert_int_eq(chat_read_conversation(r, refusals[_i].json, strlen(refusals[_i].json), &conversation, &error),
                     -1);
    ck_assert_msg(strstr(error.message, refusals[_i].message), "expected '%s', found '%s'", refusals[_i].message,
                  error.message);
}
END_TEST

static struct chat_value parse(const char *json)
{
    return chat_parse_json(r, json, strlen(json));
}

static void expect_repr(struct chat_value value, const char *expected)
{
    struct text_buffer out = {0};
    chat_repr(r, value, &out);
    ck_assert_msg(!r->failed, "%s", r->error.message);
    ck_assert_str_eq(out.data, expected);
    free(out.data);
}

/* Integers of any length, both halves of pairs and lone ones, keys that are there twice, what JSON itself lacks. */
START_TEST(unusual_json)
{
    expect_repr(
        parse("[9223372036854775807, -9223372036854775808, 9223372036854775808, 123456789012345678901234567890]"),
        "[9223372036854775807, -9223372036854775808, 9223372036854775808, 123456789012345678901234567890]");
    expect_repr(parse("[1e400, -1e400, NaN, 1E2, 0.1, 1e22, 1e-5, -0.0, 123456789.0]"),
                "[inf, -inf, nan, 100.0, 0.1, 1e+22, 1e-05, -0.0, 123456789.0]");
    expect_repr(parse("\"\\ud83d\\ude00 \\ud83d x \\u00e9\\u0000\""),
                "'\xf0\x9f\x98\x80 \xef\xbf\xbd x \xc3\xa9\\x00'");
    expect_repr(parse("{\"a\": 1, \"b\": 2, \"a\": 3}"), "{'a': 3, 'b': 2}");
    expect_repr(parse(" \t\r\n[ ] "), "[]");
}
END_TEST

START_TEST(deep_nesting)
{
    char text[2001];
    memset(text, '[', 1000);
    memset(text + 1000, ']', 1000);
    text[2000] = 0;
    parse(text);
    expect_failure("nest more than");
}
END_TEST

/* A template may nest what the conversation may not. */
START_TEST(nesting_by_a_template)
{
    struct chat_value list = chat_list(r, 0, NULL);
    for (int i = 0; i < 100000 && !r->failed; i++)
        list = chat_list(r, 1, VALUES(list));
    expect_failure("nest more than");
}
END_TEST

START_TEST(many_keys)
{
    struct chat_value dict = chat_new_dict(r);
    for (int i = 0; i < 200000; i++)
        chat_dict_set(r, dict.dict, chat_int(i), chat_int(-i));
    ck_assert(!r->failed);
    ck_assert_uint_eq(dict.dict->count, 200000);
    for (int i = 0; i < 200000; i++)
        ck_assert(chat_dict_find(r, dict.dict, chat_int(i))->integer == -i);
    /* 1, 1.0 and true are one key. */
    ck_assert(chat_dict_find(r, dict.dict, chat_float(1))->integer == -1);
    ck_assert(chat_dict_find(r, dict.dict, chat_bool(true))->integer == -1);
    ck_assert_ptr_null(chat_dict_find(r, dict.dict, chat_float(1.5)));
}
END_TEST

/* ---- templates */

START_TEST(texts_that_double)
{
    struct chat_value text = CHAT_TEXT("0123456789");
    for (int i = 0; i < 100 && !r->failed; i++)
        text = chat_sum(r, 2, VALUES(text, text));
    ck_assert(r->failed);
}
END_TEST

/* Half of it shared: 60 levels stand for 2^60 items. */
START_TEST(lists_that_double)
{
    struct chat_value list = chat_list(r, 0, NULL), other = list;
    for (int i = 0; i < 60; i++) {
        list = chat_list(r, 2, VALUES(list, list));
        other = chat_list(r, 2, VALUES(other, other));
    }
    chat_print(r, list);
    ck_assert(r->failed);
}
END_TEST

START_TEST(large_numbers)
{
    const struct chat_arguments *all[] = {ARGS(1, chat_int(1000000000)),
                                          ARGS(2, chat_int(INT64_MIN), chat_int(INT64_MAX)),
                                          ARGS(3, chat_int(0), chat_int(INT64_MAX), chat_int(1))};
    for (int i = 0; i < 3; i++) {
        r->failed = false;
        chat_call(r, chat_global(r, "range"), all[i]);
        expect_failure("Range too big");
    }
    r->failed = false;
    ck_assert_uint_eq(
        chat_call(r, chat_global(r, "range"), ARGS(3, chat_int(INT64_MIN), chat_int(INT64_MAX), chat_int(INT64_MAX)))
            .list->count,
        3);
    chat_sum(r, 2, VALUES(chat_int(INT64_MAX), chat_int(1)));
    expect_failure("64 bits");
    r->failed = false;
    chat_multiply(r, CHAT_TEXT("ab"), chat_int(INT64_MAX));
    ck_assert(r->failed);
    r->failed = false;
    chat_slice(r, CHAT_TEXT("abc"), chat_int(INT64_MIN), chat_int(INT64_MAX), chat_int(INT64_MAX));
    chat_slice(r, CHAT_TEXT("abc"), chat_int(INT64_MAX), chat_int(INT64_MIN), chat_int(INT64_MIN));
    ck_assert(!r->failed);
    chat_floor_divide(r, chat_int(INT64_MIN), chat_int(-1));
    expect_failure("64 bits");
}
END_TEST

/* After a failure nothing more happens, and everything that generated code does then is harmless. */
START_TEST(after_a_failure)
{
    chat_fail(r, "first");
    chat_fail(r, "second");
    struct chat_value item, text = chat_capture_end(r, chat_capture_begin(r));
    struct chat_loop *loop = chat_loop_begin(r, chat_list(r, 1, VALUES(chat_int(1))));
    ck_assert(!chat_next(r, loop, &item));
    chat_unpack(r, text, 1, (struct chat_value *[]){&item});
    chat_print(r, chat_concat(r, 2, VALUES(item, chat_filter(r, "upper", CHAT_TEXT("a"), NO_ARGS))));
    chat_set_member(r, chat_call(r, chat_global(r, "namespace"), NO_ARGS), "a", item);
    ck_assert_str_eq(r->error.message, "first");
    ck_assert_uint_eq(r->out.length, 0);
}
END_TEST

/* ---- names */

/* Calls check(name) for every key of a table of codegen/lua/chat/subset.lua. */
static void each_name(const char *table, void (*check)(const char *name))
{
    lua_State *lua = host_state();
    int count = 0;
    ck_assert(luaL_dostring(lua, "return require 'chat.subset'") == LUA_OK);
    lua_settop(lua, 1);
    lua_getfield(lua, -1, table);
    ck_assert_int_eq(lua_type(lua, -1), LUA_TTABLE);
    for (lua_pushnil(lua); lua_next(lua, -2); lua_pop(lua, 1), count++) {
        r->failed = false;
        check(lua_tostring(lua, -2));
    }
    ck_assert_int_ge(count, 6);
    lua_close(lua);
}

static void check_filter(const char *name)
{
    chat_filter(r, name, chat_list(r, 0, NULL), NO_ARGS);
    ck_assert_msg(!r->failed || !strstr(r->error.message, "No filter named"), "%s", r->error.message);
}

static void check_test(const char *name)
{
    chat_test(r, name, chat_int(1), NO_ARGS);
    ck_assert_msg(!r->failed || !strstr(r->error.message, "No test named"), "%s", r->error.message);
}

static void check_function(const char *name)
{
    ck_assert_msg(chat_global(r, name).kind != CHAT_MISSING, "%s", name);
}

/* A method of one type at least. */
static void check_method(const char *name)
{
    static struct chat_loop loop;
    loop.items = chat_iterate(r, CHAT_TEXT("a"));
    ck_assert_msg(chat_method(r, CHAT_TEXT("a"), name).kind != CHAT_MISSING ||
                      chat_method(r, chat_new_dict(r), name).kind != CHAT_MISSING ||
                      chat_method(r, chat_new_list(r), name).kind != CHAT_MISSING ||
                      chat_loop_attribute(r, &loop, name).kind != CHAT_UNDEFINED,
                  "%s", name);
}

START_TEST(the_subset_is_known)
{
    each_name("filters", check_filter);
    each_name("tests", check_test);
    each_name("functions", check_function);
    each_name("methods", check_method);
    r->failed = false;
    chat_filter(r, "urlize", chat_int(1), NO_ARGS);
    expect_failure("No filter named 'urlize'");
    r->failed = false;
    chat_test(r, "prime", chat_int(1), NO_ARGS);
    expect_failure("No test named 'prime'");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("chat/values");
    TCase *tests = tcase_create("values");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, open_render, close_render);
    tcase_add_loop_test(tests, bad_conversations, 0, (int)(sizeof refusals / sizeof *refusals));
    tcase_add_test(tests, unusual_json);
    tcase_add_test(tests, deep_nesting);
    tcase_add_test(tests, nesting_by_a_template);
    tcase_add_test(tests, many_keys);
    tcase_add_test(tests, texts_that_double);
    tcase_add_test(tests, lists_that_double);
    tcase_add_test(tests, large_numbers);
    tcase_add_test(tests, after_a_failure);
    tcase_add_test(tests, the_subset_is_known);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
