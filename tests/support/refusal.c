#include "refusal.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool is_one_line(const struct process_result *result)
{
    size_t length = result->err_length;
    if (length < 2 || result->err[length - 1] != '\n')
        return false;
    for (size_t i = 0; i + 1 < length; i++)
        if ((unsigned char)result->err[i] < 0x20 || result->err[i] == 0x7f)
            return false;
    return true;
}

void expect_refusal(const struct process_result *result, const char *what, ...)
{
    printf("  %-34s %d  %.400s%s", what, result->status, result->err, result->err_length ? "" : "\n");
    fflush(stdout);
    ck_assert_msg(!result->timed_out, "%s: no end within the time limit", what);
    ck_assert_msg(result->status > 0 && result->status < 128, "%s: status %d; stderr: %.500s", what, result->status,
                  result->err);
    ck_assert_msg(result->out_length == 0, "%s: printed %.200s", what, result->out);
    ck_assert_msg(is_one_line(result), "%s: stderr is not one line: %.1000s", what, result->err);
    va_list list;
    va_start(list, what);
    for (const char *fragment; (fragment = va_arg(list, const char *));)
        ck_assert_msg(strstr(result->err, fragment) != NULL, "%s: the message does not say '%s': %s", what, fragment,
                      result->err);
    va_end(list);
}
