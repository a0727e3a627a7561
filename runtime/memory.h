/* Large blocks of zeroed memory, straight from the system: pages that are never touched cost nothing. */
#ifndef LATHE_MEMORY_H
#define LATHE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

/* [bytes], zeroed, aligned to at least 4096; `bytes` may be 0. lazy: do not count the block against the
   machine's memory until it is touched. `what` names the block in the message. NULL and a message when there
   is none. */
void *memory_map(uint64_t bytes, bool lazy, const char *what, struct error *error);
/* `bytes` as given to memory_map; NULL is allowed. */
void memory_unmap(void *memory, uint64_t bytes);

/* Bytes of memory that this process can hope for: the machine's, or its control group's if that is less. */
uint64_t memory_total(void);

#endif
