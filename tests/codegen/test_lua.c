/* The Lua stages of the generator, tested in Lua: each .lua file of this folder but check.lua returns a table of named test
   functions. Each runs as one test here, in a process and a Lua state of its own. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fixture.h"
#include "host.h"
#include "process.h"

enum { MAX_TESTS = 400 };

static struct lua_test {
    char file[64], name[128];
} tests[MAX_TESTS];
static int test_count;

/* Leaves what the file returns on the stack; false and a message instead when it cannot be loaded. */
static bool load_file(lua_State *lua, const char *name)
{
    const char *path = text("%s/tests/codegen/%s", TEST_SOURCE_DIR, name);
    return luaL_loadfilex(lua, path, "t") == LUA_OK && lua_pcall(lua, 0, 1, 0) == LUA_OK;
}

/* A state in which `require "check"` finds tests/codegen/check.lua. folder: what the test may write to. */
static lua_State *open_state(const char *folder)
{
    lua_State *lua = host_state();
    if (!lua || !load_file(lua, "check.lua")) { /* no ck_assert: Check may not be running yet */
        fprintf(stderr, "check.lua: %s\n", lua ? lua_tostring(lua, -1) : "out of memory");
        exit(1);
    }
    const char *fields[][2] = {{"source", TEST_SOURCE_DIR}, {"lathe", lathe()}, {"folder", folder}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        lua_pushstring(lua, fields[i][1]);
        lua_setfield(lua, -2, fields[i][0]);
    }
    luaL_getsubtable(lua, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_insert(lua, -2);
    lua_setfield(lua, -2, "check");
    lua_pop(lua, 1);
    return lua;
}

static int compare_tests(const void *a, const void *b)
{
    const struct lua_test *left = a, *right = b;
    int order = strcmp(left->file, right->file);
    return order ? order : strcmp(left->name, right->name);
}

static void collect(const char *file)
{
    lua_State *lua = open_state("");
    if (!load_file(lua, file) || !lua_istable(lua, -1)) {
        fprintf(stderr, "%s: expected a table of tests: %s\n", file, luaL_tolstring(lua, -1, NULL));
        exit(1);
    }
    lua_pushnil(lua);
    while (lua_next(lua, -2)) {
        if (test_count == MAX_TESTS || lua_type(lua, -2) != LUA_TSTRING || !lua_isfunction(lua, -1)) {
            fprintf(stderr, "%s: expected at most %d named functions\n", file, MAX_TESTS);
            exit(1);
        }
        struct lua_test *test = &tests[test_count++];
        snprintf(test->file, sizeof test->file, "%.*s", (int)sizeof test->file - 1, file);
        snprintf(test->name, sizeof test->name, "%s", lua_tostring(lua, -2));
        lua_pop(lua, 1);
    }
    lua_close(lua);
}

static void collect_all(void)
{
    DIR *folder = opendir(TEST_SOURCE_DIR "/tests/codegen");
    if (!folder) {
        perror(TEST_SOURCE_DIR "/tests/codegen");
        exit(1);
    }
    for (struct dirent *entry; (entry = readdir(folder));) {
        const char *end = strrchr(entry->d_name, '.');
        if (end && strcmp(end, ".lua") == 0 && strcmp(entry->d_name, "check.lua") != 0)
            collect(entry->d_name);
    }
    closedir(folder);
    qsort(tests, (size_t)test_count, sizeof *tests, compare_tests);
}

/* User errors are tables with a message; anything else gets its traceback. */
static int explain(lua_State *lua)
{
    if (lua_istable(lua, 1))
        lua_getfield(lua, 1, "message");
    luaL_traceback(lua, lua, luaL_tolstring(lua, -1, NULL), 1);
    return 1;
}

START_TEST(lua_test)
{
    const struct lua_test *test = &tests[_i];
    const char *folder = temporary_path("%d", _i);
    ck_assert_int_eq(mkdir(folder, 0755), 0);
    lua_State *lua = open_state(folder);
    lua_pushcfunction(lua, explain);
    ck_assert_msg(load_file(lua, test->file), "%s: %s", test->file, lua_tostring(lua, -1));
    ck_assert_int_eq(lua_getfield(lua, -1, test->name), LUA_TFUNCTION);
    int status = lua_pcall(lua, 0, 0, 1);
    ck_assert_msg(status == LUA_OK, "%s: %s: %s", test->file, test->name, lua_tostring(lua, -1));
    lua_close(lua);
}
END_TEST

int main(void)
{
    temporary_folder();
    collect_all();
    printf("%d tests in Lua\n", test_count);
    if (test_count < 50) {
        fprintf(stderr, "expected more: have the files gone?\n");
        return 1;
    }
    Suite *suite = suite_create("codegen/lua");
    TCase *all = tcase_create("lua");
    tcase_set_timeout(all, 60);
    tcase_add_loop_test(all, lua_test, 0, test_count);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
