/* Attention of each row over the pages of its sequence$window_text$.
 *
 * Keys are taken by position, never by where they are stored: leaves of LEAF positions, aligned to the absolute
 * position; each leaf has its own maximum; groups of LEAVES leaves are merged in order, then the groups in order. A row
 * therefore has the same bits whatever else is in the step, in whatever chunks its prompt came, as a draft or not.
 *
 * A score is one sum over the dimensions in order, 16 positions beside each other; for that the keys of a leaf are turned,
 * once for all the rows of a run (consecutive positions of one sequence). A value is one sum over positions in order.
 */
#include "shapes.h"

enum { GROUP = HEADS / KV_HEADS, LEAVES = 8, RUN = 16 };

/* What stays in registers: the query heads of a group in equal parts, times vectors of positions or dimensions. */
enum {
    QUERIES = GROUP <= 4       ? GROUP
              : GROUP % 4 == 0 ? 4
              : GROUP % 3 == 0 ? 3
              : GROUP % 2 == 0 ? 2
                               : 1,
    VECTORS = NATIVE == LANES ? 4 : 1, /* of dimensions */
    SCORES = NATIVE == LANES / 2 && QUERIES <= 3 ? 2 : VECTORS,
};

#define UNROLL _Pragma("GCC unroll 8")

/* Rows of the step that see the same keys: `rows` consecutive positions of one sequence, or one row of a tree. */
struct run {
    const struct row *row;
    int first, rows; /* the first one's index in the step */
};

INLINE int start_of(const struct row *row)
{
//% if window > 0 then
    return maximum(0, row->position - $window$ + 1);
//% else
    (void)row;
    return 0;
//% end
}

/* keys[d][p] = key[p][d], PACK dimensions at a time. */
static void turn_keys(const element *const key[LEAF], lane_element *keys)
{
    for (int p = 0; p < LEAF; p += 4) {
        int d = 0;
        for (; d + 4 * PACK <= HEAD_DIM; d += 4 * PACK) {
            f32x4 a = load_four(key[p] + d), b = load_four(key[p + 1] + d);
            f32x4 c = load_four(key[p + 2] + d), e = load_four(key[p + 3] + d);
            f32x4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
            f32x4 ce = __builtin_shufflevector(c, e, 0, 4, 1, 5), ce_high = __builtin_shufflevector(c, e, 2, 6, 3, 7);
            f32x4 turned[4] = {__builtin_shufflevector(ab, ce, 0, 1, 4, 5), __builtin_shufflevector(ab, ce, 2, 3, 6, 7),
                               __builtin_shufflevector(ab_high, ce_high, 0, 1, 4, 5),
                               __builtin_shufflevector(ab_high, ce_high, 2, 3, 6, 7)};
            for (int i = 0; i < 4; i++)
                memcpy(keys + (d + i * PACK) * LEAF + p * PACK, &turned[i], sizeof turned[i]);
        }
        for (; d < HEAD_DIM; d += PACK)
            for (int i = 0; i < 4; i++)
                copy_lanes(key[p + i] + d, PACK, keys + d * LEAF + (p + i) * PACK);
    }
}

// clang-format off
/* score[g][p] = dot(query g, key p) for QUERIES queries and SCORES * LANES positions. */
INLINE void score_block(lane_element (*query)[HEAD_DIM], const lane_element *keys, float (*score)[LEAF])
{
    f32x16 sum[QUERIES][SCORES];
    UNROLL for (int g = 0; g < QUERIES; g++)
        UNROLL for (int v = 0; v < SCORES; v++)
            sum[g][v] = splat(0.0f);
    for (int d = 0; d < HEAD_DIM; d += PACK) {
        operand lanes[SCORES];
        UNROLL for (int v = 0; v < SCORES; v++)
            lanes[v] = load_copied(keys + d * LEAF + v * STRIDE);
        UNROLL for (int g = 0; g < QUERIES; g++) {
            operand dimension = splat_copied(query[g] + d);
            UNROLL for (int v = 0; v < SCORES; v++)
                sum[g][v] = multiply_operands(lanes[v], dimension, sum[g][v]);
        }
    }
    UNROLL for (int g = 0; g < QUERIES; g++)
        UNROLL for (int v = 0; v < SCORES; v++)
            store_f32(score[g] + v * LANES, multiply(sum[g][v], splat($scale$)));
}

/* value[g][i] = sum over the positions from <= p < to of probability[g][p] * key[p][VALUE_OFFSET + i], for QUERIES queries
   and `vectors` * LANES dimensions. */
INLINE void gather_block(int vectors, lane_element (*probability)[LEAF], const element *const key[LEAF], int i, int from,
                         int to, float (*value)[HEAD_DIM])
{
    static const element none[HEAD_DIM];
    f32x16 sum[QUERIES][VECTORS];
    UNROLL for (int g = 0; g < QUERIES; g++)
        UNROLL for (int v = 0; v < vectors; v++)
            sum[g][v] = splat(0.0f);
    for (int p = from / PACK * PACK; p < to; p += PACK) {
        const element *first = p < from ? none : key[p] + VALUE_OFFSET + i;
        const element *second = p + 1 < to ? key[p + 1] + VALUE_OFFSET + i : none;
        operand lanes[VECTORS];
        UNROLL for (int v = 0; v < vectors; v++)
            lanes[v] = load_beside(first + v * LANES, second + v * LANES);
        UNROLL for (int g = 0; g < QUERIES; g++) {
            operand weight = splat_copied(probability[g] + p);
            UNROLL for (int v = 0; v < vectors; v++)
                sum[g][v] = multiply_operands(lanes[v], weight, sum[g][v]);
        }
    }
    UNROLL for (int g = 0; g < QUERIES; g++)
        UNROLL for (int v = 0; v < vectors; v++)
            store_f32(value[g] + i + v * LANES, sum[g][v]);
}
// clang-format on

/* Scores to probabilities, rounded like all that feeds a product. Unused places hold -INFINITY. */
static void soften(const float score[LEAF], lane_element probability[LEAF], float *top, float *sum)
{
    f32x16 largest_lanes = load_f32(score), total = splat(0.0f), shift;
    for (int i = LANES; i < LEAF; i += LANES)
        largest_lanes = largest(largest_lanes, load_f32(score + i));
    *top = max_lanes(largest_lanes);
    shift = splat(-*top);
    for (int i = 0; i < LEAF; i += LANES) {
        f32x16 lanes = exponential(add(load_f32(score + i), shift));
        element rounded[LANES];
        total = add(total, lanes);
        store(rounded, lanes);
        copy_lanes(rounded, LANES, probability + i);
    }
    *sum = sum_lanes(total);
}

/* One row in one leaf: the positions from <= p < to, counted from the beginning of the leaf. */
static void attend_leaf(lane_element (*query)[HEAD_DIM], const element *const key[LEAF], const lane_element *keys,
                        int from, int to, struct partial *out)
{
    float score[GROUP][LEAF];
    lane_element probability[GROUP][LEAF];
    for (int g = 0; g < GROUP; g += QUERIES)
        for (int p = 0; p < LEAF; p += SCORES * LANES)
            score_block(query + g, keys + p * PACK, (float(*)[LEAF]) & score[g][p]);
    for (int g = 0; g < GROUP; g++) {
        for (int p = 0; p < from; p++)
            score[g][p] = -INFINITY;
        for (int p = to; p < LEAF; p++)
            score[g][p] = -INFINITY;
        soften(score[g], probability[g], &out->maximum[g], &out->sum[g]);
    }
    for (int g = 0; g < GROUP; g += QUERIES) {
        int i = 0;
        for (; i + VECTORS * LANES <= HEAD_DIM; i += VECTORS * LANES)
            gather_block(VECTORS, probability + g, key, i, from, to, out->value + g);
        for (; i + LANES <= HEAD_DIM; i += LANES)
            gather_block(1, probability + g, key, i, from, to, out->value + g);
//% if head_dim % 16 ~= 0 then
        for (; i < HEAD_DIM; i++)
            for (int q = g; q < g + QUERIES; q++) {
                out->value[q][i] = 0.0f;
                for (int p = from; p < to; p++)
                    out->value[q][i] += float_of_lane(probability[q][p]) * to_float(key[p][VALUE_OFFSET + i]);
            }
//% end
    }
}

/* into + from, `weight` being how much each counts. */
static void add_weighted(float *into, float weight, const float *from, float from_weight)
{
    for (int i = 0; i < HEAD_DIM; i++)
        into[i] = into[i] * weight + from[i] * from_weight;
}

/* Adds `from`, whose positions follow those of `into`. An empty partial has the sum 0. */
static void merge(struct partial *into, const struct partial *from)
{
    if (from->sum[0] == 0.0f)
        return;
    if (into->sum[0] == 0.0f) {
        *into = *from;
        return;
    }
    for (int first = 0; first < GROUP; first += LANES / 2) {
        float weight[LANES] = {0}; /* of `into`, then of `from` */
        int count = minimum(GROUP - first, LANES / 2);
        for (int i = 0; i < count; i++) {
            int g = first + i;
            float top = into->maximum[g] > from->maximum[g] ? into->maximum[g] : from->maximum[g];
            weight[i] = into->maximum[g] - top;
            weight[LANES / 2 + i] = from->maximum[g] - top;
            into->maximum[g] = top;
        }
        store_f32(weight, exponential(load_f32(weight)));
        for (int i = 0; i < count; i++) {
            int g = first + i;
            into->sum[g] = into->sum[g] * weight[i] + from->sum[g] * weight[LANES / 2 + i];
            add_weighted(into->value[g], weight[i], from->value[g], weight[LANES / 2 + i]);
        }
    }
}

/* A sequence's partials, given leaf by leaf in order. */
struct sum_of_leaves {
    struct partial whole, group;
};

INLINE void add_leaf(struct sum_of_leaves *sum, const struct partial *leaf, int index, bool last)
{
    merge(&sum->group, leaf);
    if (last || index % LEAVES == LEAVES - 1) {
        merge(&sum->whole, &sum->group);
        memset(&sum->group, 0, sizeof sum->group);
    }
}

static void finish(const struct step *step, int row, int head, const struct partial *whole)
{
    element *out = activations(step)->attention[row] + head * GROUP * HEAD_DIM;
    for (int g = 0; g < GROUP; g++)
        for (int i = 0; i < HEAD_DIM; i++)
            out[g * HEAD_DIM + i] = to_element(whole->value[g][i] / whole->sum[g]);
}

/* Where the keys of a leaf are, as the rows of a run see them; for those that none of them sees, any other. What is found
   is asked for, since it is about to be used. */
static void find_leaf(const struct step *step, const struct run *run, int layer, int head, int leaf,
                      const element *key[LEAF])
{
    const struct row *last = &run->row[run->rows - 1];
    int from = maximum(start_of(run->row), leaf * LEAF), to = minimum(last->position + 1, (leaf + 1) * LEAF);
    for (int p = 0; p < LEAF; p++) {
        int position = minimum(maximum(leaf * LEAF + p, from), to - 1);
        key[p] = state_slot(step, slot_of(step, last, position), layer, head);
        for (int i = 0; i < HEAD_DIM; i += LINE) {
            ask_for(key[p] + i);
            ask_for(key[p] + VALUE_OFFSET + i);
        }
    }
}

/* Row `r` of the run in one leaf; false if it sees nothing of it. */
static bool attend_row(const struct step *step, const struct run *run, int r, int head, int leaf,
                       const element *const key[LEAF], const lane_element *keys, struct partial *out)
{
    const struct row *row = &run->row[r];
    int from = maximum(start_of(row) - leaf * LEAF, 0), to = minimum(row->position + 1 - leaf * LEAF, LEAF);
    if (from >= to)
        return false;
    lane_element query[GROUP][HEAD_DIM];
    copy_lanes(activations(step)->query[run->first + r] + head * GROUP * HEAD_DIM, GROUP * HEAD_DIM, query[0]);
    attend_leaf(query, key, keys, from, to, out);
    return true;
}

/* All leaves of the rows of a run, one after the other; the next is on its way while one is attended to. */
static void attend_run(const struct step *step, const struct run *run, int layer, int head, lane_element *keys)
{
    const element *key[2][LEAF];
    struct sum_of_leaves sum[RUN];
    struct partial leaf;
    int first = start_of(run->row) / LEAF, last = run->row[run->rows - 1].position / LEAF;
    memset(sum, 0, (size_t)run->rows * sizeof *sum);
    find_leaf(step, run, layer, head, first, key[first % 2]);
    for (int i = first; i <= last; i++) {
        if (i < last)
            find_leaf(step, run, layer, head, i + 1, key[(i + 1) % 2]);
        turn_keys(key[i % 2], keys);
        for (int r = 0; r < run->rows; r++)
            if (attend_row(step, run, r, head, i, key[i % 2], keys, &leaf))
                add_leaf(&sum[r], &leaf, i, i == run->row[r].position / LEAF);
    }
    for (int r = 0; r < run->rows; r++)
        finish(step, run->first + r, head, &sum[r].whole);
}

/* The rows first <= r < last of the step, run by run. */
static void attend_rows(const struct step *step, int first, int last, int layer, int head, lane_element *keys)
{
    while (first < last) {
        const struct row *row = &step->row[first];
        int rows = 1;
        while (first + rows < last && row[rows].sequence == row->sequence && row[rows].scratch < 0 &&
               row[rows - 1].scratch < 0 && row[rows].position == row->position + rows)
            rows++;
        attend_run(step, &(struct run){row, first, rows}, layer, head, keys);
        first += rows;
    }
}

INLINE int leaves_of(const struct row *row)
{
    return row->position / LEAF - start_of(row) / LEAF + 1;
}

/* One leaf of one row; who finishes a row's last one adds them up, in order. */
static void attend_alone(const struct step *step, int row, int layer, int head, int leaf, int most, lane_element *keys)
{
    struct activations *a = activations(step);
    struct run run = {&step->row[row], row, 1};
    int item = row * KV_HEADS + head, leaves = leaves_of(run.row), start = start_of(run.row) / LEAF;
    struct partial *partials = a->partials + item * most;
    if (leaf < leaves) {
        const element *key[LEAF];
        find_leaf(step, &run, layer, head, start + leaf, key);
        turn_keys(key, keys);
        attend_row(step, &run, 0, head, start + leaf, key, keys, &partials[leaf]);
    }
    if (atomic_fetch_add_explicit(&a->finished[item], 1, memory_order_acq_rel) + 1 < most)
        return;
    atomic_store_explicit(&a->finished[item], 0, memory_order_relaxed); /* for the next layer */
    struct sum_of_leaves sum = {0};
    for (int i = 0; i < leaves; i++)
        add_leaf(&sum, &partials[i], start + i, i == leaves - 1);
    finish(step, row, head, &sum.whole);
}

void $name$(const struct step *step, int index, int thread)
{
    lane_element *keys = (lane_element *)scratch(step, thread)->keys;
    int blocks = (step->rows + RUN - 1) / RUN, most = 0;

    /* Too few rows and heads for the threads: leaves are dealt out, too. */
    if (step->rows <= FEW_ROWS && step->rows * KV_HEADS < 4 * step->threads)
        for (int r = 0; r < step->rows; r++)
            most = maximum(most, leaves_of(&step->row[r]));
    if (most > 1 && most * step->rows * KV_HEADS <= PARTIALS) {
        for (struct work work = work_begin(step, step->rows * KV_HEADS * most); work_next(&work);)
            attend_alone(step, work.unit / most / KV_HEADS, index, work.unit / most % KV_HEADS, work.unit % most, most,
                         keys);
        return;
    }
    /* The last rows of a prompt first: they see the most. */
    for (struct work work = work_begin(step, blocks * KV_HEADS); work_next(&work);) {
        int block = blocks - 1 - work.unit / KV_HEADS;
        attend_rows(step, block * RUN, minimum((block + 1) * RUN, step->rows), index, work.unit % KV_HEADS, keys);
    }
}
