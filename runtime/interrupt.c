#include "interrupt.h"

#include <signal.h>

/* A signal handler can only reach globals. */
static volatile sig_atomic_t requested;
static struct sigaction before;

static void handle(int number)
{
    (void)number;
    requested = 1;
}

void interrupt_watch(void)
{
    requested = 0;
    /* SA_RESETHAND: the second signal meets the default action. No SA_RESTART: a blocked read returns. */
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, &before);
}

void interrupt_unwatch(void)
{
    sigaction(SIGINT, &before, NULL);
}

bool interrupt_requested(void)
{
    return requested;
}
