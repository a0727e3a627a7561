#include <pcre2.h>

#include "host.h"

/* host.regex_check(pattern) -> true, or nil, message, offset. The options are those of runtime/tokenizer_split.c. */
static int regex_check(lua_State *lua)
{
    size_t length;
    const char *pattern = luaL_checklstring(lua, 1, &length);
    int code;
    PCRE2_SIZE offset;
    pcre2_code *regex = pcre2_compile((PCRE2_SPTR)pattern, length, PCRE2_UTF | PCRE2_UCP, &code, &offset, NULL);
    if (regex) {
        pcre2_code_free(regex);
        lua_pushboolean(lua, 1);
        return 1;
    }
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(code, message, sizeof message);
    lua_pushnil(lua);
    lua_pushstring(lua, (const char *)message);
    lua_pushinteger(lua, (lua_Integer)offset);
    return 3;
}

void host_open_regex(lua_State *lua)
{
    lua_pushcfunction(lua, regex_check);
    lua_setfield(lua, -2, "regex_check");
}
