#include "wait.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { POLLS_PER_CLOCK = 32 }; /* looks at the word between two looks at the clock */

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

static uint64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void word_wait(atomic_uint *word, unsigned seen, atomic_uint *sleepers, unsigned spin_ns)
{
    if (atomic_load_explicit(word, memory_order_acquire) != seen)
        return;
    if (spin_ns) {
        /* The length of a pause differs tenfold between processors, hence the clock and not a count. */
        uint64_t limit = nanoseconds() + spin_ns;
        do {
            for (int poll = 0; poll < POLLS_PER_CLOCK; poll++) {
                relax();
                if (atomic_load_explicit(word, memory_order_acquire) != seen)
                    return;
            }
        } while (nanoseconds() < limit);
    }
    atomic_fetch_add(sleepers, 1);
    while (atomic_load(word) == seen)
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(sleepers, 1);
}

void word_wake(atomic_uint *word, atomic_uint *sleepers)
{
    if (atomic_load(sleepers) != 0)
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
