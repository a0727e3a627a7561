/* A file written from front to back, hashed on the way: the payload of a package, or any other output. */
#ifndef LATHE_HOST_WRITER_H
#define LATHE_HOST_WRITER_H

#include <lua.h>
#include <stddef.h>
#include <stdint.h>
#include <xxhash.h>

#include "error.h"

#define HOST_WRITER "lathe.writer" /* metatable */

struct writer {
    int descriptor; /* -1: closed */
    char *path;
    uint64_t written;   /* bytes in the file */
    XXH3_state_t *hash; /* of everything since the last writer_hash_reset; NULL: not asked for */
    size_t buffered;
    unsigned char *buffer; /* [WRITER_BUFFER] */
};

/* Appends; 0, or -1 and a message (a full disk, a quota). */
int writer_append(struct writer *writer, const void *data, size_t bytes, struct error *error);

/* The writer at that stack index, or a Lua error when it is closed. */
struct writer *host_check_writer(lua_State *lua, int index);

#endif
