/* NVRTC, the CUDA compiler as a library, opened when a package has a GPU target: sources and headers are given from
   memory, so that neither a toolkit's headers nor a GPU is needed. Our own declarations spare nvrtc.h. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"

#define HOST_NVRTC "host.nvrtc"

typedef struct nvrtc_program nvrtc_program;

struct nvrtc {
    void *library, *builtins;
    int (*version)(int *major, int *minor);
    int (*create)(nvrtc_program **program, const char *source, const char *name, int headers,
                  const char *const *header_text, const char *const *header_name);
    int (*destroy)(nvrtc_program **program);
    int (*compile)(nvrtc_program *program, int options, const char *const *option);
    int (*log_size)(nvrtc_program *program, size_t *bytes);
    int (*log)(nvrtc_program *program, char *text);
    int (*cubin_size)(nvrtc_program *program, size_t *bytes);
    int (*cubin)(nvrtc_program *program, char *data);
    int (*ptx_size)(nvrtc_program *program, size_t *bytes);
    int (*ptx)(nvrtc_program *program, char *text);
    const char *(*error_text)(int result);
};

static const struct {
    const char *name;
    size_t offset;
} symbols[] = {
    {"nvrtcVersion", offsetof(struct nvrtc, version)},
    {"nvrtcCreateProgram", offsetof(struct nvrtc, create)},
    {"nvrtcDestroyProgram", offsetof(struct nvrtc, destroy)},
    {"nvrtcCompileProgram", offsetof(struct nvrtc, compile)},
    {"nvrtcGetProgramLogSize", offsetof(struct nvrtc, log_size)},
    {"nvrtcGetProgramLog", offsetof(struct nvrtc, log)},
    {"nvrtcGetCUBINSize", offsetof(struct nvrtc, cubin_size)},
    {"nvrtcGetCUBIN", offsetof(struct nvrtc, cubin)},
    {"nvrtcGetPTXSize", offsetof(struct nvrtc, ptx_size)},
    {"nvrtcGetPTX", offsetof(struct nvrtc, ptx)},
    {"nvrtcGetErrorString", offsetof(struct nvrtc, error_text)},
};

static int close_library(lua_State *lua)
{
    struct nvrtc *nvrtc = luaL_checkudata(lua, 1, HOST_NVRTC);
    if (nvrtc->library)
        dlclose(nvrtc->library);
    if (nvrtc->builtins)
        dlclose(nvrtc->builtins);
    nvrtc->library = nvrtc->builtins = NULL;
    return 0;
}

/* The file of the library, links followed; free it. NULL when it cannot be told. */
static char *path_of(const struct nvrtc *nvrtc)
{
    Dl_info info;
    void *symbol;
    memcpy(&symbol, &nvrtc->version, sizeof symbol);
    return dladdr(symbol, &info) && info.dli_fname ? realpath(info.dli_fname, NULL) : NULL;
}

/* NVRTC opens a second library, which it finds by its name alone when that is open already: PyPI's package does not know
   its own folder. */
static void open_builtins(struct nvrtc *nvrtc)
{
    int major = 0, minor = 0;
    char *path = path_of(nvrtc), *slash = path ? strrchr(path, '/') : NULL;
    if (slash && nvrtc->version(&major, &minor) == 0) {
        char file[4096];
        snprintf(file, sizeof file, "%.*s/libnvrtc-builtins.so.%d.%d", (int)(slash - path), path, major, minor);
        nvrtc->builtins = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    }
    free(path);
}

/* host.nvrtc(path or name) -> the library; or nil and why it cannot be opened */
static int open_library(lua_State *lua)
{
    const char *path = luaL_checkstring(lua, 1);
    struct nvrtc *nvrtc = lua_newuserdatauv(lua, sizeof *nvrtc, 0);
    *nvrtc = (struct nvrtc){0};
    luaL_setmetatable(lua, HOST_NVRTC);
    nvrtc->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!nvrtc->library) {
        lua_pushnil(lua);
        lua_pushstring(lua, dlerror());
        return 2;
    }
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *symbol = dlsym(nvrtc->library, symbols[i].name);
        if (!symbol) {
            lua_pushnil(lua);
            lua_pushfstring(lua, "it has no function %s", symbols[i].name);
            return 2;
        }
        memcpy((char *)nvrtc + symbols[i].offset, &symbol, sizeof symbol);
    }
    open_builtins(nvrtc);
    return 1;
}

static struct nvrtc *check_library(lua_State *lua)
{
    struct nvrtc *nvrtc = luaL_checkudata(lua, 1, HOST_NVRTC);
    luaL_argcheck(lua, nvrtc->library, 1, "the library is closed");
    return nvrtc;
}

/* nvrtc:version() -> major, minor */
static int version(lua_State *lua)
{
    int major = 0, minor = 0;
    check_library(lua)->version(&major, &minor);
    lua_pushinteger(lua, major);
    lua_pushinteger(lua, minor);
    return 2;
}

/* nvrtc:path() -> the file that was opened, links followed */
static int library_path(lua_State *lua)
{
    char *path = path_of(check_library(lua));
    lua_pushstring(lua, path);
    free(path);
    return 1;
}

/* The strings of the list at `index`, which keeps them alive. */
static const char **check_strings(lua_State *lua, int index, int *count)
{
    luaL_checktype(lua, index, LUA_TTABLE);
    *count = (int)lua_rawlen(lua, index);
    const char **strings = lua_newuserdatauv(lua, ((size_t)*count + 1) * sizeof *strings, 0);
    for (int i = 0; i < *count; i++) {
        lua_rawgeti(lua, index, i + 1);
        strings[i] = luaL_checkstring(lua, -1);
        lua_pop(lua, 1);
    }
    return strings;
}

/* Pushes what a pair of NVRTC's functions (size, then content) returns. */
static void push_content(lua_State *lua, nvrtc_program *program, int (*size_of)(nvrtc_program *, size_t *),
                         int (*content_of)(nvrtc_program *, char *))
{
    size_t bytes = 0;
    luaL_Buffer buffer;
    if (size_of(program, &bytes) != 0)
        bytes = 0;
    char *content = luaL_buffinitsize(lua, &buffer, bytes + 1);
    if (bytes && content_of(program, content) != 0)
        bytes = 0;
    luaL_pushresultsize(&buffer, bytes);
}

/* nvrtc:compile(name, text, header names, header texts, options, "cubin" or "ptx") -> image (or nil), log */
static int compile(lua_State *lua)
{
    const struct nvrtc *nvrtc = check_library(lua);
    const char *name = luaL_checkstring(lua, 2);
    const char *text = luaL_checkstring(lua, 3);
    int headers, texts, options;
    const char **header_name = check_strings(lua, 4, &headers);
    const char **header_text = check_strings(lua, 5, &texts);
    const char **option = check_strings(lua, 6, &options);
    int ptx = strcmp(luaL_checkstring(lua, 7), "ptx") == 0;
    luaL_argcheck(lua, headers == texts, 5, "as many texts as names");

    nvrtc_program *program = NULL;
    int result = nvrtc->create(&program, text, name, headers, header_text, header_name);
    if (result != 0)
        return luaL_error(lua, "NVRTC: %s", nvrtc->error_text(result));
    result = nvrtc->compile(program, options, option);
    if (result != 0)
        lua_pushnil(lua);
    else if (ptx)
        push_content(lua, program, nvrtc->ptx_size, nvrtc->ptx);
    else
        push_content(lua, program, nvrtc->cubin_size, nvrtc->cubin);
    push_content(lua, program, nvrtc->log_size, nvrtc->log);
    nvrtc->destroy(&program);
    return 2;
}

void host_open_nvrtc(lua_State *lua)
{
    static const luaL_Reg methods[] = {
        {"version", version}, {"path", library_path}, {"compile", compile}, {"__gc", close_library}, {NULL, NULL}};
    luaL_newmetatable(lua, HOST_NVRTC);
    luaL_setfuncs(lua, methods, 0);
    lua_pushvalue(lua, -1);
    lua_setfield(lua, -2, "__index");
    lua_pop(lua, 1);
    lua_pushcfunction(lua, open_library);
    lua_setfield(lua, -2, "nvrtc");
}
