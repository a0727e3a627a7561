/* The files that the programs of an ordinary build go over: replay, mutations. */
#ifndef LATHE_FUZZ_FILES_H
#define LATHE_FUZZ_FILES_H

#include <stddef.h>
#include <stdint.h>

/* Calls `use` for each file of `paths`, and those of its folders in the order of their names, and returns their number.
   A path that is not there has none. `data` is exactly `size` bytes, so that the sanitizers see reading beyond them. */
unsigned files_in(char **paths, int count, void (*use)(const char *path, uint8_t *data, size_t size));

#endif
