#include "statistics.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(double *values, int count)
{
    if (count < 1)
        return 0;
    qsort(values, (size_t)count, sizeof *values, compare);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

double least(const double *values, int count)
{
    double best = count > 0 ? values[0] : 0;
    for (int i = 1; i < count; i++)
        best = values[i] < best ? values[i] : best;
    return best;
}
