/* Checkpoints made by the tests, and what `lathe checkpoint` says of them. */
#ifndef LATHE_TEST_CHECKPOINT_H
#define LATHE_TEST_CHECKPOINT_H

#include <cJSON.h>
#include <stddef.h>

/* What `lathe checkpoint PATH` prints; fails the test when it refuses the path. Free with cJSON_Delete. */
cJSON *checkpoint_read(const char *path);

/* `lathe checkpoint PATH` must exit with 1, print nothing, and say one line that holds every one of the fragments
   (NULL ends them). */
void checkpoint_refused(const char *path, ...) __attribute__((sentinel));

/* A safetensors file: the header's length, the header, and `data_bytes` bytes of data, all 1. */
void safetensors_write(const char *path, const char *header, size_t data_bytes);

/* A new folder in the temporary folder with that config.json (NULL: none). In one of 64 static buffers. */
const char *checkpoint_folder(const char *config);

#endif
