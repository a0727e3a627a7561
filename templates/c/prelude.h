/* What every kernel of this package is written in: elements, 16-lane vectors, sums in one fixed order, work for threads.
 *
 * The order of every sum is part of the design: 16 lanes, lane i adds the elements i, i + 16, i + 32, ... in order,
 * then the lanes are added as a tree. It does not depend on how many rows a step has or which thread computes, so a
 * row's bits are the same alone and in a batch. Contraction is off (-ffp-contract=off); the only fused operations are
 * those written as multiply_add.
//% if dtype == "bf16" then
 *
 * The variant `bf16` multiplies pairs of bfloat16 with one instruction: lane i adds the elements 2i and 2i + 1, then
 * 2i + 32 and 2i + 33, ... That instruction rounds in its own way, so this variant has bits of its own.
//% end
 */
#ifndef PRELUDE_H
#define PRELUDE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "barrier.h"
#include "step.h"

#define INLINE static inline __attribute__((always_inline))

/* Sources are compiled once for each instruction set, with VARIANT set to its name: qkv becomes qkv_avx2 ... */
#define JOIN_NAMES(name, variant) name##_##variant
#define EXPAND_NAMES(name, variant) JOIN_NAMES(name, variant)
#define OF_VARIANT(name) EXPAND_NAMES(name, VARIANT)

/* 16 lanes of single precision, in as many registers as the instruction set needs. */
#if defined(__AVX512F__)
enum { LANES = 16, NATIVE = 16 };
#elif defined(__AVX2__)
enum { LANES = 16, NATIVE = 8 };
#else
enum { LANES = 16, NATIVE = 4 };
#endif
enum { PARTS = LANES / NATIVE };

typedef float native_f32 __attribute__((vector_size(4 * NATIVE)));
typedef int32_t native_i32 __attribute__((vector_size(4 * NATIVE)));
typedef uint32_t native_u32 __attribute__((vector_size(4 * NATIVE)));
typedef uint16_t native_u16 __attribute__((vector_size(2 * NATIVE)));

typedef struct {
    native_f32 part[PARTS];
} f32x16;

typedef float f32x4 __attribute__((vector_size(16)));
typedef float f32x8 __attribute__((vector_size(32)));

#define EACH_PART _Pragma("GCC unroll 4") for (int i = 0; i < PARTS; i++)

//% if dtype == "bf16" then
/* Weights, keys, values, and what feeds a matrix product: bfloat16, the upper half of a float. */
typedef uint16_t element;

/* How many elements one lane of a product takes at a time. */
#if defined(__AVX512BF16__)
enum { PACK = 2 };
#else
enum { PACK = 1 };
#endif
//% else
/* Weights, keys, values, and what feeds a matrix product: single precision in this package. */
typedef float element;

enum { PACK = 1 }; /* elements that one lane of a product takes at a time */
//% end

/* Memory that will be read soon, a line of it. */
enum { LINE = 64 / sizeof(element) };

INLINE void ask_for(const element *at)
{
    __builtin_prefetch(at, 0, 2);
}

INLINE f32x16 splat(float value)
{
    f32x16 result;
    EACH_PART result.part[i] = value - (native_f32){0};
    return result;
}

INLINE f32x16 load_f32(const float *from)
{
    f32x16 result;
    EACH_PART memcpy(&result.part[i], from + i * NATIVE, sizeof(native_f32));
    return result;
}

INLINE void store_f32(float *to, f32x16 value)
{
    EACH_PART memcpy(to + i * NATIVE, &value.part[i], sizeof(native_f32));
}

INLINE f32x16 add(f32x16 a, f32x16 b)
{
    EACH_PART a.part[i] += b.part[i];
    return a;
}

INLINE f32x16 multiply(f32x16 a, f32x16 b)
{
    EACH_PART a.part[i] *= b.part[i];
    return a;
}

INLINE f32x16 divide(f32x16 a, f32x16 b)
{
    EACH_PART a.part[i] /= b.part[i];
    return a;
}

/* a * b + c: rounded once where the instruction set can, twice where it cannot (scalar). */
INLINE f32x16 multiply_add(f32x16 a, f32x16 b, f32x16 c)
{
#if defined(__AVX512F__)
    c.part[0] = (native_f32)_mm512_fmadd_ps((__m512)a.part[0], (__m512)b.part[0], (__m512)c.part[0]);
#elif defined(__FMA__)
    EACH_PART c.part[i] = (native_f32)_mm256_fmadd_ps((__m256)a.part[i], (__m256)b.part[i], (__m256)c.part[i]);
#else
    EACH_PART c.part[i] += a.part[i] * b.part[i];
#endif
    return c;
}

/* The larger of each pair; the second, if they cannot be compared. */
INLINE f32x16 largest(f32x16 a, f32x16 b)
{
#if defined(__AVX512F__)
    a.part[0] = (native_f32)_mm512_max_ps((__m512)a.part[0], (__m512)b.part[0]);
#elif defined(__AVX2__)
    EACH_PART a.part[i] = (native_f32)_mm256_max_ps((__m256)a.part[i], (__m256)b.part[i]);
#else
    EACH_PART
    {
        native_i32 first = a.part[i] > b.part[i];
        a.part[i] = (native_f32)(((native_i32)a.part[i] & first) | ((native_i32)b.part[i] & ~first));
    }
#endif
    return a;
}

//% if dtype == "bf16" then
INLINE f32x16 load(const element *from)
{
    f32x16 result;
    EACH_PART
    {
        native_u16 half;
        memcpy(&half, from + i * NATIVE, sizeof half);
#if defined(__AVX512F__) /* gcc would widen them in two halves */
        native_u32 wide = (native_u32)_mm512_cvtepu16_epi32((__m256i)half);
#elif defined(__AVX2__)
        native_u32 wide = (native_u32)_mm256_cvtepu16_epi32((__m128i)half);
#else
        native_u32 wide = __builtin_convertvector(half, native_u32);
#endif
        result.part[i] = (native_f32)(wide << 16);
    }
    return result;
}

/* Rounds to nearest even; a NaN stays one. */
INLINE void store(element *to, f32x16 value)
{
    EACH_PART
    {
        native_u32 number = (native_u32)(value.part[i] == value.part[i]), bits = (native_u32)value.part[i];
        bits = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
        native_u16 half = __builtin_convertvector((bits & number) | (0x7fc0 & ~number), native_u16);
        memcpy(to + i * NATIVE, &half, sizeof half);
    }
}

INLINE element to_element(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return value == value ? (element)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) : 0x7fc0;
}

INLINE float to_float(element value)
{
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}
//% else
INLINE f32x16 load(const element *from)
{
    return load_f32(from);
}

INLINE void store(element *to, f32x16 value)
{
    store_f32(to, value);
}

INLINE element to_element(float value)
{
    return value;
}

INLINE float to_float(element value)
{
    return value;
}
//% end

/* The last, incomplete vector of a row: `count` elements, the other lanes zero. */
INLINE f32x16 load_some(const element *from, int count)
{
    element some[LANES] = {0};
    memcpy(some, from, (size_t)count * sizeof *some);
    return load(some);
}

INLINE f32x16 load_some_f32(const float *from, int count)
{
    float some[LANES] = {0};
    memcpy(some, from, (size_t)count * sizeof *some);
    return load_f32(some);
}

INLINE void store_some_f32(float *to, f32x16 value, int count)
{
    float some[LANES];
    store_f32(some, value);
    memcpy(to, some, (size_t)count * sizeof *to);
}

INLINE void store_some(element *to, f32x16 value, int count)
{
    element some[LANES];
    store(some, value);
    memcpy(to, some, (size_t)count * sizeof *to);
}

/* What a product multiplies: 16 lanes of PACK elements. */
enum { STRIDE = LANES * PACK };

//% if dtype == "bf16" then
#if defined(__AVX512BF16__)
typedef __m512bh operand;

INLINE operand load_operand(const element *from)
{
    operand result;
    memcpy(&result, from, sizeof result);
    return result;
}

/* The first `count` elements, the others zero. */
INLINE operand load_some_operand(const element *from, int count)
{
    element some[LANES * PACK] = {0};
    memcpy(some, from, (size_t)count * sizeof *some);
    return load_operand(some);
}

/* What a product takes PACK of a lane, when it is copied first. */
typedef element lane_element;

INLINE operand load_copied(const lane_element *from)
{
    return load_operand(from);
}

/* The same PACK elements in every lane. */
INLINE operand splat_copied(const lane_element *from)
{
    int32_t pair;
    memcpy(&pair, from, sizeof pair);
    return (operand)_mm512_set1_epi32(pair);
}

INLINE float float_of_lane(lane_element value)
{
    return to_float(value);
}

/* Four lanes, to be moved as they are. */
INLINE f32x4 load_four(const element *from)
{
    f32x4 result;
    memcpy(&result, from, sizeof result);
    return result;
}

/* Lane i: first[i] and second[i]. */
INLINE operand load_beside(const element *first, const element *second)
{
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)first);
    __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)second);
    return (operand)_mm512_permutexvar_epi16(order, _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
}

/* sum + a * b, as vdpbf16ps rounds it: one element of each pair after the other, denormals as zero. */
INLINE f32x16 multiply_operands(operand a, operand b, f32x16 sum)
{
    sum.part[0] = (native_f32)_mm512_dpbf16_ps((__m512)sum.part[0], a, b);
    return sum;
}
#else
//% end
typedef f32x16 operand;

INLINE operand load_operand(const element *from)
{
    return load(from);
}

/* The first `count` elements, the others zero. */
INLINE operand load_some_operand(const element *from, int count)
{
    return load_some(from, count);
}

/* What a product takes PACK of a lane, when it is copied first: floats. */
typedef float lane_element;

INLINE operand load_copied(const lane_element *from)
{
    return load_f32(from);
}

/* The same PACK elements in every lane. */
INLINE operand splat_copied(const lane_element *from)
{
    return splat(*from);
}

INLINE float float_of_lane(lane_element value)
{
    return value;
}

/* Four lanes. */
INLINE f32x4 load_four(const element *from)
{
    return (f32x4){to_float(from[0]), to_float(from[1]), to_float(from[2]), to_float(from[3])};
}

/* Lane i: first[i]; there is no second one where PACK is 1. */
INLINE operand load_beside(const element *first, const element *second)
{
    (void)second;
    return load(first);
}

/* sum + a * b */
INLINE f32x16 multiply_operands(operand a, operand b, f32x16 sum)
{
    return multiply_add(a, b, sum);
}
//% if dtype == "bf16" then
#endif
//% end

INLINE void copy_lanes(const element *from, int count, lane_element *to)
{
    int i = 0;
    for (; i + STRIDE <= count; i += STRIDE) {
        operand lanes = load_operand(from + i);
        memcpy(to + i, &lanes, sizeof lanes);
    }
    for (; i < count; i++)
        to[i] = PACK == 2 ? (lane_element)from[i] : (lane_element)to_float(from[i]);
}

/* The sum of 16 lanes is a tree: i and i + 8, then i and i + 4, and so on. This is the first level. */
INLINE f32x8 sum_to_eight(f32x16 value)
{
#if defined(__AVX512F__)
    native_f32 all = value.part[0];
    return __builtin_shufflevector(all, all, 0, 1, 2, 3, 4, 5, 6, 7) +
           __builtin_shufflevector(all, all, 8, 9, 10, 11, 12, 13, 14, 15);
#elif defined(__AVX2__)
    return value.part[0] + value.part[1];
#else
    native_f32 low = value.part[0] + value.part[2], high = value.part[1] + value.part[3];
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
#endif
}

INLINE float sum_lanes(f32x16 value)
{
    f32x8 eight = sum_to_eight(value);
    f32x4 four = __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
    return (four[0] + four[2]) + (four[1] + four[3]);
}

/* The sums of four vectors, the rest of the tree. */
INLINE f32x4 sum_eights(const f32x8 *value)
{
#if defined(__AVX2__)
    /* Two vectors side by side, then all four: a0 + a4 | b4 + b0; a0 + a2, a1 + a3, c0 + c2, c1 + c3 | the same of b, d. */
    __m256 a = (__m256)value[0], b = (__m256)value[1], c = (__m256)value[2], d = (__m256)value[3];
    __m256 ab = _mm256_add_ps(_mm256_blend_ps(a, b, 0xf0), _mm256_permute2f128_ps(a, b, 0x21));
    __m256 cd = _mm256_add_ps(_mm256_blend_ps(c, d, 0xf0), _mm256_permute2f128_ps(c, d, 0x21));
    __m256 two = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    __m256 one = _mm256_add_ps(two, _mm256_movehdup_ps(two));
    __m128 bd = _mm256_extractf128_ps(one, 1);
    return (f32x4)_mm_blend_ps(_mm256_castps256_ps128(one), _mm_moveldup_ps(bd), 0xa);
#else
    f32x4 four[4];
    for (int i = 0; i < 4; i++)
        four[i] = __builtin_shufflevector(value[i], value[i], 0, 1, 2, 3) +
                  __builtin_shufflevector(value[i], value[i], 4, 5, 6, 7);
    f32x4 ab =
        __builtin_shufflevector(four[0], four[1], 0, 1, 4, 5) + __builtin_shufflevector(four[0], four[1], 2, 3, 6, 7);
    f32x4 cd =
        __builtin_shufflevector(four[2], four[3], 0, 1, 4, 5) + __builtin_shufflevector(four[2], four[3], 2, 3, 6, 7);
    return __builtin_shufflevector(ab, cd, 0, 2, 4, 6) + __builtin_shufflevector(ab, cd, 1, 3, 5, 7);
#endif
}

/* The same of 16 lanes each, as sum_lanes has it. */
INLINE f32x4 sum_lanes_of_four(const f32x16 *value)
{
    f32x8 eight[4] = {sum_to_eight(value[0]), sum_to_eight(value[1]), sum_to_eight(value[2]), sum_to_eight(value[3])};
    return sum_eights(eight);
}

INLINE float max_lanes(f32x16 value)
{
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)value.part[0]);
#elif defined(__AVX2__)
    __m256 eight = _mm256_max_ps((__m256)value.part[0], (__m256)value.part[1]);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
#else
    float lane[LANES];
    store_f32(lane, value);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] = lane[i] > lane[i + half] ? lane[i] : lane[i + half];
    return lane[0];
#endif
}

/* e^x to about 1 unit in the last place: x = n ln 2 + r with |r| <= ln 2 / 2, then a polynomial in r (Cephes expf).
   The same bits on every machine, which libm does not promise. Below -87 the result is 0; above 88 it stays at e^88. */
INLINE f32x16 exponential(f32x16 x)
{
    const f32x16 shift = splat(12582912.0f), unshift = splat(-12582912.0f); /* 1.5 * 2^23: adding it rounds */
    f32x16 bounded = largest(x, splat(-87.0f));
    EACH_PART bounded.part[i] = -bounded.part[i];
    bounded = largest(bounded, splat(-88.0f));
    EACH_PART bounded.part[i] = -bounded.part[i];
    f32x16 n = add(multiply_add(bounded, splat(1.44269504088896341f), shift), unshift);
    f32x16 r = multiply_add(n, splat(-0.693359375f), bounded);
    r = multiply_add(n, splat(2.12194440e-4f), r);
    f32x16 y = splat(1.9875691500e-4f);
    y = multiply_add(y, r, splat(1.3981999507e-3f));
    y = multiply_add(y, r, splat(8.3334519073e-3f));
    y = multiply_add(y, r, splat(4.1665795894e-2f));
    y = multiply_add(y, r, splat(1.6666665459e-1f));
    y = multiply_add(y, r, splat(5.0000001201e-1f));
    y = multiply_add(y, multiply(r, r), add(r, splat(1.0f)));
    EACH_PART
    {
        native_i32 power = (__builtin_convertvector(n.part[i], native_i32) + 127) << 23;
        native_i32 alive = x.part[i] > -87.0f;
        y.part[i] = (native_f32)((native_i32)(y.part[i] * (native_f32)power) & alive);
    }
    return y;
}

/* The thread's contiguous part of `items`. */
struct span {
    int begin, end;
};

INLINE struct span share(int items, int thread, int threads)
{
    return (struct span){(int)((int64_t)items * thread / threads), (int)((int64_t)items * (thread + 1) / threads)};
}

INLINE int minimum(int a, int b)
{
    return a < b ? a : b;
}

INLINE int maximum(int a, int b)
{
    return a > b ? a : b;
}

/* The units of a stage, dealt out to the threads as they come for more: runs of units, long ones first, so that a thread
   whose core is busy elsewhere does fewer. Who computes a unit never shows in its bits. The barrier at the end of the
   stage starts the count anew. */
struct work {
    struct barrier *barrier;
    int units, threads;
    int unit, end;           /* the run that is being worked on: units unit <= u < end */
    int next_unit, next_end; /* the run after it, claimed early: a unit can see which one follows it */
};

INLINE void work_claim(struct work *work)
{
    int left = work->units - atomic_load_explicit(&work->barrier->claimed, memory_order_relaxed);
    int run = maximum(1, left / (2 * work->threads));
    work->next_unit = atomic_fetch_add_explicit(&work->barrier->claimed, run, memory_order_relaxed);
    work->next_end = minimum(work->next_unit + run, work->units);
}

/* Goes to the first unit (after work_begin) or to the next; false when nothing is left for this thread. */
INLINE bool work_next(struct work *work)
{
    if (++work->unit >= work->end) {
        work->unit = work->next_unit;
        work->end = work->next_end;
    }
    if (work->unit + 1 >= work->end && work->next_unit < work->units)
        work_claim(work);
    return work->unit < work->units;
}

INLINE struct work work_begin(const struct step *step, int units)
{
    struct work work = {.barrier = step->barrier, .units = units, .threads = step->threads};
    work_claim(&work);
    return work;
}

/* The unit that this thread does after the present one; -1: none. */
INLINE int work_following(const struct work *work)
{
    int unit = work->unit + 1 < work->end ? work->unit + 1 : work->next_unit;
    return unit < work->units ? unit : -1;
}

/* RMS norm, its first half: out = bf16(x * gain), and the factor 1 / sqrt(mean(x^2) + epsilon), which the caller
   applies after the matrix product (it is the same for all elements, so nothing is lost by waiting). */
INLINE float normalise(const float *x, const float *gain, int size, float epsilon, element *out)
{
    f32x16 squares = {0};
    int k = 0;
    for (; k + LANES <= size; k += LANES) {
        f32x16 value = load_f32(x + k);
        squares = multiply_add(value, value, squares);
        store(out + k, multiply(value, load_f32(gain + k)));
    }
    if (k < size) {
        f32x16 value = load_some_f32(x + k, size - k);
        squares = multiply_add(value, value, squares);
        store_some(out + k, multiply(value, load_some_f32(gain + k, size - k)), size - k);
    }
    return 1.0f / sqrtf(sum_lanes(squares) / (float)size + epsilon);
}

/* The end of a stage: everybody has finished it. */
INLINE void stage_end(const struct step *step, int thread, int stage)
{
    if (step->watch)
        step->watch->lap(step->watch->context, step, thread, stage, false);
    barrier_wait(step->barrier);
    if (step->watch)
        step->watch->lap(step->watch->context, step, thread, stage, true);
}

/* With --dump, `data` [rows, columns] is shown to who asked. */
INLINE void show(const struct step *step, int thread, const char *name, int layer, int dtype, const void *data,
                 int rows, int columns)
{
    if (!step->trace)
        return;
    if (thread == 0)
        step->trace->tensor(step->trace->context, name, layer, dtype, data, rows, columns);
    barrier_wait(step->barrier);
}

#endif
