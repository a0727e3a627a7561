/* Files that the executable carries: the generator's Lua, families, templates, the runtime's headers and archive. */
#ifndef LATHE_HOST_EMBED_H
#define LATHE_HOST_EMBED_H

#include <stddef.h>

struct embedded {
    const char *path; /* "lua/main.lua", "templates/c/qkv.c", "runtime/libruntime.a" */
    const char *data; /* not NUL-terminated */
    size_t bytes;
};

/* Made by the build (cmake/embed.cmake), sorted by path. */
extern const struct embedded embedded_files[];
extern const size_t embedded_count;

/* The file's bytes, or NULL. */
const char *embed_find(const char *path, size_t *bytes);

#endif
