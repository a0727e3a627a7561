#include "peak.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "progress.h"

enum { ROUNDS = 20000, TRIES = 5 };

static const double seconds_of_a_try = 0.03;

struct runner {
    double (*function)(int rounds);
    pthread_t id;
    double rate; /* the best try */
};

static void *run(void *context)
{
    struct runner *runner = context;
    for (int i = 0; i < TRIES; i++) {
        double flops = 0, start = clock_seconds(), elapsed;
        do
            flops += runner->function(ROUNDS);
        while ((elapsed = clock_seconds() - start) < seconds_of_a_try);
        runner->rate = flops / elapsed > runner->rate ? flops / elapsed : runner->rate;
    }
    return NULL;
}

double peak_measure(const struct engine *engine, int threads)
{
    const struct model *model = engine_model(engine);
    struct runner *runners = calloc((size_t)threads, sizeof *runners);
    double (*function)(int) = NULL;
    double rate = 0;
    for (int32_t i = 0; i < model->variant_count; i++)
        if (strcmp(model->variants[i].name, engine_variant(engine)) == 0)
            function = model->variants[i].peak;
    if (!runners || !function) {
        free(runners);
        return 0;
    }
    int started = 1;
    for (int i = 0; i < threads; i++)
        runners[i].function = function;
    while (started < threads && !pthread_create(&runners[started].id, NULL, run, &runners[started]))
        started++;
    run(&runners[0]);
    for (int i = 0; i < started; i++) {
        if (i > 0)
            pthread_join(runners[i].id, NULL);
        rate += runners[i].rate;
    }
    free(runners);
    return rate;
}
