/* The barrier: nobody is let through early, everything written before it is seen after it, on any number of threads. */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "barrier.h"

enum { MOST = 16 };

struct team {
    struct barrier barrier;
    int threads, rounds;
    /* Plain memory on purpose: only the barrier orders these accesses, and the thread sanitizer watches. */
    unsigned value[MOST];
    atomic_uint wrong;
};

struct member {
    struct team *team;
    int thread;
    pthread_t id;
};

static void pause_for(unsigned nanoseconds)
{
    struct timespec time = {.tv_nsec = nanoseconds};
    nanosleep(&time, NULL);
}

static void *meet(void *argument)
{
    struct member *member = argument;
    struct team *team = member->team;
    for (int round = 1; round <= team->rounds; round++) {
        /* Now and then one is late, longer than the others spin. */
        if (round % 97 == member->thread)
            pause_for(200000);
        team->value[member->thread] = (unsigned)(round * (member->thread + 1));
        barrier_wait(&team->barrier);
        for (int other = 0; other < team->threads; other++)
            if (team->value[other] != (unsigned)(round * (other + 1)))
                atomic_fetch_add(&team->wrong, 1);
        barrier_wait(&team->barrier);
    }
    return NULL;
}

static const struct {
    int threads, rounds;
    unsigned spin_ns;
} cases[] = {
    {1, 1000, 50000}, {2, 20000, 50000}, {2, 5000, 0}, {3, 2000, 50000}, {8, 1000, 0}, {16, 300, 50000}, {16, 500, 0},
};

START_TEST(rounds)
{
    struct team team = {.threads = cases[_i].threads, .rounds = cases[_i].rounds};
    struct member member[MOST];
    barrier_init(&team.barrier, (unsigned)team.threads, cases[_i].spin_ns);
    for (int t = 0; t < team.threads; t++) {
        member[t] = (struct member){.team = &team, .thread = t};
        ck_assert_int_eq(pthread_create(&member[t].id, NULL, meet, &member[t]), 0);
    }
    for (int t = 0; t < team.threads; t++)
        pthread_join(member[t].id, NULL);
    ck_assert_uint_eq(atomic_load(&team.wrong), 0);
}
END_TEST

/* The count of rounds wraps around. */
START_TEST(wraps)
{
    struct team team = {.threads = 2, .rounds = 1000};
    struct member member[2] = {{.team = &team, .thread = 0}, {.team = &team, .thread = 1}};
    barrier_init(&team.barrier, 2, 50000);
    atomic_store(&team.barrier.round, UINT32_MAX - 500);
    for (int t = 0; t < 2; t++)
        ck_assert_int_eq(pthread_create(&member[t].id, NULL, meet, &member[t]), 0);
    for (int t = 0; t < 2; t++)
        pthread_join(member[t].id, NULL);
    ck_assert_uint_eq(atomic_load(&team.wrong), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("barrier");
    TCase *test = tcase_create("barrier");
    tcase_set_timeout(test, 120);
    tcase_add_loop_test(test, rounds, 0, sizeof cases / sizeof *cases);
    tcase_add_test(test, wraps);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
