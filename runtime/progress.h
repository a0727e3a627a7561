/* One line on stderr for what takes longer than two seconds, if stderr is a terminal; wiped when done. */
#ifndef LATHE_PROGRESS_H
#define LATHE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool terminal;    /* stderr is one */
    bool shown;       /* a line stands there */
    const char *what; /* the activity that `started` belongs to */
    double started, drawn;
};

void progress_open(struct progress *progress);
/* `done` of `total` (0: unknown). A new `what` starts the clock again. context: a struct progress; the signature is
   engine_options.progress's. */
void progress_report(void *context, const char *what, uint64_t done, uint64_t total);
/* Wipes the line; the next report starts the clock again. Call before printing anything else. */
void progress_clear(struct progress *progress);

/* Seconds on a clock that never goes back. */
double clock_seconds(void);

#endif
