/* What the control groups of this process allow it (containers set such limits); version 1 and 2. */
#ifndef LATHE_CGROUP_H
#define LATHE_CGROUP_H

#include <stdint.h>

struct cgroup_limits {
    int32_t cpus;    /* processors' worth of time, rounded up, at least 1; INT32_MAX: no limit */
    uint64_t memory; /* bytes; UINT64_MAX: no limit */
};

/* Reads the limits; where nothing can be read there are none. process: "/proc/self/cgroup", which names the groups;
   root: "/sys/fs/cgroup", where they are. */
struct cgroup_limits cgroup_read(const char *process, const char *root);

/* This process's own. */
struct cgroup_limits cgroup_limits(void);

#endif
