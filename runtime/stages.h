/* Where the time of steps goes: for each stage of the model its time, the part of it that threads waited for each other,
   and the work that was done (`bench --stages`). */
#ifndef LATHE_STAGES_H
#define LATHE_STAGES_H

#include "model.h"
#include "step.h"

/* One stage, in all layers and all steps that were watched. */
struct stage_work {
    double seconds; /* mean of the threads, waiting included */
    double waiting; /* the part of it after a thread's own work was done */
    double flops;   /* multiplications and additions of the products and the attention */
    double bytes;   /* of weights and of keys and values that had to be read once a step */
};

struct stages;

/* NULL: out of memory. */
struct stages *stages_open(const struct model *model, int threads);
void stages_close(struct stages *stages);
const struct model *stages_model(const struct stages *stages);
/* For engine_set_watch. */
const struct stopwatch *stages_watch(const struct stages *stages);
void stages_reset(struct stages *stages);
/* Between steps only. stage: index into model.stages. */
struct stage_work stages_time(const struct stages *stages, int stage);
/* All stages together. */
struct stage_work stages_total(const struct stages *stages);

#endif
