/* The fake model's kernels for GPUs: the same text that tests without one compile as C. */
#include "fake_kernels.h"
