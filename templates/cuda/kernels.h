/* The kernels' numbers in the package's tables.
 */
#ifndef CUDA_KERNELS_H
#define CUDA_KERNELS_H

enum {
//% for _, kernel in ipairs(kernels) do
    $kernel.constant$,
//% end
    KERNELS,
};

#endif
