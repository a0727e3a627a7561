/* Child processes (the C compiler), folders, and the atomic exchange that puts a finished package in place. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host.h"

#define CHILDREN "lathe.children" /* registry table: pid -> true, of the children that run */

static void remember_child(lua_State *lua, pid_t child, int runs)
{
    luaL_getsubtable(lua, LUA_REGISTRYINDEX, CHILDREN);
    if (runs)
        lua_pushboolean(lua, 1);
    else
        lua_pushnil(lua);
    lua_rawseti(lua, -2, child);
    lua_pop(lua, 1);
}

/* Builds a NULL-terminated argv from the list at `index`; the strings stay owned by Lua. */
static char **check_arguments(lua_State *lua, int index)
{
    luaL_checktype(lua, index, LUA_TTABLE);
    lua_Integer count = (lua_Integer)lua_rawlen(lua, index);
    luaL_argcheck(lua, count > 0, index, "empty command");
    char **arguments = lua_newuserdatauv(lua, ((size_t)count + 1) * sizeof *arguments, 0);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(lua, index, i);
        arguments[i - 1] = (char *)(uintptr_t)luaL_checkstring(lua, -1);
        lua_pop(lua, 1);
    }
    arguments[count] = NULL;
    return arguments;
}

/* host.spawn(arguments, directory, output_file) -> pid. stdout and stderr go to the file. */
static int spawn(lua_State *lua)
{
    char **arguments = check_arguments(lua, 1);
    const char *directory = luaL_checkstring(lua, 2);
    const char *output = luaL_checkstring(lua, 3);
    /* No signal reaches the child before it has its own handling back: it would be lost in ours. */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0); /* with what it starts itself: a compiler's passes end with it */
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (child < 0)
        host_fail(lua, "%s: cannot be started: %s", arguments[0], strerror(errno));
    if (child == 0) {
        int file = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (file < 0 || chdir(directory) != 0 || dup2(file, 1) < 0 || dup2(file, 2) < 0)
            _exit(126);
        execvp(arguments[0], arguments);
        dprintf(2, "%s: cannot be started: %s\n", arguments[0], strerror(errno));
        _exit(127);
    }
    remember_child(lua, child, 1);
    lua_pushinteger(lua, child);
    return 1;
}

/* host.wait() -> pid, status of the next child to end (128 + signal when a signal ended it); nil without children. */
static int wait_child(lua_State *lua)
{
    int status;
    pid_t child = wait(&status);
    if (child < 0)
        return 0; /* no children, or a signal: the interruption is raised when this returns */
    remember_child(lua, child, 0);
    lua_pushinteger(lua, child);
    lua_pushinteger(lua, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return 2;
}

/* Ends a child and everything that it has started, and waits until nothing of it writes any more. */
static void end_child(pid_t child)
{
    setpgid(child, child); /* it may not have come to that itself */
    kill(-child, SIGTERM);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        continue;
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; i < 2000 && kill(-child, 0) == 0; i++)
        nanosleep(&pause, NULL);
}

/* host.end_children(): ends the children that still run. */
static int end_children(lua_State *lua)
{
    luaL_getsubtable(lua, LUA_REGISTRYINDEX, CHILDREN);
    lua_pushnil(lua);
    while (lua_next(lua, -2)) {
        pid_t child = (pid_t)lua_tointeger(lua, -2);
        end_child(child);
        lua_pop(lua, 1);
        lua_pushvalue(lua, -1);
        lua_pushnil(lua);
        lua_rawset(lua, -4);
    }
    return 0;
}

static int make_directory(lua_State *lua)
{
    const char *path = luaL_checkstring(lua, 1);
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        host_fail(lua, "%s: the folder cannot be made: %s", path, strerror(errno));
    return 0;
}

/* host.new_directory(path) -> true, or false when something of that name is there. */
static int new_directory(lua_State *lua)
{
    const char *path = luaL_checkstring(lua, 1);
    int made = mkdir(path, 0777) == 0;
    if (!made && errno != EEXIST)
        host_fail(lua, "%s: the folder cannot be made: %s", path, strerror(errno));
    lua_pushboolean(lua, made);
    return 1;
}

/* host.remove_empty(path) -> whether an empty folder was there, which is gone. */
static int remove_empty(lua_State *lua)
{
    lua_pushboolean(lua, rmdir(luaL_checkstring(lua, 1)) == 0);
    return 1;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *position)
{
    (void)status;
    (void)type;
    (void)position;
    return remove(path);
}

/* host.remove_tree(path): the folder and all in it; nothing happens when it is not there. */
static int remove_tree(lua_State *lua)
{
    const char *path = luaL_checkstring(lua, 1);
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0 && errno != ENOENT)
        host_fail(lua, "%s: cannot be removed: %s", path, strerror(errno));
    return 0;
}

/* host.replace(new, old): `new` takes the name `old` in one step; what was there is left under the name `new`.
   -> whether something was there. */
static int replace(lua_State *lua)
{
    const char *new = luaL_checkstring(lua, 1);
    const char *old = luaL_checkstring(lua, 2);
    if (renameat2(AT_FDCWD, new, AT_FDCWD, old, RENAME_NOREPLACE) == 0)
        return lua_pushboolean(lua, 0), 1;
    if (errno == EEXIST && renameat2(AT_FDCWD, new, AT_FDCWD, old, RENAME_EXCHANGE) == 0)
        return lua_pushboolean(lua, 1), 1;
    return host_fail(lua, "%s: cannot be put in place: %s", old, strerror(errno));
}

static int rename_file(lua_State *lua)
{
    const char *from = luaL_checkstring(lua, 1), *to = luaL_checkstring(lua, 2);
    if (rename(from, to) != 0)
        host_fail(lua, "%s: cannot be renamed to %s: %s", from, to, strerror(errno));
    return 0;
}

static int make_executable(lua_State *lua)
{
    const char *path = luaL_checkstring(lua, 1);
    if (chmod(path, 0755) != 0)
        host_fail(lua, "%s: cannot be made executable: %s", path, strerror(errno));
    return 0;
}

/* host.real_path(path) -> absolute path without links, or nil */
static int real_path(lua_State *lua)
{
    char *path = realpath(luaL_checkstring(lua, 1), NULL);
    lua_pushstring(lua, path); /* nil for NULL */
    free(path);
    return 1;
}

static int process_id(lua_State *lua)
{
    lua_pushinteger(lua, getpid());
    return 1;
}

static int processors(lua_State *lua)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    lua_pushinteger(lua, count > 0 ? count : 1);
    return 1;
}

/* host.peak_memory() -> bytes of this process at most, bytes of the largest child so far */
static int peak_memory(lua_State *lua)
{
    struct rusage self, children;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    lua_pushinteger(lua, (lua_Integer)self.ru_maxrss * 1024);
    lua_pushinteger(lua, (lua_Integer)children.ru_maxrss * 1024);
    return 2;
}

/* host.clock() -> seconds, monotonic */
static int clock_seconds(lua_State *lua)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(lua, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
    return 1;
}

static int is_terminal(lua_State *lua)
{
    lua_pushboolean(lua, isatty(2));
    return 1;
}

void host_open_process(lua_State *lua)
{
    static const luaL_Reg functions[] = {{"spawn", spawn},
                                         {"wait", wait_child},
                                         {"end_children", end_children},
                                         {"make_directory", make_directory},
                                         {"new_directory", new_directory},
                                         {"remove_empty", remove_empty},
                                         {"remove_tree", remove_tree},
                                         {"replace", replace},
                                         {"rename", rename_file},
                                         {"make_executable", make_executable},
                                         {"real_path", real_path},
                                         {"process_id", process_id},
                                         {"processors", processors},
                                         {"peak_memory", peak_memory},
                                         {"clock", clock_seconds},
                                         {"is_terminal", is_terminal},
                                         {NULL, NULL}};
    luaL_setfuncs(lua, functions, 0);
}
