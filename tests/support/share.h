/* How much of a long test is run. */
#ifndef LATHE_TEST_SHARE_H
#define LATHE_TEST_SHARE_H

/* Sanitizers make everything slow and find what they look for in an eighth of it as well. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#define SHARE_OF(count) ((count) / 8)
#else
#define SANITIZED false
#define SHARE_OF(count) (count)
#endif

#endif
