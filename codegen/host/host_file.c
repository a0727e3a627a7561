#include "host_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "host.h"

struct mapped_file *host_check_file(lua_State *lua, int index)
{
    struct mapped_file *file = luaL_checkudata(lua, index, HOST_FILE);
    if (!file->path)
        luaL_error(lua, "the file is closed");
    return file;
}

static int file_open(lua_State *lua)
{
    const char *path = luaL_checkstring(lua, 1);
    struct mapped_file *file = lua_newuserdatauv(lua, sizeof *file, 0);
    *file = (struct mapped_file){0};
    luaL_setmetatable(lua, HOST_FILE);

    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a named pipe must not hold us up */
    if (descriptor < 0)
        host_fail(lua, "%s: cannot be opened: %s", path, strerror(errno));
    struct stat status;
    if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(descriptor);
        host_fail(lua, "%s: expected a regular file", path);
    }
    file->size = (uint64_t)status.st_size;
    if (file->size > 0) {
        void *data = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (data == MAP_FAILED) {
            int code = errno;
            close(descriptor);
            host_fail(lua, "%s: cannot be mapped: %s", path, strerror(code));
        }
        file->data = data;
    }
    close(descriptor);
    file->path = strdup(path);
    if (!file->path)
        luaL_error(lua, "out of memory");
    return 1;
}

static int file_close(lua_State *lua)
{
    struct mapped_file *file = luaL_checkudata(lua, 1, HOST_FILE);
    if (file->data)
        munmap((void *)(uintptr_t)file->data, file->size);
    free(file->path);
    *file = (struct mapped_file){0};
    return 0;
}

static int file_size(lua_State *lua)
{
    lua_pushinteger(lua, (lua_Integer)host_check_file(lua, 1)->size);
    return 1;
}

static int file_path(lua_State *lua)
{
    lua_pushstring(lua, host_check_file(lua, 1)->path);
    return 1;
}

/* file:read(offset, length): exactly those bytes, or a user error when the file is shorter. */
static int file_read(lua_State *lua)
{
    struct mapped_file *file = host_check_file(lua, 1);
    lua_Integer offset = luaL_checkinteger(lua, 2);
    lua_Integer length = luaL_checkinteger(lua, 3);
    if (offset < 0 || length < 0 || (uint64_t)offset > file->size || (uint64_t)length > file->size - (uint64_t)offset)
        host_fail(lua, "%s: expected %lld bytes at offset %lld, the file has %llu: it is truncated or damaged",
                  file->path, (long long)length, (long long)offset, (unsigned long long)file->size);
    lua_pushlstring(lua, length ? (const char *)file->data + offset : "", (size_t)length);
    return 1;
}

static int push_hash(lua_State *lua, XXH128_hash_t hash)
{
    static const char digits[] = "0123456789abcdef";
    XXH128_canonical_t canonical;
    char text[32];
    XXH128_canonicalFromHash(&canonical, hash);
    for (int i = 0; i < 16; i++) {
        text[2 * i] = digits[canonical.digest[i] >> 4];
        text[2 * i + 1] = digits[canonical.digest[i] & 15];
    }
    lua_pushlstring(lua, text, sizeof text);
    return 1;
}

/* file:hash(): XXH3-128 of the whole file. Pages are dropped behind the reader, so that memory stays flat. */
static int file_hash(lua_State *lua)
{
    struct mapped_file *file = host_check_file(lua, 1);
    const uint64_t block = 8u << 20;
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return luaL_error(lua, "out of memory");
    XXH3_128bits_reset(state);
    for (uint64_t offset = 0; offset < file->size; offset += block) {
        uint64_t bytes = file->size - offset < block ? file->size - offset : block;
        XXH3_128bits_update(state, file->data + offset, bytes);
        madvise((void *)(uintptr_t)(file->data + offset), bytes, MADV_DONTNEED);
    }
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    return push_hash(lua, hash);
}

/* host.hash(string): XXH3-128 in hexadecimal. */
static int hash(lua_State *lua)
{
    size_t bytes;
    const char *text = luaL_checklstring(lua, 1, &bytes);
    return push_hash(lua, XXH3_128bits(text, bytes));
}

/* host.trailer_hash(string): XXH3-64, 8 bytes little-endian: what ends a package's trailer. */
static int trailer_hash(lua_State *lua)
{
    size_t bytes;
    const char *text = luaL_checklstring(lua, 1, &bytes);
    XXH64_hash_t hash = XXH3_64bits(text, bytes);
    char little[8];
    for (int i = 0; i < 8; i++)
        little[i] = (char)(hash >> (8 * i) & 0xff);
    lua_pushlstring(lua, little, sizeof little);
    return 1;
}

static int exists(lua_State *lua)
{
    struct stat status;
    lua_pushboolean(lua, stat(luaL_checkstring(lua, 1), &status) == 0);
    return 1;
}

static int is_directory(lua_State *lua)
{
    struct stat status;
    lua_pushboolean(lua, stat(luaL_checkstring(lua, 1), &status) == 0 && S_ISDIR(status.st_mode));
    return 1;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* host.file_status(path) -> bytes, seconds since it was written or touched; nil when there is no such file */
static int file_status(lua_State *lua)
{
    struct stat status;
    struct timespec now;
    if (stat(luaL_checkstring(lua, 1), &status) != 0)
        return 0;
    clock_gettime(CLOCK_REALTIME, &now);
    lua_pushinteger(lua, (lua_Integer)status.st_size);
    lua_pushnumber(lua,
                   difftime(now.tv_sec, status.st_mtim.tv_sec) + 1e-9 * (double)(now.tv_nsec - status.st_mtim.tv_nsec));
    return 2;
}

/* host.touch(path): its time becomes now; nothing happens when that is not allowed. */
static int touch(lua_State *lua)
{
    utimensat(AT_FDCWD, luaL_checkstring(lua, 1), NULL, 0);
    return 0;
}

/* host.list(directory): the names in it, sorted, without "." and "..". */
static int list(lua_State *lua)
{
    const char *path = luaL_checkstring(lua, 1);
    DIR *directory = opendir(path);
    if (!directory)
        host_fail(lua, "%s: cannot be listed: %s", path, strerror(errno));
    size_t count = 0, capacity = 0;
    char **names = NULL;
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (count == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            char **grown = realloc(names, capacity * sizeof *names);
            if (!grown)
                break;
            names = grown;
        }
        names[count++] = strdup(entry->d_name);
    }
    closedir(directory);
    if (count)
        qsort(names, count, sizeof *names, compare_names);
    lua_createtable(lua, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushstring(lua, names[i]);
        lua_rawseti(lua, -2, (lua_Integer)i + 1);
        free(names[i]);
    }
    free(names);
    return 1;
}

void host_open_file(lua_State *lua)
{
    static const luaL_Reg methods[] = {{"size", file_size},     {"path", file_path},   {"read", file_read},
                                       {"hash", file_hash},     {"close", file_close}, {"__gc", file_close},
                                       {"__close", file_close}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"open", file_open},
                                         {"hash", hash},
                                         {"trailer_hash", trailer_hash},
                                         {"exists", exists},
                                         {"is_directory", is_directory},
                                         {"file_status", file_status},
                                         {"touch", touch},
                                         {"list", list},
                                         {NULL, NULL}};
    luaL_newmetatable(lua, HOST_FILE);
    luaL_setfuncs(lua, methods, 0);
    lua_pushvalue(lua, -1);
    lua_setfield(lua, -2, "__index");
    lua_pop(lua, 1);
    luaL_setfuncs(lua, functions, 0);
}
