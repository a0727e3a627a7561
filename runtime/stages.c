#include "stages.h"

#include <stdlib.h>
#include <string.h>

#include "progress.h"

/* A thread's clock, on cache lines of its own. */
struct clock {
    _Alignas(64) double last;  /* the beginning of what it does now */
    double *working, *waiting; /* [stages] */
};

struct stages {
    const struct model *model;
    struct stopwatch watch;
    int threads;
    double *flops, *bytes; /* [stages], counted by thread 0 */
    double *times;         /* what the clocks point into */
    struct clock clock[];  /* [threads] */
};

static int32_t seen(const struct stage *stage, int32_t positions)
{
    return stage->window > 0 && positions > stage->window ? stage->window : positions;
}

/* The work of a step. Rows of one sequence that follow each other read its keys and values once. */
static void count_work(struct stages *stages, const struct step *step)
{
    const struct model *model = stages->model;
    for (int32_t s = 0; s < model->stage_count; s++) {
        const struct stage *stage = &model->stages[s];
        int rows = stage->outputs_only ? step->outputs : step->rows;
        stages->flops[s] += (double)stage->flops_per_row * rows;
        stages->bytes[s] += rows > 0 ? (double)stage->weight_bytes : 0;
        if (!stage->flops_per_position)
            continue;
        double scores = 0, positions = 0;
        for (int r = 0; r < step->rows; r++) {
            const struct row *row = &step->row[r];
            int32_t all = row->position + 1;
            bool last = r + 1 == step->rows || row[1].sequence != row->sequence;
            scores += seen(stage, all);
            positions += last ? seen(stage, all) : 0;
        }
        stages->flops[s] += (double)stage->flops_per_position * scores;
        stages->bytes[s] += (double)stage->state_bytes_per_position * positions;
    }
}

static void lap(void *context, const struct step *step, int thread, int stage, bool all)
{
    struct stages *stages = context;
    struct clock *clock = &stages->clock[thread];
    double now = clock_seconds();
    if (stage < 0) {
        if (thread == 0)
            count_work(stages, step);
        now = clock_seconds();
    } else if (all) {
        clock->waiting[stage] += now - clock->last;
    } else {
        clock->working[stage] += now - clock->last;
    }
    clock->last = now;
}

struct stages *stages_open(const struct model *model, int threads)
{
    size_t bytes = sizeof(struct stages) + (size_t)threads * sizeof(struct clock);
    size_t count = (size_t)model->stage_count;
    struct stages *stages = aligned_alloc(64, (bytes + 63) / 64 * 64);
    double *times = calloc(2 * ((size_t)threads + 1) * count + 1, sizeof *times);
    if (!stages || !times) {
        free(stages);
        free(times);
        return NULL;
    }
    memset(stages, 0, bytes);
    stages->model = model;
    stages->watch = (struct stopwatch){lap, stages};
    stages->threads = threads;
    stages->times = times;
    stages->flops = times;
    stages->bytes = times + count;
    for (int t = 0; t < threads; t++) {
        stages->clock[t].working = times + 2 * ((size_t)t + 1) * count;
        stages->clock[t].waiting = stages->clock[t].working + count;
    }
    return stages;
}

void stages_close(struct stages *stages)
{
    if (!stages)
        return;
    free(stages->times);
    free(stages);
}

const struct model *stages_model(const struct stages *stages)
{
    return stages->model;
}

const struct stopwatch *stages_watch(const struct stages *stages)
{
    return &stages->watch;
}

void stages_reset(struct stages *stages)
{
    memset(stages->times, 0,
           2 * ((size_t)stages->threads + 1) * (size_t)stages->model->stage_count * sizeof *stages->times);
}

struct stage_work stages_time(const struct stages *stages, int stage)
{
    struct stage_work time = {.flops = stages->flops[stage], .bytes = stages->bytes[stage]};
    for (int t = 0; t < stages->threads; t++) {
        const struct clock *clock = &stages->clock[t];
        time.seconds += (clock->working[stage] + clock->waiting[stage]) / stages->threads;
        time.waiting += clock->waiting[stage] / stages->threads;
    }
    return time;
}

struct stage_work stages_total(const struct stages *stages)
{
    struct stage_work total = {0};
    for (int32_t s = 0; s < stages->model->stage_count; s++) {
        struct stage_work time = stages_time(stages, s);
        total.seconds += time.seconds;
        total.waiting += time.waiting;
        total.flops += time.flops;
        total.bytes += time.bytes;
    }
    return total;
}
