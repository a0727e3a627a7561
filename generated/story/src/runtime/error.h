/* Errors travel as values: a function that can fail returns non-zero (or NULL) and fills a message. */
#ifndef LATHE_ERROR_H
#define LATHE_ERROR_H

/* One line for a person: which file, which field, what was expected, what was found, what to do. */
struct error {
    char message[1024];
};

/* Writes the message (truncated to fit, `error` may be NULL) and returns -1, so that a caller can write
   `return error_set(error, "...")`. */
int error_set(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
