/* Philox against the vectors its authors published, and what is built on it. */
#include <check.h>
#include <stdlib.h>

#include "random.h"
#include "sampler.h"

/* kat_vectors of Random123 1.14 (https://github.com/DEShawResearch/random123), philox4x32 with 10 rounds. */
START_TEST(known_answers)
{
    static const struct {
        uint32_t counter[4], key[2], result[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        uint32_t counter[4];
        for (int j = 0; j < 4; j++)
            counter[j] = vectors[i].counter[j];
        random_philox(counter, vectors[i].key[0], vectors[i].key[1]);
        for (int j = 0; j < 4; j++)
            ck_assert_uint_eq(counter[j], vectors[i].result[j]);
    }
}
END_TEST

/* The places of seed, sequence and position in key and counter are part of the contract. */
START_TEST(layout)
{
    ck_assert_uint_eq(random_bits(0, 0, 0), UINT64_C(0xe169c58d6627e8d5));
    ck_assert_uint_eq(
        random_bits(UINT64_C(0x299f31d0a4093822), UINT64_C(0x0370734413198a2e), UINT64_C(0x85a308d3243f6a88)),
        UINT64_C(0x94fdccebd16cfe09));
    ck_assert_float_eq(sampler_uniform(0, 0, 0), (float)(0xe169c58d >> 8) / 16777216.0f);
}
END_TEST

START_TEST(below_is_the_high_product)
{
    uint64_t a = 1, b = 7;
    for (int i = 0; i < 100000; i++) {
        a = random_bits(1, 0, (uint64_t)i);
        b = random_bits(2, 0, (uint64_t)i) >> (i % 64);
        __extension__ unsigned __int128 product = (unsigned __int128)a * b;
        ck_assert_uint_eq(random_below(a, b), (uint64_t)(product >> 64));
    }
    ck_assert_uint_eq(random_below(UINT64_MAX, UINT64_MAX), UINT64_MAX - 1);
    ck_assert_uint_eq(random_below(UINT64_MAX, 0), 0);
}
END_TEST

/* Neighbouring counters in all three coordinates look independent: 16 bins each, chi-square with 15 degrees of
   freedom below its 1 - 1e-6 quantile, 54. */
START_TEST(neighbours_are_uniform)
{
    for (int axis = 0; axis < 3; axis++) {
        int bins[16] = {0};
        enum { DRAWS = 160000 };
        for (uint64_t i = 0; i < DRAWS; i++) {
            float u = sampler_uniform(axis == 0 ? i : 9, axis == 1 ? i : 8, axis == 2 ? i : 7);
            ck_assert(u >= 0 && u < 1);
            bins[(int)(u * 16)]++;
        }
        double chi = 0;
        for (int i = 0; i < 16; i++)
            chi += (bins[i] - DRAWS / 16.0) * (bins[i] - DRAWS / 16.0) / (DRAWS / 16.0);
        ck_assert_double_lt(chi, 54);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sampler/random");
    TCase *test = tcase_create("random");
    tcase_add_test(test, known_answers);
    tcase_add_test(test, layout);
    tcase_add_test(test, below_is_the_high_product);
    tcase_add_test(test, neighbours_are_uniform);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
