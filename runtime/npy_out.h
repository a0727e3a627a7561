/* Writes a NumPy array file (format 1.0, https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html) of
   float32 [rows, columns], row by row, without knowing the number of rows beforehand. */
#ifndef LATHE_NPY_OUT_H
#define LATHE_NPY_OUT_H

#include <stdint.h>
#include <stdio.h>

#include "error.h"

struct npy_out {
    FILE *file;
    char *path;
    int64_t rows, columns;
};

/* Creates or empties the file. */
int npy_out_open(struct npy_out *npy, const char *path, int64_t columns, struct error *error);
int npy_out_add(struct npy_out *npy, const float *values, int64_t rows, struct error *error);
/* Puts the number of rows into the header. After a failure of any of the three the file is removed. Closing what was
   never opened ({0}) is allowed. */
int npy_out_close(struct npy_out *npy, struct error *error);
/* Closes and removes the file. */
void npy_out_abandon(struct npy_out *npy);

#endif
