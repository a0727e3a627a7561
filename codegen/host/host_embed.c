#include "host_embed.h"

#include <stdlib.h>
#include <string.h>

#include "host.h"

static int compare_path(const void *key, const void *file)
{
    return strcmp(key, ((const struct embedded *)file)->path);
}

const char *embed_find(const char *path, size_t *bytes)
{
    const struct embedded *file = bsearch(path, embedded_files, embedded_count, sizeof embedded_files[0], compare_path);
    if (!file)
        return NULL;
    *bytes = file->bytes;
    return file->data;
}

/* host.embedded(path) -> string or nil */
static int embedded(lua_State *lua)
{
    size_t bytes;
    const char *data = embed_find(luaL_checkstring(lua, 1), &bytes);
    if (!data)
        return 0;
    lua_pushlstring(lua, data, bytes);
    return 1;
}

/* host.embedded_list(prefix) -> sorted list of paths that start with it */
static int embedded_list(lua_State *lua)
{
    size_t length;
    const char *prefix = luaL_checklstring(lua, 1, &length);
    lua_newtable(lua);
    lua_Integer count = 0;
    for (size_t i = 0; i < embedded_count; i++) {
        if (strncmp(embedded_files[i].path, prefix, length) == 0) {
            lua_pushstring(lua, embedded_files[i].path);
            lua_rawseti(lua, -2, ++count);
        }
    }
    return 1;
}

void host_open_embed(lua_State *lua)
{
    lua_pushcfunction(lua, embedded);
    lua_setfield(lua, -2, "embedded");
    lua_pushcfunction(lua, embedded_list);
    lua_setfield(lua, -2, "embedded_list");
}
