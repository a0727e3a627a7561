#include "npy.h"

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"

void npy_read(struct npy *array, const char *path)
{
    size_t length, header, start;
    char *file = file_read(path, &length);
    const unsigned char *bytes = (const unsigned char *)file;
    ck_assert_msg(length > 12 && memcmp(file, "\x93NUMPY", 6) == 0, "%s: not a .npy file", path);
    header = (size_t)bytes[8] | (size_t)bytes[9] << 8;
    start = 10;
    if (bytes[6] > 1) {
        header |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
        start = 12;
    }
    ck_assert_msg(header < length - start, "%s: the header ends after the file", path);
    char *description = strndup(file + start, header);
    ck_assert_ptr_nonnull(description);
    ck_assert_msg(strstr(description, "'descr': '<f4'") != NULL, "%s: not float32: %s", path, description);
    ck_assert_msg(strstr(description, "'fortran_order': False") != NULL, "%s: not row-major", path);
    const char *shape = strstr(description, "'shape':");
    ck_assert_msg(shape && sscanf(shape, "'shape': (%zu, %zu)", &array->rows, &array->columns) == 2,
                  "%s: not two-dimensional: %s", path, description);
    free(description);
    ck_assert_msg(length == start + header + array->rows * array->columns * sizeof(float),
                  "%s: %zu bytes are not the %zu x %zu values of the header", path, length, array->rows,
                  array->columns);
    array->storage = file;
    /* The header is padded to a multiple of 16, so the values are aligned. */
    ck_assert_uint_eq((uintptr_t)(file + start + header) % sizeof(float), 0);
    array->data = (float *)(void *)(file + start + header);
}

void npy_free(struct npy *array)
{
    free(array->storage);
    memset(array, 0, sizeof *array);
}
