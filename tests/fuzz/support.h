/* What the fuzz targets share: a Lua state whose coverage libFuzzer sees, files that are as real as a checkpoint's, and
   what counts as a proper refusal. A target is one file, fuzz_NAME.c, with LLVMFuzzerTestOneInput; everything that it
   finds wrong ends in abort(). */
#ifndef LATHE_FUZZ_SUPPORT_H
#define LATHE_FUZZ_SUPPORT_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What libFuzzer calls. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A message that stands in the report, then the end. */
void fuzz_abort(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Does `message` do as a message for a user: not empty, not too long? Aborts if it does not. (Control characters are
   escaped where messages are printed.) */
void fuzz_check_message(const char *message, size_t length);

/* Parts of an input: what stands between NUL bytes. Missing parts are {NULL, 0}; the last may hold NULs itself. */
struct fuzz_part {
    const char *data;
    size_t length;
};
void fuzz_split(const uint8_t *data, size_t size, struct fuzz_part *parts, size_t count);

/* The scratch folder of this process, removed when it ends; in memory where that is possible. */
const char *fuzz_folder(void);
/* Makes a file of the scratch folder with these bytes; data NULL: removes it. */
void fuzz_file(const char *name, const void *data, size_t length);
/* The path of a file of the scratch folder; valid until the process ends. `name` must be a constant. */
const char *fuzz_path(const char *name);

/* Runs Lua in the state of this process, which is the generator's own: `source` is a chunk that returns a function,
   loaded once; the function is called with `path` and the input's size. True: it returned, and its one result is on top
   of the stack of fuzz_state(). False: it refused the input with a proper message. A Lua error that is no message for a user aborts,
   and so does a heap that outgrows its bound or grows from run to run. */
bool fuzz_lua(const char *source, const char *path, size_t size);
lua_State *fuzz_state(void);

#endif
