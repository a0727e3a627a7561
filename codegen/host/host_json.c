/* JSON to Lua values, on cJSON (the way back is lua/json.lua). What cJSON lets pass is refused here: trailing bytes, duplicate keys,
   invalid UTF-8; and what it would spoil is kept: \u0000 in strings, integers up to 2^53. */
#include <cJSON.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

#include "host.h"

#define ARRAY "lathe.array" /* metatable of decoded arrays, so that [] and {} differ */
#define MAX_DEPTH 128
#define EXACT_INTEGERS 9007199254740992.0 /* 2^53 */

/* cJSON ends strings at NUL. A \u0000 travels through it as this noncharacter, which no real text holds. */
#define NUL_STAND_IN "\xef\xb7\x90" /* U+FDD0 */

struct decoder {
    lua_State *lua;
    const char *what; /* the file's name, for messages */
    bool has_nul;     /* strings hold stand-ins */
};

static bool is_utf8(const char *text, size_t length)
{
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text, *end = at + length;
    while (at < end) {
        utf8proc_int32_t point;
        utf8proc_ssize_t used = *at < 0x80 ? 1 : utf8proc_iterate(at, end - at, &point);
        if (used <= 0)
            return false;
        at += used;
    }
    return true;
}

/* Replaces every \u0000 escape in place by the escape of the stand-in, which is as long. Returns whether there was one;
   *taken: whether the stand-in stands in the text itself, as it is or escaped. */
static bool hide_nul_escapes(char *text, size_t length, bool *taken)
{
    bool found = false;
    *taken = strstr(text, NUL_STAND_IN) != NULL;
    for (size_t i = 0; i + 1 < length; i++) {
        if (text[i] != '\\')
            continue;
        if (length - i >= 6 && strncasecmp(text + i, "\\uFDD0", 6) == 0) {
            *taken = *taken || text[i + 1] == 'u';
        } else if (length - i >= 6 && memcmp(text + i, "\\u0000", 6) == 0) {
            memcpy(text + i, "\\uFDD0", 6);
            found = true;
        }
        i++; /* the escaped character is no escape itself */
    }
    return found;
}

static void push_string(struct decoder *decoder, const char *text)
{
    if (decoder->has_nul && strstr(text, NUL_STAND_IN)) {
        size_t length = strlen(text);
        luaL_Buffer buffer;
        luaL_buffinit(decoder->lua, &buffer);
        for (size_t i = 0; i < length;) {
            if (strncmp(text + i, NUL_STAND_IN, 3) == 0) {
                luaL_addchar(&buffer, '\0');
                i += 3;
            } else {
                luaL_addchar(&buffer, text[i++]);
            }
        }
        luaL_pushresult(&buffer);
    } else {
        lua_pushstring(decoder->lua, text);
    }
}

static void push_value(struct decoder *decoder, const cJSON *item, int depth);

static void push_array(struct decoder *decoder, const cJSON *array, int depth)
{
    lua_State *lua = decoder->lua;
    lua_newtable(lua);
    luaL_setmetatable(lua, ARRAY);
    lua_Integer index = 0;
    for (const cJSON *item = array->child; item; item = item->next) {
        push_value(decoder, item, depth + 1);
        lua_rawseti(lua, -2, ++index);
    }
}

static void push_object(struct decoder *decoder, const cJSON *object, int depth)
{
    lua_State *lua = decoder->lua;
    lua_newtable(lua);
    for (const cJSON *item = object->child; item; item = item->next) {
        push_string(decoder, item->string);
        lua_pushvalue(lua, -1);
        if (lua_rawget(lua, -3) != LUA_TNIL)
            host_fail(lua, "%s: the key \"%.100s\" stands twice in one object; remove one", decoder->what,
                      item->string);
        lua_pop(lua, 1);
        push_value(decoder, item, depth + 1);
        lua_rawset(lua, -3);
    }
}

static void push_number(lua_State *lua, double value)
{
    if (value == floor(value) && fabs(value) <= EXACT_INTEGERS)
        lua_pushinteger(lua, (lua_Integer)value);
    else
        lua_pushnumber(lua, value);
}

static void push_value(struct decoder *decoder, const cJSON *item, int depth)
{
    lua_State *lua = decoder->lua;
    if (depth > MAX_DEPTH)
        host_fail(lua, "%s: expected at most %d levels of nesting, found more", decoder->what, MAX_DEPTH);
    luaL_checkstack(lua, 8, "JSON");
    if (cJSON_IsObject(item))
        push_object(decoder, item, depth);
    else if (cJSON_IsArray(item))
        push_array(decoder, item, depth);
    else if (cJSON_IsString(item))
        push_string(decoder, item->valuestring);
    else if (cJSON_IsNumber(item))
        push_number(lua, item->valuedouble);
    else if (cJSON_IsBool(item))
        lua_pushboolean(lua, cJSON_IsTrue(item));
    else
        lua_pushlightuserdata(lua, NULL);
}

/* The parsed document is owned by a userdata, so that an error half-way through does not leak it. */
static int document_gc(lua_State *lua)
{
    cJSON **document = luaL_checkudata(lua, 1, "lathe.json");
    cJSON_Delete(*document);
    *document = NULL;
    return 0;
}

/* host.json_decode(text, what): see the contract in docs/contributing.md. */
static int json_decode(lua_State *lua)
{
    size_t length;
    const char *text = luaL_checklstring(lua, 1, &length);
    struct decoder decoder = {lua, luaL_optstring(lua, 2, "JSON"), false};
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark */
        text += 3;
        length -= 3;
    }
    if (!is_utf8(text, length))
        host_fail(lua, "%s: expected UTF-8 text, found other bytes; save it as UTF-8", decoder.what);
    if (memchr(text, '\0', length))
        host_fail(lua, "%s: expected JSON, found a NUL byte; the file is damaged", decoder.what);

    char *copy = lua_newuserdatauv(lua, length + 1, 0);
    memcpy(copy, text, length);
    copy[length] = '\0';
    bool taken;
    decoder.has_nul = hide_nul_escapes(copy, length, &taken);
    if (decoder.has_nul && taken)
        host_fail(lua, "%s: holds both \\u0000 and U+FDD0, which is not supported; remove one of them", decoder.what);

    cJSON **document = lua_newuserdatauv(lua, sizeof(cJSON *), 0);
    *document = NULL;
    luaL_setmetatable(lua, "lathe.json");
    const char *end = NULL;
    *document = cJSON_ParseWithLengthOpts(copy, length + 1, &end, 1);
    if (!*document)
        host_fail(lua,
                  "%s: expected valid JSON, found an error near byte %lld of %lld; the file is damaged or truncated",
                  decoder.what, end ? (long long)(end - copy) : 0LL, (long long)length);
    push_value(&decoder, *document, 0);
    cJSON_Delete(*document);
    *document = NULL;
    return 1;
}

/* host.is_array(value): whether it came from a JSON array or from host.array. */
static int is_array(lua_State *lua)
{
    bool array = false;
    if (lua_istable(lua, 1) && lua_getmetatable(lua, 1)) {
        luaL_getmetatable(lua, ARRAY);
        array = lua_rawequal(lua, -1, -2);
    }
    lua_pushboolean(lua, array);
    return 1;
}

/* host.array(table): marks the table as an array, so that an empty one is written as []. */
static int array(lua_State *lua)
{
    luaL_checktype(lua, 1, LUA_TTABLE);
    lua_settop(lua, 1);
    luaL_setmetatable(lua, ARRAY);
    return 1;
}

void host_open_json(lua_State *lua)
{
    static const luaL_Reg functions[] = {
        {"json_decode", json_decode}, {"is_array", is_array}, {"array", array}, {NULL, NULL}};
    luaL_newmetatable(lua, ARRAY);
    lua_pop(lua, 1);
    luaL_newmetatable(lua, "lathe.json");
    lua_pushcfunction(lua, document_gc);
    lua_setfield(lua, -2, "__gc");
    lua_pop(lua, 1);
    luaL_setfuncs(lua, functions, 0);
    lua_pushlightuserdata(lua, NULL);
    lua_setfield(lua, -2, "null");
}
