/* What this package says about its draft head on the GPU.
 */
#include "cuda_model.h"
#include "kernels.h"
#include "shapes_draft.cuh"

void cuda_step_draft(struct cuda_stream *stream, const struct cuda_step *step, int rows);

extern const struct cuda_draft package_cuda_draft;

const struct cuda_draft package_cuda_draft = {
    .pack_kernel = $pack$,
    .arena_bytes = sizeof(struct activations),
    .taps_bytes = (uint64_t)PADDED_ROWS * TAPS_PADDED * sizeof(element),
    .features_bytes = (uint64_t)PLACES * HIDDEN * sizeof(float),
    .enqueue = cuda_step_draft,
};
