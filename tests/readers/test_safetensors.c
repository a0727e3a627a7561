/* Safetensors: what is read, and every way in which a header can lie. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint.h"
#include "fixture.h"
#include "process.h"

#define CONFIG "{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 8}"
#define FILE_NAME "model.safetensors"

static const char *folder_with(const char *header, size_t data_bytes)
{
    const char *folder = checkpoint_folder(CONFIG);
    safetensors_write(text("%s/" FILE_NAME, folder), header, data_bytes);
    return folder;
}

static void check_tensor(const cJSON *tensors, const char *name, const char *dtype, const char *shape, int offset,
                         int bytes)
{
    const cJSON *tensor = json_member(tensors, name, name);
    char *found = cJSON_PrintUnformatted(json_member(tensor, "shape", name));
    ck_assert_str_eq(json_member(tensor, "dtype", name)->valuestring, dtype);
    ck_assert_str_eq(found, shape);
    ck_assert_int_eq(json_member(tensor, "offset", name)->valueint, offset);
    ck_assert_int_eq(json_member(tensor, "bytes", name)->valueint, bytes);
    cJSON_free(found);
}

START_TEST(tensors_are_found)
{
    const char *header = "{\"__metadata__\": {\"format\": \"pt\"},"
                         "\"b\": {\"dtype\": \"F32\", \"shape\": [3], \"data_offsets\": [12, 24]},"
                         "\"a\": {\"dtype\": \"BF16\", \"shape\": [2, 3], \"data_offsets\": [0, 12]},"
                         "\"none\": {\"dtype\": \"F16\", \"shape\": [0, 9], \"data_offsets\": [24, 24]},"
                         "\"one\": {\"dtype\": \"BOOL\", \"shape\": [], \"data_offsets\": [24, 25]}}      ";
    int data = 8 + (int)strlen(header);
    cJSON *json = checkpoint_read(folder_with(header, 25));
    const cJSON *tensors = json_member(json, "tensors", "checkpoint");
    ck_assert_int_eq(cJSON_GetArraySize(tensors), 4);
    check_tensor(tensors, "a", "BF16", "[2,3]", data, 12);
    check_tensor(tensors, "b", "F32", "[3]", data + 12, 12);
    check_tensor(tensors, "none", "F16", "[0,9]", data + 24, 0);
    check_tensor(tensors, "one", "BOOL", "[]", data + 24, 1);
    ck_assert_str_eq(json_member(json, "kind", "checkpoint")->valuestring, "huggingface");
    cJSON_Delete(json);
}
END_TEST

/* One tensor "t" with these fields, in a file with 24 bytes of data. */
#define T(fields) "{\"t\": {" fields "}}"
#define DTYPE "\"dtype\": \"F32\", "

static const struct lie {
    const char *header;
    const char *fragment; /* beside the file's name */
} lies[] = {
    {"[1]", "expected a JSON object"},
    {"", "expected a JSON object"},
    {"{\"t\": ", "valid JSON"},
    {"{} x", "valid JSON"},
    {"{\"t\": 1}", "t: expected an object, found 1"},
    {"{\"t\": []}", "t: expected an object, found an array"},
    {"{\"__metadata__\": {\"a\": 1}}", "__metadata__.a: expected a string"},
    {"{\"\": " DTYPE "}", "valid JSON"},
    {T("\"shape\": [6], \"data_offsets\": [0, 24]"), "t: dtype: expected a string, found nothing"},
    {T("\"dtype\": \"F128\", \"shape\": [6], \"data_offsets\": [0, 24]"), "t: dtype: expected a dtype of the format"},
    {T("\"dtype\": 7, \"shape\": [6], \"data_offsets\": [0, 24]"), "t: dtype: expected a string, found 7"},
    {T(DTYPE "\"shape\": [6]"), "t: data_offsets: expected an array, found nothing"},
    {T(DTYPE "\"shape\": [6], \"data_offsets\": {}"), "t: data_offsets: expected an array"},
    {T(DTYPE "\"shape\": [6], \"data_offsets\": [0]"), "t: data_offsets: expected two offsets, found 1"},
    {T(DTYPE "\"shape\": [6], \"data_offsets\": [0, 24, 24]"), "expected two offsets, found 3"},
    {T(DTYPE "\"shape\": [6], \"data_offsets\": [-24, 0]"), "t: data_offsets[0]: expected a whole number"},
    {T(DTYPE "\"shape\": [6], \"data_offsets\": [0.5, 24]"), "t: data_offsets[0]: expected a whole number"},
    {T(DTYPE "\"shape\": [6], \"data_offsets\": [0, 25]"),
     "t: data_offsets[1]: expected a whole number from 0 to 24, found 25"},
    {T(DTYPE "\"shape\": [6], \"data_offsets\": [0, 1e300]"), "t: data_offsets[1]"},
    {T(DTYPE "\"shape\": [6], \"data_offsets\": [0, 18446744073709551615]"), "t: data_offsets[1]"},
    {T(DTYPE "\"shape\": [6], \"data_offsets\": [24, 0]"), "t: data_offsets[1]: expected a whole number from 24"},
    {T(DTYPE "\"shape\": [6], \"data_offsets\": [\"0\", 24]"), "t: data_offsets[0]"},
    {T(DTYPE "\"shape\": [6], \"data_offsets\": [null, 24]"), "t: data_offsets[0]"},
    {T(DTYPE "\"shape\": [5], \"data_offsets\": [0, 24]"),
     "t: data_offsets: expected 20 bytes for 5 elements of F32, found 24"},
    {T("\"dtype\": \"F64\", \"shape\": [6], \"data_offsets\": [0, 24]"), "expected 48 bytes"},
    {T(DTYPE "\"data_offsets\": [0, 24]"), "t: shape: expected an array, found nothing"},
    {T(DTYPE "\"shape\": \"6\", \"data_offsets\": [0, 24]"), "t: shape: expected an array"},
    {T(DTYPE "\"shape\": [-6], \"data_offsets\": [0, 24]"), "t: shape[0]: expected a whole number"},
    {T(DTYPE "\"shape\": [1.5, 4], \"data_offsets\": [0, 24]"), "t: shape[0]: expected a whole number"},
    {T(DTYPE "\"shape\": [1e30], \"data_offsets\": [0, 24]"), "t: shape[0]"},
    {T(DTYPE "\"shape\": [4294967296, 4294967296, 6], \"data_offsets\": [0, 24]"),
     "t: shape[0]: expected a shape of at most"},
    {T(DTYPE "\"shape\": [2, 3, 9007199254740992], \"data_offsets\": [0, 24]"),
     "t: shape[2]: expected a shape of at most"},
    {T(DTYPE "\"shape\": [5], \"data_offsets\": [4, 24]"), "expected a start at 0, found 4: bytes between tensors"},
    {T(DTYPE "\"shape\": [5], \"data_offsets\": [0, 20]"), "expected the tensors to cover 24 bytes, found 20"},
    {"{}", "expected the tensors to cover 24 bytes, found 0"},
    {"{\"t\": {" DTYPE "\"shape\": [3], \"data_offsets\": [0, 12]}, \"u\": {" DTYPE
     "\"shape\": [4], \"data_offsets\": [8, 24]}}",
     "u: data_offsets: expected a start at 12 or later, found 8: it overlaps t"},
    {"{\"t\": {" DTYPE "\"shape\": [3], \"data_offsets\": [0, 12]}, \"t\": {" DTYPE
     "\"shape\": [3], \"data_offsets\": [12, 24]}}",
     "\"t\" stands twice"},
    {"{\"t\\n*/\": {" DTYPE "\"shape\": [6], \"data_offsets\": [0, 24]}}",
     "tensor names of 1 to 1024 printable characters"},
    {"{\"\": {" DTYPE "\"shape\": [6], \"data_offsets\": [0, 24]}}", "tensor names of 1 to 1024 printable characters"},
    {T("\"dtype\": \"F8_E4M3\", \"shape\": [24], \"data_offsets\": [0, 24]"),
     "t: dtype: expected F32, F16 or BF16, found F8_E4M3"},
    {T("\"dtype\": \"F8_E5M2\", \"shape\": [24], \"data_offsets\": [0, 24]"), "found F8_E5M2"},
    {T("\"dtype\": \"F4\", \"shape\": [48], \"data_offsets\": [0, 24]"), "found F4"},
};

START_TEST(lies_are_found)
{
    checkpoint_refused(folder_with(lies[_i].header, 24), FILE_NAME, lies[_i].fragment, NULL);
}
END_TEST

START_TEST(header_lengths_are_checked)
{
    static const unsigned char lengths[][8] = {
        {255, 255, 255, 255, 255, 255, 255, 255}, /* 2^64 - 1 */
        {0, 0, 0, 0, 0, 0, 0, 128},               /* 2^63 */
        {1, 225, 245, 5},                         /* 100,000,001 */
        {11},                                     /* one more than there is */
    };
    static const char *const fragments[] = {"2^63 or more", "2^63 or more", "found 100000001",
                                            "at most the 10 bytes that follow, found 11"};
    for (size_t i = 0; i < 4; i++) {
        unsigned char file[18] = {0};
        const char *folder = checkpoint_folder(CONFIG);
        memcpy(file, lengths[i], 8);
        memset(file + 8, ' ', 10);
        file_write(text("%s/" FILE_NAME, folder), file, sizeof file);
        checkpoint_refused(folder, FILE_NAME, "header length", fragments[i], NULL);
    }
    for (size_t bytes = 0; bytes < 8; bytes += 7) {
        const char *folder = checkpoint_folder(CONFIG);
        file_write(text("%s/" FILE_NAME, folder), "1234567", bytes);
        checkpoint_refused(folder, FILE_NAME, "header length", text("a file of %zu", bytes), NULL);
    }
}
END_TEST

/* Cut anywhere, the file is refused. */
/* A NUL does not cut the message that quotes it: what to do stands behind. */
START_TEST(a_header_of_other_bytes_is_quoted)
{
    const char *folder = checkpoint_folder(CONFIG);
    file_write(text("%s/" FILE_NAME, folder), "\4\0\0\0\0\0\0\0a\0\nb", 12);
    checkpoint_refused(folder, "header: expected a JSON object, found \"a\\x00\\x0ab\"", "or it is damaged", NULL);
}
END_TEST

START_TEST(truncation_is_found)
{
    const char *header = T(DTYPE "\"shape\": [6], \"data_offsets\": [0, 24]");
    const char *folder = folder_with(header, 24), *path = text("%s/" FILE_NAME, folder);
    size_t length;
    char *file = file_read(path, &length);
    for (size_t bytes = 0; bytes < length; bytes += bytes < 12 || bytes > length - 28 ? 3 : 17) {
        file_write(path, file, bytes);
        checkpoint_refused(folder, FILE_NAME, NULL);
    }
    free(file);
}
END_TEST

#define TENSOR(name) "{\"" name "\": {\"dtype\": \"F32\", \"shape\": [6], \"data_offsets\": [0, 24]}}"
#define INDEX "model.safetensors.index.json"

static const char *sharded(const char *index)
{
    const char *folder = checkpoint_folder(CONFIG);
    file_write(text("%s/" INDEX, folder), index, strlen(index));
    safetensors_write(text("%s/m-1.safetensors", folder), TENSOR("a"), 24);
    safetensors_write(text("%s/m-2.safetensors", folder), TENSOR("b"), 24);
    safetensors_write(text("%s/m-3.safetensors", folder), TENSOR("a"), 24);
    return folder;
}

START_TEST(shards_are_read)
{
    const char *folder = sharded("{\"metadata\": {\"total_size\": 48}, \"weight_map\": {\"b\": \"m-2.safetensors\", "
                                 "\"a\": \"m-1.safetensors\"}}");
    cJSON *json = checkpoint_read(folder);
    const cJSON *tensors = json_member(json, "tensors", folder);
    ck_assert_int_eq(cJSON_GetArraySize(tensors), 2);
    const char *file = json_member(json_member(tensors, "b", folder), "file", folder)->valuestring;
    ck_assert_str_eq(strrchr(file, '/'), "/m-2.safetensors");
    cJSON_Delete(json);
}
END_TEST

static const struct lie indexes[] = {
    {"", "valid JSON"},
    {"[]", "expected an object"},
    {"{}", "weight_map: expected an object, found nothing"},
    {"{\"weight_map\": []}", "weight_map: expected an object, found an array"},
    {"{\"weight_map\": {}}", "weight_map: expected at least one tensor"},
    {"{\"weight_map\": {\"a\": 1}}", "weight_map.a: expected a string, found 1"},
    {"{\"weight_map\": {\"a\": \"m-4.safetensors\"}}", "m-4.safetensors, which is missing"},
    {"{\"weight_map\": {\"a\": \"../m-1.safetensors\"}}", "the plain name of a .safetensors file"},
    {"{\"weight_map\": {\"a\": \"/etc/m-1.safetensors\"}}", "the plain name of a .safetensors file"},
    {"{\"weight_map\": {\"a\": \"x/../m-1.safetensors\"}}", "the plain name of a .safetensors file"},
    {"{\"weight_map\": {\"a\": \"..\"}}", "the plain name of a .safetensors file"},
    {"{\"weight_map\": {\"a\": \"\"}}", "the plain name of a .safetensors file"},
    {"{\"weight_map\": {\"a\": \"m-1\\u0000.safetensors\"}}", "the plain name of a .safetensors file"},
    {"{\"weight_map\": {\"a\": \"config.json\"}}", "the plain name of a .safetensors file"},
    {"{\"weight_map\": {\"b\": \"m-1.safetensors\"}}", "weight_map: b: expected it in m-1.safetensors"},
    {"{\"weight_map\": {\"a\": \"m-1.safetensors\", \"c\": \"m-2.safetensors\"}}", "c: expected it in m-2.safetensors"},
};

START_TEST(index_lies_are_found)
{
    checkpoint_refused(sharded(indexes[_i].header), INDEX, indexes[_i].fragment, NULL);
}
END_TEST

START_TEST(a_tensor_in_two_shards_is_refused)
{
    const char *folder = sharded("{\"weight_map\": {\"a\": \"m-1.safetensors\", \"b\": \"m-2.safetensors\"}}");
    safetensors_write(text("%s/m-2.safetensors", folder),
                      "{\"a\": {\"dtype\": \"F32\", \"shape\": [3], \"data_offsets\": [0, 12]},"
                      "\"b\": {\"dtype\": \"F32\", \"shape\": [3], \"data_offsets\": [12, 24]}}",
                      24);
    checkpoint_refused(folder, "m-2.safetensors: a: expected each tensor once", "m-1.safetensors", NULL);
}
END_TEST

static void make_folder(void)
{
    temporary_folder();
}

int main(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *tests = tcase_create("read");
    tcase_set_timeout(tests, 120);
    tcase_add_unchecked_fixture(tests, make_folder, NULL);
    tcase_add_test(tests, tensors_are_found);
    tcase_add_loop_test(tests, lies_are_found, 0, (int)(sizeof lies / sizeof lies[0]));
    tcase_add_test(tests, header_lengths_are_checked);
    tcase_add_test(tests, a_header_of_other_bytes_is_quoted);
    tcase_add_test(tests, truncation_is_found);
    tcase_add_test(tests, shards_are_read);
    tcase_add_loop_test(tests, index_lies_are_found, 0, (int)(sizeof indexes / sizeof indexes[0]));
    tcase_add_test(tests, a_tensor_in_two_shards_is_refused);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
