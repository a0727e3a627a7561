/* SentencePiece vocabularies of GGUF files against what sentencepiece makes of the same texts: one as it was trained, and
   one whose scores are nearly all equal to others, so that the choice among equals shows
   (tests/fixtures/gguf/make_tokenizers.py). */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "process.h"
#include "tokenizer_fixture.h"

/* The tokenizer of the file, compiled as `lathe build` does it. */
static void open_tokenizer(struct tokenizer_fixture *fixture, const char *path)
{
    lua_State *lua = host_state();
    struct error error = {""};
    size_t length;
    ck_assert_ptr_nonnull(lua);
    ck_assert_int_eq(luaL_loadstring(lua, "local checkpoint = require 'read.checkpoint' (...)\n"
                                          "return (require 'tokenizer.compile' (checkpoint.tokenizer,"
                                          " checkpoint.tokenizer_config, checkpoint.tokenizer_file))"),
                     LUA_OK);
    lua_pushstring(lua, path);
    if (lua_pcall(lua, 1, 1, 0) != LUA_OK) {
        if (lua_istable(lua, -1))
            lua_getfield(lua, -1, "message");
        ck_abort_msg("%s", lua_tostring(lua, -1));
    }
    const char *tables = lua_tolstring(lua, -1, &length);
    *fixture = (struct tokenizer_fixture){.tables = malloc(length), .bytes = length};
    ck_assert_ptr_nonnull(fixture->tables);
    memcpy(fixture->tables, tables, length);
    lua_close(lua);
    fixture->tokenizer = tokenizer_open(fixture->tables, length, &error);
    ck_assert_msg(fixture->tokenizer != NULL, "%s: %s", path, error.message);
}

static void check_case(const struct tokenizer *tokenizer, const cJSON *line, const char *name)
{
    size_t length, decoded_length, expected_length;
    char *input = cases_string(line, "text", &length), *expected = cases_string(line, "decoded", &expected_length);
    struct token_list list = {0};
    struct error error = {""};
    int failed = tokenizer_encode(tokenizer, input, length, false, &list, &error);
    ck_assert_msg(failed == 0, "%s: %s", name, error.message);
    cases_check_ids(cJSON_GetObjectItemCaseSensitive(line, "ids"), &list, name, input);
    char *decoded = tokenizer_decode(tokenizer, list.id, list.count, false, &decoded_length, &error);
    ck_assert_msg(decoded != NULL, "%s: %s", name, error.message);
    ck_assert_msg(decoded_length == expected_length && memcmp(decoded, expected, decoded_length) == 0,
                  "%s: expected '%s', decoded '%s'", name, expected, decoded);
    free(decoded);
    free(list.id);
    free(input);
    free(expected);
}

START_TEST(sentencepiece_agrees)
{
    static const char *const names[] = {"words", "ties"};
    struct tokenizer_fixture fixture;
    size_t length, count = 0;
    open_tokenizer(&fixture, text(TEST_SOURCE_DIR "/tests/fixtures/gguf/%s.gguf", names[_i]));
    char *cases = tokenizer_unpack(text("../gguf/%s.jsonl.xz", names[_i]), &length), *rest = cases;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (*line == '\0')
            continue;
        cJSON *parsed = cases_parse(line);
        check_case(fixture.tokenizer, parsed, names[_i]);
        cJSON_Delete(parsed);
        count++;
    }
    ck_assert_uint_eq(count, 300);
    free(cases);
    tokenizer_fixture_free(&fixture);
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("sentencepiece");
    TCase *tests = tcase_create("reference");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, sentencepiece_agrees, 0, 2);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
