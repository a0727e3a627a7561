/* From logits to tokens, exactly as sampler.h says: the same token as the CPU's for the same logits, options and seed.
 *
 * The vocabulary of a draw is shared by CUDA_SAMPLE_CHUNKS blocks, which apply bias and penalties and find their best; who
 * arrives last chooses. Greedily that is all. Otherwise the filters look for the key of the last candidate that stays, as
 * sampler_filter.c does, on integers: no sum depends on the order of its addition.
 */
#include "prelude.cuh"
#include "shapes.cuh"

#include "cuda_draw.h"

enum {
    CHUNKS = CUDA_SAMPLE_CHUNKS,
    CHUNK = ((VOCAB + CHUNKS - 1) / CHUNKS + 31) / 32 * 32, /* tokens of a block: whole lines of the L1 cache */
    THREADS = 1024,
    WARPS = THREADS / LANES,
    DIGITS = 2048, /* values of a digit, 11 bits */
};

#define EVERY 0xffffffffu
#define NOTHING __int_as_float((int)0xff800000) /* -infinity */
#define TOO_LARGE __int_as_float(0x7f800000)    /* +infinity */
#define WEIGHT_ONE (1ull << 40)                 /* weight of the best token */

/* What is left to choose from: keys from `least_key` on whose weight is at least `least_weight`. */
struct candidates {
    const float *logits;
    float maximum, scale;
    uint64_t least_key, least_weight;
};

struct shared {
    struct candidates candidates;
    uint64_t mass[DIGITS];  /* of the candidates with each first digit */
    uint64_t table[DIGITS]; /* how many they are; then those of the digits behind */
    uint64_t part[WARPS];   /* each warp's share of a sum */
    uint32_t own[WARPS], best[WARPS];
    int best_token[WARPS], bad[WARPS];
    float sum[WARPS];
    uint64_t left;
    uint32_t digit;
    float maximum;
    int last, token, listed;
};

/* ---- Arithmetic of exponential.h, sampler_filter.h and random.h, operation by operation ---- */

INLINE float exponential_fraction(float f)
{
    float p = 0x1.470b4ap-13f;
    p = __fadd_rn(__fmul_rn(p, f), 0x1.5f7276p-10f);
    p = __fadd_rn(__fmul_rn(p, f), 0x1.3b270ep-7f);
    p = __fadd_rn(__fmul_rn(p, f), 0x1.c6ae72p-5f);
    p = __fadd_rn(__fmul_rn(p, f), 0x1.ebfbe2p-3f);
    p = __fadd_rn(__fmul_rn(p, f), 0x1.62e432p-1f);
    return __fadd_rn(__fmul_rn(p, f), 1.0f);
}

/* 2^y, y <= 0. */
INLINE float exponential_float(float y)
{
    y = y < -120.0f ? -120.0f : y;
    int n = (int)__fsub_rn(y, 0.5f);
    return __fmul_rn(exponential_fraction(__fsub_rn(y, (float)n)), __int_as_float((n + 127) << 23));
}

/* 2^y in units of 2^-40, y <= 0. */
INLINE uint64_t exponential_fixed(float y)
{
    y = y < -60.0f ? -60.0f : y;
    int n = (int)__fsub_rn(y, 0.5f);
    float p = exponential_fraction(__fsub_rn(y, (float)n));
    return ((uint64_t)(uint32_t)__fmul_rn(p, 8388608.0f) << 17) >> -n;
}

/* Unsigned numbers in the order of the floats; never 0 for a number. */
INLINE uint32_t ordered(float logit)
{
    uint32_t bits = (uint32_t)__float_as_int(__fadd_rn(logit, 0.0f)); /* -0 becomes +0 */
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

INLINE float from_ordered(uint32_t bits)
{
    return __int_as_float((int)(bits >> 31 ? bits & 0x7fffffffu : ~bits));
}

/* Of a candidate: larger is better; unique. */
INLINE uint64_t key_of(float logit, int token)
{
    return (uint64_t)ordered(logit) << 32 | ~(uint32_t)token;
}

INLINE uint64_t random_bits(uint64_t seed, uint64_t sequence, uint64_t position)
{
    uint32_t c0 = (uint32_t)position, c1 = (uint32_t)(position >> 32), c2 = (uint32_t)sequence,
             c3 = (uint32_t)(sequence >> 32), key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)0xD2511F53u * c0, product1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ key0;
        c1 = (uint32_t)product1;
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ key1;
        c3 = (uint32_t)product0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return (uint64_t)c1 << 32 | c0;
}

/* ---- A block's sum; every thread gets it ---- */

INLINE uint64_t shuffle_xor(uint64_t value, int distance)
{
    uint32_t low = __shfl_xor_sync(EVERY, (uint32_t)value, distance);
    uint32_t high = __shfl_xor_sync(EVERY, (uint32_t)(value >> 32), distance);
    return (uint64_t)high << 32 | low;
}

INLINE uint64_t shuffle_up(uint64_t value, int distance)
{
    uint32_t low = __shfl_up_sync(EVERY, (uint32_t)value, distance);
    uint32_t high = __shfl_up_sync(EVERY, (uint32_t)(value >> 32), distance);
    return (uint64_t)high << 32 | low;
}

static __device__ uint64_t block_sum(struct shared *shared, uint64_t value)
{
    for (int distance = 16; distance > 0; distance /= 2)
        value += shuffle_xor(value, distance);
    __syncthreads();
    if (threadIdx.x % LANES == 0)
        shared->part[threadIdx.x / LANES] = value;
    __syncthreads();
    uint64_t sum = shared->part[threadIdx.x % LANES];
    for (int distance = 16; distance > 0; distance /= 2)
        sum += shuffle_xor(sum, distance);
    return sum;
}

/* ---- All blocks: the options' changes, and the best of each chunk ---- */

/* What a text has besides what its slot knows: the tokens of a path down a tree. */
struct path {
    const struct cuda_row *row;
    const int32_t *at;
    int count;
};

INLINE bool too_short(const struct cuda_draw_slot &slot, const struct path &path)
{
    return slot.output + path.count < slot.min_tokens;
}

INLINE int occurrences_of(const struct cuda_draw_slot &slot, const struct path &path, int token)
{
    int occurrences = slot.occurrences[token];
    for (int i = 0; i < path.count; i++)
        if (path.row[path.at[i]].token == token)
            occurrences = (occurrences < 0 ? 0 : occurrences) + 1;
    return occurrences;
}

INLINE bool penalises(const struct cuda_draw_slot &slot)
{
    return slot.repetition_penalty != 1 || slot.frequency_penalty != 0 || slot.presence_penalty != 0;
}

INLINE bool adjusts(const struct cuda_draw_slot &slot, const struct path &path)
{
    return slot.bias_count || too_short(slot, path) || penalises(slot);
}

INLINE float penalised(const struct cuda_draw_slot &slot, float x, int occurrences)
{
    if (occurrences < 0)
        return x;
    if (slot.repetition_penalty != 1)
        x = x > 0 ? __fdiv_rn(x, slot.repetition_penalty) : __fmul_rn(x, slot.repetition_penalty);
    if (occurrences > 0) {
        x = __fsub_rn(x, __fmul_rn(slot.frequency_penalty, (float)occurrences));
        x = __fsub_rn(x, slot.presence_penalty);
    }
    return x;
}

/* A chunk's logits with bias, minimum length and penalties, to `out`. A thread keeps to its own tokens. */
static __device__ void adjust(const struct cuda_draw_slot &slot, const struct path &path, const float *logits,
                              int begin, int end, float *out)
{
    int own = (int)threadIdx.x;
    for (int token = begin + own; token < end; token += THREADS)
        out[token] = logits[token];
    for (int i = 0; i < slot.bias_count; i++) {
        int token = slot.bias[i].token;
        if (token >= begin && token < end && (token - begin) % THREADS == own)
            out[token] = __fadd_rn(out[token], slot.bias[i].bias);
    }
    for (int i = 0; too_short(slot, path) && i < slot.stop_count; i++) {
        int token = slot.stop[i];
        if (token >= begin && token < end && (token - begin) % THREADS == own)
            out[token] = NOTHING;
    }
    if (penalises(slot))
        for (int token = begin + own; token < end; token += THREADS)
            out[token] = penalised(slot, out[token], occurrences_of(slot, path, token));
}

/* Fills the chunk's part and arrives; true in the last block of a draw, in all its threads. changed: the logits with the
   options' changes, or the same. */
static __device__ bool survey(struct shared *shared, const float *logits, const float *changed, int begin, int end,
                              struct cuda_sample_part *part, uint32_t *arrivals)
{
    enum { EACH = (CHUNK + THREADS - 1) / THREADS };
    int thread = (int)threadIdx.x, warp = thread / LANES, lane = thread % LANES;
    float own[EACH];
    uint32_t top = 0, best = 0;
    int best_token = 0x7fffffff, bad = 0x7fffffff;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int token = begin + i * THREADS + thread;
        own[i] = token < end ? load_fresh(logits + token) : NOTHING;
    }
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int token = begin + i * THREADS + thread;
        float x = changed == logits ? own[i] : token < end ? changed[token] : NOTHING;
        if (!(own[i] < TOO_LARGE) || !(x < TOO_LARGE)) /* NaN too */
            bad = token < bad ? token : bad;
        top = ordered(own[i]) > top ? ordered(own[i]) : top;
        if (token < end && ordered(x) > best) {
            best = ordered(x);
            best_token = token;
        }
    }
    top = __reduce_max_sync(EVERY, top);
    uint32_t warp_best = __reduce_max_sync(EVERY, best);
    best_token = (int)__reduce_min_sync(EVERY, best == warp_best ? (uint32_t)best_token : 0x7fffffffu);
    bad = (int)__reduce_min_sync(EVERY, (uint32_t)bad);
    if (lane == 0) {
        shared->own[warp] = top;
        shared->best[warp] = warp_best;
        shared->best_token[warp] = best_token;
        shared->bad[warp] = bad;
    }
    __syncthreads();
    float maximum = from_ordered(__reduce_max_sync(EVERY, shared->own[lane]));
    float sum = 0.0f;
    if (maximum != NOTHING)
#pragma unroll
        for (int i = 0; i < EACH; i++)
            sum += exponential_float(__fmul_rn(__fsub_rn(own[i], maximum), 0x1.715476p+0f));
    sum = sum_lanes<LANES>(sum);
    if (lane == 0)
        shared->sum[warp] = sum;
    if (changed != logits)
        __threadfence(); /* the last block reads them all */
    __syncthreads();
    if (warp == 0) {
        uint32_t block_best = __reduce_max_sync(EVERY, shared->best[lane]);
        uint32_t token = shared->best[lane] == block_best ? (uint32_t)shared->best_token[lane] : 0x7fffffffu;
        token = __reduce_min_sync(EVERY, token);
        bad = (int)__reduce_min_sync(EVERY, (uint32_t)shared->bad[lane]);
        sum = sum_lanes<LANES>(shared->sum[lane]);
        if (lane == 0) {
            *part = {sum, maximum, block_best, (int)token, bad};
            __threadfence();
            shared->last = atomicAdd(arrivals, 1) == CHUNKS - 1;
            if (shared->last)
                *arrivals = 0; /* for the next step */
            __threadfence();
        }
    }
    __syncthreads();
    return shared->last;
}

/* ---- The last block: candidates and filters ---- */

/* 0 for a token that is no candidate (any more). */
INLINE uint64_t weight_of(const struct candidates &candidates, float logit, int token)
{
    float below = __fsub_rn(logit, candidates.maximum);
    if (key_of(logit, token) < candidates.least_key)
        return 0;
    uint64_t weight = below < 0 ? exponential_fixed(__fmul_rn(below, candidates.scale)) : WEIGHT_ONE;
    return weight >= candidates.least_weight ? weight : 0;
}

/* The first digit of the selection, larger for better candidates: finer than the first bits of the key, so that not all
   candidates meet in a few. Only for weights above 0, which end at 2^-41. */
INLINE int digit_of(const struct candidates &candidates, float logit)
{
    float below = __fsub_rn(logit, candidates.maximum);
    return DIGITS - 1 - (below < 0 ? (int)(__fmul_rn(below, candidates.scale) * -32.0f) : 0);
}

/* Calls body(token, logit, weight) for the tokens first, first + step, ... below `end`; all lanes of a warp call it, weight 0
   where there is no candidate. Several loads are on their way at a time. */
template <int step, class function>
INLINE void each_token(const struct candidates &shared_candidates, int first, int end, function body)
{
    enum { LOADS = 4 };
    struct candidates candidates = shared_candidates;
    int lane = (int)threadIdx.x % LANES;
#pragma unroll 1
    for (int base = first; base - lane < end; base += LOADS * step) {
        float logit[LOADS];
#pragma unroll
        for (int i = 0; i < LOADS; i++)
            logit[i] = base + i * step < end ? candidates.logits[base + i * step] : NOTHING;
#pragma unroll
        for (int i = 0; i < LOADS; i++)
            body(base + i * step, logit[i], weight_of(candidates, logit[i], base + i * step));
    }
}

/* Adds to a 64-bit sum in shared memory: in halves, for which there is hardware. */
INLINE void add_mass(uint64_t *mass, uint64_t weight)
{
    uint32_t *halves = (uint32_t *)mass, low = (uint32_t)weight;
    uint32_t carry = atomicAdd(&halves[0], low) > ~low;
    if (carry + (uint32_t)(weight >> 32))
        atomicAdd(&halves[1], carry + (uint32_t)(weight >> 32));
}

/* Adds what the lanes of a warp have to a table. Where all have the same digit (flat logits) the warp adds first. */
INLINE void add_masses(uint64_t *table, int digit, uint64_t weight)
{
    bool same = __all_sync(EVERY, digit == __shfl_sync(EVERY, digit, 0));
    if (same) {
        for (int distance = 16; distance > 0; distance /= 2)
            weight += shuffle_xor(weight, distance);
        if (threadIdx.x % LANES > 0)
            return;
    }
    if (weight)
        add_mass(&table[digit], weight);
}

/* Fills the tables for the first digit; the second one if `count`. */
static __device__ void weigh_digits(struct shared *shared, bool count)
{
    for (int digit = (int)threadIdx.x; digit < DIGITS; digit += THREADS)
        shared->mass[digit] = shared->table[digit] = 0;
    __syncthreads();
    each_token<THREADS>(shared->candidates, (int)threadIdx.x, VOCAB, [=](int, float logit, uint64_t weight) {
        int digit = weight ? digit_of(shared->candidates, logit) : 0;
        add_masses(shared->mass, digit, weight);
        if (count)
            add_masses(shared->table, digit, weight > 0);
    });
    __syncthreads();
}

static __device__ uint64_t total_of(struct shared *shared, const uint64_t *table)
{
    uint64_t sum = 0;
    for (int digit = (int)threadIdx.x; digit < DIGITS; digit += THREADS)
        sum += table[digit];
    return block_sum(shared, sum);
}

/* The digit, from the top, in which the sum of a table first exceeds *target; what is left of it. */
static __device__ uint32_t crossing_digit(struct shared *shared, const uint64_t *table, uint64_t *target)
{
    enum { EACH = DIGITS / THREADS };
    int thread = (int)threadIdx.x, lane = thread % LANES;
    const uint64_t *own = table + DIGITS - 1 - thread * EACH; /* downwards; the largest digits are thread 0's */
    uint64_t sum = 0;
    for (int i = 0; i < EACH; i++)
        sum += own[-i];
    uint64_t end = sum;
    for (int distance = 1; distance < LANES; distance *= 2) {
        uint64_t other = shuffle_up(end, distance);
        end += lane >= distance ? other : 0;
    }
    __syncthreads();
    if (lane == LANES - 1)
        shared->part[thread / LANES] = end;
    __syncthreads();
    for (int warp = 0; warp < thread / LANES; warp++)
        end += shared->part[warp];
    if (end - sum <= *target && *target < end) {
        uint64_t left = *target - (end - sum);
        int i = 0;
        while (left >= own[-i])
            left -= own[-i++];
        shared->digit = (uint32_t)(DIGITS - 1 - thread * EACH - i);
        shared->left = left;
    }
    __syncthreads();
    *target = shared->left;
    return shared->digit;
}

/* Keeps the best candidates up to the one at which their number (or weight), added from the best downwards, first exceeds
   `target`, which is less than their sum: finds its key digit by digit, from the top. `mass` keeps up, `table` is used up.
   list: [VOCAB] tokens with the first digit, usually few. */
static __device__ void cut_at(struct shared *shared, bool by_number, uint64_t target, int *list)
{
    const struct candidates &candidates = shared->candidates;
    int thread = (int)threadIdx.x, lane = thread % LANES;
    int first = (int)crossing_digit(shared, by_number ? shared->table : shared->mass, &target);
    if (thread == 0)
        shared->listed = 0;
    __syncthreads();
    each_token<THREADS>(candidates, thread, VOCAB, [=](int token, float logit, uint64_t weight) {
        bool here = weight > 0 && digit_of(shared->candidates, logit) == first;
        uint32_t all = __ballot_sync(EVERY, here);
        int at = 0;
        if (all && lane == 0)
            at = atomicAdd(&shared->listed, __popc(all));
        at = __shfl_sync(EVERY, at, 0) + __popc(all & ((1u << lane) - 1));
        if (here)
            list[at] = token;
    });

    uint64_t key = 0, mass = 0; /* the digits so far; what stays of the first one's mass */
#pragma unroll 1
    for (int above = 64, shift = 53;; above = shift, shift = shift > 11 ? shift - 11 : 0) {
        __syncthreads();
        for (int digit = thread; digit < DIGITS; digit += THREADS)
            shared->table[digit] = 0;
        __syncthreads();
#pragma unroll 1
        for (int base = 0; base < shared->listed; base += THREADS) {
            int token = base + thread < shared->listed ? list[base + thread] : -1;
            float logit = token < 0 ? NOTHING : candidates.logits[token];
            uint64_t here = key_of(logit, token), weight = token < 0 ? 0 : weight_of(candidates, logit, token);
            if (above == 0) {
                mass += here >= key ? weight : 0;
                continue;
            }
            bool counts = weight > 0 && (above == 64 || here >> above == key >> above);
            add_masses(shared->table, counts ? (int)(here >> shift) & ((1 << (above - shift)) - 1) : 0,
                       !counts     ? 0
                       : by_number ? 1
                                   : weight);
        }
        __syncthreads();
        if (above == 0)
            break;
        key |= (uint64_t)crossing_digit(shared, shared->table, &target) << shift;
    }
    mass = block_sum(shared, mass);
    for (int digit = thread; digit <= first; digit += THREADS)
        shared->mass[digit] = digit == first ? mass : 0;
    if (thread == 0)
        shared->candidates.least_key = key;
    __syncthreads();
}

/* The first candidate in order of id at which the sum of weights exceeds random_below(bits, the sum of all). */
static __device__ int pick(struct shared *shared, uint64_t bits)
{
    enum { SHARE = (VOCAB + WARPS - 1) / WARPS }; /* consecutive tokens of a warp */
    int warp = (int)threadIdx.x / LANES, lane = (int)threadIdx.x % LANES;
    int begin = warp * SHARE, end = begin + SHARE < VOCAB ? begin + SHARE : VOCAB;
    uint64_t sum = 0, left = 0;
#pragma unroll 1
    for (int round = 0; round < 2; round++) { /* each warp adds its tokens; then one warp finds the token */
        each_token<LANES>(shared->candidates, begin + lane, end, [&](int token, float, uint64_t weight) {
            if (round == 0) {
                sum += weight;
                return;
            }
            uint64_t reach = weight;
            for (int distance = 1; distance < LANES; distance *= 2) {
                uint64_t other = shuffle_up(reach, distance);
                reach += lane >= distance ? other : 0;
            }
            uint32_t beyond = __ballot_sync(EVERY, reach > left);
            if (beyond) {
                if (lane == __ffs((int)beyond) - 1)
                    shared->token = token;
                left = ~0ull; /* found */
                return;
            }
            left -= (uint64_t)__shfl_sync(EVERY, (uint32_t)(reach >> 32), LANES - 1) << 32 |
                    __shfl_sync(EVERY, (uint32_t)reach, LANES - 1);
        });
        if (round == 1)
            break;
        for (int distance = 16; distance > 0; distance /= 2)
            sum += shuffle_xor(sum, distance);
        __syncthreads();
        if (lane == 0)
            shared->part[warp] = sum;
        __syncthreads();
        uint64_t total = 0, before = 0;
        for (int i = 0; i < WARPS; i++) {
            before += i < warp ? shared->part[i] : 0;
            total += shared->part[i];
        }
        left = __umul64hi(bits, total);
        if (left < before || left >= before + sum)
            break; /* another warp's */
        left -= before;
    }
    __syncthreads();
    return shared->token;
}

/* Steps 7 to 11 of sampler.h. list: [VOCAB] */
static __device__ int draw_token(struct shared *shared, const struct cuda_draw_slot &slot, const float *logits,
                                 float maximum, int position, int *list)
{
    if (threadIdx.x == 0)
        shared->candidates = {logits, maximum, __fdiv_rn(0x1.715476p+0f, slot.temperature), 0, 1};
    __syncthreads();
    if (slot.top_k > 0 || slot.top_p < 1)
        weigh_digits(shared, slot.top_k > 0);
#pragma unroll 1
    for (int by_number = 1; by_number >= 0; by_number--) { /* top-k, then top-p */
        uint64_t target;
        if (by_number) {
            if (slot.top_k == 0 || total_of(shared, shared->table) <= (uint64_t)slot.top_k)
                continue;
            target = (uint64_t)slot.top_k - 1;
        } else {
            if (!(slot.top_p < 1))
                continue;
            uint64_t fraction = slot.top_p > 0 ? (uint64_t)((double)slot.top_p * 4294967296.0) : 0;
            uint64_t total = total_of(shared, shared->mass);
            /* ceil(total * fraction / 2^32) - 1: reaching the ceiling is exceeding one less. */
            uint64_t high = (total >> 32) * fraction, low = (total & 0xffffffffu) * fraction;
            uint64_t wanted = high + (low >> 32) + ((low & 0xffffffffu) != 0);
            target = wanted > 0 ? wanted - 1 : 0;
        }
        cut_at(shared, by_number, target, list);
    }
    if (slot.min_p > 0 && threadIdx.x == 0) {
        uint64_t least = (uint64_t)((double)(slot.min_p < 1 ? slot.min_p : 1.0f) * (double)WEIGHT_ONE);
        shared->candidates.least_weight = least > 1 ? least : 1;
    }
    __syncthreads();
    return pick(shared, random_bits(slot.seed, slot.sequence, (uint64_t)position));
}

/* ---- Results ---- */

static __device__ void report(const struct cuda_sample &sample, const struct cuda_draw &draw, int token, float logprob,
                              int status)
{
    int ring = sample.counts->ring;
    struct cuda_drawn *drawn = &sample.drawn[(size_t)(ring % sample.rings) * (size_t)sample.max_draws + blockIdx.y];
    if (!draw.tree)
        sample.chosen[draw.slot] = status <= CUDA_DRAWN_STOP ? token : 0;
    drawn->token = token;
    drawn->logprob = logprob;
    drawn->status = status;
    __threadfence_system();
    *(volatile int *)&drawn->ring = ring;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) $name$(const __grid_constant__ struct cuda_sample sample)
{
    __shared__ struct shared shared;
    let_next_start();
    int number = (int)blockIdx.y, chunk = (int)blockIdx.x, lane = (int)threadIdx.x % LANES;
    if (number >= sample.counts->draws)
        return;
    struct cuda_draw draw = sample.draw[number];
    const struct cuda_draw_slot &slot = sample.slot[draw.slot];
    const float *logits = sample.logits + (size_t)draw.output * VOCAB, *changed = logits;
    float *own = (float *)(sample.scratch + (size_t)number * CUDA_SAMPLE_SCRATCH(VOCAB));
    int *list = (int *)own + (VOCAB + 127) / 128 * 128;
    struct cuda_sample_part *parts = sample.part + (size_t)number * CHUNKS;
    int begin = chunk * CHUNK, end = begin + CHUNK < VOCAB ? begin + CHUNK : VOCAB;
    struct path path = {sample.row, sample.path + draw.path, draw.path_count};
    wait_for_previous();
    if (adjusts(slot, path)) {
        adjust(slot, path, logits, begin, end, own);
        changed = own;
    }
    if (!survey(&shared, logits, changed, begin, end, &parts[chunk], sample.arrivals + number))
        return;

    /* Every warp puts the parts together, a lane each. */
    const volatile struct cuda_sample_part *part = &parts[lane % CHUNKS];
    float part_maximum = part->maximum, maximum = from_ordered(__reduce_max_sync(EVERY, ordered(part_maximum)));
    uint32_t part_best = part->best, best = __reduce_max_sync(EVERY, part_best);
    int bad = (int)__reduce_min_sync(EVERY, (uint32_t)part->bad);
    int token = (int)__reduce_min_sync(EVERY, part_best == best ? (uint32_t)part->token : 0x7fffffffu);
    if (bad != 0x7fffffff || maximum == NOTHING || from_ordered(best) == NOTHING) {
        if (threadIdx.x == 0)
            report(sample, draw, bad != 0x7fffffff ? bad : -1, 0.0f,
                   bad != 0x7fffffff ? CUDA_DRAWN_BAD_LOGIT : CUDA_DRAWN_NOTHING);
        return;
    }
    if (slot.temperature > 0)
        token = draw_token(&shared, slot, changed, from_ordered(best), draw.position, list);
    if (threadIdx.x / LANES > 0)
        return;
    double sum = 0.0;
    if (lane < CHUNKS && part_maximum != NOTHING)
        sum =
            (double)part->sum * (double)exponential_float(__fmul_rn(__fsub_rn(part_maximum, maximum), 0x1.715476p+0f));
    for (int distance = 16; distance > 0; distance /= 2)
        sum += __shfl_xor_sync(EVERY, sum, distance);
    if (lane == 0) {
        int status = CUDA_DRAWN_TOKEN;
        for (int i = 0; i < slot.stop_count; i++)
            status = slot.stop[i] == token ? CUDA_DRAWN_STOP : status;
        report(sample, draw, token, (float)((double)logits[token] - ((double)maximum + log(sum))), status);
        if (draw.tree)
            return;
        sample.slot[draw.slot].output = slot.output + 1;
        if (slot.occurrences)
            slot.occurrences[token] = (slot.occurrences[token] < 0 ? 0 : slot.occurrences[token]) + 1;
    }
}
