/* Checkpoints that lathe must refuse, end to end: one line that names the file and the field, exit status 1, and
   nothing left at the place of the package. And names that would be code, which must not reach the sources as such. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fixture.h"
#include "process.h"
#include "refusal.h"

static const char base[] = "llama-text";

/* A fresh copy of the checkpoint, in temporary_path("model"). */
static const char *fresh_model(void)
{
    struct process_result result;
    const char *model = temporary_path("model");
    process_ok(&result, "rm", "-rf", model, NULL);
    process_free(&result);
    file_copy(fixture_folder(base), model);
    return model;
}

static void expect_refused(const char *what, const char *model, const char *first, const char *second)
{
    struct process_options options = {.seconds = 20};
    struct process_result result;
    const char *output = temporary_path("refused");
    const char *arguments[] = {lathe(), "build", model, "-o", output, "--quiet", NULL};
    process_run(&result, &options, arguments);
    ck_assert_msg(result.status != 0, "%s: builds all the same", what);
    expect_refusal(&result, what, first, second, NULL);
    ck_assert_msg(result.status == 1, "%s: status %d, expected 1", what, result.status);
    ck_assert_msg(!file_exists(output), "%s: something is left in %s", what, output);
    ck_assert_msg(strstr(result.err, "traceback") == NULL, "%s: %s", what, result.err);
    process_free(&result);
}

/* config.json with one member set to a piece of JSON, or removed (NULL). */
static void set_member(const char *path, const char *name, const char *value)
{
    char *source = file_read(path, NULL);
    cJSON *json = json_parse(source, path);
    cJSON_DeleteItemFromObjectCaseSensitive(json, name);
    if (value)
        cJSON_AddItemToObject(json, name, json_parse(value, value));
    char *edited = cJSON_Print(json);
    file_write(path, edited, strlen(edited));
    free(edited);
    cJSON_Delete(json);
    free(source);
}

/* An adapter with bytes of the embedding's copy changed: found while the payload is written, which leaves no package. */
START_TEST(adapters_of_another_embedding)
{
    const char *adapter = temporary_path("adapter"), *path = text("%s/adapter_model.safetensors", adapter);
    file_copy(TEST_SOURCE_DIR "/tests/fixtures/adapters/embedding", adapter);
    size_t length;
    char *bytes = file_read(path, &length);
    char *name = memmem(bytes, length, "base_layer.weight", 17), *offsets = name ? strstr(name, "data_offsets") : NULL;
    ck_assert_ptr_nonnull(offsets);
    uint64_t header;
    memcpy(&header, bytes, sizeof header);
    bytes[8 + header + strtoull(strchr(offsets, '[') + 1, NULL, 10) + 1] ^= 0x40;
    file_write(path, bytes, length);
    free(bytes);
    const char *output = temporary_path("adapted");
    struct process_result result;
    process(&result, lathe(), "build", fixture_folder(base), "-o", output, "--quiet", "--cpu", "scalar", "--lora",
            text("a=%s", adapter), NULL);
    expect_refusal(&result, adapter, "adapter_", "expected a copy of the base's", NULL);
    ck_assert_msg(!file_exists(output), "a refused adapter left a package behind");
    process_free(&result);
}
END_TEST

static const struct {
    const char *member, *value, *fragment;
} config_cases[] = {
    {"architectures", "[\"FrobnicatorForCausalLM\"]", "FrobnicatorForCausalLM"},
    {"architectures", "[\"Llama\\nForCausalLM\\u0007\"]", "architectures"},
    {"architectures", "[]", "architectures"},
    {"architectures", "\"LlamaForCausalLM\"", "architectures"},
    {"hidden_size", "65", "embed_tokens"},
    {"hidden_size", "0", "hidden_size"},
    {"hidden_size", "-64", "hidden_size"},
    {"hidden_size", "64.5", "hidden_size"},
    {"hidden_size", "\"64\"", "hidden_size"},
    {"hidden_size", "1e300", "hidden_size"},
    {"hidden_size", NULL, "hidden_size"},
    {"intermediate_size", "97", "mlp"},
    {"num_hidden_layers", "3", "layers.2"},
    {"num_hidden_layers", "1", "layers.1"},
    {"num_hidden_layers", "1000000000", "num_hidden_layers"},
    {"num_hidden_layers", "9007199254740992", "num_hidden_layers"},
    {"num_attention_heads", "0", "num_attention_heads"},
    {"num_attention_heads", "5", "num_key_value_heads"},
    {"num_attention_heads", "8", "self_attn"},
    {"num_key_value_heads", "3", "num_key_value_heads"},
    {"num_key_value_heads", "8", "num_key_value_heads"},
    {"head_dim", "17", "head_dim"},
    {"vocab_size", "268", "embed_tokens"},
    {"vocab_size", "4611686018427387904", "vocab_size"},
    {"rms_norm_eps", "-1", "rms_norm_eps"},
    {"rms_norm_eps", "\"small\"", "rms_norm_eps"},
    {"max_position_embeddings", "0", "max_position_embeddings"},
    {"hidden_act", "\"frobnicate\"", "hidden_act"},
    {"attention_bias", "true", "bias"},
    {"tie_word_embeddings", "false", "lm_head"},
    {"tie_word_embeddings", "3", "tie_word_embeddings"},
    {"rope_parameters", "{\"rope_theta\": 10000.0, \"rope_type\": \"frobnicate\"}", "frobnicate"},
    {"rope_parameters", "{\"rope_theta\": -1, \"rope_type\": \"default\"}", "rope_theta"},
    {"rope_parameters", "{\"rope_theta\": 10000.0, \"rope_type\": \"llama3\"}", "factor"},
    {"rope_scaling", "{\"rope_type\": \"linear\", \"factor\": 2}", "rope_scaling"},
    {"rope_parameters", "{\"rope_theta\": 10000.0, \"rope_type\": \"linear\", \"factor\": 0}", "factor"},
    {"logit_scale", "0.0625", "logit_scale"},
    {"residual_multiplier", "0.22", "residual_multiplier"},
    {"quantization_config", "{\"quant_method\": \"gptq\", \"bits\": 4}", "quantization_config"},
};

START_TEST(configs)
{
    const char *member = config_cases[_i].member, *value = config_cases[_i].value, *model = fresh_model();
    set_member(text("%s/config.json", model), member, value);
    expect_refused(text("%s: %s", member, value ? value : "(none)"), model, config_cases[_i].fragment, NULL);
}
END_TEST

START_TEST(config_files)
{
    static const char *const contents[] = {
        "",
        "{",
        "[]",
        "null",
        "{\"hidden_size\": 1, \"hidden_size\": 2}",
        "{} trailing",
        "{\"a\": \"\xff\xfe\"}",
        "{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 1e999}",
    };
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
        const char *model = fresh_model();
        file_write(text("%s/config.json", model), contents[i], strlen(contents[i]));
        expect_refused(text("config.json: %s", contents[i]), model, "config.json", NULL);
    }
    const char *model = fresh_model();
    set_member(text("%s/generation_config.json", model), "eos_token_id", "[2, 99999999]");
    expect_refused("an end token that is none", model, "eos_token_id", NULL);
    model = fresh_model();
    remove(text("%s/config.json", model));
    expect_refused("no config.json", model, "config.json", NULL);
    expect_refused("no such model", "/nonexistent/model", "/nonexistent/model", NULL);
    file_write(temporary_path("file.gguf"), "GGUF\3\0\0\0", 8);
    expect_refused("a GGUF of 8 bytes", temporary_path("file.gguf"), "file.gguf", NULL);
    file_write(temporary_path("text.txt"), "hello", 5);
    expect_refused("a text file", temporary_path("text.txt"), "text.txt", NULL);
}
END_TEST

/* A safetensors file taken apart: its header as JSON and its data. */
struct tensors {
    char path[512];
    char *file;
    cJSON *header;
    const char *data;
    size_t data_length;
};

static void tensors_open(struct tensors *tensors, const char *model)
{
    size_t length;
    snprintf(tensors->path, sizeof tensors->path, "%s/model.safetensors", model);
    tensors->file = file_read(tensors->path, &length);
    uint64_t header;
    memcpy(&header, tensors->file, 8);
    char *json = strndup(tensors->file + 8, header);
    tensors->header = json_parse(json, tensors->path);
    free(json);
    tensors->data = tensors->file + 8 + header;
    tensors->data_length = length - 8 - header;
}

/* Writes it back with the header as it is now, padded with spaces to a multiple of 8. */
static void tensors_close(struct tensors *tensors)
{
    char *json = cJSON_PrintUnformatted(tensors->header);
    size_t length = strlen(json), padded = (length + 7) / 8 * 8;
    char *file = malloc(8 + padded + tensors->data_length);
    ck_assert_ptr_nonnull(file);
    uint64_t size = padded;
    memcpy(file, &size, 8);
    memset(file + 8, ' ', padded);
    memcpy(file + 8, json, length);
    memcpy(file + 8 + padded, tensors->data, tensors->data_length);
    file_write(tensors->path, file, 8 + padded + tensors->data_length);
    free(file);
    free(json);
    free(tensors->file);
    cJSON_Delete(tensors->header);
}

static const char norm[] = "model.layers.1.input_layernorm.weight";
static const char query[] = "model.layers.0.self_attn.q_proj.weight";

/* One member of one tensor's entry in the header, replaced by a piece of JSON. */
static const struct {
    const char *tensor, *member, *value, *fragment;
} header_cases[] = {
    {norm, "shape", "[65]", norm},
    {norm, "shape", "[8, 8]", norm},
    {norm, "shape", "[-64]", norm},
    {norm, "shape", "[4294967296, 4294967296, 4294967296]", norm},
    {norm, "shape", "\"64\"", norm},
    {query, "shape", "[32, 128]", query},
    {norm, "dtype", "\"F8_E4M3\"", "F8_E4M3"},
    {norm, "dtype", "\"F64\"", "F64"},
    {norm, "dtype", "\"BF16\"", norm},
    {norm, "dtype", "7", norm},
    {norm, "data_offsets", "[0, 256]", "offset"},
    {norm, "data_offsets", "[-256, 0]", norm},
    {norm, "data_offsets", "[256, 0]", norm},
    {norm, "data_offsets", "[9007199254740991, 9007199254741247]", norm},
    {norm, "data_offsets", "[1.5, 257.5]", norm},
    {norm, "data_offsets", "[1]", norm},
    {norm, "data_offsets", NULL, norm},
};

START_TEST(headers)
{
    struct tensors tensors;
    const char *member = header_cases[_i].member, *value = header_cases[_i].value, *model = fresh_model();
    tensors_open(&tensors, model);
    cJSON *entry = cJSON_GetObjectItemCaseSensitive(tensors.header, header_cases[_i].tensor);
    ck_assert_ptr_nonnull(entry);
    cJSON_DeleteItemFromObjectCaseSensitive(entry, member);
    if (value)
        cJSON_AddItemToObject(entry, member, json_parse(value, value));
    tensors_close(&tensors);
    expect_refused(text("%s %s", member, value ? value : "(none)"), model, header_cases[_i].fragment, NULL);
}
END_TEST

/* The entry called `from` gets another name. */
static void rename_tensor(const char *model, const char *from, const char *to)
{
    struct tensors tensors;
    tensors_open(&tensors, model);
    cJSON *entry = cJSON_DetachItemFromObjectCaseSensitive(tensors.header, from);
    ck_assert_ptr_nonnull(entry);
    cJSON_AddItemToObject(tensors.header, to, entry);
    tensors_close(&tensors);
}

START_TEST(missing_tensors)
{
    static const char *const names[] = {norm, query, "model.embed_tokens.weight", "model.norm.weight",
                                        "model.layers.1.mlp.down_proj.weight"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *model = fresh_model();
        rename_tensor(model, names[i], "some.other.name");
        expect_refused(text("without %s", names[i]), model, names[i], NULL);
    }
    const char *model = fresh_model();
    remove(text("%s/model.safetensors", model));
    expect_refused("no model.safetensors", model, "safetensors", NULL);
}
END_TEST

START_TEST(damaged_files)
{
    size_t length;
    char *file = file_read(text("%s/model.safetensors", fixture_folder(base)), &length);
    static const uint64_t headers[] = {0, 1, 1u << 20, UINT64_C(1) << 40, UINT64_MAX, UINT64_MAX - 7};
    const size_t cuts[] = {0, 4, 8, 100, length / 2, length - 1};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        const char *model = fresh_model();
        file_write(text("%s/model.safetensors", model), file, cuts[i]);
        expect_refused(text("cut to %zu bytes", cuts[i]), model, "model.safetensors", NULL);
    }
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        const char *model = fresh_model();
        memcpy(file, &headers[i], 8);
        file_write(text("%s/model.safetensors", model), file, length);
        expect_refused(text("a header of %llu bytes", (unsigned long long)headers[i]), model, "model.safetensors",
                       NULL);
    }
    free(file);
}
END_TEST

START_TEST(shards)
{
    struct process_result result;
    const char *model = temporary_path("shards");
    file_copy(fixture_folder("llama-linear"), model);
    const char *index = text("%s/model.safetensors.index.json", model);
    file_copy(index, temporary_path("index.json"));
    remove(text("%s/model-00002-of-00003.safetensors", model));
    expect_refused("a missing shard", model, "model-00002-of-00003.safetensors", NULL);
    file_copy(text("%s/model-00002-of-00003.safetensors", fixture_folder("llama-linear")), model);

    static const struct {
        const char *file, *fragment;
    } cases[] = {
        {"\"../../etc/passwd\"", "lm_head.weight"},
        {"\"/etc/passwd\"", "lm_head.weight"},
        {"7", "lm_head.weight"},
        {"\"model-00009-of-00003.safetensors\"", "model-00009-of-00003.safetensors"},
        {"\"model-00001-of-00003.safetensors\"", "lm_head.weight"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *source = file_read(temporary_path("index.json"), NULL);
        cJSON *json = json_parse(source, index);
        cJSON *map = cJSON_GetObjectItemCaseSensitive(json, "weight_map");
        cJSON_ReplaceItemInObjectCaseSensitive(map, "lm_head.weight", json_parse(cases[i].file, cases[i].file));
        char *edited = cJSON_Print(json);
        file_write(index, edited, strlen(edited));
        expect_refused(text("lm_head.weight in %s", cases[i].file), model, cases[i].fragment, NULL);
        free(edited);
        cJSON_Delete(json);
        free(source);
    }
    process_ok(&result, "rm", "-rf", model, NULL);
    process_free(&result);
}
END_TEST

static const char code[] = "a */ int injected_marker; /* \" ); \n#error injected_line\n// ?\?/ \\ $x$ //% %s `touch "
                           "injected_file` $(touch injected_file)";

/* Blanks out comments, strings and characters of a C source: what remains is what the compiler takes as code. */
static void blank_text(char *source)
{
    char *at = source;
    while (*at) {
        char *end = at;
        if (at[0] == '/' && at[1] == '/') {
            while (*end && (*end != '\n' || end[-1] == '\\'))
                end++;
        } else if (at[0] == '/' && at[1] == '*') {
            end = strstr(at + 2, "*/");
            end = end ? end + 2 : at + strlen(at);
        } else if (at[0] == '"' || at[0] == '\'') {
            for (end = at + 1; *end && *end != *at && *end != '\n'; end++)
                end += end[0] == '\\' && end[1];
            end += *end != 0;
        } else {
            at++;
            continue;
        }
        memset(at, ' ', (size_t)(end - at));
        at = end;
    }
}

/* The name stands in the sources as text only, and the package compiles again from them and runs. */
static void expect_tame_sources(const char *package)
{
    struct process_result files, result;
    int count = 0;
    process_ok(&files, "find", text("%s/src", package), "-type", "f", NULL);
    for (char *line = strtok(files.out, "\n"); line; line = strtok(NULL, "\n"), count++) {
        char *source = file_read(line, NULL);
        blank_text(source);
        ck_assert_msg(!strstr(source, "injected"), "%s: a name reached the sources as code: %.200s", line,
                      strstr(source, "injected"));
        free(source);
    }
    ck_assert_int_ge(count, 5);
    process_free(&files);
    process_ok(&result, lathe(), "build", package, "--quiet", NULL);
    process_free(&result);
    process_ok(&result, executable(package), "info", "--json", NULL);
    cJSON_Delete(json_parse(result.out, "info --json"));
    process_free(&result);
}

START_TEST(model_folders_that_look_like_code)
{
    /* No slash, so no end of a comment: those come with templates and tensors below. */
    static const char folder[] =
        "a\"); int injected_marker; (\"\n#error injected_line\n$(touch injected_file) %s \\ '$x$";
    struct process_result result;
    const char *model = temporary_path("%s", folder), *package = temporary_path("tame");
    file_copy(fixture_folder(base), model);
    process(&result, lathe(), "build", model, "-o", package, "--quiet", "--cpu", "scalar", NULL);
    if (result.status == 0)
        expect_tame_sources(package);
    else
        expect_refusal(&result, "a folder named as code", NULL);
    process_free(&result);
    process(&result, lathe(), "plan", model, NULL);
    process_free(&result);

    /* As the package's own name. */
    process(&result, lathe(), "build", fixture_folder(base), "-o", temporary_path("b\"; int injected_marker; \""),
            "--quiet", "--cpu", "scalar", NULL);
    if (result.status == 0)
        expect_tame_sources(temporary_path("b\"; int injected_marker; \""));
    else
        expect_refusal(&result, "a package named as code", NULL);
    process_free(&result);
    process(&result, lathe(), "build", fixture_folder(base), "-o", temporary_path("two\nlines"), "--quiet", NULL);
    expect_refusal(&result, "a package named with a newline", NULL);
    process_free(&result);
    ck_assert(!file_exists("injected_file"));
}
END_TEST

START_TEST(tensors_that_look_like_code)
{
    const char *model = fresh_model();
    rename_tensor(model, norm, code);
    expect_refused("a tensor named as code in two lines", model, "model.safetensors", NULL);
    model = fresh_model();
    rename_tensor(model, norm, "*/ int injected_marker; /* $x$");
    expect_refused("a tensor named as code", model, norm, NULL);

    /* An extra tensor, which does no harm by itself. */
    struct process_result result;
    struct tensors tensors;
    const char *package = temporary_path("extra");
    model = fresh_model();
    tensors_open(&tensors, model);
    cJSON *entry = json_parse("{\"dtype\": \"F32\", \"shape\": [0], \"data_offsets\": [0, 0]}", "entry");
    cJSON_AddItemToObject(tensors.header, "*/ int injected_marker; /* $x$", entry);
    tensors_close(&tensors);
    process(&result, lathe(), "build", model, "-o", package, "--quiet", "--cpu", "scalar", NULL);
    if (result.status == 0)
        expect_tame_sources(package);
    else
        expect_refusal(&result, "an extra tensor named as code", NULL);
    process_free(&result);
}
END_TEST

/* Text that the checkpoint brings and that does reach the sources: the chat template and the tokens. */
START_TEST(templates_that_look_like_code)
{
    struct process_result result;
    const char *model = fresh_model(), *package = temporary_path("template");
    cJSON *string = cJSON_CreateString(code);
    char *quoted = cJSON_Print(string);
    set_member(text("%s/tokenizer_config.json", model), "chat_template", quoted);
    set_member(text("%s/config.json", model), "_name_or_path", quoted);
    process(&result, lathe(), "build", model, "-o", package, "--quiet", "--cpu", "scalar", NULL);
    if (result.status == 0)
        expect_tame_sources(package);
    else
        expect_refusal(&result, "a chat template that is code", NULL);
    process_free(&result);
    free(quoted);
    cJSON_Delete(string);
}
END_TEST

START_TEST(command_lines)
{
    struct process_result result;
    static const char *const lines[][6] = {
        {"frobnicate"},
        {"build"},
        {"build", "--frobnicate", "MODEL"},
        {"build", "MODEL", "MODEL"},
        {"build", "MODEL", "--dtype", "int3"},
        {"build", "MODEL", "--max-seq", "0"},
        {"build", "MODEL", "--max-seq", "12x"},
        {"build", "MODEL", "--max-rows", "-1"},
        {"build", "MODEL", "--page", "48"},
        {"build", "MODEL", "--target", "pdp11"},
        {"build", "MODEL", "--cpu", "z80"},
        {"build", "MODEL", "--cpu", "bf16", "--dtype", "f32"},
        {"build", "MODEL", "--cpu", "avx2", "--target", "cuda"},
        {"build", "MODEL", "--dtype"},
        {"build", "MODEL", "--chat-template", "/nonexistent/t.jinja"},
        {"build", "MODEL", "--models", "/nonexistent/models"},
        {"inspect", "/nonexistent/package"},
        {"plan", "/nonexistent/model"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const char *arguments[10] = {lathe()};
        char what[128] = "";
        int count = 1;
        for (int j = 0; j < 6 && lines[i][j]; j++) {
            bool is_model = strcmp(lines[i][j], "MODEL") == 0;
            arguments[count++] = is_model ? fixture_folder(base) : lines[i][j];
            strncat(what, " ", sizeof what - strlen(what) - 1);
            strncat(what, lines[i][j], sizeof what - strlen(what) - 1);
        }
        struct process_options options = {.directory = temporary_folder()};
        process_run(&result, &options, arguments);
        expect_refusal(&result, what, NULL);
        process_free(&result);
        ck_assert(!file_exists(temporary_path("%s", base)));
    }
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("package/refusals");
    TCase *refusals = tcase_create("refusals");
    tcase_set_timeout(refusals, 200);
    tcase_add_loop_test(refusals, configs, 0, sizeof config_cases / sizeof *config_cases);
    tcase_add_test(refusals, config_files);
    tcase_add_loop_test(refusals, headers, 0, sizeof header_cases / sizeof *header_cases);
    tcase_add_test(refusals, missing_tensors);
    tcase_add_test(refusals, damaged_files);
    tcase_add_test(refusals, shards);
    tcase_add_test(refusals, model_folders_that_look_like_code);
    tcase_add_test(refusals, tensors_that_look_like_code);
    tcase_add_test(refusals, templates_that_look_like_code);
    tcase_add_test(refusals, adapters_of_another_embedding);
    tcase_add_test(refusals, command_lines);
    suite_add_tcase(suite, refusals);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
