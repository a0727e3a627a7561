/* bench: speed of prefill and decode beside the machine's own read bandwidth. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bandwidth.h"
#include "bench_drafts.h"
#include "bench_stages.h"
#include "command.h"
#include "draft_options.h"
#include "interrupt.h"
#include "json_out.h"
#include "peak.h"
#include "program.h"
#include "program_lora.h"
#include "random.h"
#include "stages_report.h"
#include "statistics.h"

static const char usage[] =
    "bench [--prompt N] [--gen N] [--batch N] [--repeat N] [--lora NAME|all] [--stages] [--json]";
static const char about[] =
    "Measures prefill and decode on prompts of random tokens, after a run that warms everything up, and how fast this\n"
    "machine reads the same weights with the same threads, or the GPU its memory: decoding cannot be faster than "
    "that.\n"
    "On a CPU also how fast it multiplies when everything is in registers: a prefill cannot be faster than that.";
static const char notes[] =
    "Prefill: all prompts from their first token until the token after each is there; the median of the runs.\n"
    "Decode: one token for every sequence in a step, the choice of the likeliest included; the median of all steps.\n"
    "With --lora all, the sequences take the adapters that there are, and none, in turn.\n"
    "Share of the roof: bytes of weights and adapters that a step must read / bandwidth / time of the median step.\n"
    "Share of the peak: operations of products and attention in a prefill / what the instruction set can do / time.";

enum { PREFILL, DECODE, PHASES };

struct bench {
    struct program *program;
    int32_t prompt, gen, batch, repeat, chunk;
    uint64_t seed;
    const char *lora;  /* an adapter's name, or "all" */
    int32_t adapter;   /* its slot; -1: none */
    int32_t *prompts;  /* [batch][prompt] */
    int32_t *text;     /* [batch][gen + 1] what plain steps make of them */
    int32_t *made;     /* [batch] so many tokens in this run */
    int32_t *adapters; /* [batch] */
    int *sequences;    /* [batch] -1: not open */
    int *slot;         /* [batch] that draws the sequence's tokens; -1: not open */
    double *prefill;   /* [repeat] seconds */
    double *decode;    /* [repeat * gen] seconds */
    struct draft_choice draft;
    struct bench_drafts drafts;
    int prefills, steps;
    bool by_stage;                     /* --stages */
    struct bench_stages stages;        /* of a GPU */
    struct stages *cpu_stages[PHASES]; /* of a CPU: of the measured runs, with --stages; NULL on a GPU */
    double flops;                      /* of a prefill on a CPU, counted in the run that warms up */
};

enum { OPTIONS = 8, INTERRUPTED = 1 };

static void make_table(struct bench *b, struct option table[OPTIONS])
{
    const struct option rows[OPTIONS] = {
        {.name = "prompt",
         .letter = 'p',
         .kind = OPTION_INTEGER,
         .target = &b->prompt,
         .value = "N",
         .help = "tokens in each prompt",
         .minimum = 1,
         .maximum = INT32_MAX},
        {.name = "gen",
         .letter = 'n',
         .kind = OPTION_INTEGER,
         .target = &b->gen,
         .value = "N",
         .help = "tokens to make in each sequence; 0: prefill only",
         .minimum = 0,
         .maximum = 1 << 24},
        {.name = "batch",
         .letter = 'b',
         .kind = OPTION_INTEGER,
         .target = &b->batch,
         .value = "N",
         .help = "sequences beside each other",
         .minimum = 1,
         .maximum = 65536},
        {.name = "repeat",
         .letter = 'r',
         .kind = OPTION_INTEGER,
         .target = &b->repeat,
         .value = "N",
         .help = "measured runs",
         .minimum = 1,
         .maximum = 1000},
        {.name = "chunk",
         .kind = OPTION_INTEGER,
         .target = &b->chunk,
         .value = "N",
         .help = "rows in a prefill step; 0: as many as a step can have",
         .maximum = INT32_MAX},
        lora_option(&b->lora),
        {.name = "seed",
         .letter = 's',
         .kind = OPTION_SEED,
         .target = &b->seed,
         .value = "N",
         .help = "seed of the prompts' random tokens (default: 1)"},
        {.name = "stages",
         .kind = OPTION_FLAG,
         .target = &b->by_stage,
         .help = "show each stage beside bandwidth and peak. On a GPU the stages of decode steps are timed one by one "
                 "after the other measurements, which makes the steps slower"},
    };
    memcpy(table, rows, sizeof rows);
}

static int check_options(const struct bench *b, const struct model *model, struct error *error)
{
    int64_t length = (int64_t)b->prompt + b->gen;
    if (length > model->max_seq)
        return error_set(error,
                         "--prompt %d and --gen %d need %" PRId64
                         " positions and the context holds %d: ask for less, or build the package again with "
                         "--max-seq %" PRId64,
                         (int)b->prompt, (int)b->gen, length, (int)model->max_seq, length);
    if (b->batch > model->max_outputs || b->batch > model->max_rows)
        return error_set(error,
                         "--batch %d: a step has %d rows and gives logits for %d; ask for less, or build the "
                         "package again with larger --max-rows",
                         (int)b->batch, (int)model->max_rows, (int)model->max_outputs);
    return 0;
}

static int32_t prompt_token(const struct bench *b, int32_t sequence, int32_t place)
{
    return (int32_t)random_below(random_bits(b->seed, (uint64_t)sequence, (uint64_t)place),
                                 (uint64_t)b->program->model->vocab);
}

/* Waits for a step and keeps its tokens. */
static int collect(struct bench *b, struct error *error)
{
    const struct drawn *drawn;
    int draws = engine_collect(b->program->engine, &drawn, error);
    for (int i = 0, s = 0; i < draws; i++, s++) {
        while (b->slot[s] != drawn[i].slot) /* in order of the sequences */
            s++;
        if (b->made[s] <= b->gen)
            b->text[(size_t)s * ((size_t)b->gen + 1) + (size_t)b->made[s]++] = drawn[i].token;
    }
    return draws < 0 ? -1 : 0;
}

static int collect_all(struct bench *b, struct error *error)
{
    while (engine_under_way(b->program->engine) > 0)
        if (collect(b, error))
            return -1;
    return 0;
}

/* All prompts, one after the other, in full steps; each one's last row draws the first token. */
static int prefill(struct bench *b, struct error *error)
{
    struct engine *engine = b->program->engine;
    int32_t limit = b->program->model->max_rows;
    if (b->chunk > 0 && b->chunk < limit)
        limit = b->chunk;
    int32_t added = 0;
    for (int32_t s = 0; s < b->batch; s++)
        for (int32_t place = 0; place < b->prompt; place++) {
            bool last = place + 1 == b->prompt;
            int row = engine_add(engine, b->sequences[s], b->prompts[(size_t)s * (size_t)b->prompt + (size_t)place],
                                 false, error);
            if (row < 0 || (last && engine_draw(engine, row, b->slot[s], error)))
                return -1;
            if (++added < limit && (!last || s + 1 < b->batch))
                continue;
            added = 0;
            if (interrupt_requested())
                return INTERRUPTED;
            if (engine_under_way(engine) == engine_depth(engine) && collect(b, error))
                return -1;
            if (engine_submit(engine, error))
                return -1;
        }
    return collect_all(b, error);
}

/* Submits a step that makes one token for every sequence. */
static int submit_step(struct bench *b, struct error *error)
{
    struct engine *engine = b->program->engine;
    for (int32_t s = 0; s < b->batch; s++) {
        int row = engine_add(engine, b->sequences[s], ENGINE_DRAWN(b->slot[s]), false, error);
        if (row < 0 || engine_draw(engine, row, b->slot[s], error))
            return -1;
    }
    return engine_submit(engine, error);
}

static bool all_adapters(const struct bench *b)
{
    return b->lora && strcmp(b->lora, "all") == 0;
}

/* The adapter of a sequence: with "all", those that there are in turn, then none. */
static int32_t adapter_of(const struct bench *b, int32_t s)
{
    int32_t count = lora_count(b->program);
    if (!all_adapters(b))
        return b->adapter;
    return s % (count + 1) < count ? s % (count + 1) : -1;
}

/* What a decode step must read: the weights, and each adapter that is in it once. */
static uint64_t step_bytes(const struct bench *b, int32_t *adapters)
{
    uint64_t bytes = b->program->model->weight_bytes_read;
    int32_t period = all_adapters(b) ? lora_count(b->program) + 1 : 1;
    *adapters = 0;
    for (int32_t s = 0; s < b->batch && s < period; s++) {
        struct adapter_info info;
        if (!engine_adapter_info(b->program->engine, adapter_of(b, s), &info))
            continue;
        bytes += info.step_bytes;
        ++*adapters;
    }
    return bytes;
}

static int open_sequences(struct bench *b, struct error *error)
{
    struct sampler_options greedy = sampler_defaults();
    for (int32_t s = 0; s < b->batch; s++) {
        b->made[s] = 0;
        b->sequences[s] = sequence_open(b->program->engine, adapter_of(b, s), error);
        b->slot[s] = draw_open(b->program->engine, &greedy, error);
        if (b->sequences[s] < 0 || b->slot[s] < 0)
            return -1;
    }
    return 0;
}

static void close_sequences(struct bench *b)
{
    engine_discard(b->program->engine);
    while (engine_under_way(b->program->engine) > 0)
        (void)engine_collect(b->program->engine, NULL, NULL);
    for (int32_t s = 0; s < b->batch; s++) {
        if (b->sequences[s] >= 0)
            sequence_close(b->program->engine, b->sequences[s]);
        if (b->slot[s] >= 0)
            draw_close(b->program->engine, b->slot[s]);
        b->sequences[s] = b->slot[s] = -1;
    }
}

/* `gen` steps, the next under way before the last is done where the device can. Times are those from token to token. */
static int decode(struct bench *b, int32_t gen, bool measured, struct error *error)
{
    struct engine *engine = b->program->engine;
    double start = clock_seconds();
    for (int32_t submitted = 0, done = 0; done < gen; done++) {
        if (interrupt_requested())
            return INTERRUPTED;
        for (; submitted < gen && engine_under_way(engine) < engine_depth(engine); submitted++)
            if (submit_step(b, error))
                return -1;
        if (collect(b, error))
            return -1;
        double end = clock_seconds();
        if (measured)
            b->decode[b->steps++] = end - start;
        start = end;
        progress_report(&b->program->progress, "measuring", (uint64_t)b->steps, (uint64_t)b->repeat * (uint64_t)b->gen);
    }
    return 0;
}

static void watch(struct bench *b, int phase, bool measured)
{
    bool watched = b->cpu_stages[phase] && (!measured || b->by_stage);
    engine_set_watch(b->program->engine, watched ? stages_watch(b->cpu_stages[phase]) : NULL);
}

/* One run: prompts, then `gen` steps. Times are kept if `measured`. */
static int run_once(struct bench *b, int32_t gen, bool measured, struct error *error)
{
    if (open_sequences(b, error))
        return -1;
    watch(b, PREFILL, measured);
    double start = clock_seconds();
    int outcome = prefill(b, error);
    if (outcome)
        return outcome;
    double end = clock_seconds();
    if (measured)
        b->prefill[b->prefills++] = end - start;
    watch(b, DECODE, measured);
    outcome = decode(b, gen, measured, error);
    if (outcome == 0)
        close_sequences(b);
    return outcome;
}

/* Steps whose stages are timed one by one. */
static int run_stages(struct bench *b, struct error *error)
{
    struct engine *engine = b->program->engine;
    if (open_sequences(b, error))
        return -1;
    int outcome = prefill(b, error);
    if (outcome || engine_time_stages(engine, true, error))
        return outcome ? outcome : -1;
    for (int32_t i = 0; i < b->gen && i < BENCH_STEPS_MAX && !outcome; i++) {
        if (interrupt_requested())
            outcome = INTERRUPTED;
        else if (submit_step(b, error) || engine_collect(engine, NULL, error) < 0)
            outcome = -1;
        else
            bench_stages_note(&b->stages, engine);
    }
    bench_stages_finish(&b->stages);
    return outcome || engine_time_stages(engine, false, error) ? outcome ? outcome : -1 : 0;
}

static int run_all(struct bench *b, struct error *error)
{
    int outcome = run_once(b, b->gen < 8 ? b->gen : 8, false, error);
    for (int phase = 0; phase < PHASES && b->cpu_stages[phase]; phase++) {
        b->flops += phase == PREFILL ? stages_total(b->cpu_stages[phase]).flops : 0;
        stages_reset(b->cpu_stages[phase]);
    }
    for (int32_t i = 0; i < b->repeat && !outcome; i++) {
        progress_report(&b->program->progress, "measuring", (uint64_t)i, (uint64_t)b->repeat);
        outcome = run_once(b, b->gen, true, error);
    }
    if (!outcome && b->by_stage && !b->cpu_stages[PREFILL])
        outcome = run_stages(b, error);
    close_sequences(b);
    return outcome;
}

/* The same texts with guesses. */
static int run_drafts(struct bench *b, struct error *error)
{
    b->drafts = (struct bench_drafts){
        .engine = b->program->engine,
        .options = draft_chosen(&b->draft, b->program->engine),
        .prompt = b->prompt,
        .gen = b->gen,
        .batch = b->batch,
        .repeat = b->repeat,
        .prompts = b->prompts,
        .plain = b->text,
        .adapter = b->adapters,
    };
    return b->drafts.options.kind == DRAFT_NONE || b->gen == 0 ? 0 : bench_drafts_run(&b->drafts, error);
}

/* The figures that are printed. */
struct result {
    struct bandwidth bandwidth;
    double prefill_seconds, prefill_rate;
    double decode_median, decode_least, decode_rate, share;
    double peak, peak_share; /* 0: not measured */
    uint64_t step_bytes;     /* weights and adapters */
    int32_t adapters;
};

static struct result summarise(struct bench *b, struct bandwidth bandwidth, double peak)
{
    struct result r = {.bandwidth = bandwidth, .peak = peak};
    r.step_bytes = step_bytes(b, &r.adapters);
    r.decode_least = least(b->decode, b->steps);
    r.prefill_seconds = median(b->prefill, b->prefills);
    r.decode_median = median(b->decode, b->steps);
    if (r.prefill_seconds > 0)
        r.prefill_rate = (double)b->prompt * b->batch / r.prefill_seconds;
    if (r.prefill_seconds > 0 && peak > 0)
        r.peak_share = b->flops / peak / r.prefill_seconds;
    if (r.decode_median > 0)
        r.decode_rate = b->batch / r.decode_median;
    if (r.decode_median > 0 && bandwidth.bytes_per_second > 0)
        r.share = (double)r.step_bytes / bandwidth.bytes_per_second / r.decode_median;
    return r;
}

static struct bench_plain plain_of(const struct result *r)
{
    return (struct bench_plain){
        .seconds = r->decode_median, .bytes = (double)r->step_bytes, .bandwidth = r->bandwidth.bytes_per_second};
}

static struct roofs roofs_of(const struct result *r)
{
    return (struct roofs){.bandwidth = r->bandwidth.bytes_per_second, .peak = r->peak};
}

/* How often the phase was watched: runs, or steps. */
static int watched(const struct bench *b, int phase)
{
    return phase == PREFILL ? b->prefills : b->steps;
}

static void key_number(struct json_out *out, const char *key, double value)
{
    json_key(out, key);
    json_double(out, value);
}

static void key_integer(struct json_out *out, const char *key, int64_t value)
{
    json_key(out, key);
    json_integer(out, value);
}

static void print_cpu_stages(const struct bench *b, const struct result *r, struct json_out *out)
{
    static const char *const names[PHASES] = {"prefill", "decode"}, *const titles[PHASES] = {"a prefill",
                                                                                             "a decode step"};
    if (out)
        json_open_object(out);
    for (int phase = 0; phase < PHASES; phase++) {
        if (!watched(b, phase))
            continue;
        if (!out) {
            stages_print(titles[phase], b->cpu_stages[phase], watched(b, phase), roofs_of(r));
            continue;
        }
        json_key(out, names[phase]);
        stages_json(out, b->cpu_stages[phase], watched(b, phase), roofs_of(r));
    }
    if (out)
        json_close_object(out);
}

static void print_json(const struct bench *b, const struct result *r)
{
    const struct program *program = b->program;
    struct json_out out = {.file = stdout};
    json_open_object(&out);
    json_key(&out, "name");
    json_text(&out, program->model->name);
    json_key(&out, "device");
    json_text(&out, engine_device(program->engine));
    json_key(&out, "variant");
    json_text(&out, engine_variant(program->engine));
    key_integer(&out, "threads", engine_threads(program->engine));
    json_key(&out, "dtype");
    json_text(&out, program->model->dtype);
    key_integer(&out, "prompt", b->prompt);
    key_integer(&out, "gen", b->gen);
    key_integer(&out, "batch", b->batch);
    key_integer(&out, "repeat", b->repeat);
    key_integer(&out, "chunk", b->chunk);
    key_number(&out, "prefill_seconds", r->prefill_seconds);
    key_number(&out, "prefill_tokens_per_second", r->prefill_rate);
    key_integer(&out, "decode_steps", b->steps);
    key_number(&out, "decode_ms_median", r->decode_median * 1e3);
    key_number(&out, "decode_ms_min", r->decode_least * 1e3);
    key_number(&out, "decode_tokens_per_second", r->decode_rate);
    key_integer(&out, "weight_bytes_read", (int64_t)program->model->weight_bytes_read);
    json_key(&out, "lora");
    if (b->lora)
        json_text(&out, b->lora);
    else
        json_null(&out);
    key_integer(&out, "adapters", r->adapters);
    key_integer(&out, "adapter_bytes_read", (int64_t)(r->step_bytes - program->model->weight_bytes_read));
    key_number(&out, "bandwidth_bytes_per_second", r->bandwidth.bytes_per_second);
    key_integer(&out, "bandwidth_bytes", (int64_t)r->bandwidth.bytes);
    key_integer(&out, "bandwidth_passes", r->bandwidth.passes);
    key_number(&out, "roof_share", r->share);
    if (b->cpu_stages[PREFILL]) {
        key_number(&out, "prefill_flops", b->flops);
        key_number(&out, "peak_flops_per_second", r->peak);
        key_number(&out, "prefill_peak_share", r->peak_share);
    }
    struct bench_plain plain = plain_of(r);
    if (b->drafts.steps) {
        json_key(&out, "drafts");
        bench_drafts_json(&b->drafts, &plain, &out);
    }
    if (b->by_stage) {
        json_key(&out, "stages");
        if (b->cpu_stages[PREFILL])
            print_cpu_stages(b, r, &out);
        else
            bench_stages_json(&b->stages, &out);
    }
    json_close_object(&out);
    fputc('\n', stdout);
}

/* "4 threads", or the GPU's name. */
static const char *workers(const struct bench *b, char text[128])
{
    struct engine *engine = b->program->engine;
    const char *gpu = engine_gpu(engine);
    if (gpu)
        snprintf(text, 128, "%s", gpu);
    else
        snprintf(text, 128, "%d threads", engine_threads(engine));
    return text;
}

static void print_text(const struct bench *b, const struct result *r)
{
    const struct model *model = b->program->model;
    char who[128];
    workers(b, who);
    printf("%s (%s, %s), %s, %s: %d sequences, prompts of %d tokens, %d tokens each, %d runs\n", model->name,
           model->architecture, model->dtype, engine_variant(b->program->engine), who, (int)b->batch, (int)b->prompt,
           (int)b->gen, (int)b->repeat);
    printf("prefill    %10.1f tokens/s   %.3f s (median)\n", r->prefill_rate, r->prefill_seconds);
    if (b->steps)
        printf("decode     %10.1f tokens/s   %.3f ms a step (median), %.3f ms (best)\n", r->decode_rate,
               r->decode_median * 1e3, r->decode_least * 1e3);
    printf("bandwidth  %10.2f GB/s       reading all weights (%.1f MB) with %s, median of %d passes\n",
           r->bandwidth.bytes_per_second / 1e9, (double)r->bandwidth.bytes / 1e6, who, r->bandwidth.passes);
    if (r->peak > 0)
        printf("peak       %10.1f GFLOP/s    multiplying from registers; prefill (%.1f GFLOP) has %.1f %% of it\n",
               r->peak / 1e9, b->flops / 1e9, r->peak_share * 100);
    if (r->adapters)
        printf("adapters   %10d             in a step, which reads %.1f MB of them\n", (int)r->adapters,
               (double)(r->step_bytes - model->weight_bytes_read) / 1e6);
    if (b->steps)
        printf("roof       %10.1f %%          a step must read %.1f MB: %.3f ms at that bandwidth\n", r->share * 100,
               (double)r->step_bytes / 1e6, r->share * r->decode_median * 1e3);
    struct bench_plain plain = plain_of(r);
    if (b->drafts.steps)
        bench_drafts_print(&b->drafts, &plain);
    if (b->by_stage && b->cpu_stages[PREFILL])
        print_cpu_stages(b, r, NULL);
    if (b->stages.steps)
        bench_stages_print(&b->stages, b->batch, r->bandwidth.bytes_per_second);
}

static int allocate(struct bench *b)
{
    size_t batch = (size_t)b->batch;
    b->sequences = malloc(batch * sizeof *b->sequences);
    b->slot = malloc(batch * sizeof *b->slot);
    b->made = calloc(batch, sizeof *b->made);
    b->adapters = malloc(batch * sizeof *b->adapters);
    b->prompts = malloc(batch * (size_t)b->prompt * sizeof *b->prompts);
    b->text = malloc(batch * ((size_t)b->gen + 1) * sizeof *b->text);
    b->prefill = malloc((size_t)b->repeat * sizeof *b->prefill);
    b->decode = malloc(((size_t)b->repeat * (size_t)b->gen + 1) * sizeof *b->decode);
    bool cpu = engine_gpu(b->program->engine) == NULL;
    for (int phase = 0; cpu && phase < PHASES; phase++)
        if (!(b->cpu_stages[phase] = stages_open(b->program->model, engine_threads(b->program->engine))))
            return -1;
    if (!b->sequences || !b->slot || !b->prefill || !b->decode || !b->made || !b->adapters || !b->prompts || !b->text)
        return -1;
    for (int32_t s = 0; s < b->batch; s++) {
        b->sequences[s] = b->slot[s] = -1;
        b->adapters[s] = adapter_of(b, s);
        for (int32_t place = 0; place < b->prompt; place++)
            b->prompts[(size_t)s * (size_t)b->prompt + (size_t)place] = prompt_token(b, s, place);
    }
    return 0;
}

static int measure_bandwidth(struct bench *b, struct bandwidth *bandwidth, struct error *error)
{
    struct engine *engine = b->program->engine;
    int outcome = engine_bandwidth(engine, 0.5, bandwidth, error);
    if (outcome > 0)
        *bandwidth = bandwidth_measure(engine, engine_threads(engine), 0.5);
    return outcome < 0 ? -1 : 0;
}

static int bench_opened(struct bench *b)
{
    struct program *program = b->program;
    struct error error;
    if (allocate(b)) {
        error_set(&error, "out of memory for the measurements");
        return program_fail(program, &error, EXIT_ERROR);
    }
    /* A device that cannot time stages says so at once. */
    if (b->by_stage && !b->cpu_stages[PREFILL] &&
        (engine_time_stages(program->engine, true, &error) || engine_time_stages(program->engine, false, &error)))
        return program_fail(program, &error, EXIT_ERROR);
    interrupt_watch();
    int outcome = run_all(b, &error);
    struct bandwidth bandwidth = {0};
    double peak = 0;
    engine_set_watch(program->engine, NULL);
    if (!outcome)
        outcome = run_drafts(b, &error);
    if (!outcome)
        outcome = measure_bandwidth(b, &bandwidth, &error);
    if (!outcome && b->cpu_stages[PREFILL])
        peak = peak_measure(program->engine, engine_threads(program->engine));
    bool interrupted = interrupt_requested();
    interrupt_unwatch();
    progress_clear(&program->progress);
    if (outcome < 0)
        return program_fail(program, &error, EXIT_ERROR);
    /* Half a measurement says nothing. */
    if (outcome || interrupted)
        return EXIT_INTERRUPTED;
    struct result result = summarise(b, bandwidth, peak);
    if (program->common.json)
        print_json(b, &result);
    else
        print_text(b, &result);
    return program_finish(program, EXIT_OK);
}

int command_bench(const struct model *model, int argc, char **argv)
{
    struct program program;
    struct bench b = {.program = &program, .prompt = 128, .gen = 64, .batch = 1, .repeat = 3, .seed = 1};
    /* The defaults fit small contexts too. */
    if (model->max_seq < b.prompt + b.gen) {
        b.gen = model->max_seq / 3;
        b.prompt = model->max_seq - b.gen;
    }
    struct option table[OPTIONS], drafts[DRAFT_OPTIONS];
    program_init(&program, model, usage, about, notes);
    make_table(&b, table);
    draft_table(&b.draft, model, drafts);
    struct option_group groups[3] = {{"Options", table, OPTIONS}, {"Speculation", drafts, DRAFT_OPTIONS}};
    int operands;
    int status = program_parse(&program, groups, 2, argc, argv, &operands);
    if (status >= 0)
        return status;
    struct error error;
    if (operands)
        error_set(&error, "unexpected '%.100s': bench takes options only", argv[0]);
    if (operands || (!all_adapters(&b) && (b.adapter = lora_slot(&program, b.lora, &error)) < -1)) {
        status = program_fail(&program, &error, EXIT_USAGE);
    } else if (draft_check(&b.draft, model, &error)) {
        status = program_fail(&program, &error, EXIT_USAGE);
    } else if (check_options(&b, model, &error)) {
        status = program_fail(&program, &error, EXIT_ERROR);
    } else if ((status = program_engine(&program, b.batch, b.prompt + b.gen)) == EXIT_OK) {
        status = bench_opened(&b);
    }
    free(b.sequences);
    free(b.slot);
    free(b.prefill);
    free(b.decode);
    free(b.made);
    free(b.adapters);
    free(b.prompts);
    free(b.text);
    bench_drafts_free(&b.drafts);
    for (int phase = 0; phase < PHASES; phase++)
        stages_close(b.cpu_stages[phase]);
    program_close(&program);
    return status;
}
