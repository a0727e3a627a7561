#include "memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cgroup.h"

enum { HUGE_PAGE = 2 << 20 };

void *memory_map(uint64_t bytes, bool lazy, const char *what, struct error *error)
{
    if (bytes == 0)
        bytes = 1;
    void *memory = MAP_FAILED;
    if (bytes > SIZE_MAX / 2)
        errno = ENOMEM;
    else
        memory = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | (lazy ? MAP_NORESERVE : 0), -1, 0);
    if (memory == MAP_FAILED) {
        error_set(error, "cannot get %llu bytes of memory for %s: %s", (unsigned long long)bytes, what,
                  strerror(errno));
        return NULL;
    }
    /* Fewer misses in the address-translation caches; a refusal costs only speed. */
    if (bytes >= HUGE_PAGE)
        (void)madvise(memory, (size_t)bytes, MADV_HUGEPAGE);
    return memory;
}

void memory_unmap(void *memory, uint64_t bytes)
{
    if (memory)
        munmap(memory, bytes ? (size_t)bytes : 1);
}

uint64_t memory_total(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t machine = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_MAX;
    uint64_t group = cgroup_limits().memory;
    return group < machine ? group : machine;
}
