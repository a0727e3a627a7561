#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void progress_open(struct progress *progress)
{
    memset(progress, 0, sizeof *progress);
    progress->terminal = isatty(STDERR_FILENO);
}

void progress_report(void *context, const char *what, uint64_t done, uint64_t total)
{
    struct progress *progress = context;
    if (!progress->terminal)
        return;
    double now = clock_seconds();
    if (!progress->what || strcmp(progress->what, what) != 0) {
        progress->what = what;
        progress->started = now;
    }
    if (now - progress->started < 2 || (progress->shown && now - progress->drawn < 0.1))
        return;
    if (total)
        fprintf(stderr, "\r\033[K%s: %d%%", what, (int)(100.0 * (double)done / (double)total));
    else
        fprintf(stderr, "\r\033[K%s", what);
    fflush(stderr);
    progress->shown = true;
    progress->drawn = now;
}

void progress_clear(struct progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    fflush(stderr);
    progress->shown = false;
    progress->what = NULL;
}
