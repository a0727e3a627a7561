/* Ctrl-C. The first one sets a flag that loops look at between steps; the second kills, as if nothing had been set. */
#ifndef LATHE_INTERRUPT_H
#define LATHE_INTERRUPT_H

#include <stdbool.h>

/* From now on the first SIGINT sets the flag, which is cleared. */
void interrupt_watch(void);
/* Back to what the signal did before interrupt_watch. */
void interrupt_unwatch(void);
bool interrupt_requested(void);

#endif
