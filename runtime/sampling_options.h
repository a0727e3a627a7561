/* How tokens are chosen, as options of a command: shared by run and chat. */
#ifndef LATHE_SAMPLING_OPTIONS_H
#define LATHE_SAMPLING_OPTIONS_H

#include "model.h"
#include "options.h"
#include "sampler.h"

enum { SAMPLING_OPTIONS = 9 };

/* What the checkpoint recommends, with anything that makes no sense taken as "off". */
struct sampler_options sampling_defaults(const struct generation_defaults *defaults);

/* The rows of the options, which set *sampler and *bias. */
void sampling_table(struct sampler_options *sampler, struct bias_list *bias, struct option table[SAMPLING_OPTIONS]);

#endif
