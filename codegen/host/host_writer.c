#include "host_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host.h"
#include "host_file.h"

#define WRITER_BUFFER (1u << 20)

static int write_all(struct writer *writer, const unsigned char *data, size_t bytes, struct error *error)
{
    while (bytes > 0) {
        ssize_t done = write(writer->descriptor, data, bytes);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return error_set(error, "%s: cannot be written: %s", writer->path, strerror(errno));
        data += done;
        bytes -= (size_t)done;
    }
    return 0;
}

static int flush(struct writer *writer, struct error *error)
{
    size_t bytes = writer->buffered;
    writer->buffered = 0;
    return write_all(writer, writer->buffer, bytes, error);
}

int writer_append(struct writer *writer, const void *data, size_t bytes, struct error *error)
{
    if (writer->hash)
        XXH3_128bits_update(writer->hash, data, bytes);
    writer->written += bytes;
    if (bytes > WRITER_BUFFER - writer->buffered) {
        if (flush(writer, error) != 0)
            return -1;
        if (bytes >= WRITER_BUFFER)
            return write_all(writer, data, bytes, error);
    }
    memcpy(writer->buffer + writer->buffered, data, bytes);
    writer->buffered += bytes;
    return 0;
}

struct writer *host_check_writer(lua_State *lua, int index)
{
    struct writer *writer = luaL_checkudata(lua, index, HOST_WRITER);
    if (writer->descriptor < 0)
        luaL_error(lua, "the writer is closed");
    return writer;
}

/* host.writer(path [, "append"]) -> writer. A new file must not exist yet. */
static int writer_open(lua_State *lua)
{
    const char *path = luaL_checkstring(lua, 1);
    int append = strcmp(luaL_optstring(lua, 2, "new"), "append") == 0;
    struct writer *writer = lua_newuserdatauv(lua, sizeof *writer, 0);
    *writer = (struct writer){.descriptor = -1};
    luaL_setmetatable(lua, HOST_WRITER);
    writer->path = strdup(path);
    writer->buffer = malloc(WRITER_BUFFER);
    if (!writer->path || !writer->buffer)
        return luaL_error(lua, "out of memory");
    writer->descriptor = open(path, O_WRONLY | O_CLOEXEC | (append ? O_APPEND : O_CREAT | O_EXCL), 0644);
    if (writer->descriptor < 0)
        host_fail(lua, "%s: cannot be created: %s", path, strerror(errno));
    if (append) {
        off_t end = lseek(writer->descriptor, 0, SEEK_END);
        writer->written = end > 0 ? (uint64_t)end : 0;
    }
    return 1;
}

static void release(struct writer *writer)
{
    if (writer->descriptor >= 0)
        close(writer->descriptor);
    free(writer->path);
    free(writer->buffer);
    XXH3_freeState(writer->hash);
    *writer = (struct writer){.descriptor = -1};
}

static int writer_gc(lua_State *lua)
{
    release(luaL_checkudata(lua, 1, HOST_WRITER));
    return 0;
}

/* writer:close(): what is buffered reaches the file, and the file the disk's own error reports. */
static int writer_close(lua_State *lua)
{
    struct writer *writer = host_check_writer(lua, 1);
    struct error error;
    int failed = flush(writer, &error);
    if (!failed && close(writer->descriptor) != 0)
        failed = error_set(&error, "%s: cannot be written: %s", writer->path, strerror(errno));
    writer->descriptor = -1;
    release(writer);
    if (failed)
        host_fail(lua, "%s", error.message);
    return 0;
}

/* writer:write(string) */
static int writer_write(lua_State *lua)
{
    struct writer *writer = host_check_writer(lua, 1);
    size_t bytes;
    const char *text = luaL_checklstring(lua, 2, &bytes);
    struct error error;
    if (writer_append(writer, text, bytes, &error) != 0)
        host_fail(lua, "%s", error.message);
    return 0;
}

/* writer:pad(alignment): zero bytes up to the next multiple. */
static int writer_pad(lua_State *lua)
{
    static const unsigned char zeros[4096];
    struct writer *writer = host_check_writer(lua, 1);
    lua_Integer alignment = luaL_checkinteger(lua, 2);
    luaL_argcheck(lua, alignment > 0 && alignment <= (lua_Integer)sizeof zeros, 2, "alignment");
    struct error error;
    size_t rest = (size_t)(writer->written % (uint64_t)alignment);
    if (rest && writer_append(writer, zeros, (size_t)alignment - rest, &error) != 0)
        host_fail(lua, "%s", error.message);
    return 0;
}

/* writer:written() -> bytes in the file so far */
static int writer_written(lua_State *lua)
{
    lua_pushinteger(lua, (lua_Integer)host_check_writer(lua, 1)->written);
    return 1;
}

/* writer:hash_start(): what is written from now on is hashed. */
static int writer_hash_start(lua_State *lua)
{
    struct writer *writer = host_check_writer(lua, 1);
    if (!writer->hash && !(writer->hash = XXH3_createState()))
        return luaL_error(lua, "out of memory");
    XXH3_128bits_reset(writer->hash);
    return 0;
}

/* writer:hash_finish() -> the canonical XXH3-128 of what was written since hash_start, 16 bytes */
static int writer_hash_finish(lua_State *lua)
{
    struct writer *writer = host_check_writer(lua, 1);
    luaL_argcheck(lua, writer->hash != NULL, 1, "hash_start was not called");
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(writer->hash));
    lua_pushlstring(lua, (const char *)canonical.digest, sizeof canonical.digest);
    return 1;
}

/* writer:copy(file, offset, bytes): a range of a mapped file. */
static int writer_copy(lua_State *lua)
{
    const uint64_t block = 8u << 20;
    struct writer *writer = host_check_writer(lua, 1);
    struct mapped_file *file = host_check_file(lua, 2);
    uint64_t offset = (uint64_t)luaL_checkinteger(lua, 3);
    uint64_t bytes = (uint64_t)luaL_checkinteger(lua, 4);
    if (offset > file->size || bytes > file->size - offset)
        host_fail(lua, "%s: expected %llu bytes at offset %llu, the file has %llu: it is truncated or damaged",
                  file->path, (unsigned long long)bytes, (unsigned long long)offset, (unsigned long long)file->size);
    struct error error;
    for (uint64_t end = offset + bytes; offset < end; offset += block) {
        uint64_t part = end - offset < block ? end - offset : block;
        if (writer_append(writer, file->data + offset, part, &error) != 0)
            host_fail(lua, "%s", error.message);
    }
    return 0;
}

void host_open_writer(lua_State *lua)
{
    static const luaL_Reg methods[] = {{"write", writer_write},
                                       {"pad", writer_pad},
                                       {"written", writer_written},
                                       {"hash_start", writer_hash_start},
                                       {"hash_finish", writer_hash_finish},
                                       {"copy", writer_copy},
                                       {"close", writer_close},
                                       {"__gc", writer_gc},
                                       {NULL, NULL}};
    luaL_newmetatable(lua, HOST_WRITER);
    luaL_setfuncs(lua, methods, 0);
    lua_pushvalue(lua, -1);
    lua_setfield(lua, -2, "__index");
    lua_pop(lua, 1);
    lua_pushcfunction(lua, writer_open);
    lua_setfield(lua, -2, "writer");
}
