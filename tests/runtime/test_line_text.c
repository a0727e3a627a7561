/* The text of the line editor: inserting, moving, erasing, and where characters stand on the screen. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "line_text.h"

static void expect(const struct line_text *line, const char *text, size_t cursor)
{
    ck_assert_uint_eq(line->text.length, strlen(text));
    ck_assert_str_eq(line->text.data ? line->text.data : "", text);
    ck_assert_uint_eq(line->cursor, cursor);
}

START_TEST(words_and_characters)
{
    struct line_text line = {0};
    ck_assert_int_eq(line_set(&line, "one two", 7), 0);
    line_move(&line, LINE_WORD_LEFT);
    expect(&line, "one two", 4);
    ck_assert_int_eq(line_insert(&line, "and ", 4), 0);
    expect(&line, "one and two", 8);
    line_erase(&line, LINE_WORD_LEFT);
    expect(&line, "one two", 4);
    line_move(&line, LINE_WORD_RIGHT);
    expect(&line, "one two", 7);
    line_erase(&line, LINE_LEFT);
    expect(&line, "one tw", 6);
    line_move(&line, LINE_START);
    line_erase(&line, LINE_RIGHT);
    expect(&line, "ne tw", 0);
    line_erase(&line, LINE_LEFT);
    expect(&line, "ne tw", 0);
    line_erase(&line, LINE_STOP);
    expect(&line, "", 0);
    line_erase(&line, LINE_RIGHT);
    line_move(&line, LINE_LEFT);
    expect(&line, "", 0);
    free(line.text.data);
}
END_TEST

/* A letter of several bytes is one step, and so is one with marks that join it. */
START_TEST(unicode)
{
    struct line_text line = {0};
    const char *text = "a\xc3\xa9 e\xcc\x81 \xe6\x97\xa5"; /* a, é, e with a joining accent, 日 */
    ck_assert_int_eq(line_set(&line, text, strlen(text)), 0);
    line_erase(&line, LINE_LEFT);
    expect(&line, "a\xc3\xa9 e\xcc\x81 ", 8);
    line_move(&line, LINE_LEFT);
    line_move(&line, LINE_LEFT);
    expect(&line, "a\xc3\xa9 e\xcc\x81 ", 4);
    line_erase(&line, LINE_RIGHT);
    expect(&line, "a\xc3\xa9  ", 4);
    free(line.text.data);
}
END_TEST

/* Start and end are those of the row between line feeds. */
START_TEST(rows)
{
    struct line_text line = {0};
    ck_assert_int_eq(line_set(&line, "ab\ncd\nef", 8), 0);
    line.cursor = 4;
    line_move(&line, LINE_START);
    expect(&line, "ab\ncd\nef", 3);
    line_move(&line, LINE_STOP);
    expect(&line, "ab\ncd\nef", 5);
    line_erase(&line, LINE_START);
    expect(&line, "ab\n\nef", 3);
    free(line.text.data);
}
END_TEST

static const struct {
    const char *text;
    int indent, columns, row, column;
} places[] = {
    {"", 2, 10, 0, 2},
    {"abc", 2, 10, 0, 5},
    {"abcdefgh", 2, 10, 1, 0}, /* the next character would stand in the next row */
    {"abcdefghi", 2, 10, 1, 1},
    {"ab\nc", 2, 10, 1, 3},
    {"\xe6\x97\xa5\xe6\x97\xa5", 2, 10, 0, 6}, /* two columns each */
    {"abcdefg\xe6\x97\xa5", 2, 10, 1, 2},      /* a wide one is not cut */
    {"e\xcc\x81", 2, 10, 0, 3},                /* the accent has none */
    {"\x1b", 2, 10, 0, 3},
};

START_TEST(places_on_the_screen)
{
    struct line_place place =
        line_place(places[_i].text, strlen(places[_i].text), places[_i].indent, places[_i].columns);
    ck_assert_int_eq(place.row, places[_i].row);
    ck_assert_int_eq(place.column, places[_i].column);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("runtime/line_text");
    TCase *tests = tcase_create("line");
    tcase_add_test(tests, words_and_characters);
    tcase_add_test(tests, unicode);
    tcase_add_test(tests, rows);
    tcase_add_loop_test(tests, places_on_the_screen, 0, (int)(sizeof places / sizeof *places));
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
