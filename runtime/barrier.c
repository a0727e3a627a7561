#include "barrier.h"

#include "wait.h"

void barrier_init(struct barrier *barrier, unsigned threads, unsigned spin_ns)
{
    atomic_init(&barrier->arrived, 0);
    atomic_init(&barrier->round, 0);
    atomic_init(&barrier->sleepers, 0);
    atomic_init(&barrier->claimed, 0);
    atomic_init(&barrier->claimed_first, 0);
    atomic_init(&barrier->done_first, 0);
    atomic_init(&barrier->sleepers_first, 0);
    barrier->threads = threads;
    barrier->spin_ns = spin_ns;
}

void barrier_wait(struct barrier *barrier)
{
    /* The round cannot end before this thread arrives, so it is read first. */
    unsigned round = atomic_load_explicit(&barrier->round, memory_order_relaxed);
    unsigned before = atomic_fetch_add_explicit(&barrier->arrived, 1, memory_order_acq_rel);
    if (before + 1 < barrier->threads) {
        word_wait(&barrier->round, round, &barrier->sleepers, barrier->spin_ns);
        return;
    }
    /* The last to arrive. Nobody touches `arrived` and the counts of units again until the round has changed. */
    atomic_store_explicit(&barrier->arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&barrier->claimed, 0, memory_order_relaxed);
    atomic_store_explicit(&barrier->claimed_first, 0, memory_order_relaxed);
    atomic_store_explicit(&barrier->done_first, 0, memory_order_relaxed);
    atomic_fetch_add(&barrier->round, 1);
    word_wake(&barrier->round, &barrier->sleepers);
}

void barrier_done_first(struct barrier *barrier)
{
    atomic_fetch_add(&barrier->done_first, 1);
    word_wake(&barrier->done_first, &barrier->sleepers_first);
}

void barrier_until_first(struct barrier *barrier, unsigned units)
{
    unsigned done;
    while ((done = atomic_load_explicit(&barrier->done_first, memory_order_acquire)) < units)
        word_wait(&barrier->done_first, done, &barrier->sleepers_first, barrier->spin_ns);
}
