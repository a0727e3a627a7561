/* The sampling kernel against sampler.c: the same token for the same logits, options and seed, always; the same random
   weights as weights_random.c.

   usage: test_sample SAMPLE.CUBIN VOCAB RANDOM.CUBIN [ROUNDS] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_draw.h"
#include "sampler.h"
#include "support.h"
#include "weights.h"

enum { DRAWS = 12, STEPS = 4, RINGS = 3, BIASES = 40, STOPS = 3 };

static int vocab;
static uint64_t seed = 99;

static int below(int n)
{
    return (int)(random_next(&seed) % (uint64_t)n);
}

static float normal(void)
{
    float sum = 0;
    for (int i = 0; i < 6; i++)
        sum += random_float(&seed);
    return sum * 0.7071f;
}

/* Logits of one kind or another. */
static void make_logits(float *logits, int kind)
{
    for (int i = 0; i < vocab; i++) {
        float x = normal();
        switch (kind) {
        case 0: /* as a model's */
            logits[i] = 3 * x;
            break;
        case 1: /* many ties */
            logits[i] = floorf(2 * x) * 0.5f;
            break;
        case 2: /* all equal, but some that are forbidden */
            logits[i] = below(3) ? 1.25f : -INFINITY;
            break;
        case 3: /* huge */
            logits[i] = x * 1e38f;
            break;
        case 4: /* sharp */
            logits[i] = 20 * x;
            break;
        case 5: /* one left */
            logits[i] = i == vocab / 3 ? -7.0f : -INFINITY;
            break;
        case 6: /* zeros of both signs, tiny ones */
            logits[i] = below(2) ? 0.0f : below(2) ? -0.0f : x * 1e-41f;
            break;
        default: /* flat */
            logits[i] = 0.01f * x;
        }
    }
}

static struct sampler_options random_options(struct logit_bias *bias, int32_t *stop)
{
    static const float temperatures[] = {0, 0, 1, 0.7f, 0.01f, 5, 1e-30f, 1e30f};
    static const float ps[] = {1, 1, 0.9f, 0.5f, 0.999f, 0, 1e-9f};
    struct sampler_options o = sampler_defaults();
    o.temperature = temperatures[below(8)];
    o.top_k = below(2) ? 0 : below(3) ? 1 + below(100) : 1 + below(2 * vocab);
    o.top_p = ps[below(7)];
    o.min_p = below(2) ? 0 : ps[below(7)] * 0.3f;
    o.seed = random_next(&seed);
    o.sequence = below(2) ? 0 : random_next(&seed);
    if (below(2)) {
        o.repetition_penalty = below(2) ? 1.3f : 0.8f;
        o.presence_penalty = below(2) ? 0 : 0.5f;
        o.frequency_penalty = below(2) ? 0 : -0.25f;
    }
    if (below(2)) {
        o.bias_count = 1 + below(BIASES);
        for (int i = 0; i < o.bias_count; i++)
            bias[i] =
                (struct logit_bias){i % 4 == 3 ? bias[i - 1].token : below(vocab), below(5) ? 4 * normal() : -INFINITY};
        o.bias = bias;
    }
    o.stop_count = STOPS;
    for (int i = 0; i < STOPS; i++)
        stop[i] = below(vocab);
    o.stop = stop;
    o.min_tokens = below(4);
    return o;
}

static void describe(char *text, size_t size, const struct sampler_options *o, int kind, int step)
{
    snprintf(
        text, size,
        "vocab %d kind %d step %d temp %g top_k %d top_p %g min_p %g rep %g pres %g freq %g biases %d min_tokens %d",
        vocab, kind, step, (double)o->temperature, (int)o->top_k, (double)o->top_p, (double)o->min_p,
        (double)o->repetition_penalty, (double)o->presence_penalty, (double)o->frequency_penalty, o->bias_count,
        (int)o->min_tokens);
}

static struct {
    CUfunction kernel;
    struct cuda_sample sample;
    float *logits; /* device */
} t;

static void prepare(const char *path)
{
    t.kernel = gpu_kernel(path, "sample", 0);
    t.logits = gpu_allocate((size_t)DRAWS * (size_t)vocab * sizeof(float));
    t.sample = (struct cuda_sample){
        .counts = gpu_allocate(sizeof(struct cuda_draw_counts)),
        .draw = gpu_allocate(DRAWS * sizeof(struct cuda_draw)),
        .slot = gpu_allocate(DRAWS * sizeof(struct cuda_draw_slot)),
        .logits = t.logits,
        .chosen = gpu_allocate(DRAWS * sizeof(int32_t)),
        .drawn = gpu_allocate((size_t)RINGS * DRAWS * sizeof(struct cuda_drawn)),
        .scratch = gpu_allocate(DRAWS * CUDA_SAMPLE_SCRATCH(vocab)),
        .part = gpu_allocate(DRAWS * CUDA_SAMPLE_CHUNKS * sizeof(struct cuda_sample_part)),
        .arrivals = gpu_allocate(DRAWS * sizeof(uint32_t)),
        .rings = RINGS,
        .max_draws = DRAWS,
    };
    gpu_zero(t.sample.arrivals, DRAWS * sizeof(uint32_t));
}

/* DRAWS sequences with options and logits of their own, STEPS tokens each. */
static void round_of(int number)
{
    static struct logit_bias bias[DRAWS][BIASES];
    static int32_t stop[DRAWS][STOPS];
    struct sampler_options options[DRAWS];
    struct sampler *sampler[DRAWS];
    struct cuda_draw_slot slot[DRAWS];
    int kind[DRAWS];
    struct error error;
    int32_t *occurrences = malloc((size_t)vocab * sizeof *occurrences);
    float *logits = malloc((size_t)DRAWS * (size_t)vocab * sizeof *logits);

    for (int d = 0; d < DRAWS; d++) {
        options[d] = random_options(bias[d], stop[d]);
        struct sampler_options *o = &options[d];
        sampler[d] = sampler_open(o, vocab, &error);
        for (int i = 0; i < vocab; i++)
            occurrences[i] = -1;
        for (int i = 0; i < 500; i++) {
            int token = below(vocab);
            occurrences[token] = 0;
            sampler_see(sampler[d], token, false);
        }
        slot[d] = (struct cuda_draw_slot){
            .temperature = o->temperature,
            .top_p = o->top_p,
            .min_p = o->min_p,
            .top_k = o->top_k,
            .repetition_penalty = o->repetition_penalty,
            .presence_penalty = o->presence_penalty,
            .frequency_penalty = o->frequency_penalty,
            .min_tokens = o->min_tokens,
            .bias_count = o->bias_count,
            .stop_count = o->stop_count,
            .bias = gpu_allocate(sizeof bias[d]),
            .stop = gpu_allocate(sizeof stop[d]),
            .seed = o->seed,
            .sequence = o->sequence,
        };
        gpu_upload((void *)slot[d].bias, bias[d], sizeof bias[d]);
        gpu_upload((void *)slot[d].stop, stop[d], sizeof stop[d]);
        if (o->repetition_penalty != 1 || o->presence_penalty != 0 || o->frequency_penalty != 0) {
            slot[d].occurrences = gpu_allocate((size_t)vocab * sizeof *occurrences);
            gpu_upload(slot[d].occurrences, occurrences, (size_t)vocab * sizeof *occurrences);
        }
    }
    gpu_upload(t.sample.slot, slot, sizeof slot);

    for (int step = 0; step < STEPS; step++) {
        struct cuda_draw draw[DRAWS];
        struct cuda_drawn drawn[DRAWS];
        int32_t chosen[DRAWS];
        struct cuda_draw_counts counts = {.draws = DRAWS - step % 2, .ring = number * STEPS + step};
        for (int d = 0; d < DRAWS; d++) {
            kind[d] = below(8);
            draw[d] = (struct cuda_draw){
                .output = (d * 5 + step) % DRAWS, .slot = (d + 3) % DRAWS, .position = 1000 * d + step};
            make_logits(logits + (size_t)draw[d].output * (size_t)vocab, kind[d]);
        }
        gpu_upload(t.logits, logits, (size_t)DRAWS * (size_t)vocab * sizeof *logits);
        gpu_upload((void *)t.sample.draw, draw, sizeof draw);
        gpu_upload((void *)t.sample.counts, &counts, sizeof counts);
        gpu_poison(t.sample.scratch, DRAWS * CUDA_SAMPLE_SCRATCH(vocab));
        gpu_poison(t.sample.part, DRAWS * CUDA_SAMPLE_CHUNKS * sizeof(struct cuda_sample_part));
        gpu_poison(t.sample.drawn, (size_t)RINGS * DRAWS * sizeof(struct cuda_drawn));
        struct gpu_launch launch = {t.kernel, {CUDA_SAMPLE_CHUNKS, DRAWS}, 1024, 0, 0};
        gpu_launch(&launch, (void *[]){&t.sample});
        gpu_download(drawn, t.sample.drawn + (size_t)(counts.ring % RINGS) * DRAWS, sizeof drawn);
        gpu_download(chosen, t.sample.chosen, sizeof chosen);
        for (int d = 0; d < counts.draws; d++) {
            char text[400];
            struct sampler_options *o = &options[draw[d].slot];
            float logprob = 0;
            int32_t token = sampler_choose(sampler[draw[d].slot], logits + (size_t)draw[d].output * (size_t)vocab,
                                           draw[d].position, &logprob, &error);
            describe(text, sizeof text, o, kind[d], step);
            if (token < 0) {
                test_check(drawn[d].status >= CUDA_DRAWN_BAD_LOGIT, "%s: status %d, expected an error: %s", text,
                           (int)drawn[d].status, error.message);
                continue;
            }
            test_check(drawn[d].token == token && chosen[draw[d].slot] == token && drawn[d].ring == counts.ring,
                       "%s: token %d (chosen %d), expected %d", text, (int)drawn[d].token, (int)chosen[draw[d].slot],
                       (int)token);
            test_check(fabsf(drawn[d].logprob - logprob) <= 1e-5f * (1 + fabsf(logprob)),
                       "%s: logprob %.9g, expected %.9g", text, (double)drawn[d].logprob, (double)logprob);
            int stops = 0;
            for (int i = 0; i < o->stop_count; i++)
                stops |= o->stop[i] == token;
            test_check(drawn[d].status == (stops ? CUDA_DRAWN_STOP : CUDA_DRAWN_TOKEN), "%s: status %d", text,
                       (int)drawn[d].status);
        }
    }
    for (int d = 0; d < DRAWS; d++) {
        sampler_close(sampler[d]);
        gpu_free((void *)slot[d].bias);
        gpu_free((void *)slot[d].stop);
        if (slot[d].occurrences)
            gpu_free(slot[d].occurrences);
    }
    free(occurrences);
    free(logits);
}

/* A NaN, an infinity, nothing to choose from. */
static void check_errors(void)
{
    float *logits = malloc((size_t)vocab * sizeof *logits);
    struct cuda_draw_slot slot = {.top_p = 1, .repetition_penalty = 1};
    struct cuda_draw draw = {0};
    struct cuda_draw_counts counts = {.draws = 1};
    gpu_upload(t.sample.slot, &slot, sizeof slot);
    gpu_upload((void *)t.sample.draw, &draw, sizeof draw);
    gpu_upload((void *)t.sample.counts, &counts, sizeof counts);
    for (int i = 0; i < 3; i++) {
        struct cuda_drawn drawn;
        make_logits(logits, 0);
        if (i == 0)
            logits[vocab / 2] = logits[vocab - 1] = NAN;
        if (i == 1)
            logits[vocab - 1] = INFINITY;
        for (int token = 0; i == 2 && token < vocab; token++)
            logits[token] = -INFINITY;
        gpu_upload(t.logits, logits, (size_t)vocab * sizeof *logits);
        struct gpu_launch launch = {t.kernel, {CUDA_SAMPLE_CHUNKS, 1}, 1024, 0, 0};
        gpu_launch(&launch, (void *[]){&t.sample});
        gpu_download(&drawn, t.sample.drawn, sizeof drawn);
        static const int status[] = {CUDA_DRAWN_BAD_LOGIT, CUDA_DRAWN_BAD_LOGIT, CUDA_DRAWN_NOTHING};
        int token = i == 0 ? vocab / 2 : i == 1 ? vocab - 1 : -1;
        test_check(drawn.status == status[i] && drawn.token == token, "broken logits %d: status %d, token %d", i,
                   (int)drawn.status, (int)drawn.token);
    }
    free(logits);
}

static void check_random(const char *path)
{
    enum { COUNT = 100003 };
    static unsigned char out[4 * COUNT + 4];
    CUfunction kernel = gpu_kernel(path, "random_weights", 0);
    unsigned char *target = gpu_allocate(sizeof out);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        uint64_t first = 123456u << bf16, elements = COUNT, key = weights_random_key(5, "layer.0.qkv");
        float centre = bf16 ? 0.0f : 1.0f, scale = 0.037f;
        gpu_poison(target, sizeof out);
        struct gpu_launch launch = {kernel, {64}, 256, 0, 0};
        gpu_launch(&launch, (void *[]){&target, &first, &elements, &key, &centre, &scale, &bf16});
        gpu_download(out, target, sizeof out);
        int wrong = 0;
        for (uint64_t i = 0; i < COUNT; i++) {
            float value = weights_random_value(key, first + i, centre, scale), found;
            uint16_t half;
            memcpy(&found, out + 4 * i, 4);
            memcpy(&half, out + 2 * i, 2);
            wrong += bf16 ? half != weights_bf16(value) : found != value;
        }
        test_check(wrong == 0, "random weights: %d of %d differ (bf16: %d)", wrong, COUNT, bf16);
        test_check(out[COUNT * (bf16 ? 2 : 4)] == 0xff, "random weights: written behind the end");
    }
}

static void enqueue(void *context)
{
    struct gpu_launch launch = {t.kernel, {CUDA_SAMPLE_CHUNKS, *(unsigned *)context}, 1024, 0, 1};
    for (int i = 0; i < 20; i++)
        gpu_launch(&launch, (void *[]){&t.sample});
}

static void measure(void)
{
    float *logits = malloc((size_t)DRAWS * (size_t)vocab * sizeof *logits);
    for (int d = 0; d < DRAWS; d++)
        make_logits(logits + (size_t)d * (size_t)vocab, 0);
    gpu_upload(t.logits, logits, (size_t)DRAWS * (size_t)vocab * sizeof *logits);
    static const struct cuda_draw_slot kinds[] = {
        {.top_p = 1, .repetition_penalty = 1},
        {.temperature = 1, .top_p = 1, .repetition_penalty = 1},
        {.temperature = 0.7f, .top_p = 0.9f, .repetition_penalty = 1},
        {.temperature = 0.7f, .top_p = 0.9f, .top_k = 50, .min_p = 0.05f, .repetition_penalty = 1},
    };
    static const char *const names[] = {"greedy", "temperature", "top-p", "top-k, top-p, min-p"};
    for (int kind = 0; kind < 4; kind++)
        for (unsigned draws = 1; draws <= DRAWS; draws += DRAWS - 1) {
            struct cuda_draw draw[DRAWS];
            struct cuda_draw_slot slot[DRAWS];
            struct cuda_draw_counts counts = {.draws = (int)draws};
            for (int d = 0; d < DRAWS; d++) {
                draw[d] = (struct cuda_draw){.output = d, .slot = d};
                slot[d] = kinds[kind];
            }
            gpu_upload(t.sample.slot, slot, sizeof slot);
            gpu_upload((void *)t.sample.draw, draw, sizeof draw);
            gpu_upload((void *)t.sample.counts, &counts, sizeof counts);
            printf("vocab %d, %-20s %2u draws: %7.2f us\n", vocab, names[kind], draws,
                   gpu_time(enqueue, &draws, 9) * 1e3 / 20);
        }
    free(logits);
}

int main(int count, char **arguments)
{
    if (count < 4)
        return 2;
    vocab = atoi(arguments[2]);
    gpu_open();
    prepare(arguments[1]);
    for (int i = 0; i < (count > 4 ? atoi(arguments[4]) : 10); i++)
        round_of(i);
    check_errors();
    check_random(arguments[3]);
    measure();
    return test_result("test_sample");
}
