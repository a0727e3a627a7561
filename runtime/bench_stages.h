/* `bench --stages`: how long each stage of a decode step takes, beside what the machine's read bandwidth would allow. */
#ifndef LATHE_BENCH_STAGES_H
#define LATHE_BENCH_STAGES_H

#include "engine.h"
#include "json_out.h"

enum { BENCH_STAGES_MAX = 32, BENCH_STEPS_MAX = 32 };

struct bench_stages {
    struct stage_time stage[BENCH_STAGES_MAX]; /* seconds: the median of the steps, all launches of a step together */
    int32_t stages;
    double seconds[BENCH_STAGES_MAX][BENCH_STEPS_MAX];
    int32_t steps;
};

/* Notes the times of the step collected last. */
void bench_stages_note(struct bench_stages *stages, const struct engine *engine);
/* After the last step. */
void bench_stages_finish(struct bench_stages *stages);

/* rows: of each step. bytes_per_second: the measured bandwidth; 0: unknown. */
void bench_stages_print(const struct bench_stages *stages, int32_t rows, double bytes_per_second);
/* The array itself. */
void bench_stages_json(const struct bench_stages *stages, struct json_out *out);

#endif
