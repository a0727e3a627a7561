#include "process.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ARGUMENTS 64
#define BUFFERS 64
#define NOBODY 65534

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

struct stream {
    int fd; /* -1: closed */
    char *data;
    size_t length, capacity;
};

static void stream_grow(struct stream *stream)
{
    if (stream->length + 65536 < stream->capacity)
        return;
    stream->capacity = stream->capacity * 2 + 131072;
    stream->data = realloc(stream->data, stream->capacity);
    ck_assert_ptr_nonnull(stream->data);
}

static void stream_read(struct stream *stream)
{
    stream_grow(stream);
    ssize_t got = read(stream->fd, stream->data + stream->length, stream->capacity - stream->length - 1);
    if (got > 0) {
        stream->length += (size_t)got;
    } else if (got == 0 || errno != EINTR) {
        close(stream->fd);
        stream->fd = -1;
    }
}

static void child(const struct process_options *options, const char *const *arguments, int input, int output,
                  int errors)
{
    setpgid(0, 0);
    dup2(input, 0);
    dup2(output, 1);
    dup2(errors, 2);
    if (options->directory && chdir(options->directory) != 0) {
        fprintf(stderr, "chdir %s: %s\n", options->directory, strerror(errno));
        _exit(126);
    }
    if (options->environment) {
        char *copy = strdup(options->environment);
        if (copy)
            putenv(copy);
    }
    if (options->file_limit) {
        struct rlimit limit = {options->file_limit, options->file_limit};
        setrlimit(RLIMIT_FSIZE, &limit);
        signal(SIGXFSZ, SIG_IGN); /* writes fail with EFBIG instead, as they do with ENOSPC on a full disk */
    }
    if (options->unprivileged && geteuid() == 0 &&
        (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
        _exit(126);
    execvp(arguments[0], (char *const *)(uintptr_t)arguments);
    fprintf(stderr, "%s: %s\n", arguments[0], strerror(errno));
    _exit(127);
}

static bool matches(const char *pattern)
{
    glob_t found;
    bool any = glob(pattern, GLOB_NOSORT, NULL, &found) == 0;
    globfree(&found);
    return any;
}

void process_run(struct process_result *result, const struct process_options *options, const char *const *arguments)
{
    static const struct process_options plain;
    options = options ? options : &plain;
    double limit = options->seconds > 0 ? options->seconds : 300;
    int output[2], errors[2];
    memset(result, 0, sizeof *result);

    /* A temporary file feeds the input, so that nothing here can block. */
    FILE *input = tmpfile();
    ck_assert_ptr_nonnull(input);
    if (options->input) {
        fputs(options->input, input);
        rewind(input);
    }
    ck_assert(pipe2(output, O_CLOEXEC) == 0 && pipe2(errors, O_CLOEXEC) == 0);
    double start = now();
    fflush(NULL);
    pid_t pid = fork();
    ck_assert(pid >= 0);
    if (pid == 0)
        child(options, arguments, fileno(input), output[1], errors[1]);
    setpgid(pid, pid);
    fclose(input);
    close(output[1]);
    close(errors[1]);

    struct stream streams[2] = {{output[0], NULL, 0, 0}, {errors[0], NULL, 0, 0}};
    bool signalled = !options->signal_when && options->signal_after <= 0, reaped = false;
    int status = 0;
    while (streams[0].fd >= 0 || streams[1].fd >= 0 || !reaped) {
        struct pollfd wait[2] = {{streams[0].fd, POLLIN, 0}, {streams[1].fd, POLLIN, 0}};
        poll(wait, 2, (streams[0].fd < 0 && streams[1].fd < 0) || !signalled ? 1 : 10);
        for (int i = 0; i < 2; i++)
            if (streams[i].fd >= 0 && wait[i].revents)
                stream_read(&streams[i]);
        double elapsed = now() - start;
        if (!signalled && !reaped &&
            (options->signal_when ? matches(options->signal_when) : elapsed >= options->signal_after)) {
            kill(pid, options->signal);
            signalled = true;
        }
        if (!result->timed_out && elapsed >= limit) {
            kill(-pid, SIGKILL);
            result->timed_out = true;
        }
        if (!reaped && waitpid(pid, &status, WNOHANG) == pid) {
            reaped = true;
            result->seconds = now() - start;
        }
    }
    result->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    for (int i = 0; i < 2; i++) {
        stream_grow(&streams[i]);
        streams[i].data[streams[i].length] = 0;
    }
    result->out = streams[0].data;
    result->out_length = streams[0].length;
    result->err = streams[1].data;
    result->err_length = streams[1].length;
}

void process_free(struct process_result *result)
{
    free(result->out);
    free(result->err);
    memset(result, 0, sizeof *result);
}

static void collect(const char **arguments, const char *program, va_list list)
{
    int count = 0;
    for (const char *argument = program; argument; argument = va_arg(list, const char *)) {
        ck_assert_int_lt(count, MAX_ARGUMENTS - 1);
        arguments[count++] = argument;
    }
    arguments[count] = NULL;
}

void process(struct process_result *result, const char *program, ...)
{
    const char *arguments[MAX_ARGUMENTS];
    va_list list;
    va_start(list, program);
    collect(arguments, program, list);
    va_end(list);
    process_run(result, NULL, arguments);
}

void process_ok(struct process_result *result, const char *program, ...)
{
    const char *arguments[MAX_ARGUMENTS];
    va_list list;
    va_start(list, program);
    collect(arguments, program, list);
    va_end(list);
    process_run(result, NULL, arguments);
    ck_assert_msg(result->status == 0 && !result->timed_out, "%s %s %s: status %d%s: %.2000s", program,
                  arguments[1] ? arguments[1] : "", arguments[1] && arguments[2] ? arguments[2] : "", result->status,
                  result->timed_out ? " (time limit)" : "", result->err);
}

static char folder[512];
static pid_t folder_owner;

static bool keeping(void)
{
    const char *keep = getenv("KEEP");
    return keep && keep[0];
}

static void remove_folder(void)
{
    if (getpid() != folder_owner || keeping())
        return;
    pid_t pid = fork();
    if (pid == 0) {
        execlp("rm", "rm", "-rf", folder, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
}

const char *temporary_folder(void)
{
    if (!folder[0]) {
        const char *base = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/lathe-test-XXXXXX", base && base[0] ? base : "/tmp");
        if (!mkdtemp(folder)) { /* no ck_assert: Check is not running yet */
            fprintf(stderr, "%s: %s\n", folder, strerror(errno));
            exit(1);
        }
        chmod(folder, 0755); /* for programs that run unprivileged */
        folder_owner = getpid();
        atexit(remove_folder);
        if (keeping())
            fprintf(stderr, "keeping %s\n", folder);
    }
    return folder;
}

static char *next_buffer(void)
{
    static char buffers[BUFFERS][4096];
    static int next;
    return buffers[next++ % BUFFERS];
}

const char *temporary_path(const char *format, ...)
{
    char *buffer = next_buffer();
    int start = snprintf(buffer, 4096, "%s/", temporary_folder());
    va_list list;
    va_start(list, format);
    vsnprintf(buffer + start, 4096 - (size_t)start, format, list);
    va_end(list);
    return buffer;
}

const char *text(const char *format, ...)
{
    char *buffer = next_buffer();
    va_list list;
    va_start(list, format);
    vsnprintf(buffer, 4096, format, list);
    va_end(list);
    return buffer;
}

char *file_read(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s: %s", path, strerror(errno));
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    ck_assert_msg(size >= 0, "%s: not a plain file", path);
    rewind(file);
    char *data = malloc((size_t)size + 1);
    ck_assert_ptr_nonnull(data);
    ck_assert_uint_eq(fread(data, 1, (size_t)size, file), (size_t)size);
    fclose(file);
    data[size] = 0;
    if (length)
        *length = (size_t)size;
    return data;
}

void file_write(const char *path, const void *data, size_t length)
{
    FILE *file = fopen(path, "wb");
    ck_assert_msg(file != NULL, "%s: %s", path, strerror(errno));
    ck_assert_uint_eq(fwrite(data, 1, length, file), length);
    ck_assert_int_eq(fclose(file), 0);
}

bool file_exists(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

void file_copy(const char *from, const char *to)
{
    struct process_result result;
    process_ok(&result, "cp", "-a", "--", from, to, NULL);
    process_free(&result);
}
