/* Errors as the project promises them: one line that says what is wrong, a non-zero exit, nothing on stdout. */
#ifndef LATHE_TEST_REFUSAL_H
#define LATHE_TEST_REFUSAL_H

#include "process.h"

/* Fails the test unless the program ended by itself with a status from 1 to 127, printed nothing on stdout and exactly
   one line on stderr, without control characters, that contains every one of the NULL-terminated `fragments`. Prints
   the line, so that a person can judge it. `what` names the case. */
void expect_refusal(const struct process_result *result, const char *what, ...) __attribute__((sentinel));

/* Whether stderr is one line of printable characters (and UTF-8). */
bool is_one_line(const struct process_result *result);

#endif
