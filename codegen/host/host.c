#include "host.h"

#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host_embed.h"

int host_fail(lua_State *lua, const char *format, ...)
{
    va_list arguments;
    char message[2048];
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    lua_createtable(lua, 0, 1);
    lua_pushstring(lua, message);
    lua_setfield(lua, -2, "message");
    lua_error(lua);
    abort(); /* lua_error does not return */
}

/* package.searchers entry: `require "read.gguf"` is the embedded file lua/read/gguf.lua. */
static int search_embedded(lua_State *lua)
{
    const char *module = luaL_checkstring(lua, 1);
    char path[256];
    size_t bytes;
    luaL_gsub(lua, module, ".", "/");
    snprintf(path, sizeof path, "lua/%s.lua", lua_tostring(lua, -1));
    const char *text = embed_find(path, &bytes);
    if (!text) {
        lua_pushfstring(lua, "no embedded file '%s'", path);
        return 1;
    }
    char chunk[300];
    snprintf(chunk, sizeof chunk, "@%s", path);
    if (luaL_loadbufferx(lua, text, bytes, chunk, "t") != LUA_OK)
        return lua_error(lua);
    lua_pushstring(lua, path);
    return 2;
}

/* The generator requires its own files only: a .lua file that lies about in the current folder is never picked up. */
static void set_searchers(lua_State *lua)
{
    lua_getglobal(lua, "package");
    lua_createtable(lua, 2, 0);
    lua_getfield(lua, -2, "searchers");
    lua_rawgeti(lua, -1, 1); /* the preload searcher */
    lua_rawseti(lua, -3, 1);
    lua_pop(lua, 1);
    lua_pushcfunction(lua, search_embedded);
    lua_rawseti(lua, -2, 2);
    lua_setfield(lua, -2, "searchers");
    lua_pop(lua, 1);
}

static int open_host(lua_State *lua)
{
    lua_newtable(lua);
    host_open_json(lua);
    host_open_file(lua);
    host_open_writer(lua);
    host_open_tensor(lua);
    host_open_torch(lua);
    host_open_peft(lua);
    host_open_process(lua);
    host_open_lock(lua);
    host_open_regex(lua);
    host_open_embed(lua);
    host_open_nvrtc(lua);
    lua_pushliteral(lua, "lathe " LATHE_VERSION);
    lua_setfield(lua, -2, "generator");
    return 1;
}

lua_State *host_state(void)
{
    lua_State *lua = luaL_newstate();
    if (!lua)
        return NULL;
    luaL_openlibs(lua);
    set_searchers(lua);
    luaL_requiref(lua, "host", open_host, 0);
    lua_pop(lua, 1);
    return lua;
}

/* Message handler: user errors (tables) pass through, anything else is a bug and gets its traceback. */
static int explain(lua_State *lua)
{
    if (lua_type(lua, 1) == LUA_TTABLE)
        return 1;
    luaL_traceback(lua, lua, luaL_tolstring(lua, 1, NULL), 1);
    return 1;
}

/* One line, whatever bytes a hostile file has put into it, NULs included. */
static void print_error(const char *message, size_t length)
{
    fputs("lathe: error: ", stderr);
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)message[i];
        if (byte < 0x20 || byte == 0x7f)
            fprintf(stderr, "\\x%02x", byte);
        else
            fputc(byte, stderr);
    }
    fputc('\n', stderr);
}

/* The message of the user error on top of the stack. */
static void print_message(lua_State *lua)
{
    size_t length;
    lua_getfield(lua, -1, "message");
    const char *message = lua_tolstring(lua, -1, &length);
    if (message)
        print_error(message, length);
    else
        print_error("unknown error", strlen("unknown error"));
    lua_pop(lua, 1);
}

/* The state that an interruption stops: a signal handler has no argument. */
static lua_State *interruptible;
static volatile sig_atomic_t signal_caught;

static void raise_interruption(lua_State *lua, lua_Debug *where)
{
    (void)where;
    lua_sethook(lua, NULL, 0, 0);
    lua_createtable(lua, 0, 2);
    lua_pushliteral(lua, "interrupted; nothing was changed");
    lua_setfield(lua, -2, "message");
    lua_pushinteger(lua, 128 + signal_caught); /* as a shell would say it */
    lua_setfield(lua, -2, "status");
    lua_error(lua);
}

/* As the lua program does it: setting a hook is the one thing that a handler may do to a state. */
static void on_signal(int number)
{
    signal(number, SIG_DFL); /* the second one ends the process */
    signal_caught = number;
    lua_sethook(interruptible, raise_interruption, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
}

static void watch_signals(lua_State *lua)
{
    struct sigaction action = {.sa_handler = on_signal};
    interruptible = lua;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int host_main(int argc, char **argv)
{
    setlocale(LC_ALL, "C");
    lua_State *lua = host_state();
    if (!lua) {
        print_error("out of memory", strlen("out of memory"));
        return 1;
    }
    watch_signals(lua);
    int status = 1;
    lua_pushcfunction(lua, explain);
    lua_getglobal(lua, "require");
    lua_pushstring(lua, "main");
    int result = lua_pcall(lua, 1, 1, 1);
    if (result == LUA_OK) {
        luaL_checkstack(lua, argc + 4, "too many arguments");
        for (int i = 1; i < argc; i++)
            lua_pushstring(lua, argv[i]);
        result = lua_pcall(lua, argc - 1, 1, 1);
    }
    if (result == LUA_OK) {
        status = lua_isinteger(lua, -1) ? (int)lua_tointeger(lua, -1) : 0;
    } else if (lua_istable(lua, -1)) {
        print_message(lua);
        lua_getfield(lua, -1, "status");
        if (lua_isinteger(lua, -1))
            status = (int)lua_tointeger(lua, -1);
    } else {
        fprintf(stderr, "lathe: internal error (this is a bug in lathe): %s\n", lua_tostring(lua, -1));
        status = 70; /* EX_SOFTWARE */
    }
    lua_close(lua);
    return status;
}
