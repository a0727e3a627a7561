#include "cgroup.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 1024 };

/* Calls visit(limits, folder) for the folder of the process's group in the hierarchy of `controller` ("cpu",
   "memory"; "" is version 2's) and for every folder above it: each may have a limit. */
static void each_group(const char *process, const char *root, const char *controller,
                       void (*visit)(struct cgroup_limits *limits, const char *folder), struct cgroup_limits *limits)
{
    FILE *file = fopen(process, "re");
    if (!file)
        return;
    char line[PATH_BYTES];
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'); /* "4:cpu,cpuacct:/path" */
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        controllers++;
        *path++ = '\0';
        bool found = *controller == '\0' && *controllers == '\0';
        char *rest = controllers;
        for (char *name; *controller && !found && (name = strsep(&rest, ","));)
            found = strcmp(name, controller) == 0;
        if (!found)
            continue;
        for (;;) { /* in a container the path may not exist inside: then only its upper folders do */
            char folder[2 * PATH_BYTES];
            snprintf(folder, sizeof folder, "%s%s%s%s", root, *controller ? "/" : "", controller, path);
            visit(limits, folder);
            char *slash = strrchr(path, '/');
            if (!slash || path[0] == '\0')
                break;
            *slash = '\0';
        }
        break;
    }
    fclose(file);
}

/* The first word of FOLDER/NAME and the second, if there is one; false when there is no such file. */
static bool read_words(const char *folder, const char *name, char first[32], char second[32])
{
    char path[2 * PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    second[0] = '\0';
    int words = fscanf(file, "%31s %31s", first, second);
    fclose(file);
    return words >= 1;
}

static void note_cpus(struct cgroup_limits *limits, long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return;
    long long count = quota / period + (quota % period != 0);
    if (count < limits->cpus)
        limits->cpus = (int32_t)count;
}

static void visit_cpu2(struct cgroup_limits *limits, const char *folder)
{
    char quota[32], period[32];
    long long q, p;
    if (read_words(folder, "cpu.max", quota, period) && sscanf(quota, "%lld", &q) == 1 &&
        sscanf(period, "%lld", &p) == 1)
        note_cpus(limits, q, p); /* "max 100000" has no number and no limit */
}

static void visit_cpu1(struct cgroup_limits *limits, const char *folder)
{
    char quota[32], period[32], unused[32];
    long long q, p;
    if (read_words(folder, "cpu.cfs_quota_us", quota, unused) &&
        read_words(folder, "cpu.cfs_period_us", period, unused) && sscanf(quota, "%lld", &q) == 1 &&
        sscanf(period, "%lld", &p) == 1)
        note_cpus(limits, q, p);
}

static void note_memory(struct cgroup_limits *limits, const char *folder, const char *name)
{
    char limit[32], unused[32];
    unsigned long long bytes;
    if (read_words(folder, name, limit, unused) && sscanf(limit, "%llu", &bytes) == 1 && bytes < limits->memory)
        limits->memory = bytes;
}

static void visit_memory2(struct cgroup_limits *limits, const char *folder)
{
    note_memory(limits, folder, "memory.max");
}

static void visit_memory1(struct cgroup_limits *limits, const char *folder)
{
    note_memory(limits, folder, "memory.limit_in_bytes");
}

struct cgroup_limits cgroup_read(const char *process, const char *root)
{
    struct cgroup_limits limits = {.cpus = INT32_MAX, .memory = UINT64_MAX};
    each_group(process, root, "", visit_cpu2, &limits);
    each_group(process, root, "", visit_memory2, &limits);
    each_group(process, root, "cpu", visit_cpu1, &limits);
    each_group(process, root, "memory", visit_memory1, &limits);
    return limits;
}

struct cgroup_limits cgroup_limits(void)
{
    return cgroup_read("/proc/self/cgroup", "/sys/fs/cgroup");
}
