#include "fake_cuda_model.h"

#include <stdlib.h>
#include <string.h>

#include "fake_cuda.h"
#include "fake_kernels.h"
#include "sampler.h"

/* Generated code has its sizes as constants. */
static struct fake_layer sizes;
static int32_t head_grid;

static void run_keys(void **p, const unsigned grid[3], unsigned threads)
{
    (void)grid, (void)threads;
    fake_keys(*(struct cuda_step *)p[0], *(struct fake_layer *)p[1], *(int *)p[2]);
}

static void run_hash(void **p, const unsigned grid[3], unsigned threads)
{
    (void)grid, (void)threads;
    fake_hash(*(struct cuda_step *)p[0], *(struct fake_layer *)p[1], *(int *)p[2]);
}

static void run_logits(void **p, const unsigned grid[3], unsigned threads)
{
    (void)grid, (void)threads;
    fake_logits(*(struct cuda_step *)p[0], *(struct fake_layer *)p[1], *(int *)p[2]);
}

static void run_pack(void **p, const unsigned grid[3], unsigned threads)
{
    (void)threads;
    for (fake_block = 0; fake_block < (int)grid[0]; fake_block++)
        fake_pack(*(uint16_t **)p[0], *(const uint16_t **)p[1], *(int *)p[2], *(int *)p[3], *(int *)p[4], *(int *)p[5]);
}

static void run_random(void **p, const unsigned grid[3], unsigned threads)
{
    (void)grid, (void)threads;
    fake_random(*(unsigned char **)p[0], *(uint64_t *)p[1], *(uint64_t *)p[2], *(uint64_t *)p[3], *(float *)p[4],
                *(float *)p[5], *(int *)p[6]);
}

/* The slot's sampler as the CPU has it. */
static struct sampler *sampler_of(const struct cuda_draw_slot *slot)
{
    struct sampler_options options = {
        .temperature = slot->temperature,
        .top_k = slot->top_k,
        .top_p = slot->top_p,
        .min_p = slot->min_p,
        .repetition_penalty = slot->repetition_penalty,
        .presence_penalty = slot->presence_penalty,
        .frequency_penalty = slot->frequency_penalty,
        .bias = (const struct logit_bias *)(const void *)slot->bias,
        .bias_count = slot->bias_count,
        .min_tokens = slot->min_tokens,
        .stop = slot->stop,
        .stop_count = slot->stop_count,
        .seed = slot->seed,
        .sequence = slot->sequence,
    };
    struct sampler *sampler = sampler_open(&options, sizes.vocab, NULL);
    int32_t left = slot->output;
    for (int32_t token = 0; slot->occurrences && token < sizes.vocab; token++) {
        if (slot->occurrences[token] >= 0)
            sampler_see(sampler, token, false);
        for (int32_t i = 0; i < slot->occurrences[token]; i++, left--)
            sampler_see(sampler, token, true);
    }
    for (; left > 0; left--)
        sampler_see(sampler, 0, true); /* without penalties only their number counts */
    return sampler;
}

static void draw(const struct cuda_sample *sample, const struct cuda_draw *what, struct cuda_drawn *drawn)
{
    struct cuda_draw_slot *slot = &sample->slot[what->slot];
    struct sampler *sampler = sampler_of(slot);
    for (int32_t i = 0; i < what->path_count; i++)
        sampler_see(sampler, sample->row[sample->path[what->path + i]].token, true);
    size_t bytes = (size_t)sizes.vocab * sizeof(float);
    float *logits = malloc(bytes);
    memcpy(logits, sample->logits + (size_t)what->output * (size_t)sizes.vocab, bytes);
    struct error error;
    int32_t token = sampler_choose(sampler, logits, what->position, &drawn->logprob, &error);
    drawn->status = token < 0 ? CUDA_DRAWN_NOTHING : CUDA_DRAWN_TOKEN;
    drawn->token = token;
    const float *given = sample->logits + (size_t)what->output * (size_t)sizes.vocab;
    for (int32_t i = sizes.vocab; token < 0 && i-- > 0;)
        if (!(given[i] < __builtin_inff())) {
            drawn->status = CUDA_DRAWN_BAD_LOGIT;
            drawn->token = i;
        }
    for (int32_t i = 0; i < slot->stop_count; i++)
        if (slot->stop[i] == token)
            drawn->status = CUDA_DRAWN_STOP;
    if (!what->tree) {
        sample->chosen[what->slot] = token < 0 ? 0 : token;
        slot->output += token >= 0;
    }
    if (!what->tree && token >= 0 && slot->occurrences)
        slot->occurrences[token] = slot->occurrences[token] < 0 ? 1 : slot->occurrences[token] + 1;
    sampler_close(sampler);
    free(logits);
}

static void run_sample(void **p, const unsigned grid[3], unsigned threads)
{
    (void)threads;
    const struct cuda_sample *sample = p[0];
    int32_t draws = sample->counts->draws < (int32_t)grid[1] ? sample->counts->draws : (int32_t)grid[1];
    struct cuda_drawn *drawn =
        sample->drawn + (size_t)(sample->counts->ring % sample->rings) * (size_t)sample->max_draws;
    for (int32_t i = 0; i < draws; i++) {
        draw(sample, &sample->draw[i], &drawn[i]);
        drawn[i].ring = sample->counts->ring;
    }
}

static const struct fake_cuda_image fake_images[FAKE_KERNELS] = {
    [FAKE_KEYS] = {FAKE_CUDA_MAGIC, "fake_keys", run_keys, {sizeof(struct cuda_step), sizeof(struct fake_layer), 4}},
    [FAKE_HASH] = {FAKE_CUDA_MAGIC, "fake_hash", run_hash, {sizeof(struct cuda_step), sizeof(struct fake_layer), 4}},
    [FAKE_LOGITS] = {FAKE_CUDA_MAGIC,
                     "fake_logits",
                     run_logits,
                     {sizeof(struct cuda_step), sizeof(struct fake_layer), 4}},
    [FAKE_PACK] = {FAKE_CUDA_MAGIC, "fake_pack", run_pack, {8, 8, 4, 4, 4, 4}},
    [FAKE_RANDOM] = {FAKE_CUDA_MAGIC, "fake_random", run_random, {8, 8, 8, 8, 4, 4, 4}},
    [FAKE_SAMPLE] = {FAKE_CUDA_MAGIC, "fake_sample", run_sample, {sizeof(struct cuda_sample)}},
};

static void enqueue(struct cuda_stream *stream, const struct cuda_step *step, int rows)
{
    int blocks = (rows + 31) / 32;
    cuda_launch(stream, FAKE_KEYS, "keys", blocks, 1, 1, step, &sizes, sizeof sizes, 0);
    cuda_launch(stream, FAKE_HASH, "hash", blocks, 1, 1, step, &sizes, sizeof sizes, 1);
    cuda_launch(stream, FAKE_LOGITS, "head", head_grid, 1, 1, step, &sizes, sizeof sizes, -1);
}

static const int32_t fake_buckets[] = {1, 4, 8, 1 << 20};

void fake_cuda_init(struct fake_cuda *gpu, struct fake_model *fake, const struct fake_cuda_options *options)
{
    static const struct fake_cuda_options defaults;
    static struct cuda_image images[FAKE_KERNELS];
    static const struct cuda_target targets[] = {
        {"90a", 9, 0, true, false, images}, {"80", 8, 0, false, false, images}, {"ptx80", 8, 0, false, true, images}};
    options = options ? options : &defaults;
    struct model *model = &fake->model;
    const struct tensor *embedding = model_tensor(model, "embedding"), *head = model_tensor(model, "head");
    memset(gpu, 0, sizeof *gpu);
    uint64_t packed = ((uint64_t)embedding->rows + 15) / 16 * 4 * 512, rows = (uint64_t)model->max_rows;
    sizes =
        (struct fake_layer){.vocab = model->vocab, .page = model->page, .max_rows = model->max_rows, .head = packed};
    head_grid = (model->max_outputs * model->vocab + 31) / 32;
    for (int i = 0; i < FAKE_KERNELS; i++) {
        images[i] = (struct cuda_image){(const unsigned char *)&fake_images[i], sizeof fake_images[i]};
        gpu->kernel[i] = (struct cuda_kernel){fake_images[i].name, i == FAKE_SAMPLE ? 1024 : 32, 0, NULL};
    }
    gpu->section[0] = (struct cuda_section){(int32_t)(embedding - model->tensors), CUDA_PACKING_ROWS, 0, packed};
    gpu->section[1] = (struct cuda_section){(int32_t)(head - model->tensors), CUDA_PACKING_COPY, packed, head->bytes};
    uint64_t floats = rows * 8, pieces = floats + rows * FAKE_TRACES * 4;
    gpu->trace[0] = (struct cuda_trace){"key", "keys", DTYPE_F32, CUDA_ORDER_ROWS, FAKE_TRACES, floats};
    gpu->trace[1] = (struct cuda_trace){"key", "hash", DTYPE_BF16, CUDA_ORDER_PIECES, 4, pieces};
    gpu->cuda = (struct cuda_model){
        .targets = options->targets ? options->targets : targets,
        .target_count = options->targets ? options->target_count : 3,
        .kernels = gpu->kernel,
        .kernel_count = options->no_sample ? FAKE_SAMPLE : FAKE_KERNELS,
        .pack_kernel = FAKE_PACK,
        .random_kernel = FAKE_RANDOM,
        .read_kernel = -1,
        .sample_kernel = options->no_sample ? -1 : FAKE_SAMPLE,
        .cuda_version = 13000,
        .sections = gpu->section,
        .section_count = 2,
        .weights_bytes = (packed + head->bytes + 511) / 512 * 512,
        .arena_bytes = pieces + (rows + 7) / 8 * 1024,
        .buckets = fake_buckets,
        .bucket_count = 4,
        .traces = gpu->trace,
        .trace_count = 2,
        .enqueue = enqueue,
    };
    model->cuda = &gpu->cuda;
    if (options->only)
        model->variant_count = 0;
}
