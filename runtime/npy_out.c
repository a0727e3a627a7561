#include "npy_out.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER = 128 }; /* magic, version, length, dictionary, spaces, newline: a multiple of 64 */

static int fail(struct npy_out *npy, struct error *error)
{
    error_set(error, "%s: writing: %s", npy->path ? npy->path : "array", strerror(errno ? errno : EIO));
    npy_out_abandon(npy);
    return -1;
}

static int write_header(struct npy_out *npy)
{
    char header[HEADER + 1];
    memset(header, ' ', HEADER);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = (char)(HEADER - 10);
    header[9] = 0;
    int length = snprintf(header + 10, HEADER - 10,
                          "{'descr': '<f4', 'fortran_order': False, 'shape': (%" PRId64 ", %" PRId64 "), }", npy->rows,
                          npy->columns);
    header[10 + length] = ' '; /* snprintf ended the string there */
    header[HEADER - 1] = '\n';
    return fwrite(header, 1, HEADER, npy->file) == HEADER ? 0 : -1;
}

int npy_out_open(struct npy_out *npy, const char *path, int64_t columns, struct error *error)
{
    *npy = (struct npy_out){.columns = columns, .path = strdup(path)};
    errno = 0;
    npy->file = npy->path ? fopen(path, "wb") : NULL;
    if (!npy->file) {
        error_set(error, "%s: %s", path, strerror(errno ? errno : ENOMEM));
        free(npy->path);
        *npy = (struct npy_out){0};
        return -1;
    }
    return write_header(npy) ? fail(npy, error) : 0;
}

int npy_out_add(struct npy_out *npy, const float *values, int64_t rows, struct error *error)
{
    size_t count = (size_t)rows * (size_t)npy->columns;
    errno = 0;
    if (fwrite(values, sizeof *values, count, npy->file) != count)
        return fail(npy, error);
    npy->rows += rows;
    return 0;
}

int npy_out_close(struct npy_out *npy, struct error *error)
{
    if (!npy->file)
        return 0;
    errno = 0;
    /* A pipe or a device cannot be rewound; a file must be. */
    if (fflush(npy->file) || fseek(npy->file, 0, SEEK_SET) || write_header(npy))
        return fail(npy, error);
    FILE *file = npy->file;
    npy->file = NULL;
    if (fclose(file))
        return fail(npy, error);
    free(npy->path);
    *npy = (struct npy_out){0};
    return 0;
}

void npy_out_abandon(struct npy_out *npy)
{
    struct stat status;
    if (npy->file)
        fclose(npy->file);
    /* Only what this program made: never a device. */
    if (npy->path && stat(npy->path, &status) == 0 && S_ISREG(status.st_mode))
        unlink(npy->path);
    free(npy->path);
    *npy = (struct npy_out){0};
}
