/* Stop strings in a stream of text. The result depends on the text alone, not on how it was cut into pieces: the first
   byte at which any stop string is complete ends the text, and if several are complete there, the longest counts. */
#ifndef LATHE_STOP_H
#define LATHE_STOP_H

#include <stdbool.h>
#include <stddef.h>

#include "text_buffer.h"

struct stop;

/* `strings` [count] are copied; none may be empty. NULL when memory is out. */
struct stop *stop_open(const char *const *strings, int count);
void stop_close(struct stop *stop);

/* Takes a piece of text and appends to `out` what is certain not to belong to a stop string: everything but the longest
   end of the text so far that could begin one. *found: a stop string is complete; the text before it has been appended,
   and the rest of the piece dropped. -1 when memory is out. */
int stop_push(struct stop *stop, const char *text, size_t length, struct text_buffer *out, bool *found);

/* At the end of the text: appends what was held back. */
int stop_flush(struct stop *stop, struct text_buffer *out);

#endif
