#include "sampling_options.h"

#include <string.h>

struct sampler_options sampling_defaults(const struct generation_defaults *defaults)
{
    struct sampler_options sampler = sampler_defaults();
    sampler.temperature = defaults->sample && defaults->temperature > 0 ? defaults->temperature : 0;
    sampler.top_k = defaults->top_k > 0 ? defaults->top_k : 0;
    sampler.top_p = defaults->top_p > 0 && defaults->top_p <= 1 ? defaults->top_p : 1;
    sampler.min_p = defaults->min_p > 0 && defaults->min_p <= 1 ? defaults->min_p : 0;
    sampler.repetition_penalty = defaults->repetition_penalty > 0 ? defaults->repetition_penalty : 1;
    return sampler;
}

void sampling_table(struct sampler_options *sampler, struct bias_list *bias, struct option table[SAMPLING_OPTIONS])
{
    const struct option rows[SAMPLING_OPTIONS] = {
        {.name = "temp",
         .kind = OPTION_NUMBER,
         .target = &sampler->temperature,
         .value = "T",
         .help = "temperature; 0: always the likeliest token",
         .maximum = 1e6},
        {.name = "top-k",
         .kind = OPTION_INTEGER,
         .target = &sampler->top_k,
         .value = "K",
         .help = "choose among the K likeliest; 0: off",
         .maximum = INT32_MAX},
        {.name = "top-p",
         .kind = OPTION_NUMBER,
         .target = &sampler->top_p,
         .value = "P",
         .help = "choose among the fewest tokens whose probability reaches P; 1: off",
         .maximum = 1},
        {.name = "min-p",
         .kind = OPTION_NUMBER,
         .target = &sampler->min_p,
         .value = "P",
         .help = "drop tokens less than P times as likely as the likeliest; 0: off",
         .maximum = 1},
        {.name = "repetition-penalty",
         .kind = OPTION_NUMBER,
         .target = &sampler->repetition_penalty,
         .value = "R",
         .help = "divide positive and multiply negative logits of tokens in prompt and output by R; 1: off",
         .minimum = 1e-6,
         .maximum = 1e6},
        {.name = "presence-penalty",
         .kind = OPTION_NUMBER,
         .target = &sampler->presence_penalty,
         .value = "X",
         .help = "take X off the logits of tokens in the output",
         .minimum = -1e6,
         .maximum = 1e6},
        {.name = "frequency-penalty",
         .kind = OPTION_NUMBER,
         .target = &sampler->frequency_penalty,
         .value = "X",
         .help = "take X off for every time that the output has the token",
         .minimum = -1e6,
         .maximum = 1e6},
        {.name = "logit-bias",
         .kind = OPTION_BIASES,
         .target = bias,
         .value = "ID=VALUE",
         .help = "add VALUE to the token's logit; -inf forbids it; repeatable"},
        {.name = "seed",
         .letter = 's',
         .kind = OPTION_SEED,
         .target = &sampler->seed,
         .value = "N",
         .help = "seed of the random choice (default: 0); the same seed gives the same text"},
    };
    memcpy(table, rows, sizeof rows);
}
