#include "checkpoint.h"

#include <check.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"
#include "process.h"

cJSON *checkpoint_read(const char *path)
{
    struct process_result result;
    process_ok(&result, lathe(), "checkpoint", path, NULL);
    cJSON *json = json_parse(result.out, path);
    process_free(&result);
    return json;
}

void checkpoint_refused(const char *path, ...)
{
    struct process_result result;
    process(&result, lathe(), "checkpoint", path, NULL);
    ck_assert_msg(result.status == 1, "%s: status %d, expected 1; stderr: %s", path, result.status, result.err);
    ck_assert_msg(result.out_length == 0, "%s: printed %s", path, result.out);
    const char *end = strchr(result.err, '\n');
    ck_assert_msg(end && end[1] == '\0', "%s: expected one line, found: %s", path, result.err);
    ck_assert_msg(strncmp(result.err, "lathe: error: ", 14) == 0, "%s: %s", path, result.err);
    ck_assert_msg(strlen(result.err) < 1000, "%s: a line of %zu bytes", path, strlen(result.err));
    va_list fragments;
    va_start(fragments, path);
    for (const char *fragment; (fragment = va_arg(fragments, const char *));)
        ck_assert_msg(strstr(result.err, fragment) != NULL, "expected \"%s\" in: %s", fragment, result.err);
    va_end(fragments);
    process_free(&result);
}

void safetensors_write(const char *path, const char *header, size_t data_bytes)
{
    size_t length = strlen(header);
    unsigned char *file = malloc(8 + length + data_bytes);
    ck_assert_ptr_nonnull(file);
    for (int i = 0; i < 8; i++)
        file[i] = (unsigned char)((uint64_t)length >> 8 * i);
    memcpy(file + 8, header, length);
    memset(file + 8 + length, 1, data_bytes);
    file_write(path, file, 8 + length + data_bytes);
    free(file);
}

const char *checkpoint_folder(const char *config)
{
    static int number;
    const char *folder = temporary_path("checkpoint-%d-%d", (int)getpid(), number++);
    ck_assert_int_eq(mkdir(folder, 0755), 0);
    if (config)
        file_write(text("%s/config.json", folder), config, strlen(config));
    return folder;
}
