/* Attention of each row over the pages of its sequence$window_text$, for steps of up to $rows$ rows.
 *
 * The tree of every sum is that of the C kernel: leaves of LEAF positions aligned to the absolute position, each with its
 * own maximum; groups of LEAVES leaves merged in order; the groups in order. Which block computes a leaf never shows in
 * the bits, so the work is dealt evenly to however many blocks there are.
 *
 *     tile      up to ROWS consecutive rows of one sequence; they share the keys and values that are loaded
 *     column    one (row, query head) pair of a tile and a key/value head: a column of the tensor core's products, whose
 *               16-row operand are keys (scores), then dimensions (values)
 *     pass      one leaf for one tile and one head. Where tree rows see different keys at equal positions, a leaf takes
 *               one pass for each row
 *
 * The passes of the step, tile by tile, head by head, are cut into equal ranges, one a block. A block folds what it can
 * in the tree's order and publishes the rest as partials; who arrives last at a (tile, head) adds them in order.
 */
#include "attention.cuh"

enum {
    GROUP = HEADS / KV_HEADS,
    LEAF = 64,
    LEAVES = 8,
    TILES = $_ENV["tiles_" .. rows]$, /* column tiles of 8 */
    COLUMNS = 8 * TILES,
    ROWS = COLUMNS / GROUP,
    BUCKET = $rows$,
    WARPS = 4,
    THREADS = 32 * WARPS,
    STAGES = $_ENV["stages_" .. rows]$,                /* leaves in flight */
    PITCH = HEAD_DIM + 8,             /* elements from key to key in shared memory: no bank conflicts for ldmatrix */
    LEAF_PITCH = LEAF + 8,            /* likewise of the probabilities */
    CHUNKS = HEAD_DIM / 8,            /* of 16 bytes in a key */
    STEPS = HEAD_DIM / 16,            /* mma in the dot product of a key */
    DIM_TILES = (STEPS + WARPS - 1) / WARPS, /* tiles of 16 dimensions a warp gathers */
    LEAST = 1,                  /* passes that a block takes at least: fewer are not worth a merge */
    SLOTS = $_ENV["slots_" .. rows]$,                  /* partials that a block can publish of the (tile, head) it begins within */
    BLOCK_SLOTS = SLOTS + 2,          /* and of the one that it begins, but does not end */
    SLOT = COLUMNS * (HEAD_DIM + 2),  /* floats of one: maxima, sums, values [column][dimension] */
    LANE_DIMS = (HEAD_DIM + 31) / 32, /* dimensions of a lane when partials are merged */
    BATCH = 32,                       /* blocks whose partials are listed at a time */
};

struct shared {
    element key_value[STAGES][2][LEAF * PITCH];
    element query[COLUMNS * PITCH];
    element probability[COLUMNS * LEAF_PITCH];
    float maximum[WARPS][COLUMNS], sum[WARPS][COLUMNS]; /* of each warp's 16 keys */
    int low[COLUMNS], high[COLUMNS];                    /* positions that a column sees; high < low: unused */
    int passes[BUCKET];                                 /* of the tiles that begin at a row or before it, added up */
    uint32_t begins[(BUCKET + 31) / 32];                /* bit r: row r begins a run of rows of one sequence */
    float whole_maximum[2 * TILES][THREADS], whole_sum[2 * TILES][THREADS]; /* complete groups, as `struct partial` */
    float whole[4 * DIM_TILES * TILES][THREADS];
    int list[BATCH * BLOCK_SLOTS];                        /* partials to merge, the group's last one negated */
    int listed, last;
};

/* ---- What there is to do: the same in every block, from the rows alone ---- */

struct tile {
    int row, rows;             /* first row, rows */
    int first_leaf;            /* leaf of the lowest position that any of its rows sees */
    int together;              /* leaves in which all rows see the same keys */
    int passes;                /* of one head */
    int before;                /* passes of one head of the tiles before it */
    int position;              /* of the last row: the highest */
    int stored;                /* positions below this were in the pages before this step */
};

/* First row of the run to which `row` belongs, and of the run after it. */
static __device__ int run_begin(const struct shared *shared, int row)
{
    int word = row / 32;
    uint32_t bits = shared->begins[word] & (0xffffffffu >> (31 - row % 32));
    while (!bits)
        bits = shared->begins[--word];
    return word * 32 + 31 - __clz((int)bits);
}

static __device__ int run_end(const struct shared *shared, int row, int rows)
{
    int word = row / 32, words = (rows + 31) / 32;
    uint32_t bits = shared->begins[word] & (0xfffffffeu << row % 32);
    while (!bits) {
        if (++word == words)
            return rows;
        bits = shared->begins[word];
    }
    return word * 32 + __ffs((int)bits) - 1;
}

/* The tile that begins at `row`; passes = 0 when none does. */
static __device__ struct tile tile_at(const struct shared *shared, const struct cuda_step &step, int row, int rows)
{
    struct tile tile = {row, 0, 0, 0, 0, 0, 0, 0};
    int begin = run_begin(shared, row);
    if ((row - begin) % ROWS != 0)
        return tile;
    tile.rows = minimum(ROWS, run_end(shared, row, rows) - row);
    int tree = 0x7fffffff; /* from here on the rows' keys differ */
    for (int r = row; r < row + tile.rows; r++) {
        struct cuda_row here = step.row[r];
        tile.position = here.position;
        if (here.shared <= here.position)
            tree = minimum(tree, here.shared);
    }
//% if window > 0 then
    tile.first_leaf = maximum(0, step.row[row].position - $window$ + 1) / LEAF;
//% end
    int leaves = tile.position / LEAF + 1 - tile.first_leaf;
    tile.together = minimum(leaves, maximum(0, tree / LEAF - tile.first_leaf));
    tile.passes = tile.together + (leaves - tile.together) * tile.rows;
    tile.before = row > 0 ? shared->passes[row - 1] : 0;
    tile.stored = step.row[begin].parent < 0 ? step.row[begin].position : 0;
    return tile;
}

/* Fills begins and passes. Every thread calls it; ends with a barrier. */
static __device__ void survey(struct shared *shared, const struct cuda_step &step, int rows)
{
    int thread = (int)threadIdx.x, lane = thread % 32;
    for (int base = 0; base < rows; base += THREADS) {
        int r = base + thread;
        int begins = r < rows && (r == 0 || step.row[r].sequence != step.row[r - 1].sequence);
        uint32_t bits = __ballot_sync(0xffffffffu, begins);
        if (lane == 0 && r < BUCKET)
            shared->begins[r / 32] = bits;
    }
    __syncthreads();
    for (int r = thread; r < rows; r += THREADS)
        shared->passes[r] = tile_at(shared, step, r, rows).passes;
    __syncthreads();
    if (thread < 32) {
        int share = (rows + 31) / 32, sum = 0;
        for (int r = lane * share; r < minimum(rows, (lane + 1) * share); r++)
            sum += shared->passes[r];
        int before = sum;
        for (int distance = 1; distance < 32; distance *= 2) {
            int other = __shfl_up_sync(0xffffffffu, before, distance);
            before += lane >= distance ? other : 0;
        }
        before -= sum;
        for (int r = lane * share; r < minimum(rows, (lane + 1) * share); r++)
            shared->passes[r] = before += shared->passes[r];
    }
    __syncthreads();
}

/* A place in the order of all passes. */
struct place {
    struct tile tile;
    int head;
    int pass; /* within the tile and head */
};

static __device__ struct place place_of(const struct shared *shared, const struct cuda_step &step, int rows, int item)
{
    int low = 0, high = rows - 1; /* the first row whose tile reaches beyond the item */
    while (low < high) {
        int middle = (low + high) / 2;
        if (shared->passes[middle] * KV_HEADS > item)
            high = middle;
        else
            low = middle + 1;
    }
    struct place place;
    place.tile = tile_at(shared, step, low, rows);
    int within = item - place.tile.before * KV_HEADS;
    place.head = within / place.tile.passes;
    place.pass = within % place.tile.passes;
    return place;
}

static __device__ void advance(struct place *place, const struct shared *shared, const struct cuda_step &step, int rows)
{
    if (++place->pass < place->tile.passes)
        return;
    place->pass = 0;
    if (++place->head < KV_HEADS)
        return;
    place->head = 0;
    int next = place->tile.row + place->tile.rows;
    if (next < rows)
        place->tile = tile_at(shared, step, next, rows);
}

/* The first item from `item` on that begins a (tile, head). */
static __device__ int whole_item(const struct shared *shared, const struct cuda_step &step, int rows, int item, int total)
{
    if (item >= total)
        return total;
    struct place place = place_of(shared, step, rows, item);
    return place.pass == 0 ? item : item + place.tile.passes - place.pass;
}

static __device__ int leaf_of(const struct tile *tile, int pass)
{
    return tile->first_leaf +
           (pass < tile->together ? pass : tile->together + (pass - tile->together) / tile->rows);
}

/* The row of the tile whose keys a pass takes; -1: all rows have the same. */
static __device__ int row_of(const struct tile *tile, int pass)
{
    return pass < tile->together ? -1 : (pass - tile->together) % tile->rows;
}

/* First pass of a leaf of the tile. */
static __device__ int pass_of(const struct tile *tile, int leaf)
{
    int n = leaf - tile->first_leaf;
    return n < tile->together ? n : tile->together + (n - tile->together) * tile->rows;
}

/* A block that has the passes [from, to) of a (tile, head), but not all of them, publishes its partials at these cuts.
   Returns the one after `pass`. A fold from the left may go on from the very first pass, or from a group's first; what
   begins inside a group has to wait for the leaves before it, so it goes leaf by leaf. */
static __device__ int next_cut(const struct tile *tile, int from, int to, int pass)
{
    int leaf = leaf_of(tile, pass);
    if (from == 0 && pass == 0) {
        int group = leaf_of(tile, to) / LEAVES * LEAVES; /* of the first leaf that is not complete */
        int whole = group > tile->first_leaf ? minimum(to, pass_of(tile, group)) : 0;
        return whole > 0 ? whole : to;
    }
    int first_of_group = pass == pass_of(tile, leaf) && (leaf % LEAVES == 0 || pass == 0);
    int end = first_of_group ? (leaf / LEAVES + 1) * LEAVES : leaf + 1;
    return minimum(to, pass_of(tile, end));
}

/* ---- Keys and values to shared memory ---- */

/* Starts the loads of one pass; positions that nobody sees become zero. */
static __device__ void load_pass(struct shared *shared, const struct cuda_step &step, const struct place *place, int layer,
                                 int stage)
{
    const struct tile *tile = &place->tile;
    int one = row_of(tile, place->pass);
    struct cuda_row row = step.row[tile->row + (one < 0 ? tile->rows - 1 : one)];
    int base = leaf_of(tile, place->pass) * LEAF;
    const int32_t *table = step.pages + (int64_t)row.sequence * step.table;
    int page = PAGE >= LEAF && base < row.shared ? table[base / PAGE] : 0; /* the whole leaf lies in one */
#pragma unroll
    for (int i = 0; i < (LEAF * CHUNKS + THREADS - 1) / THREADS; i++) {
        int chunk = i * THREADS + (int)threadIdx.x;
        int key = chunk / CHUNKS, place_in_key = chunk % CHUNKS * 8;
        int position = base + key;
        if (key >= LEAF)
            break;
        int exists = position <= row.position;
        int slot = 0;
        if (exists)
            slot = PAGE >= LEAF && position < row.shared ? page * PAGE + position % PAGE : slot_of(step, row, position);
        const element *from = state_slot(step, slot, layer, place->head) + place_in_key;
        copy_async_or_zero(&shared->key_value[stage][0][key * PITCH + place_in_key], from, exists);
        copy_async_or_zero(&shared->key_value[stage][1][key * PITCH + place_in_key], from + VALUE_OFFSET, exists);
    }
}

/* The tile's queries, and what each of its columns sees. */
static __device__ void load_queries(struct shared *shared, const struct cuda_step &step, const struct place *place)
{
    const struct activations *a = activations(step);
    const struct tile *tile = &place->tile;
    for (int chunk = (int)threadIdx.x; chunk < COLUMNS * CHUNKS; chunk += THREADS) {
        int column = chunk / CHUNKS, at = chunk % CHUNKS * 8, r = column / GROUP;
        uint4 value = {0, 0, 0, 0};
        if (r < tile->rows)
            value = *(const uint4 *)&a->query[tile->row + r][(place->head * GROUP + column % GROUP) * HEAD_DIM + at];
        *(uint4 *)&shared->query[column * PITCH + at] = value;
    }
    for (int column = (int)threadIdx.x; column < COLUMNS; column += THREADS) {
        int r = column / GROUP, used = r < tile->rows;
        int position = used ? step.row[tile->row + r].position : -1;
        shared->high[column] = position;
//% if window > 0 then
        shared->low[column] = used ? maximum(0, position - $window$ + 1) : 0;
//% else
        shared->low[column] = 0;
//% end
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
static __device__ void attend_scores(struct shared *shared, const struct place *place, int stage, int tiles,
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
            uint2 b = load_two_matrices(&shared->query[(8 * n + lane % 8) * PITCH + 16 * k + lane / 8 % 2 * 8]);
            multiply_add(score[n], a, b);
        }
    }

    int one = row_of(&place->tile, place->pass);
    int position = leaf_of(&place->tile, place->pass) * LEAF + warp * 16 + g;
#pragma unroll
    for (int n = 0; n < TILES; n++) {
        if (n >= tiles)
            break;
#pragma unroll
        for (int j = 0; j < 2; j++) {
            int column = 8 * n + 2 * p + j;
            int low = shared->low[column], high = shared->high[column];
            if (one >= 0 && column / GROUP != one)
                high = -1;
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
            leaf->sum[n][j] = __fadd_rn(__fadd_rn(__fadd_rn(shared->sum[0][column], shared->sum[1][column]),
                                                  shared->sum[2][column]), shared->sum[3][column]);
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
            uint4 a = load_turned_matrices(&values[(16 * k + lane / 16 * 8 + lane % 8) * PITCH + 16 * tile + lane / 8 % 2 * 8]);
#pragma unroll
            for (int n = 0; n < TILES; n++) {
                if (n >= tiles)
                    break;
                uint2 b = load_two_matrices(&shared->probability[(8 * n + lane % 8) * LEAF_PITCH + 16 * k + lane / 8 % 2 * 8]);
                multiply_add(leaf->value[m][n], a, b);
            }
        }
}

/* ---- Results ---- */

static __device__ void store_output(const struct cuda_step &step, int row, int head, int dimension, float value)
{
    int column = head * HEAD_DIM + dimension;
    activations(step)->attention[row / 8][column / 32][row % 8 * 4 + column % 8 / 2]
                               [column % 32 / 16 * 4 + column % 16 / 8 * 2 + column % 2] = to_element(value);
}

/* What a block has computed alone. */
static __device__ void finish(const struct cuda_step &step, const struct place *place, const struct partial *whole)
{
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, g = lane / 4, p = lane % 4;
#pragma unroll
    for (int n = 0; n < TILES; n++)
#pragma unroll
        for (int m = 0; m < DIM_TILES; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int column = 8 * n + 2 * p + i % 2, row = column / GROUP, tile = warp + m * WARPS;
                if (row < place->tile.rows && tile < STEPS)
                    store_output(step, place->tile.row + row, place->head * GROUP + column % GROUP,
                                 16 * tile + g + i / 2 * 8, __fdiv_rn(whole->value[m][n][i], whole->sum[n][i % 2]));
            }
}

static __device__ float *partial_slot(const struct cuda_step &step, int block, int number)
{
    return activations(step)->attention_partials + (int64_t)(block * BLOCK_SLOTS + number) * SLOT;
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

/* How the passes are dealt: block b has [begin(b), begin(b + 1)), the first `longer` blocks one more than the others. */
struct deal {
    int each, longer;
};

static __device__ int deal_begin(struct deal deal, int block)
{
    return block * deal.each + minimum(block, deal.longer);
}

static __device__ int deal_block(struct deal deal, int item)
{
    int edge = deal.longer * (deal.each + 1);
    return item < edge ? item / (deal.each + 1) : deal.longer + (item - edge) / maximum(deal.each, 1);
}

/* A place in a block's own slots: those of the (tile, head) that its range begins with come first. */
static __device__ int first_slot(int from)
{
    return from > 0 ? 0 : SLOTS;
}

/* Lists the partials of the blocks [first_block, first_block + BATCH) for this (tile, head), in order. By warp 0. */
static __device__ void list_partials(struct shared *shared, const struct place *place, struct deal deal, int first_block,
                                     int last_block)
{
    const struct tile *tile = &place->tile;
    int lane = (int)threadIdx.x, block = first_block + lane;
    int base = tile->before * KV_HEADS + place->head * tile->passes; /* item of pass 0 */
    int from = maximum(0, deal_begin(deal, block) - base);
    int to = minimum(tile->passes, deal_begin(deal, block + 1) - base);
    int count = 0;
    if (block <= last_block)
        for (int pass = from; pass < to; pass = next_cut(tile, from, to, pass))
            count++;
    int end = count;
    for (int distance = 1; distance < 32; distance *= 2) {
        int other = __shfl_up_sync(0xffffffffu, end, distance);
        end += lane >= distance ? other : 0;
    }
    if (lane == 31)
        shared->listed = end;
    int number = first_slot(from);
    if (block <= last_block)
        for (int pass = from, at = end - count; pass < to; at++, number++) {
            pass = next_cut(tile, from, to, pass);
            int group_ends = pass == tile->passes ||
                             (leaf_of(tile, pass) % LEAVES == 0 && pass == pass_of(tile, leaf_of(tile, pass)));
            int slot = block * BLOCK_SLOTS + number + 1;
            shared->list[at] = group_ends ? -slot : slot;
        }
}

/* Adds the partials of a (tile, head) in order and writes the result. A warp takes whole columns; the maxima are known
   at once, so each lane works out one partial's weights, and only the values go one after the other. */
static __device__ void merge_partials(struct shared *shared, const struct cuda_step &step, const struct place *place,
                                      struct deal deal, int columns)
{
    const struct tile *tile = &place->tile;
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    int base = tile->before * KV_HEADS + place->head * tile->passes;
    int first_block = deal_block(deal, base), last_block = deal_block(deal, base + tile->passes - 1);

    for (int column = warp; column < (columns + WARPS - 1) / WARPS * WARPS; column += WARPS) {
        float group_maximum = NOTHING, group_sum = 0.0f, group[LANE_DIMS] = {0.0f};
        float whole_maximum = NOTHING, whole_sum = 0.0f, whole[LANE_DIMS] = {0.0f};
        for (int block = first_block; block <= last_block; block += BATCH) {
            if (column == warp || last_block - first_block >= BATCH) {
                __syncthreads();
                if (warp == 0)
                    list_partials(shared, place, deal, block, last_block);
                __syncthreads();
            }
            int listed = shared->listed;
            for (int start = 0; start < listed; start += 32) {
                /* Each lane: one partial's maximum and sum, and the maximum of its group up to it. */
                int entry = start + lane < listed ? shared->list[start + lane] : 0;
                const float *slot = activations(step)->attention_partials +
                                    (int64_t)((entry < 0 ? -entry : entry) - 1) * SLOT;
                float top = entry ? load_fresh(slot + column) : NOTHING;
                float sum = entry ? load_fresh(slot + COLUMNS + column) : 0.0f;
                uint32_t ends = __ballot_sync(0xffffffffu, entry < 0);
                int begin = 32 - __clz((int)(ends & ((1u << lane) - 1))); /* lane of the group's first partial here */
                float reach = top;
                for (int distance = 1; distance < 32; distance *= 2) {
                    float other = __shfl_up_sync(0xffffffffu, reach, distance);
                    if (lane - distance >= begin)
                        reach = fmaxf(reach, other);
                }
                if (begin == 0)
                    reach = fmaxf(reach, group_maximum);
                float before = __shfl_up_sync(0xffffffffu, reach, 1);
                before = lane == 0 ? group_maximum : lane == begin ? NOTHING : before;
                float into_weight, from_weight;
                weigh(before, top, &into_weight, &from_weight);

                int here = minimum(32, listed - start);
#pragma unroll 4
                for (int i = 0; i < here; i++) {
                    int number = __shfl_sync(0xffffffffu, entry, i);
                    float into = __shfl_sync(0xffffffffu, into_weight, i);
                    float from = __shfl_sync(0xffffffffu, from_weight, i);
                    const float *values = activations(step)->attention_partials +
                                          (int64_t)((number < 0 ? -number : number) - 1) * SLOT + 2 * COLUMNS +
                                          column * HEAD_DIM;
                    group_sum = blend(group_sum, into, __shfl_sync(0xffffffffu, sum, i), from);
#pragma unroll
                    for (int d = 0; d < LANE_DIMS; d++)
                        if (HEAD_DIM % 32 == 0 || lane + 32 * d < HEAD_DIM)
                            group[d] = blend(group[d], into, load_fresh(values + lane + 32 * d), from);
                    group_maximum = __shfl_sync(0xffffffffu, reach, i);
                    if (number < 0) {
                        weigh(whole_maximum, group_maximum, &into, &from);
                        whole_maximum = fmaxf(whole_maximum, group_maximum);
                        whole_sum = blend(whole_sum, into, group_sum, from);
#pragma unroll
                        for (int d = 0; d < LANE_DIMS; d++) {
                            whole[d] = blend(whole[d], into, group[d], from);
                            group[d] = 0.0f;
                        }
                        group_maximum = NOTHING;
                        group_sum = 0.0f;
                    }
                }
            }
        }
        if (column < columns)
#pragma unroll
            for (int d = 0; d < LANE_DIMS; d++)
                if (HEAD_DIM % 32 == 0 || lane + 32 * d < HEAD_DIM)
                    store_output(step, tile->row + column / GROUP, place->head * GROUP + column % GROUP, lane + 32 * d,
                                 __fdiv_rn(whole[d], whole_sum));
    }
}

/* Tells that `done` passes of a (tile, head) are published; true for who is the last, in all threads. */
static __device__ int arrive(struct shared *shared, const struct cuda_step &step, const struct place *place, int done)
{
    int *arrivals = &activations(step)->attention_arrivals[place->tile.row * KV_HEADS + place->head];
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        shared->last = atomicAdd(arrivals, done) + done == place->tile.passes;
        if (shared->last)
            *arrivals = 0; /* for the next layer */
        __threadfence();
    }
    __syncthreads();
    return shared->last;
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    $name$(const __grid_constant__ struct cuda_step step, const __grid_constant__ struct layer layer, int index)
{
    extern __shared__ __align__(16) unsigned char memory[];
    struct shared *shared = (struct shared *)memory;
    (void)layer;
    let_next_start();

    int rows = minimum(step.counts->rows, BUCKET);
    survey(shared, step, rows);
    int total = shared->passes[rows - 1] * KV_HEADS, blocks = minimum((int)gridDim.x, (total + LEAST - 1) / LEAST);
    int block = (int)blockIdx.x;
    struct deal deal = {total / blocks, total % blocks};
    if (block >= blocks)
        return; /* (the end of a block that never waited is fine: nothing of it is visible) */
    int item = deal_begin(deal, block), end = deal_begin(deal, block + 1);
    if (LEAVES + 2 + deal.each / LEAVES > SLOTS) {
        /* So much work that there would be too many partials: a (tile, head) stays whole. */
        item = whole_item(shared, step, rows, item, total);
        end = whole_item(shared, step, rows, end, total);
        if (item == end)
            return;
    }

    /* Fill the ring. What was in the pages before this step need not wait for the stage before this one. */
    struct place next = place_of(shared, step, rows, item);
    int waited = 0;
    for (int s = 0; s < STAGES; s++) {
        if (item + s < end) {
            if (!waited && (leaf_of(&next.tile, next.pass) + 1) * LEAF > next.tile.stored) {
                wait_for_previous();
                waited = 1;
            }
            load_pass(shared, step, &next, index, s);
            advance(&next, shared, step, rows);
        }
        copies_commit();
    }
    if (!waited)
        wait_for_previous();

    struct place place = place_of(shared, step, rows, item);
    struct partial group, leaf;
    int from = place.pass, to = 0, cut = 0, published = 0, tiles = 0, alone = 0;
    for (int stage = 0, fresh = 1; item < end; item++, stage = stage + 1 == STAGES ? 0 : stage + 1) {
        const struct tile *tile = &place.tile;
        if (fresh) {
            from = place.pass;
            to = minimum(tile->passes, from + end - item);
            alone = from == 0 && to == tile->passes;
            cut = alone ? to : next_cut(tile, from, to, from);
            published = first_slot(from);
            tiles = (tile->rows * GROUP + 7) / 8;
            load_queries(shared, step, &place);
            clear_whole(shared);
            clear(&group);
            fresh = 0;
        }
        copies_wait<STAGES - 1>();
        __syncthreads();
        attend_scores(shared, &place, stage, tiles, &leaf);
        attend_values(shared, stage, tiles, &leaf);
        __syncthreads();
        if (item + STAGES < end) {
            load_pass(shared, step, &next, index, stage);
            advance(&next, shared, step, rows);
        }
        copies_commit();

        merge(&group, &leaf, tiles);
        int after = place.pass + 1;
        int group_ends = after == tile->passes ||
                         (leaf_of(tile, after) % LEAVES == 0 && after == pass_of(tile, leaf_of(tile, after)));
        if (group_ends && (alone || (from == 0 && cut > after))) {
            merge_group(shared, &group, tiles);
        }
        if (after == cut && !alone) {
            if (from == 0 && published == SLOTS && group_ends) {
                merge_group(shared, &group, tiles); /* all groups from the very first one */
                read_whole(shared, &group);
            }
            publish(partial_slot(step, block, published++), &group, tiles);
            clear(&group);
            if (after < to)
                cut = next_cut(tile, from, to, after);
        }
        if (after == to) {
            if (alone) {
                read_whole(shared, &group);
                finish(step, &place, &group);
            } else if (arrive(shared, step, &place, to - from)) {
                merge_partials(shared, step, &place, deal, tile->rows * GROUP);
            }
            fresh = 1;
        }
        advance(&place, shared, step, rows);
    }
}
