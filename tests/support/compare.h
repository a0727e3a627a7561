/* Comparing numbers and folders. */
#ifndef LATHE_TEST_COMPARE_H
#define LATHE_TEST_COMPARE_H

#include <stddef.h>

/* ||value - reference|| / ||reference||, in double precision. Infinite if any value is not finite. */
double relative_error(const float *value, const float *reference, size_t count);

/* The first file that is not byte for byte the same in both folders, or is in one of them only: a line for a person, in
   a static buffer. NULL when the folders are equal. */
const char *folders_differ(const char *left, const char *right);

#endif
