/* Small models in GGUF files of every quantisation, whole and in parts: their logits against what transformers makes of
   the same files, and their packages against those of checkpoints that hold the dequantised weights, byte for byte.
   tests/fixtures/gguf/make_models.py made the files and the references. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint.h"
#include "compare.h"
#include "fixture.h"
#include "host.h"
#include "host_tensor.h"
#include "npy.h"
#include "process.h"

static const struct gguf_model {
    const char *name, *file; /* of the parts of llama, not the first: any will do */
} models[] = {{"llama", "llama-00002-of-00003.gguf"}, {"qwen2", "qwen2.gguf"}, {"qwen3", "qwen3.gguf"}};

#define MODELS ((int)(sizeof models / sizeof models[0]))

static const double tolerance_f32 = 2e-5;

static const char *fixture_path(const char *file)
{
    return text(TEST_SOURCE_DIR "/tests/fixtures/gguf/models/%s", file);
}

/* The logits of every position of the model's prompt. */
static void score(struct npy *logits, const char *program, const char *name)
{
    struct process_result result;
    const char *file = text("%s.npy", program);
    char *source = file_read(fixture_path(text("%s.json", name)), NULL);
    cJSON *json = json_parse(source, name);
    struct ids prompt = json_ids(json, "prompt", name);
    char *ids = ids_text(prompt.id, prompt.count);
    process_ok(&result, program, "score", "--ids", ids, "--logits", file, "--json", NULL);
    process_free(&result);
    npy_read(logits, file);
    ck_assert_uint_eq(logits->rows, prompt.count);
    free(ids);
    free(prompt.id);
    cJSON_Delete(json);
    free(source);
}

struct floats {
    float *data;
    size_t count, capacity;
};

static int append(void *context, const void *data, size_t bytes, struct error *error)
{
    struct floats *floats = context;
    (void)error;
    ck_assert_uint_le(bytes / sizeof(float), floats->capacity - floats->count);
    memcpy(floats->data + floats->count, data, bytes);
    floats->count += bytes / sizeof(float);
    return 0;
}

/* Appends the tensor's weights, which test_tensor.c compares with the reference's, in Hugging Face order. */
static void dequantise(struct floats *floats, const cJSON *tensor, const char *name)
{
    size_t length;
    const char *file = json_member(tensor, "file", name)->valuestring;
    char *data = file_read(file, &length);
    const cJSON *permute = cJSON_GetObjectItemCaseSensitive(tensor, "permute");
    struct ids shape = json_ids(tensor, "shape", name);
    struct error error;
    struct tensor_source source = {
        .format = tensor_format_find(json_member(tensor, "dtype", name)->valuestring),
        .rows = shape.count > 1 ? (uint64_t)shape.id[0] : 1,
        .columns = (uint64_t)shape.id[shape.count - 1],
        .heads = permute ? (uint64_t)permute->valueint : 0,
        .data = (const unsigned char *)data + (size_t)json_member(tensor, "offset", name)->valuedouble,
    };
    ck_assert_ptr_nonnull(source.format);
    ck_assert_msg(tensor_convert(&source, DTYPE_F32, append, floats, &error) == 0, "%s: %s", name, error.message);
    free(shape.id);
    free(data);
}

/* A Hugging Face folder with the model's config and its weights as F32. */
static const char *dequantised_folder(const char *path)
{
    cJSON *json = checkpoint_read(path), *header = cJSON_CreateObject(), *tensor;
    struct floats floats = {.capacity = 1 << 20};
    floats.data = malloc(floats.capacity * sizeof *floats.data);
    ck_assert(floats.data && header);
    cJSON_ArrayForEach(tensor, json_member(json, "tensors", path))
    {
        size_t start = floats.count;
        dequantise(&floats, tensor, tensor->string);
        cJSON *entry = cJSON_AddObjectToObject(header, tensor->string);
        cJSON_AddStringToObject(entry, "dtype", "F32");
        cJSON_AddItemToObject(entry, "shape", cJSON_Duplicate(json_member(tensor, "shape", path), 1));
        const double offsets[] = {(double)(start * sizeof(float)), (double)(floats.count * sizeof(float))};
        cJSON_AddItemToObject(entry, "data_offsets", cJSON_CreateDoubleArray(offsets, 2));
    }
    char *config = cJSON_PrintUnformatted(json_member(json, "config", path)), *names = cJSON_PrintUnformatted(header);
    const char *folder = checkpoint_folder(config);
    FILE *file = fopen(text("%s/model.safetensors", folder), "wb");
    ck_assert_ptr_nonnull(file);
    uint64_t length = strlen(names);
    ck_assert(fwrite(&length, sizeof length, 1, file) == 1 && fwrite(names, length, 1, file) == 1);
    ck_assert_uint_eq(fwrite(floats.data, sizeof *floats.data, floats.count, file), floats.count);
    ck_assert_int_eq(fclose(file), 0);
    cJSON_free(config);
    cJSON_free(names);
    cJSON_Delete(json);
    cJSON_Delete(header);
    free(floats.data);
    return folder;
}

/* Writes the payload that `lathe build --dtype DTYPE` of the path would make; returns the sources, newly allocated. */
static char *plan_and_pack(const char *path, const char *dtype, const char *payload)
{
    static const char chunk[] =
        "local path, dtype, payload = ...\n"
        "local pipeline = require 'pipeline'\n"
        "local recipe = pipeline.recipe({ dtype = dtype }, path)\n"
        "local plan, checkpoint, tokenizer = pipeline.plan(recipe, 'model')\n"
        "recipe.model, plan.command = 'model', '' -- the sources name them\n"
        "local progress = require 'progress' (true)\n"
        "require 'pack.payload'.write(payload, 'new', plan, checkpoint, tokenizer, progress)\n"
        "local texts = {}\n"
        "for i, file in ipairs(pipeline.sources(plan, recipe)) do texts[i] = file.path .. file.text end\n"
        "return table.concat(texts)";
    lua_State *lua = host_state();
    ck_assert_ptr_nonnull(lua);
    ck_assert_msg(luaL_loadstring(lua, chunk) == LUA_OK, "%s", lua_tostring(lua, -1));
    lua_pushstring(lua, path);
    lua_pushstring(lua, dtype);
    lua_pushstring(lua, payload);
    if (lua_pcall(lua, 3, 1, 0) != LUA_OK) {
        if (lua_istable(lua, -1))
            lua_getfield(lua, -1, "message");
        ck_abort_msg("%s: %s", path, lua_tostring(lua, -1));
    }
    char *sources = strdup(lua_tostring(lua, -1));
    ck_assert_ptr_nonnull(sources);
    lua_close(lua);
    return sources;
}

/* The same sources and the same payload make the same package, logits included. */
START_TEST(packages_are_those_of_the_dequantised_weights)
{
    static const char *const dtypes[] = {"f32", "bf16"};
    const char *name = models[_i].name, *path = fixture_path(models[_i].file), *folder = dequantised_folder(path);
    for (int i = 0; i < 2; i++) {
        size_t left, right;
        const char *one = temporary_path("gguf-%s-%s.bin", name, dtypes[i]),
                   *other = temporary_path("plain-%s-%s.bin", name, dtypes[i]);
        char *sources = plan_and_pack(path, dtypes[i], one), *plain = plan_and_pack(folder, dtypes[i], other);
        ck_assert_uint_gt(strlen(sources), 10000);
        size_t same = 0;
        while (sources[same] && sources[same] == plain[same])
            same++;
        ck_assert_msg(sources[same] == plain[same], "%s, %s: the sources differ: '%.100s', expected '%.100s'", name,
                      dtypes[i], sources + same, plain + same);
        char *payload = file_read(one, &left), *expected = file_read(other, &right);
        ck_assert_uint_gt(left, 100000);
        ck_assert_msg(left == right && memcmp(payload, expected, left) == 0, "%s, %s: the weights differ", name,
                      dtypes[i]);
        free(sources);
        free(plain);
        free(payload);
        free(expected);
    }
}
END_TEST

START_TEST(logits_are_those_of_the_reference)
{
    const struct gguf_model *model = &models[_i];
    struct npy logits, reference;
    const char *path = fixture_path(model->file);
    const char *program = lathe_build(path, temporary_path("gguf-%s-f32", model->name), "--dtype", "f32", NULL);
    score(&logits, program, model->name);
    npy_read(&reference, fixture_path(text("%s.npy", model->name)));
    ck_assert_uint_eq(logits.columns, reference.columns);
    const float *last = logits.data + (logits.rows - reference.rows) * logits.columns;
    double error = relative_error(last, reference.data, reference.rows * reference.columns);
    printf("  %s: relative error %.1e\n", model->name, error);
    fflush(stdout);
    ck_assert_msg(error <= tolerance_f32, "%s: logits differ by %.3e, at most %.0e allowed", model->name, error,
                  tolerance_f32);
    npy_free(&logits);
    npy_free(&reference);
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("gguf");
    TCase *tests = tcase_create("models");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, logits_are_those_of_the_reference, 0, MODELS);
    tcase_add_loop_test(tests, packages_are_those_of_the_dequantised_weights, 0, MODELS);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
