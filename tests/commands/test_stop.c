/* Stop strings: the result depends on the text, not on how it was cut. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"
#include "stop.h"

/* Where a text ends by the rule of stop.h, found the slow way: the bytes before the stop string, or all of them. */
static size_t reference(const char *text, const char *const *strings, int count, bool *found)
{
    size_t length = strlen(text);
    *found = false;
    for (size_t end = 1; end <= length; end++) {
        size_t longest = 0;
        for (int i = 0; i < count; i++) {
            size_t own = strlen(strings[i]);
            if (own <= end && own > longest && memcmp(text + end - own, strings[i], own) == 0)
                longest = own;
        }
        if (longest) {
            *found = true;
            return end - longest;
        }
    }
    return length;
}

/* Bytes of the text so far that could begin a stop string. */
static size_t held_back(const char *text, size_t length, const char *const *strings, int count)
{
    size_t longest = 0;
    for (int i = 0; i < count; i++)
        for (size_t own = 1; own < strlen(strings[i]) && own <= length; own++)
            if (own > longest && memcmp(text + length - own, strings[i], own) == 0)
                longest = own;
    return longest;
}

static void check_cut(const char *text, const char *const *strings, int count, uint64_t seed)
{
    bool expected_found, found = false;
    size_t expected = reference(text, strings, count, &expected_found);
    struct text_buffer out = {0};
    struct stop *stop = stop_open(strings, count);
    ck_assert_ptr_nonnull(stop);
    size_t at = 0, length = strlen(text);
    for (uint64_t piece = 0; at < length && !found; piece++) {
        size_t size = random_below(random_bits(seed, 1, piece), 5);
        size = size > length - at ? length - at : size;
        ck_assert_int_eq(stop_push(stop, text + at, size, &out, &found), 0);
        at += size;
        if (!found) /* everything that is safe is out, nothing else */
            ck_assert_uint_eq(out.length, at - held_back(text, at, strings, count));
    }
    ck_assert_int_eq(found, expected_found);
    if (!found)
        ck_assert_int_eq(stop_flush(stop, &out), 0);
    ck_assert_uint_eq(out.length, expected);
    ck_assert(!expected || memcmp(out.data, text, expected) == 0);
    free(out.data);
    stop_close(stop);
}

START_TEST(random_texts_cut_at_random)
{
    for (uint64_t trial = 0; trial < 20000; trial++) {
        char text[41], storage[3][7];
        const char *strings[3];
        int length = (int)random_below(random_bits(trial, 0, 0), 40);
        for (int i = 0; i < length; i++)
            text[i] = (char)('a' + random_below(random_bits(trial, 2, (uint64_t)i), 2));
        text[length] = 0;
        int count = 1 + (int)random_below(random_bits(trial, 3, 0), 3);
        for (int s = 0; s < count; s++) {
            int own = 1 + (int)random_below(random_bits(trial, 4, (uint64_t)s), 6);
            for (int i = 0; i < own; i++)
                storage[s][i] = (char)('a' + random_below(random_bits(trial, 5 + (uint64_t)s, (uint64_t)i), 2));
            storage[s][own] = 0;
            strings[s] = storage[s];
        }
        check_cut(text, strings, count, trial);
    }
}
END_TEST

START_TEST(known_cases)
{
    static const char *const strings[] = {"\n\nUser:", "###", "é"};
    static const char *const texts[] = {
        "answer\n\nUser: more", "a #b ##c ###d", "caf\xc3\xa9", "\n\n\nUser:", "##", "", "\n\nUse"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (uint64_t seed = 0; seed < 50; seed++)
            check_cut(texts[i], strings, 3, seed);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("commands/stop");
    TCase *test = tcase_create("stop");
    tcase_set_timeout(test, 60);
    tcase_add_test(test, random_texts_cut_at_random);
    tcase_add_test(test, known_cases);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
