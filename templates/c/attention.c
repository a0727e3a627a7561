/* Attention of each row over the pages of its sequence$window_text$.
 *
 * Keys are taken by position, never by where they are stored: leaves of LEAF positions, aligned to the absolute
 * position; each leaf has its own maximum; groups of LEAVES leaves are merged in order, then the groups in order. A row
 * therefore has the same bits whatever else is in the step, in whatever chunks its prompt came, as a draft or not.
 */
#include "shapes.h"

enum { GROUP = HEADS / KV_HEADS, LEAF = 64, LEAVES = 8 };

/* Softmax over some positions, for the query heads of one key/value head: value = sum(p v), relative to the maximum. */
struct partial {
    float maximum[GROUP];
    float sum[GROUP];
    float value[GROUP][HEAD_DIM];
};

static float dot(const float *query, const element *key)
{
    f32x16 sum = splat(0.0f);
//% if head_dim % 16 == 0 then
    for (int i = 0; i < HEAD_DIM; i += LANES)
        sum = multiply_add(load_f32(query + i), load(key + i), sum);
//% else
    int i = 0;
    for (; i + LANES <= HEAD_DIM; i += LANES)
        sum = multiply_add(load_f32(query + i), load(key + i), sum);
    sum = multiply_add(load_some_f32(query + i, HEAD_DIM - i), load_some(key + i, HEAD_DIM - i), sum);
//% end
    return sum_lanes(sum);
}

/* Scores to probabilities, in place, rounded like all that feeds a product. Unused places hold -INFINITY. */
static void soften(float score[LEAF], float *maximum, float *sum)
{
    f32x16 top = load_f32(score), total = splat(0.0f), shift;
    for (int i = LANES; i < LEAF; i += LANES)
        top = largest(top, load_f32(score + i));
    *maximum = max_lanes(top);
    shift = splat(-*maximum);
    for (int i = 0; i < LEAF; i += LANES) {
        f32x16 probability = exponential(add(load_f32(score + i), shift));
        element rounded[LANES];
        total = add(total, probability);
        store(rounded, probability);
        store_f32(score + i, load(rounded));
    }
    *sum = sum_lanes(total);
}

/* One leaf: the positions begin <= p < end, all in the leaf of `begin`. */
static void attend_leaf(const struct step *step, const struct row *row, int layer, int head,
                        float query[GROUP][HEAD_DIM], int begin, int end, struct partial *out)
{
    const element *key[LEAF];
    float score[GROUP][LEAF];
    for (int g = 0; g < GROUP; g++)
        for (int i = 0; i < LEAF; i++)
            score[g][i] = -INFINITY;
    for (int p = begin; p < end; p++) {
        key[p % LEAF] = state_slot(step, slot_of(step, row, p), layer, head);
        for (int g = 0; g < GROUP; g++)
            score[g][p % LEAF] = dot(query[g], key[p % LEAF]) * $scale$;
    }
    for (int g = 0; g < GROUP; g++)
        soften(score[g], &out->maximum[g], &out->sum[g]);
    memset(out->value, 0, sizeof out->value);
    for (int p = begin; p < end; p++) {
        const element *value = key[p % LEAF] + VALUE_OFFSET;
        for (int g = 0; g < GROUP; g++) {
            f32x16 probability = splat(score[g][p % LEAF]);
//% if head_dim % 16 ~= 0 then
            int i = 0;
            for (; i + LANES <= HEAD_DIM; i += LANES)
//% else
            for (int i = 0; i < HEAD_DIM; i += LANES)
//% end
                store_f32(out->value[g] + i, multiply_add(probability, load(value + i), load_f32(out->value[g] + i)));
//% if head_dim % 16 ~= 0 then
            for (; i < HEAD_DIM; i++)
                out->value[g][i] += score[g][p % LEAF] * to_float(value[i]);
//% end
        }
    }
}

/* Adds `from`, whose positions follow those of `into`. An empty partial has the sum 0. */
static void merge(struct partial *into, const struct partial *from)
{
    for (int g = 0; g < GROUP; g++) {
        if (into->sum[g] == 0.0f) {
            into->maximum[g] = from->maximum[g];
            into->sum[g] = from->sum[g];
            memcpy(into->value[g], from->value[g], sizeof into->value[g]);
            continue;
        }
        float top = into->maximum[g] > from->maximum[g] ? into->maximum[g] : from->maximum[g];
        float weight[LANES] = {into->maximum[g] - top, from->maximum[g] - top};
        store_f32(weight, exponential(load_f32(weight)));
        into->maximum[g] = top;
        into->sum[g] = into->sum[g] * weight[0] + from->sum[g] * weight[1];
        for (int i = 0; i < HEAD_DIM; i++)
            into->value[g][i] = into->value[g][i] * weight[0] + from->value[g][i] * weight[1];
    }
}

static void attend(const struct step *step, const struct row *row, int layer, int head, const element *queries,
                   element *out)
{
    float query[GROUP][HEAD_DIM];
    for (int i = 0; i < GROUP * HEAD_DIM; i++)
        query[i / HEAD_DIM][i % HEAD_DIM] = to_float(queries[i]);

    struct partial whole = {0}, group = {0}, leaf;
//% if window > 0 then
    int start = maximum(0, row->position - $window$ + 1);
//% else
    int start = 0;
//% end
    for (int begin = start; begin <= row->position;) {
        int end = minimum((begin / LEAF + 1) * LEAF, row->position + 1);
        attend_leaf(step, row, layer, head, query, begin, end, &leaf);
        merge(&group, &leaf);
        if (end % (LEAF * LEAVES) == 0 || end == row->position + 1) {
            merge(&whole, &group);
            memset(&group, 0, sizeof group);
        }
        begin = end;
    }
    for (int g = 0; g < GROUP; g++)
        for (int i = 0; i < HEAD_DIM; i++)
            out[g * HEAD_DIM + i] = to_element(whole.value[g][i] / whole.sum[g]);
}

void $name$(const struct step *step, int index, int thread)
{
    struct activations *a = activations(step);
    for (int item = thread; item < step->rows * KV_HEADS; item += step->threads) {
        int r = item / KV_HEADS, head = item % KV_HEADS;
        attend(step, &step->row[r], index, head, a->query[r] + head * GROUP * HEAD_DIM,
               a->attention[r] + head * GROUP * HEAD_DIM);
    }
}
