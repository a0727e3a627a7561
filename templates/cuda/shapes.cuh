/* $subject$ in numbers for the GPU: its dimensions, the buffers of one step, where each layer's weights lie on the device.
 * Plain C, so that model.c includes it too; what only kernels use stands at the end.
 */
#ifndef SHAPES_CUH
#define SHAPES_CUH

#include "cuda_step.h"

enum {
//% for _, line in ipairs(constant_lines) do
    $line$
//% end
};

/* Where the weights outside the layers lie, in bytes from step.weights. */
//% for _, offset in ipairs(offsets) do
#define $offset.name$ $offset.value$ull
//% end

/* Keys, values, and what feeds a matrix product: bfloat16, the upper half of a float. */
typedef uint16_t element;

//% if taps then
/* layer.tap of a layer that leaves the draft head nothing. */
#define NO_TAP 0xffffffffffffffffull

//% end
#define ALIGNED __attribute__((aligned(512)))

/* What a step computes on its way: step.arena, zero at load. Rows are padded to a multiple of 8; "pieces" are the inputs
   of products (docs/cuda.md), whose padding columns nobody writes: they stay zero. */
struct activations {
//% for _, line in ipairs(buffer_lines) do
    $line$
//% end
};

/* Where one layer's weights lie, in bytes from step.weights. Matrices are tiles of fragments (docs/cuda.md). */
struct layer {
//% for _, line in ipairs(field_lines) do
    $line$
//% end
};

#ifdef __CUDACC__
#define INLINE static __device__ __forceinline__

INLINE struct activations *activations(const struct cuda_step &step)
{
    return (struct activations *)step.arena;
}

INLINE const uint4 *matrix(const struct cuda_step &step, uint64_t offset)
{
    return (const uint4 *)(step.weights + offset);
}

INLINE const float *vector(const struct cuda_step &step, uint64_t offset)
{
    return (const float *)(step.weights + offset);
}

/* Keys and values lie in pages of PAGE positions:
 *
 *     page:  layer 0: head 0: K [PAGE][HEAD_DIM], V [PAGE][HEAD_DIM]; head 1: ...; layer 1: ...
 *
 * Returns the key of a slot (page * PAGE + place in the page); its value lies VALUE_OFFSET elements behind it. */
INLINE element *state_slot(const struct cuda_step &step, int slot, int layer, int head)
{
    element *pages = (element *)step.state;
    return pages + (size_t)(slot / PAGE) * $page_stride$ + ((size_t)layer * KV_HEADS + (size_t)head) * HEAD_ELEMENTS +
           (size_t)(slot % PAGE) * HEAD_DIM;
}

/* The slot of a position as `row` sees it: through its sequence's page table, or, for the ancestors of a tree row that
   are not in the pages yet, through its path. */
INLINE int slot_of(const struct cuda_step &step, const struct cuda_row &row, int position)
{
    if (position < row.shared)
        return step.pages[row.sequence * step.table + position / PAGE] * PAGE + position % PAGE;
    return step.pages_total * PAGE + step.path[row.path + position - row.shared];
}

/* The slot that `row` writes its own key and value to. */
INLINE int own_slot(const struct cuda_step &step, const struct cuda_row &row)
{
    return row.scratch < 0 ? slot_of(step, row, row.position) : step.pages_total * PAGE + row.scratch;
}
#endif

#endif
