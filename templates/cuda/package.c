/* What this package says about its GPU side: kernels, targets, how weights lie on the device.
 */
#include <stddef.h>

#include "cuda_model.h"
#include "kernels.h"
#include "model.h"
#include "shapes.cuh"

#ifndef CUDA_VERSION /* of the compiler of the kernels, said when they are embedded */
#define CUDA_VERSION 0
#endif

/* The compiled kernels, embedded when the package is built. */
//% for _, target in ipairs(targets) do
extern const struct cuda_image $target.images$[KERNELS];
//% end

/* name, compute capability, only that one, PTX */
static const struct cuda_target TARGETS[] = {
//% for _, target in ipairs(targets) do
    {"$target.name$", $target.major$, $target.minor$, $target.exact$, $target.ptx$, $target.images$},
//% end
};

// clang-format off
static const struct cuda_kernel KERNEL[KERNELS] = {
    /* name, threads of a block, bytes of its dynamic shared memory, the only target that has it */
//% for _, line in ipairs(kernel_lines) do
    $line$
//% end
};

static const struct cuda_section SECTIONS[] = {
    /* number of the tensor, packing, offset, bytes */
//% for _, line in ipairs(section_lines) do
    $line$
//% end
};

static const struct cuda_trace TRACES[] = {
    /* name, stage, dtype, order, columns, offset in the arena */
//% for _, line in ipairs(trace_lines) do
    $line$
//% end
};

static const struct cuda_cost COSTS[] = {
    /* stage, bytes of weights, FLOPs a row */
//% for _, line in ipairs(cost_lines) do
    $line$
//% end
};
// clang-format on

static const int32_t BUCKETS[] = {$table.concat(buckets, ", ")$};

//% if bulk then
void cuda_bulk_model(struct cuda_stream *stream, const struct cuda_step *step);
//% end
void cuda_step_model(struct cuda_stream *stream, const struct cuda_step *step, int rows);
//% if adapters then
void cuda_step_adapters(struct cuda_stream *stream, const struct cuda_step *step, int rows);
//% end

//% if has_draft then
extern const struct cuda_draft package_cuda_draft;
//% end
extern const struct cuda_model package_cuda;

const struct cuda_model package_cuda = {
    .targets = TARGETS,
    .target_count = sizeof TARGETS / sizeof TARGETS[0],
    .kernels = KERNEL,
    .kernel_count = KERNELS,
//% for _, other in ipairs(others) do
    .$other.role$_kernel = $other.constant$,
//% end
    .cuda_version = CUDA_VERSION,
    .sections = SECTIONS,
    .section_count = sizeof SECTIONS / sizeof SECTIONS[0],
    .weights_bytes = $weights_bytes$,
    .arena_bytes = sizeof(struct activations),
    .buckets = BUCKETS,
    .bucket_count = sizeof BUCKETS / sizeof BUCKETS[0],
    .traces = TRACES,
    .trace_count = sizeof TRACES / sizeof TRACES[0],
    .costs = COSTS,
    .cost_count = sizeof COSTS / sizeof COSTS[0],
    .enqueue = cuda_step_model,
//% if has_draft then
    .draft = &package_cuda_draft,
//% end
//% if adapters then
    .enqueue_adapters = cuda_step_adapters,
    .own_heads = $own_heads$,
//% end
//% if bulk then
    .bulk_bytes = $bulk.bytes$,
    .bulk_rows = BULK_ROWS,
    .enqueue_bulk = cuda_bulk_model,
//% end
};
