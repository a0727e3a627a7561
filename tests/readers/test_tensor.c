/* Converting tensors: every format against gguf's own dequantiser, rounding to bf16, rows of heads put back
   in order, streaming in bounded memory. */
#include <check.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "host_tensor.h"
#include "process.h"

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* A sink that keeps everything. */
struct collected {
    unsigned char *data;
    size_t bytes, capacity;
    size_t largest; /* bytes in one call */
};

static int collect(void *context, const void *data, size_t bytes, struct error *error)
{
    struct collected *collected = context;
    (void)error;
    ck_assert_uint_le(bytes, collected->capacity - collected->bytes);
    memcpy(collected->data + collected->bytes, data, bytes);
    collected->bytes += bytes;
    if (bytes > collected->largest)
        collected->largest = bytes;
    return 0;
}

/* Converts to newly allocated values; fails the test on an error. */
static void *convert(const struct tensor_source *source, enum dtype dtype, size_t *bytes)
{
    struct error error;
    struct collected collected = {.capacity = (size_t)(source->rows * source->columns) * sizeof(float) + 1};
    collected.data = malloc(collected.capacity);
    ck_assert_ptr_nonnull(collected.data);
    int failed = tensor_convert(source, dtype, collect, &collected, &error);
    ck_assert_msg(failed == 0, "%s", error.message);
    *bytes = collected.bytes;
    return collected.data;
}

/* The nearer of the two neighbours, found by distance in double precision; the even one of two equally near.
 */
static uint16_t nearest(uint32_t bits)
{
    uint32_t below = bits >> 16, above = below + 1;
    double value = float_of(bits), low = float_of(below << 16), high;
    if ((bits & 0x7fffffff) == 0x7f800000 || (bits & 0xffff) == 0)
        return (uint16_t)below;
    if ((above & 0x7fff) == 0x7f80)
        high = copysign(0x1p128, value); /* what infinity stands for when one rounds to it */
    else
        high = float_of(above << 16);
    double to_low = fabs(value - low), to_high = fabs(high - value);
    if (to_low != to_high)
        return (uint16_t)(to_low < to_high ? below : above);
    return (uint16_t)(below % 2 == 0 ? below : above);
}

static uint32_t load(const unsigned char *at)
{
    uint32_t bits;
    memcpy(&bits, at, sizeof bits);
    return bits;
}

static bool is_nan(uint32_t bits)
{
    return (bits & 0x7fffffff) > 0x7f800000;
}

/* Every bit but those that tell NaNs apart. */
START_TEST(formats_agree_with_the_reference)
{
    size_t length, formats = 0;
    char *file = file_read(TEST_SOURCE_DIR "/tests/fixtures/readers/blocks.bin", &length);
    const unsigned char *at = (const unsigned char *)file;
    while (at < (const unsigned char *)file + length) {
        uint32_t blocks, weights;
        const struct tensor_format *format = tensor_format_find((const char *)at);
        ck_assert_msg(format != NULL, "%s is not known", (const char *)at);
        memcpy(&blocks, at + 8, 4);
        memcpy(&weights, at + 12, 4);
        ck_assert_uint_eq(weights, format->block_weights);
        at += 16;
        struct tensor_source source = {.format = format, .rows = blocks, .columns = weights, .data = at};
        at += (size_t)blocks * format->block_bytes;
        size_t bytes;
        unsigned char *values = convert(&source, DTYPE_F32, &bytes);
        ck_assert_uint_eq(bytes, (size_t)blocks * weights * sizeof(float));
        for (size_t i = 0; i < bytes; i += 4)
            ck_assert_msg(memcmp(values + i, at + i, 4) == 0 || (is_nan(load(values + i)) && is_nan(load(at + i))),
                          "%s: weight %zu is %08x, expected %08x", format->name, i / 4, load(values + i), load(at + i));
        free(values);
        uint16_t *halves = convert(&source, DTYPE_BF16, &bytes);
        ck_assert_uint_eq(bytes, (size_t)blocks * weights * sizeof *halves);
        for (size_t i = 0; i < bytes / 2; i++, at += 4) {
            uint32_t expected = load(at);
            ck_assert_msg(is_nan(expected) ? is_nan((uint32_t)halves[i] << 16) : halves[i] == nearest(expected),
                          "%s: weight %zu as bf16 differs", format->name, i);
        }
        free(halves);
        formats++;
    }
    ck_assert_uint_eq(formats, tensor_format_count);
    free(file);
}
END_TEST

/* Every half, against ldexp. */
START_TEST(halves_are_exact)
{
    const struct tensor_format *format = tensor_format_find("F16");
    for (uint32_t half = 0; half < 0x10000; half++) {
        unsigned char stored[2] = {(unsigned char)half, (unsigned char)(half >> 8)};
        float value;
        format->to_f32(stored, 1, &value);
        int exponent = (int)(half >> 10 & 31), fraction = (int)(half & 1023);
        double sign = half & 0x8000 ? -1 : 1;
        if (exponent == 31 && fraction)
            ck_assert_msg(isnan(value), "%04x", half);
        else if (exponent == 31)
            ck_assert_msg(isinf(value) && value * sign > 0, "%04x", half);
        else {
            double expected = sign * (exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24));
            ck_assert_msg(value == expected && !signbit(value) == (sign > 0), "%04x: %a, expected %a", half,
                          (double)value, expected);
        }
    }
}
END_TEST

static uint16_t rounded(uint32_t bits)
{
    unsigned char stored[4] = {(unsigned char)bits, (unsigned char)(bits >> 8), (unsigned char)(bits >> 16),
                               (unsigned char)(bits >> 24)};
    struct tensor_source source = {.format = tensor_format_find("F32"), .rows = 1, .columns = 1, .data = stored};
    size_t bytes;
    uint16_t *out = convert(&source, DTYPE_BF16, &bytes);
    ck_assert_uint_eq(bytes, 2);
    uint16_t value = out[0];
    free(out);
    return value;
}

START_TEST(bf16_rounds_to_nearest_even)
{
    static const uint32_t low[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
    for (uint32_t high = 0; high < 0x10000; high += 7) {
        for (size_t i = 0; i < sizeof low / sizeof low[0]; i++) {
            uint32_t bits = high << 16 | low[i];
            uint16_t found = rounded(bits);
            if ((bits & 0x7fffffff) > 0x7f800000) {
                ck_assert_msg((found & 0x7fc0) == 0x7fc0, "%08x: %04x is no quiet NaN", bits, found);
                ck_assert_uint_eq(found >> 15, bits >> 31);
            } else {
                ck_assert_msg(found == nearest(bits), "%08x: %04x, expected %04x", bits, found, nearest(bits));
            }
        }
    }
    ck_assert_uint_eq(rounded(0x7f7fffff), 0x7f80); /* above the largest bf16: infinity */
    ck_assert_uint_eq(rounded(0x7f800001), 0x7fc0); /* the NaN that would round to infinity */
}
END_TEST

/* Rows numbered in Hugging Face order, stored as llama.cpp's converter does: reshape(heads, 2, d/2), swap,
 * flatten. */
static void check_heads(uint64_t heads, uint64_t head_rows, uint64_t columns)
{
    uint64_t rows = heads * head_rows;
    float *stored = calloc(rows * columns, sizeof *stored);
    for (uint64_t head = 0; head < heads; head++)
        for (uint64_t p = 0; p < 2; p++)
            for (uint64_t i = 0; i < head_rows / 2; i++)
                for (uint64_t c = 0; c < columns; c++)
                    stored[(head * head_rows + 2 * i + p) * columns + c] =
                        (float)((head * head_rows + p * (head_rows / 2) + i) * columns + c);
    struct tensor_source source = {.format = tensor_format_find("F32"),
                                   .rows = rows,
                                   .columns = columns,
                                   .heads = heads,
                                   .data = (const unsigned char *)stored};
    size_t bytes;
    float *values = convert(&source, DTYPE_F32, &bytes);
    ck_assert_uint_eq(bytes, rows * columns * sizeof(float));
    for (uint64_t i = 0; i < rows * columns; i++)
        ck_assert_msg(values[i] == (float)i, "heads %d, rows %d: %g at %d", (int)heads, (int)head_rows,
                      (double)values[i], (int)i);
    free(values);
    free(stored);
}

START_TEST(heads_are_put_in_order)
{
    check_heads(1, 2, 1);
    check_heads(3, 6, 5);
    check_heads(9, 64, 3);
    check_heads(2, 64, 1); /* a bias */
}
END_TEST

START_TEST(odd_heads_are_refused)
{
    struct error error;
    unsigned char data[64] = {0};
    struct tensor_source source = {
        .format = tensor_format_find("F32"), .rows = 6, .columns = 1, .heads = 2, .data = data};
    ck_assert_int_eq(tensor_convert(&source, DTYPE_F32, collect, NULL, &error), -1);
    source.heads = 4;
    ck_assert_int_eq(tensor_convert(&source, DTYPE_F32, collect, NULL, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "4 heads"));
}
END_TEST

/* A tensor of many chunks, whose last one is short, is the concatenation of its rows. */
START_TEST(chunks_join)
{
    const struct tensor_format *format = tensor_format_find("Q4_1");
    uint64_t rows = 1037, columns = 288, bytes;
    struct error error;
    ck_assert_int_eq(tensor_bytes(format, rows, columns, &bytes, &error), 0);
    ck_assert_uint_eq(bytes, rows * 9 * 20);
    unsigned char *data = malloc(bytes);
    for (uint64_t i = 0; i < bytes; i++)
        data[i] = (unsigned char)(i % 20 == 1 || i % 20 == 3 ? 0x3c : i * 2654435761u >> 13);
    struct tensor_source whole = {.format = format, .rows = rows, .columns = columns, .data = data};
    size_t found;
    unsigned char *values = convert(&whole, DTYPE_BF16, &found);
    ck_assert_uint_eq(found, rows * columns * 2);
    for (uint64_t row = 0; row < rows; row++) {
        struct tensor_source one = {.format = format, .rows = 1, .columns = columns, .data = data + row * 180};
        size_t part;
        unsigned char *expected = convert(&one, DTYPE_BF16, &part);
        ck_assert_msg(memcmp(values + row * columns * 2, expected, part) == 0, "row %d differs", (int)row);
        free(expected);
    }
    free(values);
    free(data);
}
END_TEST

static int refuse(void *context, const void *data, size_t bytes, struct error *error)
{
    (void)data;
    (void)bytes;
    ++*(int *)context;
    return error_set(error, "the disk is full");
}

START_TEST(sink_errors_stop)
{
    struct error error;
    int calls = 0;
    float *data = calloc(1 << 20, sizeof *data);
    struct tensor_source source = {
        .format = tensor_format_find("F32"), .rows = 1 << 10, .columns = 1 << 10, .data = (const unsigned char *)data};
    ck_assert_int_eq(tensor_convert(&source, DTYPE_BF16, refuse, &calls, &error), -1);
    ck_assert_str_eq(error.message, "the disk is full");
    ck_assert_int_eq(calls, 1);
    free(data);
}
END_TEST

START_TEST(sizes_are_checked)
{
    struct error error;
    uint64_t bytes;
    const struct tensor_format *format = tensor_format_find("Q6_K");
    ck_assert_int_eq(tensor_bytes(format, 3, 512, &bytes, &error), 0);
    ck_assert_uint_eq(bytes, 3 * 2 * 210);
    ck_assert_int_eq(tensor_bytes(format, 3, 500, &bytes, &error), -1);
    ck_assert_int_eq(tensor_bytes(format, UINT64_MAX / 2, 1024, &bytes, &error), -1);
    ck_assert_int_eq(tensor_bytes(format, UINT64_MAX / 16, 256, &bytes, &error), -1);
    ck_assert_ptr_null(tensor_format_find("IQ2_XS"));
    ck_assert_ptr_null(tensor_format_find(""));
}
END_TEST

static int count_bytes(void *context, const void *data, size_t bytes, struct error *error)
{
    (void)data;
    (void)error;
    *(uint64_t *)context += bytes;
    return 0;
}

/* Resident memory must not grow with the tensor. */
START_TEST(memory_is_bounded)
{
    const uint64_t rows = 1 << 14, columns = 1 << 13, size = rows * columns * 2; /* 256 MiB */
    const char *path = temporary_path("sparse");
    int descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(descriptor, 0);
    ck_assert_int_eq(ftruncate(descriptor, (off_t)size), 0);
    const unsigned char *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    ck_assert_ptr_ne(data, MAP_FAILED);
    for (uint64_t heads = 0; heads <= 128; heads += 128) {
        struct rusage before, after;
        struct error error;
        uint64_t written = 0;
        struct tensor_source source = {.format = tensor_format_find("BF16"),
                                       .rows = rows,
                                       .columns = columns,
                                       .heads = heads,
                                       .data = data,
                                       .mapped = true};
        getrusage(RUSAGE_SELF, &before);
        ck_assert_int_eq(tensor_convert(&source, DTYPE_F32, count_bytes, &written, &error), 0);
        getrusage(RUSAGE_SELF, &after);
        ck_assert_uint_eq(written, 2 * size);
        ck_assert_msg(after.ru_maxrss - before.ru_maxrss < 64 << 10, "peak memory grew by %ld KiB",
                      after.ru_maxrss - before.ru_maxrss);
    }
    munmap((void *)(uintptr_t)data, size);
    close(descriptor);
    unlink(path);
}
END_TEST

/* Before the tests fork, so that they share the folder. */
static void make_folder(void)
{
    temporary_folder();
}

int main(void)
{
    Suite *suite = suite_create("tensor");
    TCase *tests = tcase_create("convert");
    tcase_set_timeout(tests, 120);
    tcase_add_unchecked_fixture(tests, make_folder, NULL);
    tcase_add_test(tests, formats_agree_with_the_reference);
    tcase_add_test(tests, halves_are_exact);
    tcase_add_test(tests, bf16_rounds_to_nearest_even);
    tcase_add_test(tests, heads_are_put_in_order);
    tcase_add_test(tests, odd_heads_are_refused);
    tcase_add_test(tests, chunks_join);
    tcase_add_test(tests, sink_errors_stop);
    tcase_add_test(tests, sizes_are_checked);
    tcase_add_test(tests, memory_is_bounded);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
