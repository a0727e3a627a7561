#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host.h"

#define HEAP_LIMIT ((size_t)256 << 20)      /* bytes that Lua may hold at any moment */
#define HEAP_GROWTH_LIMIT ((size_t)8 << 20) /* what may remain of CHECK_EVERY runs */
#define CHECK_EVERY 4096u
#define COLLECT_EVERY 32u /* runs; each full collection frees what the runs before it left */
#define LONGEST_MESSAGE 1500u

/* Of the sanitizers; absent in a build without them. */
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

void fuzz_abort(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("==fuzz: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    abort();
}

void fuzz_check_message(const char *message, size_t length)
{
    if (length == 0)
        fuzz_abort("an empty message");
    if (length > LONGEST_MESSAGE)
        fuzz_abort("a message of %zu bytes: %.*s...", length, 2000, message);
}

void fuzz_split(const uint8_t *data, size_t size, struct fuzz_part *parts, size_t count)
{
    const char *at = (const char *)data;
    memset(parts, 0, count * sizeof *parts);
    for (size_t i = 0; i < count; i++) {
        const char *end = i + 1 < count && size ? memchr(at, '\0', size) : NULL;
        parts[i] = (struct fuzz_part){at, end ? (size_t)(end - at) : size};
        if (!end)
            return;
        size -= parts[i].length + 1;
        at = end + 1;
    }
}

/* ---- files ---- */

static char folder[200];

static void remove_folder(void)
{
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0)
        fprintf(stderr, "%s: cannot be removed\n", folder);
}

const char *fuzz_folder(void)
{
    if (folder[0])
        return folder;
    const char *places[] = {getenv("TMPDIR"), "/dev/shm", "/tmp"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (!places[i] || snprintf(folder, sizeof folder, "%s/lathe-fuzz-XXXXXX", places[i]) >= (int)sizeof folder)
            continue;
        if (mkdtemp(folder)) {
            atexit(remove_folder);
            return folder;
        }
    }
    fuzz_abort("no folder for temporary files: %s", strerror(errno));
}

const char *fuzz_path(const char *name)
{
    static struct {
        const char *name;
        char path[256];
    } known[8];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!known[i].name) {
            known[i].name = name;
            snprintf(known[i].path, sizeof known[i].path, "%s/%s", fuzz_folder(), name);
        }
        if (strcmp(known[i].name, name) == 0)
            return known[i].path;
    }
    fuzz_abort("more files than expected");
}

void fuzz_file(const char *name, const void *data, size_t length)
{
    const char *path = fuzz_path(name);
    /* A new file each time: the one before may still be mapped by what Lua has not collected yet. */
    if (unlink(path) != 0 && errno != ENOENT)
        fuzz_abort("%s: cannot be removed: %s", path, strerror(errno));
    if (!data)
        return;
    int descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0 || write(descriptor, data, length) != (ssize_t)length || close(descriptor) != 0)
        fuzz_abort("%s: cannot be written: %s", path, strerror(errno));
}

/* ---- coverage of Lua ----
   The readers are Lua, which the compiler does not instrument. libFuzzer takes these counters for its own: one for each
   pair of lines that ran one after the other. */

#define COUNTERS 65536u
static uint8_t counters[COUNTERS] __attribute__((section("__libfuzzer_extra_counters"), used));
static uint32_t last_line;

static uint32_t hash_name(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash;
}

/* The hash of a chunk's name, remembered by its address, which lives as long as the chunk. */
static uint32_t chunk_hash(const char *name)
{
    static struct {
        const char *name;
        uint32_t hash;
    } cache[256];
    size_t slot = (uintptr_t)name / 16 % 256;
    if (cache[slot].name != name) {
        cache[slot].name = name;
        cache[slot].hash = hash_name(name);
    }
    return cache[slot].hash;
}

static void count_line(lua_State *lua, lua_Debug *where)
{
    lua_getinfo(lua, "S", where);
    uint32_t line = (chunk_hash(where->source) ^ (uint32_t)where->currentline) * 2654435761u >> 16;
    counters[(line ^ last_line) % COUNTERS]++;
    last_line = line >> 1;
}

/* ---- the Lua state ---- */

static size_t heap;

static void *allocate(void *context, void *block, size_t old, size_t new)
{
    (void)context;
    size_t before = block ? old : 0;
    if (new == 0) {
        heap -= before;
        free(block);
        return NULL;
    }
    if (new > before &&new - before > HEAP_LIMIT - heap)
        return NULL;
    void *result = realloc(block, new);
    if (result)
        heap += new - before;
    return result;
}

/* Errors for users (tables) pass through, anything else is a bug and gets its traceback. */
static int explain(lua_State *lua)
{
    if (!lua_istable(lua, 1))
        luaL_traceback(lua, lua, luaL_tolstring(lua, 1, NULL), 1);
    return 1;
}

/* Where the generator calls families and templates, which may be a user's, it makes their faults messages. Here they are
   its own. */
static int strict_pcall(lua_State *lua)
{
    lua_pushcfunction(lua, explain);
    lua_insert(lua, 1);
    int status = lua_pcall(lua, lua_gettop(lua) - 2, LUA_MULTRET, 1);
    if (status != LUA_OK && !lua_istable(lua, -1))
        fuzz_abort("a Lua error that is no message for a user: %s", lua_tostring(lua, -1));
    lua_pushboolean(lua, status == LUA_OK);
    lua_replace(lua, 1);
    return lua_gettop(lua);
}

static int print_nothing(lua_State *lua)
{
    (void)lua;
    return 0;
}

static lua_State *state;

lua_State *fuzz_state(void)
{
    if (state)
        return state;
    state = host_state();
    if (!state)
        fuzz_abort("no memory for Lua");
    heap = (size_t)lua_gc(state, LUA_GCCOUNT) * 1024 + (size_t)lua_gc(state, LUA_GCCOUNTB);
    lua_setallocf(state, allocate, NULL);
    lua_register(state, "pcall", strict_pcall);
    lua_register(state, "print", print_nothing);
    lua_getglobal(state, "io");
    lua_pushcfunction(state, print_nothing);
    lua_setfield(state, -2, "write");
    lua_pop(state, 1);
    lua_pushcfunction(state, explain);
    lua_sethook(state, count_line, LUA_MASKLINE, 0);
    return state;
}

/* Collects now and then, and sees to it that nothing remains. */
static void collect(lua_State *lua)
{
    static unsigned runs;
    static size_t settled;
    if (++runs % COLLECT_EVERY == 0)
        lua_gc(lua, LUA_GCCOLLECT);
    if (runs % CHECK_EVERY != 0)
        return;
    lua_gc(lua, LUA_GCCOLLECT); /* what finalizers kept through the first */
    if (settled && heap > settled + HEAP_GROWTH_LIMIT)
        fuzz_abort("Lua's heap grew from %zu to %zu bytes in %u runs", settled, heap, CHECK_EVERY);
    settled = heap;
    if (__lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check())
        fuzz_abort("memory was leaked in the last %u runs", CHECK_EVERY);
}

static void check_refusal(lua_State *lua)
{
    size_t length;
    if (lua_getfield(lua, -1, "message") != LUA_TSTRING)
        fuzz_abort("a refusal without a message");
    const char *message = lua_tolstring(lua, -1, &length);
    fuzz_check_message(message, length);
    if (getenv("FUZZ_SHOW"))
        fprintf(stderr, "refused: %s\n", message);
}

bool fuzz_lua(const char *source, const char *path, size_t size)
{
    static const char *loaded;
    lua_State *lua = fuzz_state();
    lua_settop(lua, 1);
    collect(lua);
    if (loaded != source) {
        if (luaL_loadbufferx(lua, source, strlen(source), "=target", "t") != LUA_OK ||
            lua_pcall(lua, 0, 1, 1) != LUA_OK)
            fuzz_abort("%s", lua_tostring(lua, -1));
        lua_setfield(lua, LUA_REGISTRYINDEX, "fuzz.target");
        loaded = source;
    }
    last_line = 0;
    lua_getfield(lua, LUA_REGISTRYINDEX, "fuzz.target");
    lua_pushstring(lua, path);
    lua_pushinteger(lua, (lua_Integer)size);
    if (lua_pcall(lua, 2, 1, 1) == LUA_OK)
        return true;
    if (!lua_istable(lua, -1))
        fuzz_abort("a Lua error that is no message for a user: %s", lua_tostring(lua, -1));
    check_refusal(lua);
    return false;
}
