/* Read-only mapped files, as Lua sees them. */
#ifndef LATHE_HOST_FILE_H
#define LATHE_HOST_FILE_H

#include <lua.h>
#include <stdint.h>

#define HOST_FILE "lathe.file" /* metatable */

struct mapped_file {
    const unsigned char *data; /* [size]; NULL for an empty or closed file */
    uint64_t size;
    char *path; /* as given */
};

/* The file at that stack index, or a Lua error. */
struct mapped_file *host_check_file(lua_State *lua, int index);

#endif
