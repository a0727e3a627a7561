/* The option parser: every form, every kind of value, every error. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

static struct values {
    bool flag, other;
    int32_t integer;
    uint64_t seed, bytes;
    float number;
    const char *string, *pair[2];
    struct string_list strings;
    struct id_list ids;
    struct bias_list biases;
} values;

static const struct option table[] = {
    {.name = "flag", .letter = 'F', .kind = OPTION_FLAG, .target = &values.flag, .help = "a flag"},
    {.name = "other", .letter = 'o', .kind = OPTION_FLAG, .target = &values.other, .help = "another"},
    {.name = "integer",
     .letter = 'n',
     .kind = OPTION_INTEGER,
     .target = &values.integer,
     .value = "N",
     .help = "a number",
     .minimum = -1,
     .maximum = 100},
    {.name = "seed", .kind = OPTION_SEED, .target = &values.seed, .value = "N", .help = "a seed"},
    {.name = "bytes", .kind = OPTION_BYTES, .target = &values.bytes, .value = "BYTES", .help = "some bytes"},
    {.name = "temp",
     .kind = OPTION_NUMBER,
     .target = &values.number,
     .value = "T",
     .help = "a number",
     .minimum = 0,
     .maximum = 2},
    {.name = "string", .kind = OPTION_STRING, .target = &values.string, .value = "S", .help = "a string"},
    {.name = "pair", .kind = OPTION_PAIR, .target = values.pair, .value = "A B", .help = "two strings"},
    {.name = "strings", .kind = OPTION_STRINGS, .target = &values.strings, .value = "S", .help = "strings"},
    {.name = "ids", .kind = OPTION_IDS, .target = &values.ids, .value = "1,2", .help = "ids"},
    {.name = "bias", .kind = OPTION_BIASES, .target = &values.biases, .value = "ID=V", .help = "biases"},
};
static const struct option_group group = {"Options", table, sizeof table / sizeof *table};
static struct error error;
static int operands;
static char *arguments[16];
static char storage[1024];

/* Parses words separated by '|'. */
static int parse(const char *line)
{
    options_free(&group, 1);
    memset(&values, 0, sizeof values);
    error.message[0] = 0;
    snprintf(storage, sizeof storage, "%s", line);
    int count = 0;
    for (char *at = storage; at && *line; count++) {
        arguments[count] = at;
        at = strchr(at, '|');
        if (at)
            *at++ = 0;
    }
    return options_parse(&group, 1, count, arguments, &operands, &error);
}

START_TEST(forms)
{
    ck_assert_int_eq(parse("one|--integer|5|two|--string=a=b|-n7|-Fo|--pair|x|y|--|--flag|-"), 0);
    ck_assert_int_eq(operands, 4);
    ck_assert_str_eq(arguments[0], "one");
    ck_assert_str_eq(arguments[2], "--flag");
    ck_assert_str_eq(arguments[3], "-");
    ck_assert_int_eq(values.integer, 7);
    ck_assert_str_eq(values.string, "a=b");
    ck_assert(values.flag && values.other);
    ck_assert_str_eq(values.pair[1], "y");
    ck_assert_int_eq(parse("--pair=x|y|-n|-1|--string|--flag|--string="), 0);
    ck_assert_str_eq(values.pair[0], "x");
    ck_assert_int_eq(values.integer, -1);
    ck_assert(!values.flag);
    ck_assert_str_eq(values.string, "");
    ck_assert_int_eq(parse("-|-Fn|3"), 0);
    ck_assert_int_eq(values.integer, 3);
    ck_assert_int_eq(operands, 1);
}
END_TEST

START_TEST(kinds)
{
    ck_assert_int_eq(parse("--seed|18446744073709551615|--bytes|1.5G|--temp|0.25"), 0);
    ck_assert_uint_eq(values.seed, UINT64_MAX);
    ck_assert_uint_eq(values.bytes, UINT64_C(3) << 29);
    ck_assert_float_eq(values.number, 0.25f);
    ck_assert_int_eq(parse("--seed|-1|--bytes|4096|--temp|1e-3"), 0);
    ck_assert_uint_eq(values.seed, UINT64_MAX);
    ck_assert_uint_eq(values.bytes, 4096);
    ck_assert_int_eq(parse("--seed=0x10|--bytes=2MiB|--strings|a|--strings|b"), 0);
    ck_assert_uint_eq(values.seed, 16);
    ck_assert_uint_eq(values.bytes, 2 << 20);
    ck_assert_int_eq(values.strings.count, 2);
    ck_assert_str_eq(values.strings.item[1], "b");
    ck_assert_int_eq(parse("--ids|1,2, 3|--ids|4 5|--bias|7=-inf|--bias|8=1.5"), 0);
    ck_assert_int_eq(values.ids.count, 5);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(values.ids.item[i], i + 1);
    ck_assert(values.biases.item[0].token == 7 && values.biases.item[0].bias == -INFINITY);
    ck_assert(values.biases.item[1].token == 8 && values.biases.item[1].bias == 1.5f);
    ck_assert_int_eq(parse("--ids|"), 0);
    ck_assert(values.ids.given && values.ids.count == 0);
}
END_TEST

START_TEST(errors)
{
    static const struct {
        const char *line, *words;
    } cases[] = {
        {"--integer", "--integer needs a value: --integer N"},
        {"--pair|a", "--pair needs a value"},
        {"-n", "-n needs a value"},
        {"--flag=1", "--flag takes no value"},
        {"--integer|101", "from -1 to 100, found '101'"},
        {"--integer|-2", "found '-2'"},
        {"--integer|1x", "found '1x'"},
        {"--integer|", "found ''"},
        {"--integer| 1", "found ' 1'"},
        {"--integer|99999999999999999999", "found"},
        {"--integer|1.0", "found '1.0'"},
        {"--temp|hot", "found 'hot'"},
        {"--temp|nan", "found 'nan'"},
        {"--temp|2.5", "from 0 to 2, found '2.5'"},
        {"--temp|-1", "found '-1'"},
        {"--temp|inf", "found 'inf'"},
        {"--temp| 1", "found ' 1'"},
        {"--seed|-2", "found '-2'"},
        {"--seed|18446744073709551616", "found"},
        {"--seed|", "found ''"},
        {"--bytes|0", "found '0'"},
        {"--bytes|1.5", "found '1.5'"},
        {"--bytes|2X", "found '2X'"},
        {"--bytes|-1G", "found '-1G'"},
        {"--bytes|99999999T", "found"},
        {"--ids|1,x", "found 'x'"},
        {"--ids|1,-2", "found '-2'"},
        {"--ids|2147483648", "found"},
        {"--bias|5", "expected ID=VALUE"},
        {"--bias|5=", "expected ID=VALUE"},
        {"--bias|-5=1", "expected ID=VALUE"},
        {"--bias|x=1", "expected ID=VALUE"},
        {"--temperature|1", "unknown option --temperature; did you mean --temp?"},
        {"--integr=5", "unknown option --integr; did you mean --integer?"},
        {"--zzzzzz", "unknown option --zzzzzz (--help"},
        {"-x", "unknown option -x"},
        {"-Fx", "unknown option -Fx"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_msg(parse(cases[i].line) == -1, "%s is accepted", cases[i].line);
        ck_assert_msg(strstr(error.message, cases[i].words) != NULL, "%s: '%s' not in '%s'", cases[i].line,
                      cases[i].words, error.message);
    }
    options_free(&group, 1);
}
END_TEST

/* Every option is in the help, and no line is wider than the promise. */
START_TEST(help)
{
    char *text = NULL;
    size_t length;
    FILE *file = open_memstream(&text, &length);
    values.integer = 42;
    options_help(file, &group, 1);
    fclose(file);
    for (int i = 0; i < group.count; i++)
        ck_assert_ptr_nonnull(strstr(text, table[i].name));
    ck_assert_ptr_nonnull(strstr(text, "(default: 42)"));
    for (const char *line = text; *line;) {
        size_t width = strcspn(line, "\n");
        ck_assert_uint_le(width, 100);
        line += width + (line[width] == '\n');
    }
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("commands/options");
    TCase *test = tcase_create("options");
    tcase_add_test(test, forms);
    tcase_add_test(test, kinds);
    tcase_add_test(test, errors);
    tcase_add_test(test, help);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
