/* Waiting for a word to change: spin first, since most waits inside a step last microseconds, then sleep in
   the kernel (futex), so that a machine with more threads than cores still makes progress. The barrier and
   the thread pool are built on these two functions. */
#ifndef LATHE_WAIT_H
#define LATHE_WAIT_H

#include <stdatomic.h>

/* Returns as soon as *word != seen; what was written before the change is visible then. `sleepers` counts the
   threads asleep on this word, and belongs to it. spin_ns: how long to spin before sleeping; 0: not at all.
 */
void word_wait(atomic_uint *word, unsigned seen, atomic_uint *sleepers, unsigned spin_ns);

/* Wakes who sleeps on `word`. Call it after changing the word with a sequentially consistent operation: the
   waiters announce themselves in `sleepers` before their last look at the word, so one of the two sees the
   other. */
void word_wake(atomic_uint *word, atomic_uint *sleepers);

#endif
