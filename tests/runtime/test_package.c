/* Finding and checking the payload: every kind of damage has its own message, and none gets through. */
#include <check.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine.h"
#include "fake_model.h"
#include "package.h"

static struct fake_model fake;
static char directory[64], path[128];

static void setup(void)
{
    strcpy(directory, "/tmp/lathe_package_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/weights.bin", directory);
    fake_model_init(&fake, NULL);
    ck_assert_int_eq(fake_model_write(&fake, path, 0), 0);
}

static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    ck_assert_int_eq(system(command), 0);
}

struct bytes {
    unsigned char *data;
    size_t count;
};

static struct bytes read_file(const char *name)
{
    struct bytes bytes = {0};
    FILE *file = fopen(name, "rb");
    ck_assert_msg(file != NULL, "%s: %s", name, strerror(errno));
    struct stat status;
    ck_assert_int_eq(fstat(fileno(file), &status), 0);
    bytes.count = (size_t)status.st_size;
    bytes.data = malloc(bytes.count + 1);
    ck_assert_uint_eq(fread(bytes.data, 1, bytes.count, file), bytes.count);
    fclose(file);
    return bytes;
}

static void write_file(const char *name, const void *data, size_t count)
{
    FILE *file = fopen(name, "wb");
    ck_assert_msg(file != NULL, "%s: %s", name, strerror(errno));
    ck_assert_uint_eq(fwrite(data, 1, count, file), count);
    fclose(file);
}

/* Opens `path`, which must fail with a one-line message that has `part` and the path in it. */
static void expect_refused(const char *part)
{
    struct package package;
    struct error error = {""};
    ck_assert_msg(package_open(&package, &fake.model, path, true, NULL, NULL, &error) != 0, "opened; expected: %s",
                  part);
    ck_assert_msg(strstr(error.message, part) != NULL, "\"%s\" has no \"%s\"", error.message, part);
    ck_assert_msg(strstr(error.message, path) != NULL, "\"%s\" does not name the file", error.message);
    ck_assert_ptr_null(strchr(error.message, '\n'));
    ck_assert_ptr_null(package.payload);
}

/* Changes the trailer of `path`, with its checksum when `seal`. */
static void change_trailer(void (*change)(struct package_trailer *), bool seal)
{
    struct bytes bytes = read_file(path);
    struct package_trailer trailer;
    memcpy(&trailer, bytes.data + bytes.count - sizeof trailer, sizeof trailer);
    change(&trailer);
    if (seal)
        trailer.trailer_hash = XXH3_64bits(&trailer, offsetof(struct package_trailer, trailer_hash));
    memcpy(bytes.data + bytes.count - sizeof trailer, &trailer, sizeof trailer);
    write_file(path, bytes.data, bytes.count);
    free(bytes.data);
}

static void check_payload(const struct package *package)
{
    unsigned char *expected = fake_model_payload(&fake);
    ck_assert_uint_eq((uintptr_t)package->payload % 4096, 0);
    ck_assert_mem_eq(package->payload, expected, fake.model.payload_bytes);
    free(expected);
}

static const size_t prefixes[] = {0, 1, 4096, 4097, 70000};

static void note_progress(void *context, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    *(bool *)context |= done == total && done == fake.model.payload_bytes;
}

START_TEST(opens)
{
    struct package package;
    struct error error;
    ck_assert_int_eq(fake_model_write(&fake, path, prefixes[_i]), 0);
    bool finished = false;
    ck_assert_msg(package_open(&package, &fake.model, path, true, note_progress, &finished, &error) == 0, "%s",
                  error.message);
    ck_assert(finished);
    ck_assert_str_eq(package.path, path);
    check_payload(&package);
    package_close(&package);
    package_close(&package);
}
END_TEST

START_TEST(missing)
{
    unlink(path);
    expect_refused("No such file");
    snprintf(path, sizeof path, "%s", directory);
    expect_refused("something else");
}
END_TEST

START_TEST(truncated_anywhere)
{
    struct bytes bytes = read_file(path);
    for (size_t count = 0; count < bytes.count; count += count < 200 || bytes.count - count < 200 ? 1 : 37) {
        write_file(path, bytes.data, count);
        expect_refused("truncated");
    }
    free(bytes.data);
}
END_TEST

/* One bit anywhere, in a fat file: in its payload, its trailer. The padding and the program are not covered. */
START_TEST(altered_anywhere)
{
    ck_assert_int_eq(fake_model_write(&fake, path, 5000), 0);
    struct bytes bytes = read_file(path);
    for (size_t i = 8192; i < bytes.count; i += i + 200 < bytes.count ? 13 : 1) {
        bytes.data[i] ^= (unsigned char)(1 << i % 8);
        write_file(path, bytes.data, bytes.count);
        struct package package;
        struct error error;
        ck_assert_msg(package_open(&package, &fake.model, path, true, NULL, NULL, &error) != 0, "bit %zu of byte %zu",
                      i % 8, i);
        if (i < bytes.count - sizeof(struct package_trailer))
            ck_assert_ptr_nonnull(strstr(error.message, "weights are damaged"));
        else if (i < bytes.count - sizeof(struct package_trailer) + 8)
            ck_assert_ptr_nonnull(strstr(error.message, "no weights at its end"));
        else
            ck_assert_ptr_nonnull(strstr(error.message, "trailer is damaged"));
        bytes.data[i] ^= (unsigned char)(1 << i % 8);
    }
    free(bytes.data);
}
END_TEST

START_TEST(unverified_payload_opens)
{
    struct bytes bytes = read_file(path);
    bytes.data[100] ^= 1;
    write_file(path, bytes.data, bytes.count);
    free(bytes.data);
    struct package package;
    struct error error;
    ck_assert_int_eq(package_open(&package, &fake.model, path, false, NULL, NULL, &error), 0);
    package_close(&package);
    expect_refused("damaged");
}
END_TEST

static void newer(struct package_trailer *trailer)
{
    trailer->version++;
}

static void older(struct package_trailer *trailer)
{
    trailer->version = 0;
}

static void long_trailer(struct package_trailer *trailer)
{
    trailer->trailer_bytes = 128;
}

static void reserved(struct package_trailer *trailer)
{
    trailer->reserved = 1;
}

static void huge_payload(struct package_trailer *trailer)
{
    trailer->payload_bytes = UINT64_MAX - 4095;
}

static void huge_offset(struct package_trailer *trailer)
{
    trailer->payload_offset = UINT64_MAX - 4095;
    trailer->payload_bytes += 4096;
}

static void odd_offset(struct package_trailer *trailer)
{
    trailer->payload_offset += 64;
    trailer->payload_bytes -= 64;
}

static void later_offset(struct package_trailer *trailer)
{
    trailer->payload_offset += 4096;
}

static void other_layout(struct package_trailer *trailer)
{
    memcpy(trailer->layout, "0123456789abcdef\n\033[31m\"'%s%n\0\0", 29);
}

static const struct {
    void (*change)(struct package_trailer *);
    const char *part;
} lies[] = {
    {newer, "format 2"},
    {older, "format 0"},
    {long_trailer, "128"},
    {reserved, "trailer says"},
    {huge_payload, "lost or added"},
    {huge_offset, "lost or added"},
    {odd_offset, "lost or added"},
    {later_offset, "lost or added"},
    {other_layout, "another model"},
};

START_TEST(sealed_lies)
{
    change_trailer(lies[_i].change, true);
    expect_refused(lies[_i].part);
}
END_TEST

START_TEST(unsealed_lies)
{
    change_trailer(lies[_i].change, false);
    expect_refused("trailer is damaged");
}
END_TEST

START_TEST(bytes_added)
{
    struct bytes bytes = read_file(path);
    bytes.data = realloc(bytes.data, bytes.count + 4096);
    memset(bytes.data + bytes.count, 0, 4096);
    write_file(path, bytes.data, bytes.count + 1);
    expect_refused("copy it again");
    /* Added before the trailer instead. */
    size_t trailer = sizeof(struct package_trailer);
    memmove(bytes.data + bytes.count - trailer + 4096, bytes.data + bytes.count - trailer, trailer);
    write_file(path, bytes.data, bytes.count + 4096);
    expect_refused("lost or added");
    free(bytes.data);
}
END_TEST

START_TEST(weights_of_another_model)
{
    struct fake_model other;
    fake_model_init(&other, &(struct fake_options){.vocab = 48});
    ck_assert_int_eq(fake_model_write(&other, path, 0), 0);
    fake_model_init(&fake, NULL);
    expect_refused("another model or build");
}
END_TEST

START_TEST(random_weights_need_no_file)
{
    struct package package;
    struct error error;
    fake_model_init(&fake, &(struct fake_options){.random = true});
    ck_assert_int_eq(package_open(&package, &fake.model, NULL, true, NULL, NULL, &error), 0);
    ck_assert_ptr_null(package.payload);
    package_close(&package);
    expect_refused("random weights");
}
END_TEST

/* What follows runs copies of this program, which then look for their own payload: see child(). */

static char program[128], thin[128], output[4096];

static void copy_program(const unsigned char *appended, size_t count)
{
    struct bytes self = read_file("/proc/self/exe");
    self.data = realloc(self.data, self.count + count);
    if (count)
        memcpy(self.data + self.count, appended, count);
    write_file(program, self.data, self.count + count);
    ck_assert_int_eq(chmod(program, 0700), 0);
    free(self.data);
}

static const char *run_program(void)
{
    char command[256];
    snprintf(command, sizeof command, "LATHE_TEST_CHILD=1 '%s' 2>&1", program);
    FILE *pipe = popen(command, "r");
    size_t count = fread(output, 1, sizeof output - 1, pipe);
    output[count] = '\0';
    pclose(pipe);
    return output;
}

static int child(void)
{
    struct error error;
    fake_model_init(&fake, NULL);
    struct engine *engine = engine_open(&fake.model, NULL, &error);
    printf("%s\n", engine ? "opened" : error.message);
    engine_close(engine);
    return 0;
}

#define expect_output(part) ck_assert_msg(strstr(run_program(), part) != NULL, "\"%s\" has no \"%s\"", output, part)

static void program_setup(void)
{
    setup();
    snprintf(program, sizeof program, "%s/fake", directory);
    snprintf(thin, sizeof thin, "%s/thin", directory);
    ck_assert_int_eq(rename(path, thin), 0);
}

/* The bytes that make the copied program fat. */
static struct bytes tail(void)
{
    struct stat status;
    ck_assert_int_eq(stat("/proc/self/exe", &status), 0);
    ck_assert_int_eq(fake_model_write(&fake, path, (size_t)status.st_size), 0);
    struct bytes bytes = read_file(path);
    bytes.count -= (size_t)status.st_size;
    memmove(bytes.data, bytes.data + status.st_size, bytes.count);
    unlink(path);
    return bytes;
}

START_TEST(fat_program)
{
    struct bytes bytes = tail();
    copy_program(bytes.data, bytes.count);
    expect_output("opened");
    copy_program(bytes.data, bytes.count - 1);
    expect_output("truncated");
    copy_program(bytes.data, 10);
    expect_output("truncated");
    /* What was lost is not looked for elsewhere. */
    ck_assert_int_eq(rename(thin, path), 0);
    expect_output("truncated");
    bytes.data[bytes.count - sizeof(struct package_trailer) - 1] ^= 1;
    copy_program(bytes.data, bytes.count);
    expect_output("damaged");
    free(bytes.data);
}
END_TEST

START_TEST(thin_program)
{
    copy_program(NULL, 0);
    expect_output("was it stripped?");
    expect_output("--weights FILE");
    ck_assert_int_eq(rename(thin, path), 0);
    expect_output("opened");
    ck_assert_int_eq(truncate(path, 1000), 0);
    expect_output("truncated");
    expect_output("weights.bin");
}
END_TEST

START_TEST(stripped_program)
{
    struct bytes bytes = tail();
    copy_program(bytes.data, bytes.count);
    expect_output("opened");
    char command[256];
    snprintf(command, sizeof command, "strip '%s' 2> /dev/null", program);
    if (system(command) == 0) /* a machine without binutils cannot strip either */
        expect_output("was it stripped?");
    free(bytes.data);
}
END_TEST

int main(void)
{
    if (getenv("LATHE_TEST_CHILD"))
        return child();
    Suite *suite = suite_create("package");
    TCase *file = tcase_create("file");
    tcase_set_timeout(file, 120);
    tcase_add_checked_fixture(file, setup, teardown);
    tcase_add_loop_test(file, opens, 0, sizeof prefixes / sizeof *prefixes);
    tcase_add_test(file, missing);
    tcase_add_test(file, truncated_anywhere);
    tcase_add_test(file, altered_anywhere);
    tcase_add_test(file, unverified_payload_opens);
    tcase_add_loop_test(file, sealed_lies, 0, sizeof lies / sizeof *lies);
    tcase_add_loop_test(file, unsealed_lies, 0, sizeof lies / sizeof *lies);
    tcase_add_test(file, bytes_added);
    tcase_add_test(file, weights_of_another_model);
    tcase_add_test(file, random_weights_need_no_file);
    suite_add_tcase(suite, file);
    TCase *whole = tcase_create("program");
    tcase_set_timeout(whole, 120);
    tcase_add_checked_fixture(whole, program_setup, teardown);
    tcase_add_test(whole, fat_program);
    tcase_add_test(whole, thin_program);
    tcase_add_test(whole, stripped_program);
    suite_add_tcase(suite, whole);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
