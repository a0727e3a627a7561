#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cgroup.h"
#include "wait.h"

enum {
    MAX_THREADS = 1024,
    SPIN_NS = 50000, /* a sleep and a wake-up cost about as much as this */
};

struct worker {
    struct pool *pool;
    int thread;
    pthread_t id;
};

struct pool {
    int threads;
    unsigned spin_ns;
    /* Written by the caller before `round` changes, read by the workers after. */
    void (*function)(void *context, int thread); /* NULL: end */
    void *context;
    _Alignas(64) atomic_uint round; /* functions started; what the workers wait for */
    atomic_uint round_sleepers;
    _Alignas(64) atomic_uint running;  /* workers that have not finished this round */
    _Alignas(64) atomic_uint finished; /* rounds that all workers have finished; what the caller waits for */
    atomic_uint finished_sleepers;
    struct worker worker[]; /* [threads - 1] */
};

int pool_default_threads(void)
{
    int count = 0;
    /* The mask of a machine with more than 1024 processors does not fit the usual set. */
    for (int cpus = 1024; cpus <= 65536; cpus *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        if (!set)
            break;
        size_t bytes = CPU_ALLOC_SIZE((size_t)cpus);
        bool known = sched_getaffinity(0, bytes, set) == 0;
        bool too_small = !known && errno == EINVAL;
        if (known)
            count = CPU_COUNT_S(bytes, set);
        CPU_FREE(set);
        if (!too_small)
            break;
    }
    if (count < 1) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        count = online > 0 && online <= MAX_THREADS ? (int)online : 1;
    }
    int quota = cgroup_limits().cpus;
    if (quota < count)
        count = quota;
    return count < MAX_THREADS ? count : MAX_THREADS;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct pool *pool = worker->pool;
    for (unsigned round = 0;; round++) {
        word_wait(&pool->round, round, &pool->round_sleepers, pool->spin_ns);
        void (*function)(void *, int) = pool->function;
        if (!function)
            return NULL;
        function(pool->context, worker->thread);
        if (atomic_fetch_sub(&pool->running, 1) == 1) {
            atomic_fetch_add(&pool->finished, 1);
            word_wake(&pool->finished, &pool->finished_sleepers);
        }
    }
}

/* Starts the round without waiting for it. */
static void start(struct pool *pool, void (*function)(void *, int), void *context)
{
    pool->function = function;
    pool->context = context;
    atomic_store_explicit(&pool->running, (unsigned)pool->threads - 1, memory_order_relaxed);
    atomic_fetch_add(&pool->round, 1);
    word_wake(&pool->round, &pool->round_sleepers);
}

struct pool *pool_open(int threads, struct error *error)
{
    int available = pool_default_threads();
    if (threads == 0)
        threads = available;
    if (threads < 1 || threads > MAX_THREADS) {
        error_set(error, "--threads %d: expected 1 to %d", threads, MAX_THREADS);
        return NULL;
    }
    size_t bytes = sizeof(struct pool) + ((size_t)threads - 1) * sizeof(struct worker);
    struct pool *pool = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!pool) {
        error_set(error, "out of memory for %d threads", threads);
        return NULL;
    }
    memset(pool, 0, bytes);
    pool->spin_ns = threads <= available ? SPIN_NS : 0;

    /* Workers take no signals: an interruption is for the thread that drives the engine. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failure = 0;
    for (pool->threads = 1; pool->threads < threads && !failure;) {
        struct worker *worker = &pool->worker[pool->threads - 1];
        *worker = (struct worker){.pool = pool, .thread = pool->threads};
        failure = pthread_create(&worker->id, NULL, work, worker);
        pool->threads += failure == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure) {
        error_set(error, "cannot start thread %d of %d: %s; try a smaller --threads", pool->threads + 1, threads,
                  strerror(failure));
        pool_close(pool);
        return NULL;
    }
    return pool;
}

void pool_close(struct pool *pool)
{
    if (!pool)
        return;
    start(pool, NULL, NULL);
    for (int thread = 1; thread < pool->threads; thread++)
        pthread_join(pool->worker[thread - 1].id, NULL);
    free(pool);
}

int pool_threads(const struct pool *pool)
{
    return pool->threads;
}

unsigned pool_spin_ns(const struct pool *pool)
{
    return pool->spin_ns;
}

void pool_run(struct pool *pool, void (*function)(void *context, int thread), void *context)
{
    if (pool->threads == 1) {
        function(context, 0);
        return;
    }
    unsigned finished = atomic_load_explicit(&pool->finished, memory_order_relaxed);
    start(pool, function, context);
    function(context, 0);
    word_wait(&pool->finished, finished, &pool->finished_sleepers, pool->spin_ns);
}
