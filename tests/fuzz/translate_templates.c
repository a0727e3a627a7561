/* translate_templates PROGRAM.lua CHAT FOLDER: the C of the chat templates that fuzz_conversation.c renders with. */
#include <stdbool.h>
#include <stdio.h>

#include "host.h"

int main(int argc, char **argv)
{
    lua_State *lua = host_state();
    if (argc != 4 || !lua)
        return 2;
    bool done = luaL_loadfilex(lua, argv[1], "t") == LUA_OK && lua_pcall(lua, 0, 1, 0) == LUA_OK;
    if (done) {
        lua_pushstring(lua, "all");
        lua_pushstring(lua, argv[2]);
        lua_pushstring(lua, argv[3]);
        done = lua_pcall(lua, 3, 0, 0) == LUA_OK;
    }
    if (!done && lua_istable(lua, -1))
        lua_getfield(lua, -1, "message");
    if (!done)
        fprintf(stderr, "%s\n", luaL_tolstring(lua, -1, NULL));
    lua_close(lua);
    return done ? 0 : 1;
}
