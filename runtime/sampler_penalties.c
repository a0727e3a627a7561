#include "sampler_penalties.h"

#include <stdlib.h>
#include <string.h>

int penalties_open(struct penalties *penalties, int32_t vocab)
{
    memset(penalties, 0, sizeof *penalties);
    penalties->vocab = vocab;
    penalties->occurrences = malloc((size_t)vocab * sizeof *penalties->occurrences);
    penalties->seen = malloc((size_t)vocab * sizeof *penalties->seen);
    if (!penalties->occurrences || !penalties->seen)
        return -1;
    for (int32_t token = 0; token < vocab; token++)
        penalties->occurrences[token] = -1;
    return 0;
}

void penalties_close(struct penalties *penalties)
{
    free(penalties->occurrences);
    free(penalties->seen);
    memset(penalties, 0, sizeof *penalties);
}

void penalties_see(struct penalties *penalties, int32_t token, bool output)
{
    int32_t *occurrences = &penalties->occurrences[token];
    if (*occurrences < 0) {
        *occurrences = 0;
        penalties->seen[penalties->seen_count++] = token;
    }
    *occurrences += output;
}

void penalties_apply(const struct penalties *penalties, float repetition, float frequency, float presence,
                     float *logits)
{
    if (repetition == 1 && frequency == 0 && presence == 0)
        return;
    for (int32_t i = 0; i < penalties->seen_count; i++) {
        int32_t token = penalties->seen[i];
        int32_t occurrences = penalties->occurrences[token];
        float x = logits[token];
        if (repetition != 1)
            x = x > 0 ? x / repetition : x * repetition;
        if (occurrences > 0) {
            float frequent = frequency * (float)occurrences;
            x = x - frequent;
            x = x - presence;
        }
        logits[token] = x;
    }
}
