/* Large products of the bulk class through cuBLASLt, which is opened at run time when a package first wants it. Shapes,
   padding and algorithms are fixed when a product is opened, so that the same product gives the same bits every time on
   one machine; split sums are not allowed. Without the library the exact kernels serve, slower; the caller says so.

   Formulas: cuBLAS library documentation, section cublasLtMatmul. */
#ifndef LATHE_CUDA_BLAS_H
#define LATHE_CUDA_BLAS_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

struct cuda_blas;
struct cuda_blas_product;

/* Opens the library: `path` if given, else LATHE_CUBLASLT, CUDA_HOME's lib64, what the loader finds, /usr/local/cuda,
   the folder of the Python package nvidia-cublas. A CUDA context must be current. NULL and a message that names what was
   tried. */
struct cuda_blas *cuda_blas_open(const char *path, struct error *error);
/* Device memory that products opened from now on may use, aligned to 256; the caller's. */
void cuda_blas_workspace(struct cuda_blas *blas, uint64_t workspace, uint64_t bytes);
/* Closes it with all its products; NULL is allowed. */
void cuda_blas_close(struct cuda_blas *blas);

/* "13.1.0.3": for messages and results. */
const char *cuda_blas_version(const struct cuda_blas *blas);

/* What one product computes, in device memory, all row-major:

       output[rows, outputs] = input[rows, depth] x weight[outputs, depth]^T   (+ output, if accumulate)

   weight and input are bf16, sums are f32, output is f32 or bf16. */
struct cuda_blas_shape {
    int32_t rows, outputs, depth;
    bool f32;        /* the output's type: f32, else bf16 */
    bool accumulate; /* add to the output that is there */
};

/* A product of this shape with its algorithm; the same shape is opened once. Owned by `blas`. NULL and a message. */
const struct cuda_blas_product *cuda_blas_product(struct cuda_blas *blas, const struct cuda_blas_shape *shape,
                                                  struct error *error);

/* Puts the product into a stream (a CUstream). Addresses are device memory, aligned to 256. */
int cuda_blas_run(struct cuda_blas *blas, const struct cuda_blas_product *product, uint64_t weight, uint64_t input,
                  uint64_t output, void *stream, struct error *error);

#endif
