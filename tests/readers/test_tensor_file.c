/* The runtime's reader of tensor files: safetensors, and what torch.save writes (tests/fixtures/torch). */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint.h"
#include "process.h"
#include "tensor_file.h"

static const char *torch_file(const char *name)
{
    return text("%s/tests/fixtures/torch/%s", TEST_SOURCE_DIR, name);
}

static void check_refused(const char *path, const char *fragment)
{
    struct tensor_file file;
    struct error error = {""};
    ck_assert_int_eq(tensor_file_open(&file, path, &error), -1);
    ck_assert_msg(strstr(error.message, fragment), "expected \"%s\" in \"%s\"", fragment, error.message);
    ck_assert_msg(strstr(error.message, path), "expected the file's name in \"%s\"", error.message);
    ck_assert_ptr_null(file.data);
}

static void check_tensor(const struct tensor_file *file, const char *name, const char *dtype, const char *shape,
                         const float *values, uint64_t count)
{
    char found[TENSOR_FILE_SHAPE];
    float floats[24];
    const struct stored_tensor *tensor = tensor_file_find(file, name);
    ck_assert_msg(tensor != NULL, "no %s", name);
    ck_assert_str_eq(tensor->dtype, dtype);
    ck_assert_str_eq(tensor_file_shape(tensor, found), shape);
    ck_assert_uint_eq(tensor->elements, count);
    ck_assert_int_eq(tensor_file_is_float(tensor), values != NULL);
    if (values) {
        tensor_file_floats(file, tensor, 0, count, floats);
        for (uint64_t i = 0; i < count; i++)
            ck_assert_msg(floats[i] == values[i], "%s[%d]: expected %g, found %g", name, (int)i, (double)values[i],
                          (double)floats[i]);
    }
}

START_TEST(torch_files_are_read)
{
    float numbers[24];
    for (int i = 0; i < 24; i++)
        numbers[i] = (float)i;
    struct tensor_file file;
    struct error error = {""};
    ck_assert_msg(tensor_file_open(&file, torch_file("tensors.bin"), &error) == 0, "%s", error.message);
    ck_assert_uint_eq(file.count, 9);
    check_tensor(&file, "floats", "F32", "[4, 6]", numbers, 24);
    check_tensor(&file, "rows", "F32", "[2, 6]", numbers + 6, 12);
    check_tensor(&file, "halves", "F16", "[4]", (float[]){1.5f, -2.0f, 5.9604645e-8f, INFINITY}, 4);
    check_tensor(&file, "brains", "BF16", "[2, 1]", (float[]){0.5f, -3.0f}, 2);
    check_tensor(&file, "scalar", "F32", "[]", (float[]){7.0f}, 1);
    check_tensor(&file, "empty", "F32", "[0, 3]", numbers, 0);
    check_tensor(&file, "parameter", "F32", "[1, 2]", (float[]){0.25f, 0.25f}, 2);
    check_tensor(&file, "longs", "I64", "[3]", NULL, 3);
    check_tensor(&file, "bools", "BOOL", "[2]", NULL, 2);
    int64_t longs[3];
    memcpy(longs, file.data + tensor_file_find(&file, "longs")->offset, sizeof longs);
    ck_assert_int_eq(longs[2], 1ll << 40);
    ck_assert_ptr_null(tensor_file_find(&file, "nothing"));
    tensor_file_close(&file);

    ck_assert_msg(tensor_file_open(&file, torch_file("module.bin"), &error) == 0, "%s", error.message);
    ck_assert_uint_eq(file.count, 2);
    tensor_file_close(&file);
}
END_TEST

/* What is left of a half, whatever its bits: the reference is the definition of the format. */
START_TEST(every_half_has_its_float)
{
    unsigned char *data = malloc(8 + 100 + 2 * 65536);
    const char *header = "{\"h\": {\"dtype\": \"F16\", \"shape\": [65536], \"data_offsets\": [0, 131072]}}";
    uint64_t length = strlen(header);
    memcpy(data, &length, 8);
    memcpy(data + 8, header, length);
    for (uint32_t i = 0; i < 65536; i++)
        memcpy(data + 8 + length + 2 * i, &(uint16_t){(uint16_t)i}, 2);
    const char *path = temporary_path("halves.safetensors");
    file_write(path, data, 8 + length + 131072);
    free(data);

    struct tensor_file file;
    struct error error = {""};
    ck_assert_msg(tensor_file_open(&file, path, &error) == 0, "%s", error.message);
    float *floats = malloc(65536 * sizeof *floats);
    tensor_file_floats(&file, file.tensors, 0, 65536, floats);
    for (int i = 0; i < 65536; i++) {
        int exponent = i >> 10 & 31, fraction = i & 1023;
        double value = exponent == 31  ? fraction ? NAN : INFINITY
                       : exponent == 0 ? ldexp(fraction, -24)
                                       : ldexp(1024 + fraction, exponent - 25);
        if (i & 0x8000)
            value = -value;
        ck_assert_msg(isnan(value) ? isnan(floats[i]) : (double)floats[i] == value && !signbit(floats[i]) == !(i >> 15),
                      "half %04x: expected %g, found %g", (unsigned)i, value, (double)floats[i]);
    }
    free(floats);
    tensor_file_close(&file);
}
END_TEST

START_TEST(torch_files_are_refused)
{
    check_refused(torch_file("evil.bin"), "asks for __builtin__.print, which makes no tensor");
    check_refused(torch_file("spread.bin"), "do not follow each other; save it with .contiguous()");
    check_refused(torch_file("nested.bin"), "state_dict: expected a tensor, found another value");
    check_refused(torch_file("old.bin"), "this is not a safetensors file");
}
END_TEST

/* Cut anywhere, or with a byte changed, a file is read or refused: nothing else can be seen of it. */
START_TEST(damage_is_survived)
{
    static const char *const names[] = {"tensors.bin", "module.bin", "evil.bin"};
    const char *path = temporary_path("damaged.bin");
    size_t refused = 0;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        size_t length;
        struct tensor_file file;
        struct error error = {""};
        char *bytes = file_read(torch_file(names[n]), &length);
        for (size_t at = n; at < length; at += 3) {
            bytes[at] ^= 0x5a;
            file_write(path, bytes, length);
            bytes[at] ^= 0x5a;
            if (tensor_file_open(&file, path, &error) == 0)
                tensor_file_close(&file);
            else
                refused++;
            if (at % 7 > 2)
                continue;
            file_write(path, bytes, at);
            ck_assert_int_eq(tensor_file_open(&file, path, &error), -1);
        }
        free(bytes);
    }
    ck_assert_uint_gt(refused, 300);
}
END_TEST

#define T(fields) "{\"t\": {" fields "}}"
#define DTYPE "\"dtype\": \"F32\", "

static const struct lie {
    const char *header;
    const char *fragment;
} lies[] = {
    {"[1]", "expected one JSON object, found another value"},
    {"{\"t\"", "found no JSON"},
    {T(DTYPE "\"shape\": [6], \"data_offsets\": [0, 24]") "x", "found more text"},
    {T(DTYPE "\"shape\": [6]"), "expected dtype, shape and data_offsets"},
    {T("\"dtype\": \"F4\", \"shape\": [6], \"data_offsets\": [0, 24]"), "expected F32, F16 or BF16, found \"F4\""},
    {T(DTYPE "\"shape\": [6.5], \"data_offsets\": [0, 24]"), "shape: expected at most 8 whole numbers"},
    {T(DTYPE "\"shape\": [1,1,1,1,1,1,1,1,6], \"data_offsets\": [0, 24]"), "shape: expected at most 8 whole numbers"},
    {T(DTYPE "\"shape\": [-1], \"data_offsets\": [0, 24]"), "shape: expected at most 8 whole numbers"},
    {T(DTYPE "\"shape\": [9007199254740992, 9007199254740992], \"data_offsets\": [0, 24]"), "elements that the file"},
    {T(DTYPE "\"shape\": [7], \"data_offsets\": [0, 24]"), "expected 28 bytes"},
    {T(DTYPE "\"shape\": [5], \"data_offsets\": [0, 24]"), "expected 20 bytes for its shape, found 24"},
    {T(DTYPE "\"shape\": [7], \"data_offsets\": [0, 28]"), "data_offsets: expected two offsets up to 24"},
    {T(DTYPE "\"shape\": [6], \"data_offsets\": [24, 0]"), "data_offsets: expected two offsets up to 24"},
    {T(DTYPE "\"shape\": [5], \"data_offsets\": [4, 24]"), "expected a start at 0, found 4"},
    {T(DTYPE "\"shape\": [5], \"data_offsets\": [0, 20]"), "expected tensors of 20 bytes, found 24 bytes"},
    {"{\"t\": {" DTYPE "\"shape\": [6], \"data_offsets\": [0, 24]}, \"t\": {" DTYPE
     "\"shape\": [0], \"data_offsets\": [24, 24]}}",
     "t: expected each tensor once"},
    {"{\"t\\u0000\": {" DTYPE "\"shape\": [6], \"data_offsets\": [0, 24]}}", "expected text without bytes 0"},
    {"{\"t\\n\": {" DTYPE "\"shape\": [6], \"data_offsets\": [0, 24]}}", "printable characters"},
};

START_TEST(headers_that_lie_are_refused)
{
    const char *path = temporary_path("lie.safetensors");
    safetensors_write(path, lies[_i].header, 24);
    check_refused(path, lies[_i].fragment);
}
END_TEST

START_TEST(what_is_no_file_is_refused)
{
    check_refused(temporary_path("nothing"), "cannot be opened");
    check_refused(temporary_folder(), "something that is no file");
    const char *path = temporary_path("empty");
    file_write(path, "", 0);
    check_refused(path, "an empty file");
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("tensor_file");
    TCase *cases = tcase_create("tensor_file");
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, torch_files_are_read);
    tcase_add_test(cases, every_half_has_its_float);
    tcase_add_test(cases, torch_files_are_refused);
    tcase_add_test(cases, damage_is_survived);
    tcase_add_loop_test(cases, headers_that_lie_are_refused, 0, sizeof lies / sizeof *lies);
    tcase_add_test(cases, what_is_no_file_is_refused);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
