/* A team of threads that runs one function at a time on all of them. Between two functions the workers spin
   for a moment (the next step usually follows at once), then sleep. */
#ifndef LATHE_POOL_H
#define LATHE_POOL_H

#include "error.h"

struct pool;

/* The caller counts as one of the `threads`, so threads - 1 are started; 0: pool_default_threads. The workers
   take no signals. NULL and a message when a thread cannot be had. */
struct pool *pool_open(int threads, struct error *error);
/* Ends and joins the workers; NULL is allowed. */
void pool_close(struct pool *pool);

int pool_threads(const struct pool *pool);
/* How long the waits inside a function should spin before they sleep: 0 when threads outnumber processors. */
unsigned pool_spin_ns(const struct pool *pool);

/* Runs function(context, thread) once for every 0 <= thread < threads, thread 0 on the caller, and returns
   when all have returned: what they wrote is visible then. One call at a time, always from the same thread.
 */
void pool_run(struct pool *pool, void (*function)(void *context, int thread), void *context);

/* Processors that this process may use: its affinity mask, and the time that its control groups allow it. */
int pool_default_threads(void);

#endif
