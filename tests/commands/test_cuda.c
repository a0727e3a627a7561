/* The commands on a GPU that is none (fake_cuda.h): what they print there is what they print on the CPU. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "fake_program.h"
#include "process.h"

#define DRIVER TEST_BINARY_DIR "/tests/fake_cuda.so"

static void use(const char *targets, const char *driver, const char *settings)
{
    setenv("FAKE_TARGETS", targets, 1);
    setenv("LATHE_CUDA_DRIVER", driver, 1);
    setenv("FAKE_CUDA", settings, 1);
}

static void run(struct process_result *result, const char *device, const char *const *arguments)
{
    const char *all[40];
    int count = 0;
    while (arguments[count]) {
        all[count] = arguments[count];
        count++;
    }
    all[count++] = "--device";
    all[count++] = device;
    all[count] = NULL;
    fake_program_run(result, (struct process_options){0}, all);
}

/* A JSON object's text without what measures time. */
static char *timeless(const char *out)
{
    char *copy = strdup(out), *at;
    while ((at = strstr(copy, "_seconds\":")) != NULL || (at = strstr(copy, "\"seconds\":")) != NULL) {
        char *end = at + strcspn(at, ",}");
        memmove(at, end, strlen(end) + 1);
    }
    return copy;
}

static const char *const commands[][20] = {
    {"run", "--ids", "1,2,3", "-n", "60", "--json", "--ignore-eos"},
    {"run", "--ids", "1,2,3", "-n", "60", "--json", "--temp", "1", "--seed", "7"},
    {"run", "--ids", "5", "-n", "200", "--json", "--temp", "1.5", "--seed", "9"},
    {"run", "--ids", "5,6,7,8", "-n", "30", "--json", "--temp", "0.8", "--top-k", "5", "--top-p", "0.9", "--min-p",
     "0.01"},
    {"run", "--ids", "5,6,7,8", "-n", "40", "--json", "--repetition-penalty", "1.4", "--presence-penalty", "0.5"},
    {"run", "--ids", "5,6,7,8", "-n", "40", "--json", "--logit-bias", "63=9", "--min-tokens", "12"},
    {"run", "--ids", "5,6,7,8", "-n", "20", "--json", "--logprobs", "4"},
    {"run", "--ids", "5,6,7,8", "-n", "20", "--json", "--stop-id", "1,2,3,4,5,6,7,8,9,10,11,12", "--temp", "1"},
    {"run", "--ids", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20", "-n", "3", "--json", "--chunk", "7"},
    {"run", "--ids", "1,2", "-n", "0", "--json"},
    {"run", "--ids", "1,2", "-n", "-1", "--json", "--ignore-eos"},
    {"score", "--ids", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20", "--json"},
    {"score", "--ids", "1,2,3,4,5,6,7,8,9", "--json", "--batch", "3", "--chunk", "5"},
};

START_TEST(same_output)
{
    struct process_result cpu, cuda;
    use("both", DRIVER, "");
    run(&cpu, "cpu", commands[_i]);
    run(&cuda, "cuda", commands[_i]);
    ck_assert_msg(cpu.status == 0 && cuda.status == 0, "%s%s", cpu.err, cuda.err);
    char *expected = timeless(cpu.out), *found = timeless(cuda.out);
    ck_assert_str_eq(expected, found);
    free(expected);
    free(found);
    process_free(&cpu);
    process_free(&cuda);
}
END_TEST

/* Is this in the JSON text? `part` has no spaces. */
static bool has(const char *out, const char *part)
{
    char *compact = strdup(out), *to = compact;
    for (const char *from = out; *from; from++)
        if (*from != ' ')
            *to++ = *from;
    *to = 0;
    bool found = strstr(compact, part) != NULL;
    free(compact);
    return found;
}

START_TEST(gpu_is_the_default)
{
    struct process_result result;
    use("both", DRIVER, "capability=8.6");
    fake_program(&result, "info", "--json", NULL);
    ck_assert_msg(result.status == 0, "%s", result.err);
    ck_assert(has(result.out, "\"device\":\"cuda\",\"variant\":\"sm_80\",\"threads\":1,\"gpu\":\"FakeGPU0\","
                              "\"cuda_targets\":[\"sm_90a\",\"sm_80\",\"ptx80\"]"));
    process_free(&result);
    fake_program(&result, "info", NULL);
    ck_assert_ptr_nonnull(strstr(result.out, "GPU targets       sm_90a, sm_80, ptx80; using sm_80 on Fake GPU 0\n"));
    process_free(&result);
    fake_program(&result, "info", "--device", "cpu", "--json", NULL);
    ck_assert(has(result.out, "\"device\":\"cpu\""));
    ck_assert(has(result.out, "\"gpu\":null"));
    process_free(&result);
}
END_TEST

/* There is no falling back, whatever the package has. */
START_TEST(no_gpu)
{
    static const char *const cases[][4] = {
        /* targets, driver, settings, said */
        {"both", "/nowhere.so", "", "no NVIDIA driver"},
        {"cuda", "/nowhere.so", "", "build the package with --target c"},
        {"both", DRIVER, "devices=0", "--device cpu"},
        {"cuda", DRIVER, "memory=50000", "too little GPU memory"},
        {"cuda", DRIVER, "version=11080", "update the driver"},
    };
    struct process_result result;
    use(cases[_i][0], cases[_i][1], cases[_i][2]);
    fake_program(&result, "run", "--ids", "1,2,3", "-n", "3", NULL);
    ck_assert_int_eq(result.status, 1);
    ck_assert_str_eq(result.out, "");
    ck_assert_ptr_nonnull(strstr(result.err, "fake: error: "));
    ck_assert_ptr_nonnull(strstr(result.err, cases[_i][3]));
    process_free(&result);
}
END_TEST

START_TEST(announced)
{
    struct process_result result;
    use("both", DRIVER, "capability=12.0");
    fake_program(&result, "run", "--ids", "1,2,3", "-n", "3", NULL);
    ck_assert_int_eq(result.status, 0);
    ck_assert_ptr_nonnull(strstr(result.err, "fake: note: "));
    ck_assert_ptr_nonnull(strstr(result.err, "PTX"));
    process_free(&result);
}
END_TEST

START_TEST(bench)
{
    struct process_result result;
    use("both", DRIVER, "");
    fake_program(&result, "bench", "--prompt", "20", "--gen", "5", "--batch", "3", "--stages", "--json", NULL);
    ck_assert_msg(result.status == 0, "%s", result.err);
    ck_assert(has(result.out, "\"device\":\"cuda\""));
    ck_assert(has(result.out, "\"decode_steps\":15,"));
    static const char *const stages[] = {"keys", "hash", "head", "sample"};
    for (int i = 0; i < 4; i++)
        ck_assert(has(result.out, text("{\"stage\":\"%s\",\"launches\":1,\"seconds\":", stages[i])));
    process_free(&result);
    fake_program(&result, "bench", "--prompt", "20", "--gen", "5", "--stages", NULL);
    ck_assert_ptr_nonnull(strstr(result.out, "stages of a decode step"));
    process_free(&result);
}
END_TEST

/* What the GPU's kernels leave to be seen, as the CPU's; layers by a star, a number, and all. */
START_TEST(dumps)
{
    static const char *const selections[] = {"layer.*.key", "layer.1.key,logits", "all"};
    struct process_result result;
    use("both", DRIVER, "");
    const char *folders[2] = {temporary_path("cpu%d", _i), temporary_path("cuda%d", _i)};
    for (int device = 0; device < 2; device++) {
        fake_program(&result, "run", "--ids", "1,2,3,4,5,6,7,8,9", "-n", "4", "--device", device ? "cuda" : "cpu",
                     "--dump", selections[_i], folders[device], NULL);
        ck_assert_msg(result.status == 0, "%s", result.err);
        process_free(&result);
    }
    ck_assert(file_exists(text("%s/layer.1.key.npy", folders[0])));
    ck_assert_int_eq(file_exists(text("%s/layer.0.key.npy", folders[0])), _i != 1);
    ck_assert_ptr_null(folders_differ(folders[0], folders[1]));
}
END_TEST

int main(int argc, char **argv)
{
    fake_program_main(argc, argv);
    temporary_folder();
    Suite *suite = suite_create("commands/cuda");
    TCase *tcase = tcase_create("commands/cuda");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, same_output, 0, (int)(sizeof commands / sizeof *commands));
    tcase_add_test(tcase, gpu_is_the_default);
    tcase_add_loop_test(tcase, no_gpu, 0, 5);
    tcase_add_test(tcase, announced);
    tcase_add_test(tcase, bench);
    tcase_add_loop_test(tcase, dumps, 0, 3);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
