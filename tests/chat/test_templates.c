/* Chat templates against Jinja's own renderings, made by tests/fixtures/make_chat.py: templates in the manner of published
   ones, and random expressions. The generator translates them to C; a program of that C and the runtime renders the cases. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fixture.h"
#include "host.h"
#include "process.h"

/* Writes the program's sources with program.lua. */
static void write_program(const char *set, const char *folder)
{
    lua_State *lua = host_state();
    ck_assert_ptr_nonnull(lua);
    bool done = luaL_loadfilex(lua, TEST_SOURCE_DIR "/tests/chat/program.lua", "t") == LUA_OK &&
                lua_pcall(lua, 0, 1, 0) == LUA_OK;
    if (done) {
        lua_pushstring(lua, set);
        lua_pushstring(lua, TEST_SOURCE_DIR "/tests/fixtures/chat");
        lua_pushstring(lua, folder);
        done = lua_pcall(lua, 3, 0, 0) == LUA_OK;
    }
    if (!done && lua_istable(lua, -1))
        lua_getfield(lua, -1, "message");
    ck_assert_msg(done, "%s: %s", set, luaL_tolstring(lua, -1, NULL));
    lua_close(lua);
}

static void render_all(const char *set)
{
    struct process_result result;
    const char *folder = temporary_path("%s", set);
    ck_assert_int_eq(mkdir(folder, 0755), 0);
    write_program(set, folder);
    const char *compile = text("cc -std=gnu11 -D_GNU_SOURCE -O0 -Wall -Wextra -Werror -I%s/runtime -o '%s/cases' %s "
                               "'%s'/*.c '%s/tests/chat/cases_main.c' '%s/codegen/liblathe.a' -lm -lpthread -ldl",
                               TEST_SOURCE_DIR, folder, getenv("LATHE_TEST_CFLAGS") ? getenv("LATHE_TEST_CFLAGS") : "",
                               folder, TEST_SOURCE_DIR, TEST_BINARY_DIR);
    process_ok(&result, "sh", "-c", compile, NULL);
    process_free(&result);
    process(&result, text("%s/cases", folder), text("%s/cases.jsonl", folder), NULL);
    ck_assert_msg(result.status == 0, "%s: status %d:\n%.3000s%.1000s", set, result.status, result.out, result.err);
    printf("%s: %s", set, result.out);
    process_free(&result);
}

START_TEST(templates)
{
    render_all("templates");
}
END_TEST

START_TEST(expressions)
{
    render_all("expressions");
}
END_TEST

START_TEST(unread_variables)
{
    render_all("unread");
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("chat/templates");
    TCase *tests = tcase_create("render");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, templates);
    tcase_add_test(tests, expressions);
    tcase_add_test(tests, unread_variables);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
