/* config.json in old and new key styles, and the other small files of a Hugging Face folder. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoint.h"
#include "fixture.h"
#include "process.h"

#define LLAMA "\"architectures\": [\"LlamaForCausalLM\"]"

/* A folder with that config and one small tensor. */
static const char *folder_with(const char *config)
{
    const char *folder = checkpoint_folder(config);
    safetensors_write(text("%s/model.safetensors", folder),
                      "{\"t\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]}}", 8);
    return folder;
}

static void write_text(const char *folder, const char *name, const char *content)
{
    file_write(text("%s/%s", folder, name), content, strlen(content));
}

/* The member of an object as compact JSON in a static buffer; "nothing" when it is not there. */
static const char *member(const cJSON *object, const char *name)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
    char *printed = value ? cJSON_PrintUnformatted(value) : NULL;
    const char *result = text("%s", printed ? printed : "nothing");
    cJSON_free(printed);
    return result;
}

static const struct folding {
    const char *config, *key, *value;
} foldings[] = {
    {"{" LLAMA ", \"rope_theta\": 10000.0}", "rope_theta", "10000"},
    {"{" LLAMA ", \"rope_theta\": 10000.0}", "rope_scaling", "nothing"},
    {"{" LLAMA ", \"rope_scaling\": null}", "rope_scaling", "nothing"},
    {"{" LLAMA ", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}}", "rope_scaling",
     "{\"factor\":4,\"rope_type\":\"linear\"}"},
    {"{" LLAMA ", \"rope_scaling\": {\"type\": \"linear\", \"rope_type\": \"linear\", \"factor\": 4}}", "rope_scaling",
     "{\"factor\":4,\"rope_type\":\"linear\"}"},
    {"{" LLAMA ", \"rope_scaling\": {\"rope_type\": \"default\", \"factor\": 4}}", "rope_scaling", "nothing"},
    {"{" LLAMA ", \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 5e5}}", "rope_theta", "500000"},
    {"{" LLAMA ", \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 5e5}}", "rope_scaling", "nothing"},
    {"{" LLAMA ", \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 5e5}}", "rope_parameters",
     "nothing"},
    {"{" LLAMA ", \"rope_theta\": 5e5, \"rope_parameters\": {\"rope_theta\": 5e5}}", "rope_theta", "500000"},
    {"{" LLAMA ", \"rope_parameters\": {\"rope_theta\": 5e5, \"partial_rotary_factor\": 0.5}}", "partial_rotary_factor",
     "0.5"},
    {"{" LLAMA
     ", \"rope_parameters\": {\"rope_type\": \"llama3\", \"rope_theta\": 5e5, \"factor\": 8, \"low_freq_factor\": 1,"
     "\"high_freq_factor\": 4, \"original_max_position_embeddings\": 8192}}",
     "rope_scaling",
     "{\"factor\":8,\"high_freq_factor\":4,\"low_freq_factor\":1,\"original_max_position_embeddings\":8192,"
     "\"rope_type\":\"llama3\"}"},
    {"{" LLAMA ", \"max_position_embeddings\": 4096, \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4}}",
     "rope_scaling", "{\"factor\":4,\"original_max_position_embeddings\":4096,\"rope_type\":\"yarn\"}"},
    {"{" LLAMA ", \"rope_parameters\": {\"full_attention\": {\"rope_type\": \"default\", \"rope_theta\": 7},"
     "\"sliding_attention\": {\"rope_type\": \"default\", \"rope_theta\": 7}}}",
     "rope_theta", "7"},
    {"{" LLAMA ", \"torch_dtype\": \"bfloat16\"}", "torch_dtype", "\"bfloat16\""},
    {"{" LLAMA ", \"dtype\": \"bfloat16\"}", "torch_dtype", "\"bfloat16\""},
    {"{" LLAMA ", \"dtype\": \"bfloat16\"}", "dtype", "nothing"},
    {"{" LLAMA ", \"torch_dtype\": \"torch.float16\"}", "torch_dtype", "\"float16\""},
    {"{" LLAMA ", \"head_dim\": null}", "head_dim", "nothing"},
    {"{" LLAMA ", \"eos_token_id\": [1, 2]}", "eos_token_id", "[1,2]"},
    {"{" LLAMA ", \"never_heard_of\": {\"a\": [null, 1]}}", "never_heard_of", "{\"a\":[null,1]}"},
    {"\xef\xbb\xbf{" LLAMA ", \"hidden_size\": 64.0}", "hidden_size", "64"},
};

START_TEST(key_styles_are_folded)
{
    cJSON *json = checkpoint_read(folder_with(foldings[_i].config));
    ck_assert_str_eq(member(json_member(json, "config", "checkpoint"), foldings[_i].key), foldings[_i].value);
    cJSON_Delete(json);
}
END_TEST

START_TEST(the_type_stands_in_for_the_architecture)
{
    cJSON *json = checkpoint_read(folder_with("{\"model_type\": \"qwen3\"}"));
    ck_assert_str_eq(member(json, "architecture"), "\"Qwen3ForCausalLM\"");
    cJSON_Delete(json);
}
END_TEST

static const struct refusal {
    const char *config, *fragment;
} refusals[] = {
    {"", "valid JSON"},
    {"[]", "the file: expected an object, found an array"},
    {"7", "the file: expected an object, found 7"},
    {"{" LLAMA ", \"a\": 1, \"a\": 1}", "\"a\" stands twice"},
    {"{" LLAMA "} {}", "valid JSON"},
    {"{" LLAMA ", \"a\": \"\xff\"}", "UTF-8"},
    {"{}", "architectures: expected a list such as"},
    {"{\"model_type\": \"mamba\"}", "architectures: expected a list such as"},
    {"{\"architectures\": \"LlamaForCausalLM\"}", "architectures: expected an array"},
    {"{\"architectures\": []}", "architectures: expected one architecture, found 0"},
    {"{\"architectures\": [1]}", "architectures[0]: expected a string, found 1"},
    {"{\"architectures\": [\"A\", \"B\"]}", "architectures: expected one architecture, found 2"},
    {"{" LLAMA ", \"hidden_size\": \"64\"}", "hidden_size: expected a whole number from 1 to 1048576, found \"64\""},
    {"{" LLAMA ", \"hidden_size\": 0}", "hidden_size: expected a whole number from 1"},
    {"{" LLAMA ", \"hidden_size\": -64}", "hidden_size: expected a whole number from 1"},
    {"{" LLAMA ", \"hidden_size\": 64.5}", "hidden_size: expected a whole number from 1 to 1048576, found 64.5"},
    {"{" LLAMA ", \"hidden_size\": 1e12}",
     "hidden_size: expected a whole number from 1 to 1048576, found 1000000000000"},
    {"{" LLAMA ", \"num_hidden_layers\": 1e300}", "num_hidden_layers: expected a whole number"},
    {"{" LLAMA ", \"num_key_value_heads\": [1, 2]}", "num_key_value_heads: expected a whole number"},
    {"{" LLAMA ", \"vocab_size\": true}", "vocab_size: expected a whole number from 1 to 67108864, found true"},
    {"{" LLAMA ", \"rms_norm_eps\": \"1e-5\"}", "rms_norm_eps: expected a positive number"},
    {"{" LLAMA ", \"rms_norm_eps\": 0}", "rms_norm_eps: expected a positive number, found 0"},
    {"{" LLAMA ", \"rope_theta\": 1e999}", "rope_theta: expected a finite number"},
    {"{" LLAMA ", \"x\": {\"y\": [1e999]}}", "x.y[0]: expected a finite number"},
    {"{" LLAMA ", \"tie_word_embeddings\": 1}", "tie_word_embeddings: expected true or false, found 1"},
    {"{" LLAMA ", \"hidden_act\": {}}", "hidden_act: expected a string, found an object"},
    {"{" LLAMA ", \"eos_token_id\": -1}", "eos_token_id: expected a whole number"},
    {"{" LLAMA ", \"eos_token_id\": [1, \"x\"]}", "eos_token_id[1]: expected a whole number"},
    {"{" LLAMA ", \"torch_dtype\": \"float16\", \"dtype\": \"bfloat16\"}", "torch_dtype and dtype are one setting"},
    {"{" LLAMA ", \"rope_theta\": 1, \"rope_parameters\": {\"rope_theta\": 2}}", "rope_theta: expected the same value"},
    {"{" LLAMA
     ", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}, \"rope_parameters\": {\"rope_type\": \"llama3\"}}",
     "rope_scaling and rope_parameters are one setting"},
    {"{" LLAMA ", \"rope_scaling\": {\"type\": \"linear\", \"rope_type\": \"yarn\"}}", "are one setting"},
    {"{" LLAMA ", \"rope_scaling\": [1]}", "rope_scaling: expected an object, found an array"},
    {"{" LLAMA ", \"rope_scaling\": {\"rope_type\": 3}}", "rope_scaling.rope_type: expected a string, found 3"},
    {"{" LLAMA ", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": \"4\"}}",
     "rope_scaling.factor: expected a positive number"},
    {"{" LLAMA ", \"rope_parameters\": {\"rope_theta\": 7, \"mrope_section\": [1, 2]}}",
     "rope_parameters.mrope_section: is not known"},
    {"{" LLAMA
     ", \"rope_parameters\": {\"full_attention\": {\"rope_theta\": 7}, \"sliding_attention\": {\"rope_theta\": 8}}}",
     "different ones for full_attention and sliding_attention"},
    {"{" LLAMA ", \"text_config\": {}, \"model_type\": \"llava\"}", "text_config: the language model is nested"},
    {"{" LLAMA ", \"quantization_config\": {\"quant_method\": \"fp8\"}}",
     "quantization_config: the weights are quantised (\"fp8\")"},
    {"{" LLAMA ", \"hidden_size\": \"a\\nb\\u001b[31m\"}", "\"a\\x0ab\\x1b[31m\""},
};

START_TEST(wrong_configs_are_refused)
{
    checkpoint_refused(folder_with(refusals[_i].config), "config.json", refusals[_i].fragment, NULL);
}
END_TEST

START_TEST(deep_nesting_is_refused)
{
    char *config = malloc(200001);
    memset(config, '[', 100000);
    memset(config + 100000, ']', 100000);
    config[200000] = '\0';
    checkpoint_refused(folder_with(config), "config.json", NULL);
    free(config);
}
END_TEST

/* A long value from the file does not flood the terminal. */
START_TEST(messages_are_short)
{
    char *config = malloc(100100);
    int at = sprintf(config, "{" LLAMA ", \"hidden_size\": \"");
    memset(config + at, 'x', 100000 - (size_t)at);
    memcpy(config + 100000, "\"}", 3);
    checkpoint_refused(folder_with(config), "hidden_size: expected a whole number", "...", NULL);
    free(config);
}
END_TEST

START_TEST(missing_pieces_are_named)
{
    checkpoint_refused(temporary_path("nothing-there"), "expected a checkpoint, found nothing there", NULL);
    const char *folder = checkpoint_folder(NULL);
    checkpoint_refused(folder, "expected config.json in this folder, found none", NULL);
    write_text(folder, "adapter_config.json", "{}");
    checkpoint_refused(folder, "this is an adapter", "--lora", NULL);
    write_text(folder, "small.gguf", "");
    checkpoint_refused(folder, "found small.gguf; give that file itself", NULL);

    folder = checkpoint_folder("{" LLAMA "}");
    checkpoint_refused(folder, "model.safetensors", "found neither", NULL);
    write_text(folder, "pytorch_model.bin", "");
    checkpoint_refused(folder, "found pytorch_model.bin, which is a pickle", "convert it", NULL);
    checkpoint_refused(text("%s/config.json", folder), "expected a folder with config.json or a .gguf file", NULL);
    checkpoint_refused(text("%s/model.safetensors", folder_with("{" LLAMA "}")), "give the folder that holds it", NULL);

    folder = folder_with(NULL);
    ck_assert_int_eq(mkdir(text("%s/config.json", folder), 0755), 0);
    checkpoint_refused(folder, "config.json", "regular file", NULL);
}
END_TEST

START_TEST(the_name_is_the_folders)
{
    const char *folder = folder_with("{" LLAMA "}");
    cJSON *json = checkpoint_read(text("%s//", folder));
    ck_assert_str_eq(json_member(json, "name", folder)->valuestring, strrchr(folder, '/') + 1);
    cJSON_Delete(json);
}
END_TEST

START_TEST(tokenizer_files_are_checked)
{
    const char *folder = folder_with("{" LLAMA "}");
    cJSON *json = checkpoint_read(folder);
    ck_assert_str_eq(member(json, "tokenizer"), "false");
    cJSON_Delete(json);
    write_text(folder, "tokenizer.json", "{\"model\": {\"type\": \"BPE\"}}");
    json = checkpoint_read(folder);
    ck_assert_str_eq(member(json, "tokenizer"), "true");
    cJSON_Delete(json);
    write_text(folder, "tokenizer.json", "{\"model\": 1}");
    checkpoint_refused(folder, "tokenizer.json: model: expected an object, found 1", NULL);
    write_text(folder, "tokenizer.json", "{\"model\": {\"type\"");
    checkpoint_refused(folder, "tokenizer.json", "valid JSON", NULL);
    write_text(folder, "tokenizer.json", "null");
    checkpoint_refused(folder, "tokenizer.json: the file: expected an object, found null", NULL);
}
END_TEST

START_TEST(generation_config_is_checked)
{
    const char *folder = folder_with("{" LLAMA "}");
    write_text(folder, "generation_config.json", "{\"eos_token_id\": [1, 2], \"temperature\": 0.5, \"top_k\": null}");
    cJSON *json = checkpoint_read(folder);
    ck_assert_str_eq(member(json, "generation"), "{\"eos_token_id\":[1,2],\"temperature\":0.5}");
    cJSON_Delete(json);
    write_text(folder, "generation_config.json", "{\"eos_token_id\": \"x\"}");
    checkpoint_refused(folder, "generation_config.json: eos_token_id: expected a whole number", NULL);
    write_text(folder, "generation_config.json", "[]");
    checkpoint_refused(folder, "generation_config.json: the file: expected an object", NULL);
}
END_TEST

START_TEST(chat_templates_are_found)
{
    const char *folder = folder_with("{" LLAMA "}");
    cJSON *json;
    write_text(folder, "tokenizer_config.json", "{\"chat_template\": \"plain\"}");
    json = checkpoint_read(folder);
    ck_assert_str_eq(member(json, "chat_templates"),
                     text("[{\"name\":\"default\",\"text\":\"plain\",\"where\":\"%s/tokenizer_config.json: "
                          "chat_template\"}]",
                          folder));
    cJSON_Delete(json);
    write_text(folder, "tokenizer_config.json",
               "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"a\"}, {\"name\": \"default\", "
               "\"template\": \"b\"}]}");
    json = checkpoint_read(folder);
    ck_assert_ptr_nonnull(strstr(member(json, "chat_templates"), "\"name\":\"tool_use\",\"text\":\"a\""));
    ck_assert_ptr_nonnull(strstr(member(json, "chat_templates"), "\"name\":\"default\",\"text\":\"b\""));
    cJSON_Delete(json);
    write_text(folder, "chat_template.jinja", "from the file");
    json = checkpoint_read(folder);
    ck_assert_ptr_nonnull(strstr(member(json, "chat_templates"), "from the file"));
    ck_assert_ptr_null(strstr(member(json, "chat_templates"), "tool_use"));
    cJSON_Delete(json);
    ck_assert_int_eq(mkdir(text("%s/additional_chat_templates", folder), 0755), 0);
    write_text(folder, "additional_chat_templates/rag.jinja", "with documents");
    json = checkpoint_read(folder);
    ck_assert_ptr_nonnull(strstr(member(json, "chat_templates"), "\"name\":\"rag\",\"text\":\"with documents\""));
    cJSON_Delete(json);
    write_text(folder, "chat_template.jinja", "\xff");
    checkpoint_refused(folder, "chat_template.jinja: text: expected UTF-8", NULL);
    folder = folder_with("{" LLAMA "}");
    write_text(folder, "tokenizer_config.json", "{\"chat_template\": [{\"name\": 1}]}");
    checkpoint_refused(folder, "tokenizer_config.json: chat_template[0].name: expected a string", NULL);
    folder = folder_with("{" LLAMA "}");
    write_text(folder, "chat_template.json", "{\"chat_template\": \"old\"}");
    json = checkpoint_read(folder);
    ck_assert_ptr_nonnull(strstr(member(json, "chat_templates"), "\"text\":\"old\""));
    cJSON_Delete(json);
}
END_TEST

static void make_folder(void)
{
    temporary_folder();
}

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *tests = tcase_create("read");
    tcase_set_timeout(tests, 120);
    tcase_add_unchecked_fixture(tests, make_folder, NULL);
    tcase_add_loop_test(tests, key_styles_are_folded, 0, (int)(sizeof foldings / sizeof foldings[0]));
    tcase_add_test(tests, the_type_stands_in_for_the_architecture);
    tcase_add_loop_test(tests, wrong_configs_are_refused, 0, (int)(sizeof refusals / sizeof refusals[0]));
    tcase_add_test(tests, deep_nesting_is_refused);
    tcase_add_test(tests, messages_are_short);
    tcase_add_test(tests, missing_pieces_are_named);
    tcase_add_test(tests, the_name_is_the_folders);
    tcase_add_test(tests, tokenizer_files_are_checked);
    tcase_add_test(tests, generation_config_is_checked);
    tcase_add_test(tests, chat_templates_are_found);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
