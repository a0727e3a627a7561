/* Attention of each row over the pages of its sequence$window_text$, for steps of up to $rows$ rows.
 *
 * The tree of every sum is that of the C kernel: leaves of LEAF positions aligned to the absolute position, each with its
 * own maximum; groups of LEAVES leaves merged in order; the groups in order.
 *
 * A column is one (row, query head) pair of a tile and a key/value head (attention_tiles.cuh): a column of the tensor
 * core's products, whose 16-row operand are keys (scores), then dimensions (values). A block folds what it can of its range
 * in the tree's order and publishes the rest as partials; who arrives last at a (tile, head) adds them in order.
 */
#include "$shapes$"

#include "attention.cuh"

enum {
    GROUP = HEADS / KV_HEADS,
    BUCKET = $rows$,
    WINDOW = $window$, /* positions that a row looks back, itself included; 0: all */
    TILES = $tiles$,   /* column tiles of 8 */
    COLUMNS = 8 * TILES,
    ROWS = COLUMNS / GROUP,
    WARPS = 4,
    THREADS = LANES * WARPS,
    STAGES = $stages$, /* leaves in shared memory: one in use, the others on their way */
    AHEAD = STAGES - 1,
    PITCH = HEAD_DIM + 8,  /* elements from key to key in shared memory: no bank conflicts for ldmatrix */
    CHUNKS = HEAD_DIM / 8, /* of 16 bytes in a key */
    STEPS = HEAD_DIM / 16, /* mma in the dot product of a key */
    DIM_TILES = (STEPS + WARPS - 1) / WARPS, /* tiles of 16 dimensions that a warp gathers */
    MOST_LEAVES = $most_leaves$,             /* of the longest sequence */
    GROUPED_FROM = $grouped_from$,           /* items a block */
    SLOTS = $slots$,                  /* partials that a block can publish of the (tile, head) it begins within */
    BLOCK_SLOTS = SLOTS + 2,          /* and of the one that it begins, but does not end */
    SLOT = COLUMNS * (HEAD_DIM + 2),  /* floats of one: maxima, sums, values [column][dimension] */
    LANE_DIMS = (HEAD_DIM + 31) / 32, /* dimensions of a lane when partials are merged */
    BATCH = 32,                       /* blocks whose partials are listed at a time */
    LOADS = $loads$,                  /* partials that a warp loads before it adds them */
};

#include "attention_tiles.cuh"

enum { LEAF_PITCH = LEAF + 8 };
static_assert(LEAF * CHUNKS % THREADS == 0, "every thread loads as much as the others");

struct shared {
    element key_value[STAGES][2][LEAF * PITCH];
    element query[STAGES][COLUMNS * PITCH]; /* of the (tile, head)s whose passes are in the stages */
    element probability[COLUMNS * LEAF_PITCH];
    struct place place[STAGES + 1];                     /* what each stage holds; one more, for those who read on */
    float maximum[WARPS][COLUMNS], sum[WARPS][COLUMNS]; /* of each warp's 16 keys */
    int position[STAGES][COLUMNS];                      /* of each column's row; -1: unused */
    float whole_maximum[2 * TILES][THREADS], whole_sum[2 * TILES][THREADS]; /* complete groups, as `struct partial` */
    float whole[4 * DIM_TILES * TILES][THREADS];
    struct survey survey;
    int list[BATCH * BLOCK_SLOTS]; /* partials to merge: slot + 1, negative for the last one of a group */
    int listed, last;
};
static_assert(sizeof(struct shared) <= $shared$, "the plan counts the shared memory");

/* ---- Keys, values and queries to shared memory ---- */

/* Where in the page table a leaf's page is, if a leaf lies in one. */
INLINE int page_of(const struct cuda_step &step, const struct place &place)
{
    return PAGE >= LEAF && place.pass < place.tile.together
               ? step.pages[place.tile.table + leaf_of(place.tile, place.pass) * LEAF / PAGE]
               : 0;
}

/* Starts the loads of one pass; positions that nobody sees become zero. page: page_of the place. */
INLINE void load_pass(struct shared *shared, const struct cuda_step &step, const struct place &place, int page,
                      int layer, int stage)
{
    int base = leaf_of(place.tile, place.pass) * LEAF, thread = (int)threadIdx.x;
    element(*to)[LEAF * PITCH] = shared->key_value[stage];

    if (PAGE >= LEAF && place.pass < place.tile.together) { /* one piece of memory */
        const element *from = state_slot(step, page * PAGE + base % PAGE, layer, place.head) + thread * 8;
        int keys = place.tile.last - base;
#pragma unroll 4
        for (int i = 0; i < LEAF * CHUNKS / THREADS; i++) {
            int chunk = i * THREADS + thread, at = chunk / CHUNKS * PITCH + chunk % CHUNKS * 8;
            bool exists = chunk / CHUNKS <= keys;
            copy_async_or_zero(&to[0][at], from + i * THREADS * 8, exists);
            copy_async_or_zero(&to[1][at], from + i * THREADS * 8 + VALUE_OFFSET, exists);
        }
        return;
    }
    int one = row_of(place.tile, place.pass);
    struct cuda_row row = step.row[place.tile.row + (one < 0 ? place.tile.rows - 1 : one)];
#pragma unroll 1
    for (int chunk = thread; chunk < LEAF * CHUNKS; chunk += THREADS) {
        int key = chunk / CHUNKS, within = chunk % CHUNKS * 8, position = base + key;
        bool exists = position <= row.position;
        const element *from = state_slot(step, exists ? slot_of(step, row, position) : 0, layer, place.head) + within;
        copy_async_or_zero(&to[0][key * PITCH + within], from, exists);
        copy_async_or_zero(&to[1][key * PITCH + within], from + VALUE_OFFSET, exists);
    }
}

/* Starts the loads of a tile's queries for a head. */
INLINE void load_queries(struct shared *shared, const struct cuda_step &step, const struct place &place, int buffer)
{
    const struct activations *a = activations(step);
#pragma unroll 1
    for (int chunk = (int)threadIdx.x; chunk < COLUMNS * CHUNKS; chunk += THREADS) {
        int column = chunk / CHUNKS, within = chunk % CHUNKS * 8, r = column / GROUP;
        bool exists = r < place.tile.rows;
        const element *from =
            a->query[exists ? place.tile.row + r : 0] + (place.head * GROUP + column % GROUP) * HEAD_DIM;
        copy_async_or_zero(&shared->query[buffer][column * PITCH + within], from + within, exists);
        if (within == 0)
            shared->position[buffer][column] = exists ? step.row[place.tile.row + r].position : -1;
    }
}

/* ---- One leaf ---- */

/* Softmax over some positions, as a thread holds it: of its two columns in each tile, of its warp's dimensions. An empty
   one has the maximum NOTHING and the sum 0. */
struct partial {
    float maximum[TILES][2], sum[TILES][2];
    float value[DIM_TILES][TILES][4]; /* mma's C operand: dimensions g and g + 8 of columns 2p and 2p + 1 */
};

static __device__ void clear(struct partial *partial)
{
#pragma unroll
    for (int n = 0; n < TILES; n++) {
#pragma unroll
        for (int j = 0; j < 2; j++) {
            partial->maximum[n][j] = NOTHING;
            partial->sum[n][j] = 0.0f;
        }
#pragma unroll
        for (int m = 0; m < DIM_TILES; m++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                partial->value[m][n][i] = 0.0f;
    }
}

/* The factors of a merge: of what is there, and of what is added. */
static __device__ void weigh(float into, float from, float *into_weight, float *from_weight)
{
    float top = fmaxf(into, from);
    *into_weight = from == NOTHING ? 1.0f : into == NOTHING ? 0.0f : exponential(__fsub_rn(into, top));
    *from_weight = from == NOTHING ? 0.0f : into == NOTHING ? 1.0f : exponential(__fsub_rn(from, top));
}

/* into * into_weight + from * from_weight, in one order everywhere. */
static __device__ float blend(float into, float into_weight, float from, float from_weight)
{
    return __fmaf_rn(into, into_weight, __fmul_rn(from, from_weight));
}

/* Adds `from`, whose positions follow those of `into`. */
static __device__ void merge(struct partial *into, const struct partial *from, int tiles)
{
#pragma unroll
    for (int n = 0; n < TILES; n++) {
        if (n >= tiles)
            break;
#pragma unroll
        for (int j = 0; j < 2; j++) {
            float into_weight, from_weight;
            weigh(into->maximum[n][j], from->maximum[n][j], &into_weight, &from_weight);
            into->maximum[n][j] = fmaxf(into->maximum[n][j], from->maximum[n][j]);
            into->sum[n][j] = blend(into->sum[n][j], into_weight, from->sum[n][j], from_weight);
#pragma unroll
            for (int m = 0; m < DIM_TILES; m++)
#pragma unroll
                for (int i = j; i < 4; i += 2)
                    into->value[m][n][i] = blend(into->value[m][n][i], into_weight, from->value[m][n][i], from_weight);
        }
    }
}

/* The fold of the complete groups is touched once in LEAVES leaves, so it lives in shared memory, each thread's part its
   own; this adds a group to it and empties the group. */
static __device__ void merge_group(struct shared *shared, struct partial *group, int tiles)
{
    int thread = (int)threadIdx.x;
#pragma unroll
    for (int n = 0; n < TILES; n++) {
        if (n >= tiles)
            break;
#pragma unroll
        for (int j = 0; j < 2; j++) {
            float *maximum = &shared->whole_maximum[2 * n + j][thread], *sum = &shared->whole_sum[2 * n + j][thread];
            float into_weight, from_weight;
            weigh(*maximum, group->maximum[n][j], &into_weight, &from_weight);
            *maximum = fmaxf(*maximum, group->maximum[n][j]);
            *sum = blend(*sum, into_weight, group->sum[n][j], from_weight);
#pragma unroll
            for (int m = 0; m < DIM_TILES; m++)
#pragma unroll
                for (int i = j; i < 4; i += 2) {
                    float *value = &shared->whole[4 * (m * TILES + n) + i][thread];
                    *value = blend(*value, into_weight, group->value[m][n][i], from_weight);
                }
        }
    }
    clear(group);
}

static __device__ void clear_whole(struct shared *shared)
{
    int thread = (int)threadIdx.x;
#pragma unroll
    for (int i = 0; i < 2 * TILES; i++) {
        shared->whole_maximum[i][thread] = NOTHING;
        shared->whole_sum[i][thread] = 0.0f;
    }
#pragma unroll
    for (int i = 0; i < 4 * DIM_TILES * TILES; i++)
        shared->whole[i][thread] = 0.0f;
}

static __device__ void read_whole(const struct shared *shared, struct partial *out)
{
    int thread = (int)threadIdx.x;
#pragma unroll
    for (int n = 0; n < TILES; n++) {
#pragma unroll
        for (int j = 0; j < 2; j++) {
            out->maximum[n][j] = shared->whole_maximum[2 * n + j][thread];
            out->sum[n][j] = shared->whole_sum[2 * n + j][thread];
        }
#pragma unroll
        for (int m = 0; m < DIM_TILES; m++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                out->value[m][n][i] = shared->whole[4 * (m * TILES + n) + i][thread];
    }
}

/* Scores of the leaf's keys, 16 a warp; then their probabilities for all warps, and the leaf's maxima and sums. */
static __device__ void attend_scores(struct shared *shared, const struct place &place, int stage, int buffer, int tiles,
                                     struct partial *leaf)
{
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, g = lane / 4, p = lane % 4;
    const element *keys = shared->key_value[stage][0];
    float score[TILES][4];
#pragma unroll
    for (int n = 0; n < TILES; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            score[n][i] = 0.0f;
#pragma unroll
    for (int k = 0; k < STEPS; k++) {
        uint4 a = load_matrices(&keys[(warp * 16 + lane % 16) * PITCH + 16 * k + lane / 16 * 8]);
#pragma unroll
        for (int n = 0; n < TILES; n++) {
            if (n >= tiles)
                break;
            uint2 b = load_two_matrices(&shared->query[buffer][(8 * n + lane % 8) * PITCH + 16 * k + lane / 8 % 2 * 8]);
            multiply_add(score[n], a, b);
        }
    }

    int one = row_of(place.tile, place.pass);
    int position = leaf_of(place.tile, place.pass) * LEAF + warp * 16 + g;
#pragma unroll
    for (int n = 0; n < TILES; n++) {
        if (n >= tiles)
            break;
#pragma unroll
        for (int j = 0; j < 2; j++) {
            int column = 8 * n + 2 * p + j;
            int high = one >= 0 && column / GROUP != one ? -1 : shared->position[buffer][column];
            int low = WINDOW > 0 ? high - WINDOW + 1 : 0;
#pragma unroll
            for (int i = j; i < 4; i += 2) {
                int here = position + i / 2 * 8;
                score[n][i] = here >= low && here <= high ? __fmul_rn(score[n][i], $scale$) : NOTHING;
            }
            float top = fmaxf(score[n][j], score[n][j + 2]);
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 4));
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 8));
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 16));
            if (g == 0)
                shared->maximum[warp][column] = top;
        }
    }
    __syncthreads();

#pragma unroll
    for (int n = 0; n < TILES; n++) {
        if (n >= tiles)
            break;
#pragma unroll
        for (int j = 0; j < 2; j++) {
            int column = 8 * n + 2 * p + j;
            float top = fmaxf(fmaxf(shared->maximum[0][column], shared->maximum[1][column]),
                              fmaxf(shared->maximum[2][column], shared->maximum[3][column]));
            float shift = top == NOTHING ? 0.0f : top;
            float first = exponential(__fsub_rn(score[n][j], shift));
            float second = exponential(__fsub_rn(score[n][j + 2], shift));
            float sum = __fadd_rn(first, second);
            sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, 4));
            sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, 8));
            sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, 16));
            if (g == 0)
                shared->sum[warp][column] = sum;
            shared->probability[column * LEAF_PITCH + warp * 16 + g] = to_element(first);
            shared->probability[column * LEAF_PITCH + warp * 16 + g + 8] = to_element(second);
            leaf->maximum[n][j] = top;
        }
    }
    __syncthreads();

#pragma unroll
    for (int n = 0; n < TILES; n++) {
        if (n >= tiles)
            break;
#pragma unroll
        for (int j = 0; j < 2; j++) {
            int column = 8 * n + 2 * p + j;
            leaf->sum[n][j] =
                __fadd_rn(__fadd_rn(__fadd_rn(shared->sum[0][column], shared->sum[1][column]), shared->sum[2][column]),
                          shared->sum[3][column]);
            if (leaf->sum[n][j] == 0.0f)
                leaf->maximum[n][j] = NOTHING;
        }
    }
}

/* The probabilities' sum over the values, each warp for its tiles of dimensions: warp, warp + WARPS, ... */
static __device__ void attend_values(struct shared *shared, int stage, int tiles, struct partial *leaf)
{
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    const element *values = shared->key_value[stage][1];
#pragma unroll
    for (int m = 0; m < DIM_TILES; m++)
#pragma unroll
        for (int n = 0; n < TILES; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                leaf->value[m][n][i] = 0.0f;
#pragma unroll
    for (int k = 0; k < LEAF / 16; k++)
#pragma unroll
        for (int m = 0; m < DIM_TILES; m++) {
            int tile = warp + m * WARPS;
            if (STEPS % WARPS != 0 && tile >= STEPS)
                break;
            uint4 a = load_turned_matrices(
                &values[(16 * k + lane / 16 * 8 + lane % 8) * PITCH + 16 * tile + lane / 8 % 2 * 8]);
#pragma unroll
            for (int n = 0; n < TILES; n++) {
                if (n >= tiles)
                    break;
                uint2 b = load_two_matrices(
                    &shared->probability[(8 * n + lane % 8) * LEAF_PITCH + 16 * k + lane / 8 % 2 * 8]);
                multiply_add(leaf->value[m][n], a, b);
            }
        }
}

/* ---- Results ---- */

static __device__ void store_output(const struct cuda_step &step, int row, int head, int dimension, float value)
{
    int column = head * HEAD_DIM + dimension;
    activations(step)->attention[input_place(row, column, QUERY_PADDED)] = to_element(value);
}

/* What a block has computed alone. */
static __device__ void finish(const struct cuda_step &step, const struct place &place, const struct partial *whole)
{
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, g = lane / 4, p = lane % 4;
#pragma unroll
    for (int n = 0; n < TILES; n++)
#pragma unroll
        for (int m = 0; m < DIM_TILES; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int column = 8 * n + 2 * p + i % 2, row = column / GROUP, tile = warp + m * WARPS;
                if (row < place.tile.rows && tile < STEPS)
                    store_output(step, place.tile.row + row, place.head * GROUP + column % GROUP,
                                 16 * tile + g + i / 2 * 8, __fdiv_rn(whole->value[m][n][i], whole->sum[n][i % 2]));
            }
}

static __device__ void publish(float *slot, const struct partial *partial, int tiles)
{
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, g = lane / 4, p = lane % 4;
#pragma unroll
    for (int n = 0; n < TILES; n++) {
        if (n >= tiles)
            break;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int column = 8 * n + 2 * p + i % 2;
            if (warp == 0 && g == 0 && i < 2) {
                slot[column] = partial->maximum[n][i];
                slot[COLUMNS + column] = partial->sum[n][i];
            }
#pragma unroll
            for (int m = 0; m < DIM_TILES; m++)
                if (warp + m * WARPS < STEPS)
                    slot[2 * COLUMNS + column * HEAD_DIM + 16 * (warp + m * WARPS) + g + i / 2 * 8] =
                        partial->value[m][n][i];
        }
    }
}

/* ---- Partials of several blocks ---- */

/* Lists the partials of up to BATCH blocks from first_block on for this (tile, head), in order. By warp 0. */
INLINE void list_partials(struct shared *shared, const struct place &place, struct deal deal, int base, int first_block)
{
    const struct tile &tile = place.tile;
    int lane = (int)threadIdx.x, block = first_block + lane;
    int from = maximum(0, deal_begin(deal, block) - base),
        to = minimum(tile.passes, deal_begin(deal, block + 1) - base);
    if (deal.grouped && from < to) {
        from = grouped_pass(tile, from);
        to = grouped_pass(tile, to);
    }
    int slot = block * BLOCK_SLOTS + (from > 0 ? 0 : SLOTS) + 1, end = 0;
#pragma unroll 1
    for (int store = 0; store < 2; store++) { /* first counted, then stored */
        int count = 0, begin = end;
        for (int pass = from; pass < to; count++) {
            pass = next_cut(tile, from, to, pass);
            if (store)
                shared->list[begin + count] = group_ends(tile, pass) ? -(slot + count) : slot + count;
        }
        if (store)
            break;
        end = count;
        for (int distance = 1; distance < LANES; distance *= 2) {
            int other = __shfl_up_sync(0xffffffffu, end, distance);
            end += lane >= distance ? other : 0;
        }
        if (lane == LANES - 1)
            shared->listed = end;
        end -= count;
    }
}

/* Loads a column's values of LOADS partials, all before one is used: of those that the lanes' entries name, the first `here`,
   from `first` on. */
INLINE void load_column(const float *partials, int entry, int first, int here, int column,
                        float (&value)[LOADS][LANE_DIMS])
{
    int lane = (int)threadIdx.x % LANES;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        int number = __shfl_sync(0xffffffffu, entry, (first + i) % LANES);
        const float *from =
            partials + (size_t)((number < 0 ? -number : number) - 1) * SLOT + 2 * COLUMNS + column * HEAD_DIM + lane;
#pragma unroll
        for (int d = 0; d < LANE_DIMS; d++)
            value[i][d] =
                first + i < here && (HEAD_DIM % 32 == 0 || lane + 32 * d < HEAD_DIM) ? load_fresh(from + 32 * d) : 0.0f;
    }
}

/* Adds the partials of a (tile, head) in order and writes the result. A warp takes whole columns. All maxima are known, so
   the weights of up to 32 partials are worked out side by side, a lane each; then the values go one after the other. */
static __device__ void merge_partials(struct shared *shared, const struct cuda_step &step, const struct place &place,
                                      struct deal deal)
{
    const struct tile &tile = place.tile;
    const float *partials = activations(step)->attention_partials;
    int warp = (int)threadIdx.x / LANES, lane = (int)threadIdx.x % LANES, columns = tile.rows * GROUP;
    int base = first_item(&shared->survey, tile.row) + place.head * tile.passes;
    int first_block = deal_block(deal, base), last_block = deal_block(deal, base + tile.passes - 1);
    bool listed_once = last_block - first_block < BATCH;

#pragma unroll 1
    for (int column = warp; column < (columns + WARPS - 1) / WARPS * WARPS; column += WARPS) {
        float group_top = NOTHING, group_sum = 0.0f, group[LANE_DIMS] = {0.0f};
        float whole_top = NOTHING, whole_sum = 0.0f, whole[LANE_DIMS] = {0.0f};
#pragma unroll 1
        for (int block = first_block; block <= last_block; block += BATCH) {
            if (column == warp || !listed_once) {
                __syncthreads();
                if (warp == 0)
                    list_partials(shared, place, deal, base, block);
                __syncthreads();
            }
#pragma unroll 1
            for (int start = 0; start < shared->listed; start += LANES) {
                int here = minimum(LANES, shared->listed - start);
                int entry = lane < here ? shared->list[start + lane] : 0;
                const float *slot = partials + (size_t)((entry < 0 ? -entry : entry) - 1) * SLOT;
                float top = entry ? load_fresh(slot + column) : NOTHING;
                float sum = entry ? load_fresh(slot + COLUMNS + column) : 0.0f;
                float value[LOADS][LANE_DIMS];
                load_column(partials, entry, 0, here, column, value);

                /* The maximum of the group up to each partial, and of the groups before. */
                uint32_t ends = __ballot_sync(0xffffffffu, entry < 0);
                int begin = 32 - __clz((int)(ends & ((1u << lane) - 1))); /* lane of the group's first partial here */
                float reach = begin == 0 ? fmaxf(top, group_top) : top;
#pragma unroll
                for (int distance = 1; distance < LANES; distance *= 2) {
                    float other = __shfl_up_sync(0xffffffffu, reach, distance);
                    if (lane - distance >= begin)
                        reach = fmaxf(reach, other);
                }
                float groups = entry < 0 ? reach : NOTHING;
#pragma unroll
                for (int distance = 1; distance < LANES; distance *= 2)
                    groups = fmaxf(groups, __shfl_up_sync(0xffffffffu, groups, distance)); /* (its own below lane 0) */
                groups = fmaxf(groups, whole_top);
                float before = __shfl_up_sync(0xffffffffu, reach, 1),
                      groups_before = __shfl_up_sync(0xffffffffu, groups, 1);
                before = lane == 0 ? group_top : lane == begin ? NOTHING : before;
                groups_before = lane == 0 ? whole_top : groups_before;
                float into, from, group_into, group_from;
                weigh(before, top, &into, &from);
                weigh(groups_before, reach, &group_into, &group_from);

#pragma unroll 1
                for (int first = 0; first < here; first += LOADS) {
                    if (first > 0)
                        load_column(partials, entry, first, here, column, value);
#pragma unroll
                    for (int i = 0; i < LOADS; i++) {
                        int at = (first + i) % LANES;
                        float a = __shfl_sync(0xffffffffu, into, at), b = __shfl_sync(0xffffffffu, from, at);
                        float c = __shfl_sync(0xffffffffu, group_into, at),
                              e = __shfl_sync(0xffffffffu, group_from, at);
                        float added = __shfl_sync(0xffffffffu, sum, at);
                        if (first + i >= here)
                            continue;
                        group_sum = blend(group_sum, a, added, b);
#pragma unroll
                        for (int d = 0; d < LANE_DIMS; d++)
                            group[d] = blend(group[d], a, value[i][d], b);
                        if (ends >> at & 1) {
                            whole_sum = blend(whole_sum, c, group_sum, e);
                            group_sum = 0.0f;
#pragma unroll
                            for (int d = 0; d < LANE_DIMS; d++) {
                                whole[d] = blend(whole[d], c, group[d], e);
                                group[d] = 0.0f;
                            }
                        }
                    }
                }
                group_top = ends >> (here - 1) & 1 ? NOTHING : __shfl_sync(0xffffffffu, reach, here - 1);
                whole_top = __shfl_sync(0xffffffffu, groups, LANES - 1);
            }
        }
        if (column < columns)
#pragma unroll
            for (int d = 0; d < LANE_DIMS; d++)
                if (HEAD_DIM % 32 == 0 || lane + 32 * d < HEAD_DIM)
                    store_output(step, tile.row + column / GROUP, place.head * GROUP + column % GROUP, lane + 32 * d,
                                 __fdiv_rn(whole[d], whole_sum));
    }
}

/* Tells that `done` passes of a (tile, head) are published; true for who is the last, in all threads. */
INLINE bool arrive(struct shared *shared, const struct cuda_step &step, const struct place &place, int done)
{
    int *arrivals = &activations(step)->attention_arrivals[place.tile.row * KV_HEADS + place.head];
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        shared->last = atomicAdd(arrivals, done) + done == place.tile.passes;
        if (shared->last)
            *arrivals = 0; /* for the next layer */
        __threadfence();
    }
    __syncthreads();
    return shared->last;
}

extern "C" __global__ void __launch_bounds__(THREADS, $blocks$)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int index)
{
    extern __shared__ __align__(16) unsigned char memory[];
    struct shared *shared = (struct shared *)memory;
    (void)layer;
    let_next_start();

    int rows = minimum(step.counts->rows, BUCKET);
    look_around(&shared->survey, step, rows);
    int total = shared->survey.passes[rows - 1] * KV_HEADS, block = (int)blockIdx.x;
    struct deal deal = deal_items(total, (int)gridDim.x);
    if (block >= deal.blocks)
        return;
    int item = deal_begin(deal, block), end = deal_begin(deal, block + 1);
    if (most_partials(deal) > SLOTS) { /* so much work that no (tile, head) needs several blocks */
        item = whole_item(&shared->survey, rows, item, total);
        end = whole_item(&shared->survey, rows, end, total);
    } else if (deal.grouped) {
        item = grouped_item(&shared->survey, step, rows, item, total);
        end = grouped_item(&shared->survey, step, rows, end, total);
    }
    if (item >= end)
        return;

    /* The loads run AHEAD of the work. What was in the pages before this step need not wait for the kernel before. */
    struct place next; /* to load */
    next.tile = tile_at(&shared->survey, step, row_of_item(&shared->survey, rows, item), rows);
    next.head = (item - first_item(&shared->survey, next.tile.row)) / next.tile.passes;
    next.pass = (item - first_item(&shared->survey, next.tile.row)) % next.tile.passes;
    int page = page_of(step, next);
    bool waited = false;
    struct partial group, leaf;
    int from = 0, to = 0, cut = 0, slot = 0, tiles = 0; /* of the (tile, head) at work */
    int loaded = 0, begun = 0, buffer = 0;              /* (tile, head)s whose queries are loaded, that were begun */
    bool alone = false, fresh = true;
#pragma unroll 1
    for (int now = item - AHEAD; now < end; now++) {
        int coming = now + AHEAD;
        if (AHEAD > 0)
            copies_wait<(AHEAD > 0 ? AHEAD - 1 : 0)>();
        __syncthreads(); /* the stage of the pass before is free, that of this one full */
        if (coming < end) {
            bool begins = coming == item || next.pass == 0;
            if (!waited && (leaf_of(next.tile, next.pass) + 1) * LEAF > next.tile.stored) {
                wait_for_previous();
                waited = true;
            }
            load_pass(shared, step, next, page, index, coming % STAGES);
            if (begins) {
                if (!waited)
                    wait_for_previous();
                waited = true;
                load_queries(shared, step, next, loaded++ % STAGES);
            }
            if (threadIdx.x == 0)
                shared->place[coming % (STAGES + 1)] = next;
        }
        copies_commit();
        if (coming + 1 < end) { /* one place further; its page is looked up in good time */
            if (++next.pass == next.tile.passes) {
                next.pass = 0;
                if (++next.head == KV_HEADS) {
                    next.head = 0;
                    next.tile = tile_at(&shared->survey, step, next.tile.row + next.tile.rows, rows);
                }
            }
            page = page_of(step, next);
        }
        if (now < item)
            continue;
        if (AHEAD == 0) {
            copies_wait<0>();
            __syncthreads();
        }

        const struct place &place = shared->place[now % (STAGES + 1)];
        int pass = place.pass, passes = place.tile.passes;
        if (fresh) {
            from = pass;
            to = minimum(passes, from + end - now);
            alone = from == 0 && to == passes;
            slot = block * BLOCK_SLOTS + (from > 0 ? 0 : SLOTS);
            tiles = (place.tile.rows * GROUP + 7) / 8;
            buffer = begun++ % STAGES;
            clear_whole(shared);
            clear(&group);
        }
        if (fresh || pass == cut)
            cut = alone ? to : next_cut(place.tile, from, to, pass);
        attend_scores(shared, place, now % STAGES, buffer, tiles, &leaf);
        attend_values(shared, now % STAGES, tiles, &leaf);
        merge(&group, &leaf, tiles);

        pass++;
        bool first_cut = from == 0 && slot == block * BLOCK_SLOTS + SLOTS; /* groups from the very first one on */
        if (first_cut && group_ends(place.tile, pass))
            merge_group(shared, &group, tiles);
        fresh = pass == to;
        if (pass != cut)
            continue;
        if (alone || (first_cut && group_ends(place.tile, pass)))
            read_whole(shared, &group);
        if (alone) {
            finish(step, place, &group);
            continue;
        }
        publish(activations(step)->attention_partials + (size_t)slot * SLOT, &group, tiles);
        slot++;
        clear(&group);
        if (fresh && arrive(shared, step, place, to - from))
            merge_partials(shared, step, place, deal);
    }
}
