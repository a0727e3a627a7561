/* Arrays of numpy's .npy format, as `score --logits` and the fixtures hold them. */
#ifndef LATHE_TEST_NPY_H
#define LATHE_TEST_NPY_H

#include <stddef.h>

/* float32 [rows, columns], row-major. */
struct npy {
    float *data;
    size_t rows, columns;
    char *storage; /* what npy_free frees */
};

/* Reads a .npy file of little-endian float32 with two dimensions (versions 1 to 3). Fails the test, naming the file,
   when it is anything else, or shorter or longer than its header says. */
void npy_read(struct npy *array, const char *path);
void npy_free(struct npy *array);

#endif
