/* Order statistics of small samples. */
#ifndef LATHE_STATISTICS_H
#define LATHE_STATISTICS_H

/* The middle of the values, or the mean of the middle two; sorts them. 0 if there are none. */
double median(double *values, int count);

/* 0 if there are none. */
double least(const double *values, int count);

#endif
