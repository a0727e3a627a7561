/* $subject$ on the GPU, top to bottom: the kernels of one step, in order. The runtime captures it in a CUDA graph, once for
 * each bucket of rows.
 */
#include "$layers$"

#include "cuda_model.h"
#include "kernels.h"

/* A kernel and its grid, for steps of up to `rows` rows; the tables ascend. Not every target has every kernel. */
struct launch {
    int rows, kernel, x, y, z;
};

// clang-format off
//% for _, stage in ipairs(stages) do
static const struct launch $stage.constant$[] = {
//%    for _, line in ipairs(stage.lines) do
    $line$
//%    end
};

//% end
// clang-format on
static void launch(struct cuda_stream *stream, const struct cuda_step *step, const char *stage,
                   const struct launch *launches, int rows, const struct layer *weights, int layer)
{
    while (launches->rows < rows || !cuda_can_launch(stream, launches->kernel))
        launches++;
    cuda_launch(stream, launches->kernel, stage, launches->x, launches->y, launches->z, step, weights,
                (int)sizeof *weights, layer);
}

//% for i, way in ipairs(steps) do
//%    if i > 1 then

/* The same for steps with rows that have an adapter. */
//%    end
void $way.name$(struct cuda_stream *stream, const struct cuda_step *step, int rows);

void $way.name$(struct cuda_stream *stream, const struct cuda_step *step, int rows)
{
//%    for _, stage in ipairs(way.begin) do
    launch(stream, step, "$stage.trace$", $stage.constant$, rows, &LAYER[0], -1);
//%    end

//%    for _, run in ipairs(way.runs) do
    for (int layer = $run.first$; layer < $run.last$; layer++) {
        const struct layer *weights = &LAYER[layer];
//%       for _, stage in ipairs(run.stages) do
        launch(stream, step, "$stage.trace$", $stage.constant$, rows, weights, layer);
//%       end
    }

//%    end
//%    for _, stage in ipairs(way.finish) do
    launch(stream, step, "$stage.trace$", $stage.constant$, rows, &LAYER[LAYERS - 1], -1);
//%    end
}
//% end
