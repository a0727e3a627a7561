/* What an attention kernel has to do, found by every block from the step's rows alone, and how it is dealt to the blocks.
 *
 *     tile      up to ROWS consecutive rows of one sequence; they share the keys and values that are loaded
 *     pass      one leaf for one tile and one key/value head. Where tree rows see different keys at equal positions, a
 *               leaf takes one pass for each row
 *     item      a pass in the order of all: tile by tile, head by head, leaf by leaf
 *
 * The items are cut into about equal ranges, one a block. Who computes what never shows in the bits.
 *
 * The including kernel says ROWS, BUCKET (rows of a step at most), WINDOW (0: none), MOST_LEAVES, GROUPED_FROM (items a block
 * from which they are dealt by groups) and THREADS.
 */
#ifndef ATTENTION_TILES_CUH
#define ATTENTION_TILES_CUH

#include "attention.cuh"

enum { LEAF = 64, LEAVES = 8 }; /* positions of a leaf, leaves of a group */

struct survey {
    int passes[BUCKET];                  /* of one head: of all tiles that begin at this row or before */
    uint32_t begins[(BUCKET + 31) / 32]; /* bit r: row r begins a run of rows of one sequence */
};

struct tile {
    int row, rows;  /* first row, rows */
    int first_leaf; /* leaf of the lowest position that any of its rows sees */
    int together;   /* leaves in which all rows see the same keys */
    int passes;     /* of one head */
    int stored;     /* positions below this were in the pages before this step */
    int last;       /* position of the last row: the highest */
    int table;      /* of its sequence's pages */
};

struct place {
    struct tile tile;
    int head;
    int pass; /* within the tile and head */
};

/* First row of the run to which `row` belongs. */
INLINE int run_begin(const struct survey *survey, int row)
{
    int word = row / 32;
    uint32_t bits = survey->begins[word] & (0xffffffffu >> (31 - row % 32));
    while (!bits)
        bits = survey->begins[--word];
    return word * 32 + 31 - __clz((int)bits);
}

/* How many rows from `row` on, which is not a run's first, belong to the same run; at most `most`. */
INLINE int run_length(const struct survey *survey, int row, int rows, int most)
{
    int length = 1;
    while (length < most && row + length < rows && !(survey->begins[(row + length) / 32] >> (row + length) % 32 & 1))
        length++;
    return length;
}

/* The tile that begins at `row`; no passes when none does. */
INLINE struct tile tile_at(const struct survey *survey, const struct cuda_step &step, int row, int rows)
{
    struct tile tile = {row, 0, 0, 0, 0, 0, 0, 0};
    int begin = run_begin(survey, row);
    if ((row - begin) % ROWS != 0)
        return tile;
    tile.rows = run_length(survey, row, rows, ROWS);
    int tree = 0x7fffffff; /* from here on the rows' keys differ */
#pragma unroll 1
    for (int r = row; r < row + tile.rows; r++)
        if (step.row[r].shared <= step.row[r].position)
            tree = minimum(tree, step.row[r].shared);
    if (WINDOW > 0)
        tile.first_leaf = maximum(0, step.row[row].position - WINDOW + 1) / LEAF;
    tile.last = step.row[row + tile.rows - 1].position;
    tile.table = step.row[row].sequence * step.table;
    int leaves = tile.last / LEAF + 1 - tile.first_leaf;
    tile.together = minimum(leaves, maximum(0, tree / LEAF - tile.first_leaf));
    tile.passes = tile.together + (leaves - tile.together) * tile.rows;
    tile.stored = step.row[begin].parent < 0 ? step.row[begin].position : 0;
    return tile;
}

/* Every thread calls it; ends with a barrier. */
INLINE void look_around(struct survey *survey, const struct cuda_step &step, int rows)
{
    int thread = (int)threadIdx.x, lane = thread % LANES;
#pragma unroll 1
    for (int r = thread; r - lane < rows; r += THREADS) {
        bool begins = r < rows && (r == 0 || step.row[r].sequence != step.row[r - 1].sequence);
        uint32_t bits = __ballot_sync(0xffffffffu, begins);
        if (lane == 0)
            survey->begins[r / 32] = bits;
    }
    __syncthreads();
#pragma unroll 1
    for (int r = thread; r < rows; r += THREADS)
        survey->passes[r] = tile_at(survey, step, r, rows).passes;
    __syncthreads();
    if (thread < LANES) {
        int carry = 0;
#pragma unroll 1
        for (int base = 0; base < rows; base += LANES) {
            int sum = base + lane < rows ? survey->passes[base + lane] : 0;
#pragma unroll
            for (int distance = 1; distance < LANES; distance *= 2) {
                int other = __shfl_up_sync(0xffffffffu, sum, distance);
                sum += lane >= distance ? other : 0;
            }
            sum += carry;
            if (base + lane < rows)
                survey->passes[base + lane] = sum;
            carry = __shfl_sync(0xffffffffu, sum, LANES - 1);
        }
    }
    __syncthreads();
}

/* The first row whose tile reaches beyond the item. */
INLINE int row_of_item(const struct survey *survey, int rows, int item)
{
    int low = 0, high = rows - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (survey->passes[middle] * KV_HEADS > item)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The item of the first pass of the tile that begins at `row`. */
INLINE int first_item(const struct survey *survey, int row)
{
    return row > 0 ? survey->passes[row - 1] * KV_HEADS : 0;
}

/* (Where all rows see the same keys nothing is divided.) */
INLINE int leaf_of(const struct tile &tile, int pass)
{
    if (pass <= tile.together)
        return tile.first_leaf + pass;
    return tile.first_leaf + tile.together + (pass - tile.together) / tile.rows;
}

/* The row of the tile whose keys a pass takes; -1: all rows have the same. */
INLINE int row_of(const struct tile &tile, int pass)
{
    if (pass < tile.together)
        return -1;
    return (pass - tile.together) % tile.rows;
}

/* First pass of a leaf. */
INLINE int pass_of(const struct tile &tile, int leaf)
{
    int n = leaf - tile.first_leaf;
    return n <= tile.together ? n : tile.together + (n - tile.together) * tile.rows;
}

/* Whether all passes before `pass` belong to groups that are complete. */
INLINE bool group_ends(const struct tile &tile, int pass)
{
    if (pass == tile.passes)
        return true;
    int leaf = leaf_of(tile, pass);
    return leaf % LEAVES == 0 && pass == pass_of(tile, leaf);
}

/* A block that has the passes [from, to) of a (tile, head), but not all of them, publishes its partials at these cuts.
   Returns the one after `pass`. A fold from the left may go on from the very first pass, or from a group's first; what
   begins inside a group has to wait for the leaves before it, so it goes leaf by leaf. */
INLINE int next_cut(const struct tile &tile, int from, int to, int pass)
{
    int leaf = leaf_of(tile, pass), end = leaf + 1;
    if (pass == 0) {
        end = leaf_of(tile, to) / LEAVES * LEAVES; /* all complete groups */
        if (end <= leaf)
            return to;
    } else if (group_ends(tile, pass)) {
        end = (leaf / LEAVES + 1) * LEAVES;
    }
    return minimum(to, pass_of(tile, end));
}

/* How the items are dealt: block b has [begin(b), begin(b + 1)); the first `longer` blocks have one more than the others.
   grouped: both ends are moved to the next end of a group, so that blocks publish whole groups. What begins inside a group
   has to be published leaf by leaf, and adding so many partials takes longer than a few more leaves. */
struct deal {
    int each, longer, blocks;
    bool grouped;
};

INLINE struct deal deal_items(int items, int most_blocks)
{
    bool grouped = items >= GROUPED_FROM * most_blocks;
    int blocks = minimum(most_blocks, grouped ? (items + LEAVES - 1) / LEAVES : items);
    return deal{items / blocks, items % blocks, blocks, grouped};
}

INLINE int deal_begin(struct deal deal, int block)
{
    return block * deal.each + minimum(block, deal.longer);
}

INLINE int deal_block(struct deal deal, int item)
{
    int edge = deal.longer * (deal.each + 1);
    return item < edge ? item / (deal.each + 1) : deal.longer + (item - edge) / maximum(deal.each, 1);
}

/* Partials that a block publishes at most when it begins within a (tile, head). */
INLINE int most_partials(struct deal deal)
{
    return LEAVES + 2 + minimum(deal.each, MOST_LEAVES) / LEAVES;
}

/* The first item from `item` on that begins a (tile, head). */
INLINE int whole_item(const struct survey *survey, int rows, int item, int total)
{
    if (item >= total)
        return total;
    int row = row_of_item(survey, rows, item), first = first_item(survey, row);
    int passes = survey->passes[row] - first / KV_HEADS;
    return first + (item - first + passes - 1) / passes * passes;
}

/* The first pass from `pass` on before which groups are complete. A short rest of the last group stays with what it follows. */
INLINE int grouped_pass(const struct tile &tile, int pass)
{
    if (pass > 0 && pass < tile.passes && !group_ends(tile, pass))
        pass = minimum(tile.passes, pass_of(tile, (leaf_of(tile, pass) / LEAVES + 1) * LEAVES));
    return pass > 0 && tile.passes - pass < LEAVES / 2 ? tile.passes : pass;
}

/* The same of an item. */
INLINE int grouped_item(const struct survey *survey, const struct cuda_step &step, int rows, int item, int total)
{
    if (item >= total)
        return total;
    int row = row_of_item(survey, rows, item), first = first_item(survey, row);
    struct tile tile = tile_at(survey, step, row, rows);
    int pass = (item - first) % tile.passes;
    return item - pass + grouped_pass(tile, pass);
}

#endif
