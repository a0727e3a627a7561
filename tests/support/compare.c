#include "compare.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "process.h"

double relative_error(const float *value, const float *reference, size_t count)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(value[i]))
            return INFINITY;
        double distance = (double)value[i] - (double)reference[i];
        difference += distance * distance;
        norm += (double)reference[i] * (double)reference[i];
    }
    return sqrt(difference / norm);
}

const char *folders_differ(const char *left, const char *right)
{
    static char line[512];
    struct process_result result;
    process(&result, "diff", "-rq", "--no-dereference", "--", left, right, NULL);
    snprintf(line, sizeof line, "%.*s", (int)strcspn(result.out, "\n"), result.out);
    if (result.status > 1)
        snprintf(line, sizeof line, "diff: %.400s", result.err);
    int status = result.status;
    process_free(&result);
    return status == 0 ? NULL : line;
}
