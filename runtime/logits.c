#include "logits.h"

#include <math.h>

#include "exponential.h"

/* Independent lanes let the compiler use vectors without being allowed to reorder floating-point sums. */
enum { LANES = 16 };

static float lanes_maximum(const float *logits, int32_t n, int *bad)
{
    float best[LANES];
    int broken[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        best[lane] = -INFINITY;
        broken[lane] = 0;
    }
    int32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            float x = logits[i + lane];
            best[lane] = x > best[lane] ? x : best[lane];
            broken[lane] |= !(x < INFINITY); /* NaN too */
        }
    for (int lane = 0; i + lane < n; lane++) {
        float x = logits[i + lane];
        best[lane] = x > best[lane] ? x : best[lane];
        broken[lane] |= !(x < INFINITY);
    }
    *bad = 0;
    float maximum = -INFINITY;
    for (int lane = 0; lane < LANES; lane++) {
        maximum = best[lane] > maximum ? best[lane] : maximum;
        *bad |= broken[lane];
    }
    return maximum;
}

int logits_explain_bad(int32_t token, const char *what, struct error *error)
{
    return error_set(error,
                     "the logit of token %d is %s: expected a finite number; the model computed nonsense "
                     "(damaged or unsuitable weights, or overflow: --dump shows where it begins)",
                     (int)token, what);
}

int logits_explain_nothing(struct error *error)
{
    return error_set(error, "every logit is -infinity: no token can be chosen; the model computed nonsense, or "
                            "options forbid every token (--logit-bias, --min-tokens)");
}

int logits_maximum(const float *logits, int32_t n, float *maximum, struct error *error)
{
    int bad;
    *maximum = lanes_maximum(logits, n, &bad);
    if (bad) {
        int32_t at = 0;
        while (logits[at] < INFINITY)
            at++;
        return logits_explain_bad(at, isnan(logits[at]) ? "NaN" : "+infinity", error);
    }
    return *maximum == -INFINITY ? logits_explain_nothing(error) : 0;
}

int32_t logits_find(const float *logits, int32_t n, float maximum)
{
    int32_t i = 0;
    while (i < n - 1 && logits[i] != maximum)
        i++;
    return i;
}

double logits_log_sum(const float *logits, int32_t n, float maximum)
{
    const float log2e = 0x1.715476p+0f;
    /* Blocks are summed in floats, short enough to lose nothing that matters; the blocks in doubles. */
    enum { BLOCK = 64 * LANES };
    double total = 0;
    for (int32_t start = 0; start < n; start += BLOCK) {
        int32_t end = n - start < BLOCK ? n : start + BLOCK;
        float sum[LANES] = {0};
        int32_t i = start;
        for (; i + LANES <= end; i += LANES)
            for (int lane = 0; lane < LANES; lane++)
                sum[lane] += exponential_float((logits[i + lane] - maximum) * log2e);
        for (int lane = 0; i + lane < end; lane++)
            sum[lane] += exponential_float((logits[i + lane] - maximum) * log2e);
        for (int lane = 0; lane < LANES; lane++)
            total += (double)sum[lane];
    }
    return (double)maximum + log(total);
}

void logits_best_two(const float *logits, int32_t n, int32_t *first, int32_t *second)
{
    *first = 0;
    *second = -1;
    for (int32_t i = 1; i < n; i++) {
        if (logits[i] > logits[*first]) {
            *second = *first;
            *first = i;
        } else if (*second < 0 || logits[i] > logits[*second]) {
            *second = i;
        }
    }
}
