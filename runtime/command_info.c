/* info: what the package is and what it would use. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "cuda_device.h"
#include "draft.h"
#include "json_out.h"
#include "program.h"

static const char usage[] = "info [--json]";
static const char about[] = "Prints what this package is: shapes, weights, memory, instruction sets, defaults.";

/* What only the opened engine knows. */
struct memory {
    uint64_t state_used, state_total, other;
};

static const char *dtype_name(enum dtype dtype)
{
    return dtype == DTYPE_BF16 ? "bf16" : dtype == DTYPE_F32 ? "f32" : "bytes";
}

static bool supported(const struct variant *variant)
{
    return !variant->supported || variant->supported();
}

static uint64_t state_bytes_per_token(const struct model *model)
{
    uint64_t bytes = 0;
    for (int32_t i = 0; i < model->state_count; i++)
        if (model->states[i].kind == STATE_PAGED)
            bytes += model->states[i].page_bytes / (uint64_t)model->page;
    return bytes;
}

static void integer(struct json_out *out, const char *key, int64_t value)
{
    json_key(out, key);
    json_integer(out, value);
}

static void bytes(struct json_out *out, const char *key, uint64_t value)
{
    json_key(out, key);
    json_unsigned(out, value);
}

static void text(struct json_out *out, const char *key, const char *value)
{
    json_key(out, key);
    json_text(out, value);
}

static void flag(struct json_out *out, const char *key, bool value)
{
    json_key(out, key);
    json_boolean(out, value);
}

static void number(struct json_out *out, const char *key, float value)
{
    json_key(out, key);
    json_float(out, value);
}

static void json_shapes(struct json_out *out, const struct model *model)
{
    integer(out, "vocab", model->vocab);
    integer(out, "hidden", model->hidden);
    integer(out, "layers", model->layers);
    integer(out, "heads", model->heads);
    integer(out, "kv_heads", model->kv_heads);
    integer(out, "head_dim", model->head_dim);
    integer(out, "intermediate", model->intermediate);
    integer(out, "max_seq", model->max_seq);
    integer(out, "max_rows", model->max_rows);
    integer(out, "max_outputs", model->max_outputs);
    integer(out, "page", model->page);
    bytes(out, "parameters", model->parameters);
    bytes(out, "payload_bytes", model->payload_bytes);
    bytes(out, "weight_bytes_read", model->weight_bytes_read);
    bytes(out, "flops_per_row", model->flops_per_row);
    bytes(out, "state_bytes_per_token", state_bytes_per_token(model));
    flag(out, "random", model->random);
    if (model->random)
        bytes(out, "random_seed", model->random_seed);
}

static void json_states(struct json_out *out, const struct model *model)
{
    json_key(out, "states");
    json_open_array(out);
    for (int32_t i = 0; i < model->state_count; i++) {
        const struct state_group *state = &model->states[i];
        json_open_object(out);
        text(out, "name", state->name);
        text(out, "kind", state->kind == STATE_PAGED ? "paged" : "slot");
        bytes(out, "page_bytes", state->page_bytes);
        bytes(out, "scratch_bytes", state->scratch_bytes);
        integer(out, "window", state->window);
        json_close_object(out);
    }
    json_close_array(out);
}

static void json_memory(struct json_out *out, const struct model *model, const struct memory *memory)
{
    json_key(out, "memory");
    json_open_object(out);
    bytes(out, "arena", model->arena_bytes);
    bytes(out, "scratch_per_thread", model->scratch_bytes);
    bytes(out, "state", memory->state_total);
    bytes(out, "other", memory->other);
    json_close_object(out);
}

static void json_variants(struct json_out *out, const struct program *program)
{
    const struct model *model = program->model;
    text(out, "device", engine_device(program->engine));
    text(out, "variant", engine_variant(program->engine));
    integer(out, "threads", engine_threads(program->engine));
    json_key(out, "gpu");
    if (engine_gpu(program->engine))
        json_text(out, engine_gpu(program->engine));
    else
        json_null(out);
    json_key(out, "cuda_targets");
    json_open_array(out);
    for (int32_t i = 0; model->cuda && i < model->cuda->target_count; i++) {
        char name[32];
        json_text(out, cuda_target_text(&model->cuda->targets[i], name));
    }
    json_close_array(out);
    json_key(out, "variants");
    json_open_array(out);
    for (int32_t i = 0; i < model->variant_count; i++) {
        json_open_object(out);
        text(out, "name", model->variants[i].name);
        flag(out, "supported", supported(&model->variants[i]));
        json_close_object(out);
    }
    json_close_array(out);
}

static void json_adapters(struct json_out *out, const struct program *program)
{
    const struct model *model = program->model;
    struct adapter_info info;
    json_key(out, "adapters");
    json_open_array(out);
    for (int32_t slot = 0; slot < engine_adapter_slots(program->engine); slot++) {
        if (!engine_adapter_info(program->engine, slot, &info))
            continue;
        json_open_object(out);
        text(out, "name", info.name);
        integer(out, "slot", slot);
        flag(out, "built_in", info.built_in);
        integer(out, "rank", info.rank);
        integer(out, "sites", info.sites);
        bytes(out, "bytes", info.bytes);
        bytes(out, "step_bytes", info.step_bytes);
        json_close_object(out);
    }
    json_close_array(out);
    integer(out, "adapter_slots", model->adapter_slots);
    integer(out, "adapter_max_rank", model->adapter_max_rank);
    integer(out, "adapter_sites", model->site_count);
}

static void json_draft(struct json_out *out, const struct draft_model *draft)
{
    json_key(out, "draft");
    if (!draft) {
        json_null(out);
        return;
    }
    json_open_object(out);
    text(out, "kind", draft->kind);
    text(out, "name", draft->name);
    integer(out, "vocab", draft->vocab);
    integer(out, "depth", draft->depth);
    integer(out, "top_k", draft->top_k);
    integer(out, "tokens", draft->tokens);
    bytes(out, "parameters", draft->parameters);
    bytes(out, "weight_bytes_read", draft->weight_bytes_read);
    bytes(out, "flops_per_row", draft->flops_per_row);
    json_close_object(out);
}

static void json_generation(struct json_out *out, const struct generation_defaults *defaults)
{
    json_key(out, "generation");
    json_open_object(out);
    json_key(out, "eos");
    json_integers(out, defaults->eos, (size_t)defaults->eos_count);
    flag(out, "sample", defaults->sample);
    number(out, "temperature", defaults->temperature);
    integer(out, "top_k", defaults->top_k);
    number(out, "top_p", defaults->top_p);
    number(out, "min_p", defaults->min_p);
    number(out, "repetition_penalty", defaults->repetition_penalty);
    json_close_object(out);
}

static void json_sections(struct json_out *out, const struct model *model)
{
    json_key(out, "sections");
    json_open_array(out);
    for (int32_t i = 0; i < model->tensor_count; i++) {
        const struct tensor *tensor = &model->tensors[i];
        json_open_object(out);
        text(out, "name", tensor->name);
        text(out, "dtype", dtype_name(tensor->dtype));
        integer(out, "rows", tensor->rows);
        integer(out, "columns", tensor->columns);
        bytes(out, "offset", tensor->offset);
        bytes(out, "bytes", tensor->bytes);
        json_close_object(out);
    }
    json_close_array(out);
    json_key(out, "traces");
    json_open_array(out);
    for (int32_t i = 0; i < model->trace_count; i++)
        json_text(out, model->traces[i]);
    json_close_array(out);
}

static void print_json(const struct program *program, const struct memory *memory)
{
    const struct model *model = program->model;
    struct json_out out = {.file = stdout};
    json_open_object(&out);
    text(&out, "name", model->name);
    text(&out, "architecture", model->architecture);
    text(&out, "generator", model->generator);
    text(&out, "dtype", model->dtype);
    text(&out, "layout", model->layout);
    flag(&out, "sources_edited", model->sources_edited);
    json_shapes(&out, model);
    json_states(&out, model);
    json_memory(&out, model, memory);
    json_variants(&out, program);
    flag(&out, "tokenizer", program->tokenizer != NULL);
    flag(&out, "chat_template", model->chat_template != NULL);
    json_adapters(&out, program);
    json_draft(&out, model->draft);
    json_generation(&out, &model->generation);
    json_sections(&out, model);
    json_close_object(&out);
    fputc('\n', stdout);
}

/* "1.5 GiB" in one of two buffers, so that one printf can have two of them. */
static const char *size_text(uint64_t value, char text_out[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double scaled = (double)value;
    int unit = 0;
    while (scaled >= 1024 && unit < 4) {
        scaled /= 1024;
        unit++;
    }
    snprintf(text_out, 32, unit ? "%.1f %s" : "%.0f %s", scaled, units[unit]);
    return text_out;
}

static void print_targets(const struct program *program)
{
    const struct cuda_model *cuda = program->model->cuda;
    const char *gpu = engine_gpu(program->engine);
    char name[32];
    printf("GPU targets       ");
    for (int32_t i = 0; i < cuda->target_count; i++)
        printf("%s%s", i ? ", " : "", cuda_target_text(&cuda->targets[i], name));
    if (gpu)
        printf("; using %s on %s", engine_variant(program->engine), gpu);
    putchar('\n');
}

static void print_variants(const struct program *program)
{
    const struct model *model = program->model;
    printf("instruction sets  ");
    for (int32_t i = 0; i < model->variant_count; i++)
        printf("%s%s%s", i ? ", " : "", model->variants[i].name,
               supported(&model->variants[i]) ? "" : " (not on this processor)");
    if (!engine_gpu(program->engine))
        printf("; using %s on %d threads", engine_variant(program->engine), engine_threads(program->engine));
    putchar('\n');
}

static void print_defaults(const struct generation_defaults *defaults)
{
    printf("defaults          ");
    if (defaults->sample)
        printf("temperature %g, top-k %d, top-p %g, min-p %g", (double)defaults->temperature, (int)defaults->top_k,
               (double)defaults->top_p, (double)defaults->min_p);
    else
        printf("greedy");
    printf(", repetition penalty %g; text ends at", (double)defaults->repetition_penalty);
    for (int32_t i = 0; i < defaults->eos_count; i++)
        printf("%s %d", i ? "," : "", (int)defaults->eos[i]);
    printf("%s\n", defaults->eos_count ? "" : " no token of its own");
}

static void print_adapters(const struct program *program)
{
    const struct model *model = program->model;
    struct adapter_info info;
    char a[32];
    if (!model->site_count)
        return;
    printf("adapters          %d built in, %d slots for others up to rank %d\n", (int)model->adapter_count,
           (int)model->adapter_slots, (int)model->adapter_max_rank);
    for (int32_t slot = 0; slot < engine_adapter_slots(program->engine); slot++)
        if (engine_adapter_info(program->engine, slot, &info))
            printf("                  %s: rank %d (padded), %d of %d sites, %s%s\n", info.name, (int)info.rank,
                   (int)info.sites, (int)model->site_count, size_text(info.bytes, a),
                   info.built_in ? "" : ", read at start");
}

static void print_draft(const struct draft_model *draft)
{
    char a[32];
    printf("draft head        %s (%s): %" PRIu64
           " parameters, vocabulary %d, %s read for each pass; trees of %d levels, "
           "%d children, %d rows\n",
           draft->name, draft->kind, draft->parameters, (int)draft->vocab, size_text(draft->weight_bytes_read, a),
           (int)draft->depth, (int)draft->top_k, (int)draft->tokens);
}

static void print_sections(const struct model *model)
{
    printf("\nsections:\n");
    for (int32_t i = 0; i < model->tensor_count; i++) {
        const struct tensor *tensor = &model->tensors[i];
        printf("  %-32s %-5s %9" PRId64 " x %-9" PRId64 " %12" PRIu64 " bytes at %" PRIu64 "\n", tensor->name,
               dtype_name(tensor->dtype), tensor->rows, tensor->columns, tensor->bytes, tensor->offset);
    }
}

static void print_text(const struct program *program, const struct memory *memory)
{
    const struct model *model = program->model;
    char a[32], b[32], c[32];
    printf("%s: %s in %s, made by %s%s\n\n", model->name, model->architecture, model->dtype, model->generator,
           model->sources_edited ? ", sources edited" : "");
    printf("shape             %d layers, hidden %d, intermediate %d, %d heads (%d for keys and values) of %d, "
           "vocabulary %d\n",
           (int)model->layers, (int)model->hidden, (int)model->intermediate, (int)model->heads, (int)model->kv_heads,
           (int)model->head_dim, (int)model->vocab);
    printf("parameters        %" PRIu64 "\n", model->parameters);
    if (model->random)
        printf("weights           random, seed %" PRIu64 "; %s read for each token\n", model->random_seed,
               size_text(model->weight_bytes_read, a));
    else
        printf("weights           %s, of which %s are read for each token\n", size_text(model->payload_bytes, a),
               size_text(model->weight_bytes_read, b));
    printf("lengths           %d positions, %d rows a step, logits for %d of them, pages of %d\n", (int)model->max_seq,
           (int)model->max_rows, (int)model->max_outputs, (int)model->page);
    printf("memory            %s of state (%s a token), %s for everything else beside the weights\n",
           size_text(memory->state_total, a), size_text(state_bytes_per_token(model), b), size_text(memory->other, c));
    if (model->variant_count)
        print_variants(program);
    if (model->cuda)
        print_targets(program);
    printf("tokenizer         %s; chat template: %s\n", program->tokenizer ? "yes" : "none (token ids only)",
           model->chat_template ? "yes" : "none");
    print_adapters(program);
    if (model->draft)
        print_draft(model->draft);
    print_defaults(&model->generation);
    print_sections(model);
}

int command_info(const struct model *model, int argc, char **argv)
{
    struct program program;
    program_init(&program, model, usage, about, NULL);
    struct option_group groups[1];
    int operands;
    int status = program_parse(&program, groups, 0, argc, argv, &operands);
    if (status >= 0)
        return status;
    if (operands) {
        struct error error;
        error_set(&error, "unexpected '%.100s': info takes options only", argv[0]);
        return program_fail(&program, &error, EXIT_USAGE);
    }
    if ((status = program_engine(&program, 1, model->max_seq)) == EXIT_OK) {
        struct memory memory;
        engine_memory(program.engine, &memory.state_used, &memory.state_total, &memory.other);
        if (program.common.json)
            print_json(&program, &memory);
        else
            print_text(&program, &memory);
        status = program_finish(&program, EXIT_OK);
    }
    program_close(&program);
    return status;
}
