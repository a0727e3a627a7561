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
    DIGITS = 2048, /* values of a digit of a key, 11 bits */
};

#define EVERY 0xffffffffu
#define NOTHING __int_as_float((int)0xff800000)   /* -infinity */
#define TOO_LARGE __int_as_float(0x7f800000)      /* +infinity */
#define WEIGHT_ONE (1ull << 40)                   /* weight of the best token */

struct shared {
    uint64_t mass[DIGITS];
    uint64_t part[WARPS];
    double sum[WARPS];
    float maximum[WARPS];
    uint64_t total, left;
    uint32_t digit;
    int bad, last, token;
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

INLINE uint64_t key_of(float logit, int token)
{
    uint32_t bits = (uint32_t)__float_as_int(__fadd_rn(logit, 0.0f)); /* -0 becomes +0 */
    bits = bits >> 31 ? ~bits : bits | 0x80000000u;
    return (uint64_t)bits << 32 | ~(uint32_t)token;
}

INLINE int key_token(uint64_t key)
{
    return (int)~(uint32_t)key;
}

INLINE float key_logit(uint64_t key)
{
    uint32_t bits = (uint32_t)(key >> 32);
    return __int_as_float((int)(bits >> 31 ? bits & 0x7fffffffu : ~bits));
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

/* ---- A block's sums and maxima; every thread gets the result ---- */

INLINE uint64_t shuffle_xor(uint64_t value, int distance)
{
    uint32_t low = __shfl_xor_sync(EVERY, (uint32_t)value, distance);
    uint32_t high = __shfl_xor_sync(EVERY, (uint32_t)(value >> 32), distance);
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
    uint64_t sum = 0;
    for (int warp = 0; warp < WARPS; warp++)
        sum += shared->part[warp];
    return sum;
}

static __device__ uint64_t block_largest(struct shared *shared, uint64_t value)
{
    for (int distance = 16; distance > 0; distance /= 2) {
        uint64_t other = shuffle_xor(value, distance);
        value = other > value ? other : value;
    }
    __syncthreads();
    if (threadIdx.x % LANES == 0)
        shared->part[threadIdx.x / LANES] = value;
    __syncthreads();
    uint64_t largest = 0;
    for (int warp = 0; warp < WARPS; warp++)
        largest = shared->part[warp] > largest ? shared->part[warp] : largest;
    return largest;
}

/* ---- All blocks: the options' changes, and the best of each chunk ---- */

INLINE bool too_short(const struct cuda_draw_slot &slot)
{
    return slot.output < slot.min_tokens;
}

INLINE bool penalises(const struct cuda_draw_slot &slot)
{
    return slot.repetition_penalty != 1 || slot.frequency_penalty != 0 || slot.presence_penalty != 0;
}

INLINE bool adjusts(const struct cuda_draw_slot &slot)
{
    return slot.bias_count || too_short(slot) || penalises(slot);
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
static __device__ void adjust(const struct cuda_draw_slot &slot, const float *logits, int begin, int end, float *out)
{
    int own = (int)threadIdx.x;
    for (int token = begin + own; token < end; token += THREADS)
        out[token] = logits[token];
    for (int i = 0; i < slot.bias_count; i++) {
        int token = slot.bias[i].token;
        if (token >= begin && token < end && (token - begin) % THREADS == own)
            out[token] = __fadd_rn(out[token], slot.bias[i].bias);
    }
    for (int i = 0; too_short(slot) && i < slot.stop_count; i++) {
        int token = slot.stop[i];
        if (token >= begin && token < end && (token - begin) % THREADS == own)
            out[token] = NOTHING;
    }
    if (penalises(slot))
        for (int token = begin + own; token < end; token += THREADS)
            out[token] = penalised(slot, out[token], slot.occurrences[token]);
}

/* Fills the chunk's part. changed: the logits with the options' changes, or the same. */
static __device__ void survey(struct shared *shared, const float *logits, const float *changed, int begin, int end,
                              struct cuda_sample_part *part)
{
    uint64_t best = 0, top = 0;
    if (threadIdx.x == 0)
        shared->bad = 0x7fffffff;
    __syncthreads();
    for (int token = begin + (int)threadIdx.x; token < end; token += THREADS) {
        float own = logits[token], x = changed[token];
        if (!(own < TOO_LARGE) || !(x < TOO_LARGE)) /* NaN too */
            atomicMin(&shared->bad, token);
        uint64_t key = key_of(x, token), own_key = key_of(own, token);
        best = key > best ? key : best;
        top = own_key > top ? own_key : top;
    }
    best = block_largest(shared, best);
    top = block_largest(shared, top);
    float maximum = begin < end && shared->bad == 0x7fffffff ? key_logit(top) : NOTHING;

    double sum = 0.0;
    if (maximum != NOTHING)
        for (int token = begin + (int)threadIdx.x; token < end; token += THREADS)
            sum += (double)exponential_float(__fmul_rn(__fsub_rn(logits[token], maximum), 0x1.715476p+0f));
    for (int distance = 16; distance > 0; distance /= 2)
        sum += __shfl_xor_sync(EVERY, sum, distance);
    if (threadIdx.x % LANES == 0)
        shared->sum[threadIdx.x / LANES] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        sum = 0.0;
        for (int warp = 0; warp < WARPS; warp++)
            sum += shared->sum[warp];
        part->best = best;
        part->sum = sum;
        part->maximum = maximum;
        part->bad = shared->bad;
    }
}

/* True in the last block of a draw. */
static __device__ bool arrive(struct shared *shared, uint32_t *arrivals)
{
    if (threadIdx.x == 0) {
        __threadfence();
        shared->last = atomicAdd(arrivals, 1) == CHUNKS - 1;
        if (shared->last)
            *arrivals = 0; /* for the next step */
        __threadfence();
    }
    __syncthreads();
    return shared->last;
}

/* ---- The last block: candidates and filters ---- */

/* What is left to choose from: keys from `least_key` on whose weight is at least `least_weight`. */
struct candidates {
    const float *logits;
    float maximum, scale;
    uint64_t least_key, least_weight;
};

/* 0 for a token that is no candidate (any more). */
INLINE uint64_t weight_of(const struct candidates &candidates, int token)
{
    float logit = candidates.logits[token], below = __fsub_rn(logit, candidates.maximum);
    uint64_t weight = below < 0 ? exponential_fixed(__fmul_rn(below, candidates.scale)) : WEIGHT_ONE;
    return weight >= candidates.least_weight && key_of(logit, token) >= candidates.least_key ? weight : 0;
}

/* Sum of the weights, or the number of candidates. */
static __device__ uint64_t total_of(struct shared *shared, const struct candidates &candidates, bool count)
{
    uint64_t sum = 0;
#pragma unroll 1
    for (int token = (int)threadIdx.x; token < VOCAB; token += THREADS) {
        uint64_t weight = weight_of(candidates, token);
        sum += count ? weight > 0 : weight;
    }
    return block_sum(shared, sum);
}

/* Adds the weights of a warp to a table, once for each digit that occurs in it. Weights are below 2^41. */
static __device__ void add_mass(uint64_t *mass, uint32_t digit, uint64_t weight)
{
    uint32_t same = __match_any_sync(EVERY, weight ? digit : DIGITS);
    if (!weight)
        return;
    uint64_t low = __reduce_add_sync(same, (uint32_t)weight & 0xffffffu);
    uint64_t high = __reduce_add_sync(same, (uint32_t)(weight >> 24));
    if (__ffs((int)same) - 1 == (int)(threadIdx.x % LANES))
        atomicAdd((unsigned long long *)&mass[digit], (unsigned long long)((high << 24) + low));
}

/* The digit, from the top, in which the sum of the table's masses first exceeds *target; what is left of it. */
static __device__ uint32_t crossing_digit(struct shared *shared, uint64_t *target)
{
    enum { EACH = DIGITS / THREADS };
    int thread = (int)threadIdx.x, lane = thread % LANES;
    uint64_t own = 0; /* of this thread's digits, the largest digits being thread 0's */
    for (int i = 0; i < EACH; i++)
        own += shared->mass[DIGITS - 1 - thread * EACH - i];
    uint64_t end = own;
    for (int distance = 1; distance < LANES; distance *= 2) {
        uint32_t low = __shfl_up_sync(EVERY, (uint32_t)end, distance);
        uint32_t high = __shfl_up_sync(EVERY, (uint32_t)(end >> 32), distance);
        if (lane >= distance)
            end += (uint64_t)high << 32 | low;
    }
    if (lane == LANES - 1)
        shared->part[thread / LANES] = end;
    __syncthreads();
    for (int warp = 0; warp < thread / LANES; warp++)
        end += shared->part[warp];
    uint64_t before = end - own;
    if (before <= *target && *target < end) {
        uint64_t left = *target - before;
        int i = 0;
        while (left >= shared->mass[DIGITS - 1 - thread * EACH - i])
            left -= shared->mass[DIGITS - 1 - thread * EACH - i++];
        shared->digit = (uint32_t)(DIGITS - 1 - thread * EACH - i);
        shared->left = left;
    }
    __syncthreads();
    *target = shared->left;
    return shared->digit;
}

/* The key at which the weights (or the number) of candidates, added from the best downwards, first exceed `target`, which
   is less than their sum: digit by digit, from the top. */
static __device__ uint64_t crossing(struct shared *shared, const struct candidates &candidates, uint64_t target, bool count)
{
    uint64_t key = 0; /* its digits so far */
#pragma unroll 1 /* a digit after the other, or registers run out */
    for (int shift = 53, above = 64; above > 0; above = shift, shift = shift > 11 ? shift - 11 : 0) {
        __syncthreads();
        for (int digit = (int)threadIdx.x; digit < DIGITS; digit += THREADS)
            shared->mass[digit] = 0;
        __syncthreads();
#pragma unroll 1
        for (int base = 0; base < VOCAB; base += THREADS) {
            int token = base + (int)threadIdx.x;
            uint64_t weight = token < VOCAB ? weight_of(candidates, token) : 0;
            uint64_t here = token < VOCAB ? key_of(candidates.logits[token], token) : 0;
            if (above < 64 && here >> above != key >> above)
                weight = 0;
            add_mass(shared->mass, (uint32_t)(here >> shift) & ((1u << (above - shift)) - 1),
                     count ? weight > 0 : weight);
        }
        __syncthreads();
        key |= (uint64_t)crossing_digit(shared, &target) << shift;
    }
    return key;
}

/* The first candidate in order of id at which the sum of weights exceeds `left`, which is less than their sum. */
static __device__ int pick(struct shared *shared, const struct candidates &candidates, uint64_t left)
{
    enum { SHARE = (VOCAB + WARPS - 1) / WARPS }; /* consecutive tokens of a warp */
    int warp = (int)threadIdx.x / LANES, lane = (int)threadIdx.x % LANES;
    int begin = warp * SHARE, end = begin + SHARE < VOCAB ? begin + SHARE : VOCAB;
    uint64_t sum = 0;
    for (int token = begin + lane; token < end; token += LANES)
        sum += weight_of(candidates, token);
    for (int distance = 16; distance > 0; distance /= 2)
        sum += shuffle_xor(sum, distance);
    __syncthreads();
    if (lane == 0)
        shared->part[warp] = sum;
    __syncthreads();
    for (int before = 0; before < warp; before++) {
        uint64_t part = shared->part[before];
        if (left < part)
            return -1; /* (found by an earlier warp) */
        left -= part;
    }
    if (left >= sum)
        return -1;
    for (int base = begin; base < end; base += LANES) {
        uint64_t weight = base + lane < end ? weight_of(candidates, base + lane) : 0, reach = weight;
        for (int distance = 1; distance < LANES; distance *= 2) {
            uint32_t low = __shfl_up_sync(EVERY, (uint32_t)reach, distance);
            uint32_t high = __shfl_up_sync(EVERY, (uint32_t)(reach >> 32), distance);
            if (lane >= distance)
                reach += (uint64_t)high << 32 | low;
        }
        uint32_t beyond = __ballot_sync(EVERY, reach > left);
        if (beyond)
            return base + __ffs((int)beyond) - 1;
        left -= (uint64_t)__shfl_sync(EVERY, (uint32_t)(reach >> 32), LANES - 1) << 32 |
                __shfl_sync(EVERY, (uint32_t)reach, LANES - 1);
    }
    return -1;
}

/* Steps 7 to 11 of sampler.h. */
static __device__ int draw_token(struct shared *shared, const struct cuda_draw_slot &slot, const float *logits,
                                 float maximum, int position)
{
    struct candidates candidates = {logits, maximum, __fdiv_rn(0x1.715476p+0f, slot.temperature), 0, 1};
    if (slot.top_k > 0 && total_of(shared, candidates, true) > (uint64_t)slot.top_k)
        candidates.least_key = crossing(shared, candidates, (uint64_t)slot.top_k - 1, true);
    if (slot.top_p < 1) {
        uint64_t fraction = slot.top_p > 0 ? (uint64_t)((double)slot.top_p * 4294967296.0) : 0;
        uint64_t total = total_of(shared, candidates, false);
        /* ceil(total * fraction / 2^32) - 1: reaching the ceiling is exceeding one less. */
        uint64_t high = (total >> 32) * fraction, low = (total & 0xffffffffu) * fraction;
        uint64_t wanted = high + (low >> 32) + ((low & 0xffffffffu) != 0);
        candidates.least_key = crossing(shared, candidates, wanted > 0 ? wanted - 1 : 0, false);
    }
    if (slot.min_p > 0) {
        uint64_t least = (uint64_t)((double)(slot.min_p < 1 ? slot.min_p : 1.0f) * (double)WEIGHT_ONE);
        candidates.least_weight = least > 1 ? least : 1;
    }
    uint64_t bits = random_bits(slot.seed, slot.sequence, (uint64_t)position);
    int token = pick(shared, candidates, __umul64hi(bits, total_of(shared, candidates, false)));
    if (token >= 0 && threadIdx.x % LANES == 0)
        shared->token = token; /* one warp found it */
    __syncthreads();
    return shared->token;
}

/* ---- Results ---- */

static __device__ void report(const struct cuda_sample &sample, const struct cuda_draw &draw, int token, float logprob,
                              int status)
{
    int ring = sample.counts->ring;
    struct cuda_drawn *drawn = &sample.drawn[(size_t)(ring % sample.rings) * (size_t)sample.max_draws + blockIdx.y];
    sample.chosen[draw.slot] = status <= CUDA_DRAWN_STOP ? token : 0;
    drawn->token = token;
    drawn->logprob = logprob;
    drawn->status = status;
    __threadfence_system();
    *(volatile int *)&drawn->ring = ring;
}

extern "C" __global__ void __launch_bounds__(THREADS) $name$(const __grid_constant__ struct cuda_sample sample)
{
    __shared__ struct shared shared;
    let_next_start();
    int number = (int)blockIdx.y, chunk = (int)blockIdx.x;
    if (number >= sample.counts->draws)
        return;
    wait_for_previous();

    struct cuda_draw draw = sample.draw[number];
    struct cuda_draw_slot slot = sample.slot[draw.slot];
    const float *logits = sample.logits + (size_t)draw.output * VOCAB, *changed = logits;
    struct cuda_sample_part *parts = sample.part + (size_t)number * CHUNKS;
    int begin = chunk * CHUNK, end = begin + CHUNK < VOCAB ? begin + CHUNK : VOCAB;
    if (adjusts(slot)) {
        float *own = (float *)(sample.scratch + (size_t)number * CUDA_SAMPLE_SCRATCH(VOCAB));
        adjust(slot, logits, begin, end, own);
        changed = own;
    }
    survey(&shared, logits, changed, begin, end, &parts[chunk]);
    __threadfence(); /* the changed logits of all threads */
    __syncthreads();
    if (!arrive(&shared, sample.arrivals + number))
        return;

    uint64_t best = 0;
    int bad = 0x7fffffff;
    float maximum = NOTHING;
    for (int i = 0; i < CHUNKS; i++) {
        const volatile struct cuda_sample_part *part = &parts[i];
        best = part->best > best ? part->best : best;
        bad = part->bad < bad ? part->bad : bad;
        maximum = fmaxf(maximum, part->maximum);
    }
    if (bad != 0x7fffffff || maximum == NOTHING || key_logit(best) == NOTHING) {
        if (threadIdx.x == 0)
            report(sample, draw, bad != 0x7fffffff ? bad : -1, 0.0f,
                   bad != 0x7fffffff ? CUDA_DRAWN_BAD_LOGIT : CUDA_DRAWN_NOTHING);
        return;
    }
    double sum = 0.0;
    for (int i = 0; i < CHUNKS; i++)
        if (parts[i].maximum != NOTHING)
            sum += parts[i].sum * (double)exponential_float(__fmul_rn(__fsub_rn(parts[i].maximum, maximum), 0x1.715476p+0f));
    int token = slot.temperature > 0 ? draw_token(&shared, slot, changed, key_logit(best), draw.position) : key_token(best);
    if (threadIdx.x == 0) {
        int status = CUDA_DRAWN_TOKEN;
        for (int i = 0; i < slot.stop_count; i++)
            status = slot.stop[i] == token ? CUDA_DRAWN_STOP : status;
        report(sample, draw, token, (float)((double)logits[token] - ((double)maximum + log(sum))), status);
        sample.slot[draw.slot].output = slot.output + 1;
        if (slot.occurrences)
            slot.occurrences[token] = (slot.occurrences[token] < 0 ? 0 : slot.occurrences[token]) + 1;
    }
}
