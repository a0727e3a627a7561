/* What this package says about itself: names, sizes, the table of its payload.
 */
#include "model.h"
//% if cpu then
#include "shapes.h"
//% else
#include "cuda/shapes.cuh"
//% end

//% for _, variant in ipairs(variants) do
//%    if variant.guard then
#if $variant.guard$
//%    end
void step_model_$variant.name$(const struct step *step, int thread);
double measure_peak_$variant.name$(int rounds);

static bool supports_$variant.name$(void)
{
//%    for _, feature in ipairs(variant.features) do
    if (!__builtin_cpu_supports("$feature$"))
        return false;
//%    end
    return true;
}
//%    if variant.guard then
#endif
//%    end

//% end
//% if cpu then
static const struct variant VARIANTS[] = {
//% for _, variant in ipairs(variants) do
//%    if variant.guard then
#if $variant.guard$
//%    end
    {"$variant.name$", supports_$variant.name$, step_model_$variant.name$, measure_peak_$variant.name$},
//%    if variant.guard then
#endif
//%    end
//% end
};

// clang-format off
static const struct stage STAGES[] = {
    /* name, layers, window, for outputs only, bytes of weights a step; FLOPs a row, and a row and position; bytes of state */
//% for _, line in ipairs(stage_lines) do
    $line$
//% end
};
// clang-format on

//% end
// clang-format off
static const struct tensor TENSORS[] = {
    /* name, dtype, rows, columns, offset, bytes, centre and scale of random weights */
//% for _, line in ipairs(tensor_lines) do
    $line$
//% end
};
// clang-format on

//% if adapters then
// clang-format off
static const struct adapter_site SITES[] = {
    /* name, module of the checkpoint, outputs, inputs; section of its weight, first row there; section of its bias */
//%    for _, line in ipairs(site_lines) do
    $line$
//%    end
};
// clang-format on

//%    if #adapter_lines > 0 then
static const struct adapter ADAPTERS[] = {
//%       for _, line in ipairs(adapter_lines) do
    $line$
//%       end
};

//%    end
//% end
static const struct state_group STATES[] = {
    {"attention", STATE_PAGED, PAGE_ELEMENTS * sizeof(element), PAGE_ELEMENTS / PAGE * sizeof(element), $state_window$,
     HEAD_DIM * sizeof(element)},
//% if draft then
    {"draft", STATE_PAGED, $draft.state.page_bytes$, $draft.state.bytes_per_token$, 0, 0},
//% end
};

// clang-format off
static const char *const TRACES[] = {
//% for _, name in ipairs(traces) do
    "$name$",
//% end
};
// clang-format on

//% if #eos > 0 then
static const int32_t EOS[] = {$table.concat(eos, ", ")$};

//% end
//% if chat_template_lines then
// clang-format off
static const char CHAT_TEMPLATE[] =
//%    for _, line in ipairs(chat_template_lines) do
    $line$
//%    end
    ;
// clang-format on

//% end
//% if #chat_templates > 0 then
// clang-format off
//%    for _, source in ipairs(chat_templates) do
void $source.function_name$(struct chat_render *r);
//%    end

static const struct chat_template CHAT_TEMPLATES[] = {
//%    for _, line in ipairs(chat_template_table) do
    $line$
//%    end
};

//%    if #chat_token_table > 0 then
static const struct chat_token CHAT_TOKENS[] = {
//%       for _, line in ipairs(chat_token_table) do
    $line$
//%       end
};

//%    end
static const struct chat_templates CHAT = {
    .items = CHAT_TEMPLATES,
    .count = $#chat_templates$,
//%    if #chat_token_table > 0 then
    .tokens = CHAT_TOKENS,
    .token_count = $#chat_token_table$,
//%    end
};
// clang-format on

//% end
#ifndef PACKAGE_NAME /* `lathe build` of a renamed package says the new one */
#define PACKAGE_NAME $c_string(name)$
#endif

extern const struct model package_model;
//% if cuda then
extern const struct cuda_model package_cuda;
//% end
//% if draft then
extern const struct draft_model package_draft;
//% end

const struct model package_model = {
    .name = PACKAGE_NAME,
    .architecture = $c_string(architecture)$,
    .generator = $c_string(generator)$,
    .dtype = "$dtype$",
    .layout = "$layout$",
#ifdef SOURCES_EDITED
    .sources_edited = true,
#endif
    .vocab = VOCAB,
    .hidden = HIDDEN,
    .layers = LAYERS,
    .heads = HEADS,
    .kv_heads = KV_HEADS,
    .head_dim = HEAD_DIM,
    .intermediate = INTERMEDIATE,
    .max_seq = $max_seq$,
    .max_rows = MAX_ROWS,
    .max_outputs = MAX_ROWS,
    .page = PAGE,
    .parameters = $parameters$,
    .tensors = TENSORS,
    .tensor_count = sizeof TENSORS / sizeof TENSORS[0],
    .payload_bytes = $payload_bytes$,
    .random = $random$,
    .random_seed = $random_seed$,
    .states = STATES,
    .state_count = sizeof STATES / sizeof STATES[0],
//% if cpu then
    .arena_bytes = sizeof(struct activations),
    .scratch_bytes = sizeof(struct scratch),
//% end
    .flops_per_row = $flops_per_row$,
    .weight_bytes_read = $weight_bytes_read$,
//% if cpu then
    .variants = VARIANTS,
    .variant_count = sizeof VARIANTS / sizeof VARIANTS[0],
    .stages = STAGES,
    .stage_count = sizeof STAGES / sizeof STAGES[0],
//% end
//% if cuda then
    .cuda = &package_cuda,
//% end
    .traces = TRACES,
    .trace_count = sizeof TRACES / sizeof TRACES[0],
//% if adapters then
    .sites = SITES,
    .site_count = sizeof SITES / sizeof SITES[0],
//%    if #adapter_lines > 0 then
    .adapters = ADAPTERS,
    .adapter_count = sizeof ADAPTERS / sizeof ADAPTERS[0],
//%    end
    .adapter_slots = $adapter_slots$,
    .adapter_max_rank = $adapter_max_rank$,
    .adapter_rank = $adapter_rank$,
//% end
//% if draft then
    .draft = &package_draft,
//% end
    .generation =
        {
//% if #eos > 0 then
            .eos = EOS,
            .eos_count = $#eos$,
//% end
            .sample = $generation.sample$,
            .temperature = $generation.temperature$,
            .top_p = $generation.top_p$,
            .min_p = $generation.min_p$,
            .repetition_penalty = $generation.repetition_penalty$,
            .top_k = $generation.top_k$,
        },
//% if chat_template_lines then
    .chat_template = CHAT_TEMPLATE,
//% end
//% if #chat_templates > 0 then
    .chat = &CHAT,
//% end
};
