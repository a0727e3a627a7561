/* Locks between processes: which folders a build still works in. A lock ends with the process that holds it, however that
   ends, so what is left behind can be told from what is in use. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host.h"

#define HOST_LOCK "lathe.lock"

struct lock {
    int descriptor; /* -1: given back */
};

static int lock_close(lua_State *lua)
{
    struct lock *lock = luaL_checkudata(lua, 1, HOST_LOCK);
    if (lock->descriptor >= 0)
        close(lock->descriptor);
    lock->descriptor = -1;
    return 0;
}

/* Whether the descriptor is still the file of that name: who waited for a lock may get that of a file which is gone. */
static int is_there(int descriptor, const char *path)
{
    struct stat own, named;
    return fstat(descriptor, &own) == 0 && stat(path, &named) == 0 && own.st_dev == named.st_dev &&
           own.st_ino == named.st_ino;
}

/* host.lock(path, make) -> a lock, or nil when another process holds it, when the file is not there and `make` is false,
   or when it went away in the meantime. lock:close() gives it back; children do not inherit it. */
static int take_lock(lua_State *lua)
{
    const char *path = luaL_checkstring(lua, 1);
    int make = lua_toboolean(lua, 2) ? O_CREAT : 0;
    struct lock *lock = lua_newuserdatauv(lua, sizeof *lock, 0);
    lock->descriptor = -1;
    luaL_setmetatable(lua, HOST_LOCK);
    lock->descriptor = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | make, 0666);
    if (lock->descriptor < 0) {
        if (errno == ENOENT || !make)
            return 0;
        return host_fail(lua, "%s: cannot be made: %s", path, strerror(errno));
    }
    if (flock(lock->descriptor, LOCK_EX | LOCK_NB) != 0) {
        /* A file system without locks: nobody else gets one there either, so nothing is taken for a leftover. */
        int unknown = errno != EWOULDBLOCK;
        return make && unknown ? 1 : 0;
    }
    return is_there(lock->descriptor, path) ? 1 : 0;
}

void host_open_lock(lua_State *lua)
{
    static const luaL_Reg methods[] = {
        {"close", lock_close}, {"__gc", lock_close}, {"__close", lock_close}, {NULL, NULL}};
    luaL_newmetatable(lua, HOST_LOCK);
    luaL_setfuncs(lua, methods, 0);
    lua_pushvalue(lua, -1);
    lua_setfield(lua, -2, "__index");
    lua_pop(lua, 1);
    lua_pushcfunction(lua, take_lock);
    lua_setfield(lua, -2, "lock");
}
