/* Running a program and keeping what it said; and a temporary folder that goes when the test program ends. */
#ifndef LATHE_TEST_PROCESS_H
#define LATHE_TEST_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct process_options {
    const char *directory;   /* where it runs; NULL: here */
    const char *environment; /* one more "NAME=VALUE"; NULL: none */
    const char *input;       /* its standard input, NUL-terminated; NULL: empty */
    double seconds;          /* time limit, after which it is killed; 0: 300 */
    const char *signal_when; /* `signal` is sent to it (not to its children) as soon as a file matches this pattern */
    double signal_after;     /* or, if that is NULL, after so many seconds; 0: never */
    int signal;
    uint64_t file_limit; /* largest file it may write (RLIMIT_FSIZE); 0: any */
    bool unprivileged;   /* as user 65534 when the test runs as root, so that permissions count */
};

struct process_result {
    int status;      /* exit status; 128 + signal when one ended it */
    bool timed_out;  /* it was killed at the time limit */
    char *out, *err; /* [out_length], [err_length], each followed by a NUL; free with process_free */
    size_t out_length, err_length;
    double seconds;
};

/* Runs arguments[0] (with a PATH search) to its end. Fails the test if it cannot be started.
   `options` may be NULL. Children that outlive the program and hold its pipes are killed with it at the time limit. */
void process_run(struct process_result *result, const struct process_options *options, const char *const *arguments);
void process_free(struct process_result *result);

/* process_run without options; the arguments end with NULL. */
void process(struct process_result *result, const char *program, ...) __attribute__((sentinel));

/* The same, and the test fails with the program's stderr unless it exits with 0. */
void process_ok(struct process_result *result, const char *program, ...) __attribute__((sentinel));

/* A folder of this test program's own in $TMPDIR (or /tmp), made at the first call and removed with everything in it
   when the program ends, unless KEEP is set in the environment. Call it before Check forks: from main. */
const char *temporary_folder(void);

/* "<temporary folder>/<formatted>", in one of 64 static buffers. */
const char *temporary_path(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The formatted text, in one of 64 static buffers. */
const char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The whole file, followed by a NUL; free it. Fails the test when it cannot be read. */
char *file_read(const char *path, size_t *length);
void file_write(const char *path, const void *data, size_t length);
bool file_exists(const char *path);
/* Copies a file or folder as `cp -a` does. */
void file_copy(const char *from, const char *to);

#endif
