/* How fast this machine can read the weights: the roof for decoding, which reads all of them for every token. */
#ifndef LATHE_BANDWIDTH_H
#define LATHE_BANDWIDTH_H

#include <stdint.h>

#include "engine.h"

struct bandwidth {
    double bytes_per_second; /* the median pass of the fastest way to read; 0: could not be measured */
    uint64_t bytes;          /* all weights, each read once a pass (small ones: as often as makes 64 MiB) */
    int passes;              /* of each way */
};

/* Reads every weight of the package with `threads` threads, over and over for about `seconds`, the same memory that
   the model's kernels read, so that caches count for both alike. */
struct bandwidth bandwidth_measure(const struct engine *engine, int threads, double seconds);

#endif
