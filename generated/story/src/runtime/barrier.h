/* A barrier between the stages of a step: it spins briefly, since stages are microseconds apart,
   then sleeps, so that a machine with other work to do is not held up. */
#ifndef LATHE_BARRIER_H
#define LATHE_BARRIER_H

#include <stdatomic.h>

struct barrier {
    _Alignas(64) atomic_uint arrived; /* threads that wait in this round */
    _Alignas(64) atomic_uint round;   /* rounds completed; what the waiting threads watch */
    atomic_uint sleepers;             /* threads asleep on `round` */
    unsigned threads;
    unsigned spin_ns; /* how long a thread spins before it sleeps */
    _Alignas(64)
        atomic_int claimed;   /* units of work that threads have taken since the last round; kernels count here */
    atomic_int claimed_first; /* those that others of the same round wait for, */
    atomic_uint done_first;   /* and how many of them are done */
    atomic_uint sleepers_first;
};

/* spin_ns: see pool_spin_ns; 0 when there are more threads than cores. */
void barrier_init(struct barrier *barrier, unsigned threads, unsigned spin_ns);

/* Returns when all `threads` have called it, with the counts of units at 0 again. Everything written before the call by any of them is visible
   to all of them after it. The barrier may be used again at once. */
void barrier_wait(struct barrier *barrier);

/* One of the units that others of the same round wait for is done; what was written for it before the call is visible to
   who has waited. */
void barrier_done_first(struct barrier *barrier);
/* Returns when so many of them are done. */
void barrier_until_first(struct barrier *barrier, unsigned units);

#endif
