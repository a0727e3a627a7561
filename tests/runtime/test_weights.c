/* Random weights: the formula of weights.h, computed here once more; bf16 rounding; any number of threads. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"
#include "weights.h"

/* Straight from the text of weights.h, not from the code. */
static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    x ^= x >> 31;
    return x;
}

static float value(uint64_t seed, const char *name, uint64_t e, float centre, float scale)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 0x100000001b3u;
    uint64_t key = mix(mix(seed + 0x9e3779b97f4a7c15u) ^ h);
    uint64_t word = mix(key + (e / 2 + 1) * 0x9e3779b97f4a7c15u);
    uint32_t n = e % 2 == 0 ? (uint32_t)(word >> 40) : (uint32_t)(word >> 8) & 0xffffff;
    float u = (float)((double)n / 8388608.0 - 1.0);
    return (float)fma((double)scale, (double)u, (double)centre);
}

enum { COUNT = (1 << 20) * 2 + 37 };

static struct tensor tensors[] = {
    {.name = "tokenizer", .dtype = DTYPE_BYTES, .rows = 1, .columns = 100, .bytes = 100},
    {.name = "norm",
     .dtype = DTYPE_F32,
     .rows = 1,
     .columns = 5,
     .offset = 128,
     .bytes = 20,
     .random_centre = 1,
     .random_scale = 0.1f},
    {.name = "layer.0.qkv",
     .dtype = DTYPE_BF16,
     .rows = 1,
     .columns = COUNT,
     .offset = 192,
     .bytes = COUNT * 2,
     .random_scale = 0.03f},
    {.name = "layer.1.qkv",
     .dtype = DTYPE_F32,
     .rows = 1,
     .columns = 1001,
     .offset = 4194624 + 64,
     .bytes = 4004,
     .random_centre = -3.5f,
     .random_scale = 7},
};
static const struct model model = {.name = "weights",
                                   .tensors = tensors,
                                   .tensor_count = 4,
                                   .payload_bytes = 100,
                                   .random = true,
                                   .random_seed = 12345};

static unsigned char *fill(const struct model *filled, int threads)
{
    uint64_t bytes = weights_region_bytes(filled);
    unsigned char *region = malloc(bytes);
    memset(region, 0x5a, bytes);
    struct pool *pool = pool_open(threads, NULL);
    weights_random(filled, region, pool, NULL, NULL);
    pool_close(pool);
    return region;
}

START_TEST(values_follow_the_formula)
{
    ck_assert_uint_eq(weights_region_bytes(&model), 4194688 + 4004);
    unsigned char *region = fill(&model, 1 + _i);
    for (int t = 1; t < 4; t++) {
        const struct tensor *tensor = &tensors[t];
        const unsigned char *data = region + tensor->offset;
        for (uint64_t e = 0; e < (uint64_t)tensor->columns; e++) {
            float found, expected = value(12345, tensor->name, e, tensor->random_centre, tensor->random_scale);
            uint16_t bf16;
            memcpy(&found, data + (tensor->dtype == DTYPE_F32 ? e * 4 : 0), 4);
            memcpy(&bf16, data + (tensor->dtype == DTYPE_BF16 ? e * 2 : 0), 2);
            if (tensor->dtype == DTYPE_F32 ? found != expected : bf16 != weights_bf16(expected))
                ck_abort_msg("%s[%llu] is not %a", tensor->name, (unsigned long long)e, expected);
            if (e < 100)
                ck_assert_float_eq(expected, weights_random_value(weights_random_key(12345, tensor->name), e,
                                                                  tensor->random_centre, tensor->random_scale));
        }
    }
    /* Nothing else was touched: the bytes section and what lies between tensors. */
    for (int i = 0; i < 128; i++)
        ck_assert_uint_eq(region[i], 0x5a);
    for (int i = 148; i < 192; i++)
        ck_assert_uint_eq(region[i], 0x5a);
    for (uint64_t i = 192 + COUNT * 2; i < tensors[3].offset; i++)
        ck_assert_uint_eq(region[i], 0x5a);
    free(region);
}
END_TEST

/* Fixed for ever: the CUDA side and older packages make the same. */
START_TEST(known_values)
{
    uint64_t key = weights_random_key(1, "embed");
    static const uint64_t expected_key = 0x6acb9e72ed930c32u;
    static const uint32_t expected[4] = {0x3ee16d57, 0x3e9ff604, 0x3ef2eaa7, 0x3ef891a5};
    ck_assert_uint_eq(key, expected_key);
    for (unsigned e = 0; e < 4; e++) {
        float found = weights_random_value(key, e, 0.5f, 0.25f);
        uint32_t bits;
        memcpy(&bits, &found, 4);
        ck_assert_uint_eq(bits, expected[e]);
    }
}
END_TEST

START_TEST(seed_and_name_matter)
{
    uint64_t key = weights_random_key(1, "a");
    ck_assert(key != weights_random_key(2, "a") && key != weights_random_key(1, "b"));
    struct model other = model;
    other.random_seed = 12346;
    unsigned char *first = fill(&model, 2), *second = fill(&other, 2);
    ck_assert(memcmp(first + 192, second + 192, 4096) != 0);
    free(first);
    free(second);
}
END_TEST

START_TEST(values_are_spread_evenly)
{
    uint64_t key = weights_random_key(7, "x");
    double sum = 0, squares = 0;
    int bins[16] = {0};
    enum { N = 1 << 18 };
    for (uint64_t e = 0; e < N; e++) {
        double u = weights_random_value(key, e, 0, 1);
        ck_assert(u >= -1 && u < 1);
        sum += u;
        squares += u * u;
        bins[(int)((u + 1) * 8)]++;
    }
    ck_assert_double_eq_tol(sum / N, 0, 0.006);
    ck_assert_double_eq_tol(squares / N, 1.0 / 3, 0.004);
    for (int i = 0; i < 16; i++)
        ck_assert_int_lt(abs(bins[i] - N / 16), 600);
}
END_TEST

START_TEST(bf16_rounds_to_nearest_even)
{
    static const struct {
        uint32_t f32;
        uint16_t bf16;
    } cases[] = {
        {0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f808001, 0x3f81}, {0x3f818000, 0x3f82}, {0x3f817fff, 0x3f81},
        {0x00000000, 0x0000}, {0x80000000, 0x8000}, {0xbf808000, 0xbf80}, {0x7f7fffff, 0x7f80}, {0x7f800000, 0x7f80},
        {0xff800000, 0xff80}, {0x7f800001, 0x7fc0}, {0x7fffffff, 0x7fff}, {0x00008000, 0x0000}, {0x00018000, 0x0002},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float wide;
        memcpy(&wide, &cases[i].f32, 4);
        ck_assert_msg(weights_bf16(wide) == cases[i].bf16, "%08x: %04x", cases[i].f32, weights_bf16(wide));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("weights");
    TCase *test = tcase_create("random");
    tcase_set_timeout(test, 120);
    tcase_add_loop_test(test, values_follow_the_formula, 0, 4);
    tcase_add_test(test, known_values);
    tcase_add_test(test, seed_and_name_matter);
    tcase_add_test(test, values_are_spread_evenly);
    tcase_add_test(test, bf16_rounds_to_nearest_even);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
