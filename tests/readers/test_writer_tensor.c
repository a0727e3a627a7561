/* writer:tensor, as the generator's Lua calls it: files through read.checkpoint, and what it refuses. And, when its
   file is there, all of SmolLM2-135M-Instruct against the bits that transformers makes of it. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "checkpoint.h"
#include "gguf_file.h"
#include "host.h"
#include "process.h"

/* Runs the chunk with `argument`; returns its result, or the message of its error, in a static buffer. */
static const char *run(const char *chunk, const char *argument, const char *output)
{
    lua_State *lua = host_state();
    ck_assert_ptr_nonnull(lua);
    ck_assert_msg(luaL_loadstring(lua, chunk) == LUA_OK, "%s", lua_tostring(lua, -1));
    lua_pushstring(lua, argument);
    lua_pushstring(lua, output);
    if (lua_pcall(lua, 2, 1, 0) != LUA_OK && lua_istable(lua, -1))
        lua_getfield(lua, -1, "message");
    const char *result = text("%s", luaL_tolstring(lua, -1, NULL));
    lua_close(lua);
    return result;
}

/* Writes tensor "t" of the folder as bf16, after the change. */
#define WRITE(change)                                                                                                  \
    "local path, output = ...\n"                                                                                       \
    "local tensor = require 'read.checkpoint' (path).tensors.t\n" change "\n"                                          \
    "local writer = require 'host'.writer(output)\n"                                                                   \
    "writer:tensor(tensor, 'bf16')\n"                                                                                  \
    "local written = writer:written()\n"                                                                               \
    "writer:close()\n"                                                                                                 \
    "return written"

static const char *folder_with(const char *dtype, int elements, int bytes)
{
    const char *folder = checkpoint_folder("{\"architectures\": [\"LlamaForCausalLM\"]}");
    safetensors_write(
        text("%s/model.safetensors", folder),
        text("{\"t\": {\"dtype\": \"%s\", \"shape\": [2, %d], \"data_offsets\": [0, %d]}}", dtype, elements / 2, bytes),
        (size_t)bytes);
    return folder;
}

START_TEST(tensors_are_written)
{
    size_t length;
    const char *output = temporary_path("out-f32");
    ck_assert_str_eq(run(WRITE(""), folder_with("F32", 6, 24), output), "12");
    char *data = file_read(output, &length);
    ck_assert_uint_eq(length, 12);
    for (int i = 0; i < 12; i++)
        ck_assert_int_eq(data[i], 1); /* 0x01010101 rounds to 0x0101 */
    free(data);
    ck_assert_str_eq(run(WRITE(""), folder_with("BF16", 6, 12), temporary_path("out-bf16")), "12");
    ck_assert_str_eq(run(WRITE(""), folder_with("F16", 0, 0), temporary_path("out-empty")), "0");
}
END_TEST

static const struct refusal {
    const char *dtype;
    int bytes;
    const char *chunk, *fragment;
} refusals[] = {
    {"I64", 48, WRITE(""), "t: dtype I64 cannot be converted"},
    {"F64", 48, WRITE(""), "t: dtype F64 cannot be converted"},
    {"U8", 6, WRITE(""), "t: dtype U8 cannot be converted"},
    {"F32", 24, WRITE("tensor.bytes = 20"), "t: expected 24 bytes inside the file, found 20"},
    {"F32", 24, WRITE("tensor.offset = tensor.offset + 1"), "t: expected 24 bytes inside the file"},
    {"F32", 24, WRITE("tensor.offset = math.maxinteger"), "t: expected 24 bytes inside the file"},
    {"F32", 24, WRITE("tensor.shape = { 3, 3 }"), "t: expected 36 bytes inside the file, found 24"},
    {"F32", 24, WRITE("tensor.shape = { math.maxinteger, math.maxinteger }"), "more than any file can hold"},
    {"F32", 24, WRITE("tensor.shape = { 1 << 40, 1 << 40, 1 }"), "shape overflows"},
    {"F32", 24, WRITE("tensor.shape = { -2, 3 }"), "negative"},
    {"F32", 24, WRITE("tensor.permute = 4"), "t: expected rows in pairs for each of 4 heads, found 2 rows"},
    {"F32", 24, WRITE("tensor.dtype = 'Q4_1'"), "t: expected rows of a multiple of 32 weights for Q4_1, found 3"},
    {"F32", 24, WRITE("tensor.file:close()"), "the file is closed"},
};

START_TEST(wrong_tensors_are_refused)
{
    const char *output = temporary_path("refused-%d", _i);
    const char *message = run(refusals[_i].chunk, folder_with(refusals[_i].dtype, 6, refusals[_i].bytes), output);
    ck_assert_msg(strstr(message, refusals[_i].fragment) != NULL, "%s", message);
}
END_TEST

START_TEST(heads_are_known_to_the_reader)
{
    struct gguf_file file;
    float rows[32];
    size_t length;
    for (int i = 0; i < 32; i++)
        rows[i] = (float)i;
    gguf_init(&file);
    gguf_string(&file, "general.architecture", "llama");
    gguf_u32(&file, "llama.block_count", 1);
    gguf_u32(&file, "llama.context_length", 8);
    gguf_u32(&file, "llama.embedding_length", 4);
    gguf_u32(&file, "llama.feed_forward_length", 4);
    gguf_u32(&file, "llama.attention.head_count", 2);
    gguf_u32(&file, "llama.attention.key_length", 4);
    gguf_f32(&file, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_tensor(&file, "token_embd.weight", GGUF_TYPE_F32, 4, 1, NULL, 16);
    gguf_tensor(&file, "blk.0.attn_q.weight", GGUF_TYPE_F32, 4, 8, rows, sizeof rows);
    const char *path = temporary_path("heads.gguf"), *output = temporary_path("heads.out");
    gguf_write(&file, path);
    gguf_free(&file);
    run("local path, output = ...\n"
        "local writer = require 'host'.writer(output)\n"
        "writer:tensor(require 'read.checkpoint' (path).tensors['model.layers.0.self_attn.q_proj.weight'], 'f32')\n"
        "writer:close()",
        path, output);
    char *data = file_read(output, &length);
    ck_assert_uint_eq(length, sizeof rows);
    static const int stored[] = {0, 2, 1, 3, 4, 6, 5, 7}; /* the row of the file for each row of the model */
    for (int row = 0; row < 8; row++)
        ck_assert_msg(memcmp(data + 16 * row, rows + 4 * stored[row], 16) == 0, "row %d", row);
    free(data);
}
END_TEST

/* The bits were compared with transformers 5.23's dequantised weights (AutoModelForCausalLM, gguf_file=...): all
   134,515,008 weights equal, as f32 and rounded to bf16. */
START_TEST(smollm2_is_converted)
{
    static const struct {
        const char *dtype, *hash;
    } expected[] = {{"bf16", "e33f1907a7a4a8e801381e451866c1ea"}, {"f32", "5601d558f9561a3b25ac73e094feab36"}};
    static const char chunk[] = "local path, output = ...\n"
                                "local host = require 'host'\n"
                                "local tensors = require 'read.checkpoint' (path).tensors\n"
                                "local writer = host.writer(output)\n"
                                "for _, name in ipairs(require 'read.sorted_keys' (tensors)) do\n"
                                "   writer:tensor(tensors[name], output:match '[^.]*$')\n"
                                "end\n"
                                "writer:close()\n"
                                "return host.open(output):hash()";
    const char *given = getenv("LATHE_SMOLLM2");
    const char *path = given && given[0] ? given : TEST_SOURCE_DIR "/.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (!file_exists(path)) {
        printf(
            "readers/writer_tensor: skipped SmolLM2: %s is not there; ./bootstrap downloads it, or set LATHE_SMOLLM2\n",
            path);
        return;
    }
    const char *output = temporary_path("smollm2.%s", expected[_i].dtype);
    ck_assert_str_eq(run(chunk, path, output), expected[_i].hash);
    remove(output);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    ck_assert_msg(usage.ru_maxrss < 256 << 10, "peak memory: %ld KiB", usage.ru_maxrss);
}
END_TEST

static void make_folder(void)
{
    temporary_folder();
}

int main(void)
{
    Suite *suite = suite_create("writer:tensor");
    TCase *tests = tcase_create("write");
    tcase_set_timeout(tests, 240);
    tcase_add_unchecked_fixture(tests, make_folder, NULL);
    tcase_add_test(tests, tensors_are_written);
    tcase_add_loop_test(tests, wrong_tensors_are_refused, 0, (int)(sizeof refusals / sizeof refusals[0]));
    tcase_add_test(tests, heads_are_known_to_the_reader);
    tcase_add_loop_test(tests, smollm2_is_converted, 0, 2);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
