/* What LoRA adapters do to a product (adapters.h): t = A x, then B t.
 */
#include "adapters.h"

/* A unit of A x: a tile of A's rows against at most ROW_BLOCK of a run's. */
struct shrink {
    int unit;
    int run, site; /* places in the stage's lists */
    int tile;      /* the first of A's rows */
    int block;     /* the first of the run's rows */
};

/* Goes to unit `unit`, or to the end: then `run` is the number of runs and `unit` that of units. */
static void shrink_seek(const struct step *step, const struct adapted *in, struct shrink *at, int unit)
{
    for (; at->run < in->runs; at->run++, at->site = 0)
        for (; at->site < in->site_count; at->site++, at->tile = 0) {
            int rank = entry_of(step, in, at->run, at->site)->rank, rows = in->run[at->run].rows;
            for (; at->tile < rank; at->tile += TILE, at->block = 0)
                for (; at->block < rows; at->block += ROW_BLOCK, at->unit++)
                    if (at->unit == unit)
                        return;
        }
}

/* The rows of A that a unit reads. */
INLINE const element *shrink_weight(const struct step *step, const struct adapted *in, const struct shrink *at)
{
    const struct adapter_entry *entry = entry_of(step, in, at->run, at->site);
    return adapter_matrix(step, in->run[at->run].adapter, entry->a) + (size_t)at->tile * (size_t)in->depth;
}

INLINE int shrink_claim(const struct step *step)
{
    return atomic_fetch_add_explicit(&step->barrier->claimed_first, 1, memory_order_relaxed);
}

/* sums[w] = dot(weight row w, input) for `outputs` weight rows, a multiple of 4: what multiply_tile does with one input row,
   but that is widened once for four of them. next: as there. (clang-format misreads UNROLL.) */
// clang-format off
INLINE void multiply_one(const element *weight, int outputs, int depth, const element *input, const element *next,
                         float *sums)
{
    for (int w = 0; w < outputs; w += 4) {
        const element *row = weight + (size_t)w * (size_t)depth;
        const element *ahead = w + 4 < outputs ? row + 4 * (size_t)depth : next;
        f32x16 sum[4] = {splat(0.0f), splat(0.0f), splat(0.0f), splat(0.0f)};
        int k = 0;
        for (; k + STRIDE <= depth; k += STRIDE) {
            UNROLL for (int l = 0; l < 4 * STRIDE; l += LINE)
                ask_for(ahead + 4 * k + l);
            operand lanes = load_operand(input + k);
            UNROLL for (int o = 0; o < 4; o++)
                sum[o] = multiply_operands(load_operand(row + (size_t)o * (size_t)depth + k), lanes, sum[o]);
        }
        if (k < depth)
            UNROLL for (int o = 0; o < 4; o++)
                sum[o] = multiply_operands(load_some_operand(row + (size_t)o * (size_t)depth + k, depth - k),
                                           load_some_operand(input + k, depth - k), sum[o]);
        f32x4 four = sum_lanes_of_four(sum);
        memcpy(sums + w, &four, sizeof four);
    }
}
// clang-format on

void shrink(const struct step *step, int thread, struct adapted *in)
{
    struct shrink at = {0};
    if (!in->runs)
        return;
    shrink_seek(step, in, &at, shrink_claim(step));
    while (at.run < in->runs) {
        struct shrink next = at;
        shrink_seek(step, in, &next, shrink_claim(step));
        const struct adapter_run *run = &in->run[at.run];
        const element *weight = shrink_weight(step, in, &at);
        const element *ahead = next.run < in->runs ? shrink_weight(step, in, &next) : weight;
        int outputs = minimum(TILE, entry_of(step, in, at.run, at.site)->rank - at.tile);
        int first = run->first + at.block, rows = minimum(ROW_BLOCK, run->rows - at.block);
        float sums[ROW_BLOCK][TILE];
        const element *input = in->input + (size_t)first * (size_t)in->depth;
        if (rows == 1)
            multiply_one(weight, outputs, in->depth, input, ahead, sums[0]);
        else
            multiply_tile(weight, outputs, in->depth, input, rows, ahead, scratch(step, thread), sums);
        for (int r = 0; r < rows; r++)
            store_some(&activations(step)->shrunk[at.site][first + r][at.tile], load_f32(sums[r]), outputs);
        barrier_done_first(step->barrier);
        at = next;
    }
    in->units = (unsigned)at.unit;
}

/* The first `count` elements; all that an operand holds, if whole, or if there are that many. The others are zero. */
INLINE operand load_rank(bool whole, const element *from, int count)
{
    if (whole || count >= STRIDE)
        return load_operand(from);
#if defined(__AVX512BF16__)
    return (operand)_mm512_maskz_loadu_epi16((1u << count) - 1, from);
#else
    return load_some_operand(from, count);
#endif
}

/* sums[i] += scale * dot(B row i, t), for `outputs` rows of B. whole, a constant where this is called: the rank is a multiple
   of STRIDE. (clang-format misreads UNROLL.) */
// clang-format off
INLINE void expand_row(bool whole, const element *b, int rank, int outputs, const element *t, float scale, float *sums)
{
    int i = 0;
    for (; i + 4 <= outputs; i += 4) {
        f32x16 sum[4] = {splat(0.0f), splat(0.0f), splat(0.0f), splat(0.0f)};
        for (int k = 0; k < rank; k += STRIDE) {
            operand lanes = load_rank(whole, t + k, rank - k);
            UNROLL for (int o = 0; o < 4; o++)
                sum[o] = multiply_operands(load_rank(whole, b + (i + o) * rank + k, rank - k), lanes, sum[o]);
        }
        f32x4 four;
        memcpy(&four, sums + i, sizeof four);
        four += scale * sum_lanes_of_four(sum);
        memcpy(sums + i, &four, sizeof four);
    }
    for (; i < outputs; i++) {
        f32x16 sum = splat(0.0f);
        for (int k = 0; k < rank; k += STRIDE)
            sum = multiply_operands(load_rank(whole, b + i * rank + k, rank - k), load_rank(whole, t + k, rank - k), sum);
        sums[i] += scale * sum_lanes(sum);
    }
}
// clang-format on

/* What the adapter of run `run` does to `rows` rows of a tile, from `row` on: outputs `output` to output + outputs - 1 of the
   site at `place`, sums[r][0] being the first of them. */
static void expand_site(const struct step *step, int thread, const struct adapted *in, int run, int place, int output,
                        int outputs, int row, int rows, float (*sums)[TILE])
{
    const struct adapter_entry *entry = entry_of(step, in, run, place);
    int adapter = in->run[run].adapter;
    if (entry->full) {
        const element *full = adapter_matrix(step, adapter, entry->full) + (size_t)output * (size_t)in->depth;
        multiply_tile(full, outputs, in->depth, in->input + (size_t)row * (size_t)in->depth, rows, full,
                      scratch(step, thread), sums);
    }
    if (entry->rank) {
        const element *b = adapter_matrix(step, adapter, entry->b) + (size_t)output * (size_t)entry->rank;
        for (int r = 0; r < rows; r++) {
            const element *t = activations(step)->shrunk[place][row + r];
            if (entry->rank == STRIDE)
                expand_row(true, b, STRIDE, outputs, t, entry->scale, sums[r]);
            else if (entry->rank % STRIDE == 0)
                expand_row(true, b, entry->rank, outputs, t, entry->scale, sums[r]);
            else
                expand_row(false, b, entry->rank, outputs, t, entry->scale, sums[r]);
        }
    }
    if (entry->row_scale) {
        const float *row_scale = adapter_vector(step, adapter, entry->row_scale) + output;
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < outputs; i++)
                sums[r][i] *= row_scale[i];
    }
    if (entry->bias) {
        const float *bias = adapter_vector(step, adapter, entry->bias) + output;
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < outputs; i++)
                sums[r][i] += in->scale ? bias[i] / in->scale[row + r] : bias[i];
    }
}

/* The outputs of a tile that a site has: from .. to - 1. */
INLINE struct span outputs_of(const struct site *site, int start, int outputs)
{
    return (struct span){maximum(start, site->first), minimum(start + outputs, site->first + site->rows)};
}

void expand_ask(const struct step *step, const struct adapted *in, int start, int outputs, int first, int rows)
{
    for (int s = 0; s < in->site_count; s++) {
        struct span span = outputs_of(&in->sites[s], start, outputs);
        if (span.begin >= span.end)
            continue;
        size_t from = (size_t)(span.begin - in->sites[s].first), count = (size_t)(span.end - span.begin);
        for (int i = 0; i < in->runs && in->run[i].first < first + rows; i++) {
            if (in->run[i].first + in->run[i].rows <= first)
                continue;
            const struct adapter_entry *entry = entry_of(step, in, i, s);
            const element *b = adapter_matrix(step, in->run[i].adapter, entry->b) + from * (size_t)entry->rank;
            for (const element *end = b + count * (size_t)entry->rank; b < end; b += LINE)
                ask_for(b);
        }
    }
}

void expand_runs(const struct step *step, int thread, const struct adapted *in, int start, int outputs, int first,
                 int rows, float (*sums)[TILE])
{
    bool waited = false;
    for (int s = 0; s < in->site_count; s++) {
        struct span span = outputs_of(&in->sites[s], start, outputs);
        if (span.begin >= span.end)
            continue;
        for (int i = 0; i < in->runs && in->run[i].first < first + rows; i++) {
            const struct adapter_run *run = &in->run[i];
            int row = maximum(first, run->first), end = minimum(first + rows, run->first + run->rows);
            if (row >= end)
                continue;
            if (!waited)
                barrier_until_first(step->barrier, in->units);
            waited = true;
            expand_site(step, thread, in, i, s, span.begin - in->sites[s].first, span.end - span.begin, row, end - row,
                        (float(*)[TILE]) & sums[row - first][span.begin - start]);
        }
    }
}

/* There a token's t is a row of A. */
void expand_embedding(const struct step *step, const struct row *row, float *embedding)
{
    const struct adapter_entry *entry = adapter_entry(step, row->adapter, SITE_EMBEDDING);
    if (entry->full) {
        const element *full = adapter_matrix(step, row->adapter, entry->full) + (size_t)row->token * HIDDEN;
        for (int i = 0; i < HIDDEN; i++)
            embedding[i] = to_float(full[i]);
    }
    if (entry->rank) {
        const element *t = adapter_matrix(step, row->adapter, entry->a) + (size_t)row->token * (size_t)entry->rank;
        const element *b = adapter_matrix(step, row->adapter, entry->b);
        expand_row(false, b, entry->rank, HIDDEN, t, entry->scale, embedding);
    }
}
