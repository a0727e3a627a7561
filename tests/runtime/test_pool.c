/* The pool: every thread runs every function exactly once, and what it wrote is seen by the caller. */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "barrier.h"
#include "cgroup.h"
#include "memory.h"
#include "pool.h"

enum { MOST = 32 };

struct work {
    int count[MOST]; /* plain memory: the pool orders the accesses */
    pthread_t id[MOST];
    struct barrier barrier;
    int sum[MOST];
    int threads;
};

static void count(void *context, int thread)
{
    struct work *work = context;
    work->count[thread]++;
    work->id[thread] = pthread_self();
}

static const int thread_counts[] = {1, 2, 3, 8, 32};

START_TEST(every_thread_once)
{
    int threads = thread_counts[_i];
    struct error error;
    struct pool *pool = pool_open(threads, &error);
    ck_assert_msg(pool != NULL, "%s", error.message);
    ck_assert_int_eq(pool_threads(pool), threads);
    struct work work = {.threads = threads};
    for (int round = 1; round <= 2000; round++) {
        pool_run(pool, count, &work);
        for (int t = 0; t < threads; t++)
            ck_assert_int_eq(work.count[t], round);
        if (round % 500 == 0) /* long enough for the workers to fall asleep */
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    ck_assert(pthread_equal(work.id[0], pthread_self()));
    for (int t = 1; t < threads; t++)
        for (int other = 0; other < t; other++)
            ck_assert(!pthread_equal(work.id[t], work.id[other]));
    pool_close(pool);
}
END_TEST

static void stages(void *context, int thread)
{
    struct work *work = context;
    for (int stage = 0; stage < 20; stage++) {
        work->count[thread] = stage + thread;
        barrier_wait(&work->barrier);
        work->sum[thread] = 0;
        for (int t = 0; t < work->threads; t++)
            work->sum[thread] += work->count[t] - t - stage;
        barrier_wait(&work->barrier);
    }
}

/* As steps do it: one function with many barriers, again and again. */
START_TEST(barriers_inside)
{
    int threads = thread_counts[_i];
    struct pool *pool = pool_open(threads, NULL);
    struct work work = {.threads = threads};
    barrier_init(&work.barrier, (unsigned)threads, pool_spin_ns(pool));
    for (int round = 0; round < 50; round++) {
        memset(work.sum, 1, sizeof work.sum);
        pool_run(pool, stages, &work);
        for (int t = 0; t < threads; t++)
            ck_assert_int_eq(work.sum[t], 0);
    }
    pool_close(pool);
}
END_TEST

static void read_mask(void *context, int thread)
{
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    ((int *)context)[thread] = sigismember(&mask, SIGINT);
}

START_TEST(workers_take_no_signals)
{
    struct pool *pool = pool_open(4, NULL);
    int blocked[4] = {-1, -1, -1, -1};
    pool_run(pool, read_mask, blocked);
    ck_assert_int_eq(blocked[0], 0);
    for (int t = 1; t < 4; t++)
        ck_assert_int_eq(blocked[t], 1);
    pool_close(pool);
}
END_TEST

START_TEST(refuses)
{
    struct error error;
    ck_assert_ptr_null(pool_open(-1, &error));
    ck_assert_ptr_null(pool_open(1025, &error));
    ck_assert_ptr_nonnull(strstr(error.message, "--threads 1025"));
    pool_close(NULL);
}
END_TEST

START_TEST(default_follows_the_affinity)
{
    int all = pool_default_threads();
    ck_assert_int_ge(all, 1);
    ck_assert_int_le(all, (int)sysconf(_SC_NPROCESSORS_CONF));
    cpu_set_t set, one;
    ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &set))
            CPU_SET(cpu, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    ck_assert_int_eq(pool_default_threads(), 1);
    struct pool *pool = pool_open(0, NULL);
    ck_assert_int_eq(pool_threads(pool), 1);
    pool_close(pool);
    pool = pool_open(2, NULL); /* more threads than processors: no spinning */
    ck_assert_uint_eq(pool_spin_ns(pool), 0);
    pool_close(pool);
    ck_assert_int_ge(cgroup_limits().cpus, 1);
    ck_assert_uint_ge(memory_total(), 1 << 20);
}
END_TEST

static void put(const char *folder, const char *path, const char *text)
{
    char command[256];
    snprintf(command, sizeof command, "mkdir -p \"$(dirname '%s/%s')\" && printf -- '%s' > '%s/%s'", folder, path, text,
             folder, path);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(limits_of_control_groups)
{
    char folder[] = "/tmp/lathe_cgroup_XXXXXX", process[64], command[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(process, sizeof process, "%s/self", folder);
    struct cgroup_limits limits = cgroup_read(process, folder);
    ck_assert_int_eq(limits.cpus, INT32_MAX);
    ck_assert_uint_eq(limits.memory, UINT64_MAX);

    /* Version 2: the tightest of the group and those above it counts. */
    put(folder, "self", "1:name=systemd:/x\\n0::/a/b\\n");
    put(folder, "a/b/cpu.max", "max 100000\\n");
    put(folder, "a/b/memory.max", "max\\n");
    limits = cgroup_read(process, folder);
    ck_assert_int_eq(limits.cpus, INT32_MAX);
    ck_assert_uint_eq(limits.memory, UINT64_MAX);
    put(folder, "a/b/cpu.max", "450000 100000\\n");
    put(folder, "a/b/memory.max", "5000000\\n");
    put(folder, "cpu.max", "800000 100000\\n");
    put(folder, "memory.max", "4000000\\n");
    limits = cgroup_read(process, folder);
    ck_assert_int_eq(limits.cpus, 5);
    ck_assert_uint_eq(limits.memory, 4000000);
    put(folder, "a/cpu.max", "5000 100000\\n");
    ck_assert_int_eq(cgroup_read(process, folder).cpus, 1);

    /* Version 1, in a container: the group's own path is not visible, its limits stand at the top. */
    put(folder, "self", "5:memory:/docker/1\\n4:cpuset:/y\\n3:cpuacct,cpu:/docker/1\\n");
    put(folder, "cpu/cpu.cfs_quota_us", "150000\\n");
    put(folder, "cpu/cpu.cfs_period_us", "50000\\n");
    put(folder, "memory/memory.limit_in_bytes", "123456789\\n");
    limits = cgroup_read(process, folder);
    ck_assert_int_eq(limits.cpus, 3);
    ck_assert_uint_eq(limits.memory, 123456789);
    put(folder, "cpu/cpu.cfs_quota_us", "-1\\n");
    ck_assert_int_eq(cgroup_read(process, folder).cpus, INT32_MAX);
    put(folder, "self", "garbage\\n::\\n");
    ck_assert_int_eq(cgroup_read(process, "/no/such").cpus, INT32_MAX);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool");
    TCase *test = tcase_create("pool");
    tcase_set_timeout(test, 120);
    tcase_add_loop_test(test, every_thread_once, 0, 5);
    tcase_add_loop_test(test, barriers_inside, 0, 5);
    tcase_add_test(test, workers_take_no_signals);
    tcase_add_test(test, refuses);
    tcase_add_test(test, default_follows_the_affinity);
    tcase_add_test(test, limits_of_control_groups);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
