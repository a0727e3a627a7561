/* Questions about a row of logits. All of them give the same bits whatever the compiler does: sums have a fixed order. */
#ifndef LATHE_LOGITS_H
#define LATHE_LOGITS_H

#include <stdint.h>

#include "error.h"

/* The largest logit. -1 and a message when there is a NaN, a +infinity, or nothing but -infinity (which is allowed for
   some: it forbids a token). n >= 1. */
int logits_maximum(const float *logits, int32_t n, float *maximum, struct error *error);

/* The messages of logits_maximum, for who finds the same elsewhere: -1. what: "NaN". */
int logits_explain_bad(int32_t token, const char *what, struct error *error);
int logits_explain_nothing(struct error *error);

/* The lowest id whose logit is `maximum`, which logits_maximum found. */
int32_t logits_find(const float *logits, int32_t n, float maximum);

/* log(sum(exp(logits))), natural logarithm; relative error of the sum below 1e-6. */
double logits_log_sum(const float *logits, int32_t n, float maximum);

/* The best two, the lowest id first among equals; *second is -1 when n is 1. */
void logits_best_two(const float *logits, int32_t n, int32_t *first, int32_t *second);

#endif
