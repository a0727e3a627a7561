/* How fast this machine multiplies and adds with one of a package's instruction sets: the roof of prefill. */
#ifndef LATHE_PEAK_H
#define LATHE_PEAK_H

#include "engine.h"

/* Operations a second of `threads` threads together, everything in registers; the best of several short tries. 0: could
   not be measured. */
double peak_measure(const struct engine *engine, int threads);

#endif
