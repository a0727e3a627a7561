#include "bandwidth.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "progress.h"
#include "statistics.h"

enum { PASSES_MAX = 1000, LANES = 8, PATTERNS = 4 };

/* Ways to read: how many bytes ahead memory is asked for. Which is the fastest depends on the machine, and on the hour. */
static const uint64_t bytes_ahead[PATTERNS] = {0, 2048, 8192, 16384};

#define PASS_BYTES (UINT64_C(64) << 20) /* small weights are read several times in a pass, or its ends would count */

/* A thread's share of the tensors. */
struct reader {
    const struct engine *engine;
    pthread_mutex_t *gate; /* held while threads are made: until it is known how many there are */
    pthread_barrier_t *barrier;
    const bool *stop; /* written between two barriers, so no thread reads it meanwhile */
    int thread, threads;
    const int *pattern; /* of this pass; written as `stop` is */
    uint64_t rounds;    /* of reading everything in a pass */
    uint64_t sum;       /* so that the reading is not optimised away */
};

static uint64_t read_words(const unsigned char *bytes, uint64_t length, uint64_t ahead)
{
    /* Several sums, so that no load waits for an addition. */
    uint64_t sum[LANES] = {0};
    uint64_t block = LANES * sizeof *sum;
    for (uint64_t at = 0; at + block <= length; at += block) {
        uint64_t word[LANES];
        if (ahead)
            __builtin_prefetch(bytes + at + ahead, 0, 2);
        memcpy(word, bytes + at, sizeof word);
        for (int lane = 0; lane < LANES; lane++)
            sum[lane] += word[lane];
    }
    uint64_t total = 0;
    for (int lane = 0; lane < LANES; lane++)
        total += sum[lane];
    return total;
}

/* The thread's slice of every tensor, as the kernels split theirs. */
static uint64_t read_round(const struct reader *reader)
{
    const struct model *model = engine_model(reader->engine);
    uint64_t sum = 0;
    for (int32_t i = 0; i < model->tensor_count; i++) {
        uint64_t bytes = 0;
        const unsigned char *data = engine_section(reader->engine, model->tensors[i].name, &bytes);
        if (!data || model->tensors[i].dtype == DTYPE_BYTES)
            continue;
        uint64_t lines = bytes / 64, threads = (uint64_t)reader->threads, thread = (uint64_t)reader->thread;
        uint64_t from = lines * thread / threads, to = lines * (thread + 1) / threads;
        sum += read_words(data + from * 64, (to - from) * 64, bytes_ahead[*reader->pattern]);
    }
    return sum;
}

static uint64_t read_share(const struct reader *reader)
{
    uint64_t sum = 0;
    for (uint64_t round = 0; round < reader->rounds; round++)
        sum += read_round(reader);
    return sum;
}

static void *read_passes(void *context)
{
    struct reader *reader = context;
    pthread_mutex_lock(reader->gate);
    pthread_mutex_unlock(reader->gate);
    for (;;) {
        pthread_barrier_wait(reader->barrier); /* `stop` has been written */
        if (*reader->stop)
            return NULL;
        reader->sum += read_share(reader);
        pthread_barrier_wait(reader->barrier); /* all have read */
    }
}

static uint64_t weight_bytes(const struct model *model)
{
    uint64_t bytes = 0;
    for (int32_t i = 0; i < model->tensor_count; i++)
        if (model->tensors[i].dtype != DTYPE_BYTES)
            bytes += model->tensors[i].bytes / 64 * 64;
    return bytes;
}

/* Thread 0 is the caller: it times the passes. The patterns take turns, so that they meet the same disturbances. */
static int timed_passes(struct reader *reader, bool *stop, int *pattern, double seconds, double (*times)[PASSES_MAX])
{
    int passes = 0;
    double start = clock_seconds();
    for (int pass = -1; pass < PASSES_MAX * PATTERNS; pass++) { /* the first one warms up */
        if (pass >= 3 * PATTERNS && pass % PATTERNS == 0 && clock_seconds() - start > seconds)
            break;
        *pattern = pass < 0 ? 0 : pass % PATTERNS;
        pthread_barrier_wait(reader->barrier);
        double before = clock_seconds();
        reader->sum += read_share(reader);
        pthread_barrier_wait(reader->barrier);
        if (pass >= 0)
            times[*pattern][passes++ / PATTERNS] = clock_seconds() - before;
    }
    *stop = true;
    pthread_barrier_wait(reader->barrier);
    return passes / PATTERNS;
}

/* Starts the readers; how many there are (the caller is the first). They wait at the gate. */
static int start_readers(struct reader *readers, pthread_t *handles, int threads)
{
    int started = 1;
    while (started < threads && !pthread_create(&handles[started], NULL, read_passes, &readers[started]))
        started++;
    return started;
}

static void measure(struct bandwidth *result, struct reader *readers, pthread_t *handles, int threads, double seconds,
                    double (*times)[PASSES_MAX])
{
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_barrier_t barrier;
    bool stop = false;
    int pattern = 0;
    uint64_t rounds = result->bytes < PASS_BYTES ? PASS_BYTES / result->bytes : 1;
    pthread_mutex_lock(&gate);
    for (int i = 0; i < threads; i++) {
        readers[i].gate = &gate;
        readers[i].barrier = &barrier;
        readers[i].stop = &stop;
        readers[i].pattern = &pattern;
        readers[i].thread = i;
        readers[i].rounds = rounds;
    }
    int started = start_readers(readers, handles, threads);
    for (int i = 0; i < started; i++)
        readers[i].threads = started;
    pthread_barrier_init(&barrier, NULL, (unsigned)started);
    pthread_mutex_unlock(&gate);
    result->passes = timed_passes(&readers[0], &stop, &pattern, seconds, times);
    for (int i = 0; i < PATTERNS; i++) {
        double rate = (double)(result->bytes * rounds) / median(times[i], result->passes);
        result->bytes_per_second = rate > result->bytes_per_second ? rate : result->bytes_per_second;
    }
    volatile uint64_t sink = 0;
    for (int i = 0; i < started; i++) {
        if (i > 0)
            pthread_join(handles[i], NULL);
        sink = sink + readers[i].sum;
    }
    pthread_barrier_destroy(&barrier);
    pthread_mutex_destroy(&gate);
}

struct bandwidth bandwidth_measure(const struct engine *engine, int threads, double seconds)
{
    struct bandwidth result = {.bytes = weight_bytes(engine_model(engine))};
    struct reader *readers = calloc((size_t)threads, sizeof *readers);
    pthread_t *handles = calloc((size_t)threads, sizeof *handles);
    double(*times)[PASSES_MAX] = malloc(PATTERNS * sizeof *times);
    if (readers && handles && times && result.bytes) {
        for (int i = 0; i < threads; i++)
            readers[i].engine = engine;
        measure(&result, readers, handles, threads, seconds, times);
    }
    free(readers);
    free(handles);
    free(times);
    return result;
}
