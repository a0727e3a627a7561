/* Adapters that are not what they say, or are for another model: `lathe build` refuses them, and leaves nothing behind. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "process.h"
#include "refusal.h"

static const struct damage {
    const char *adapter;     /* of tests/fixtures/adapters */
    const char *base;        /* of tests/fixtures/models */
    const char *key, *value; /* set in adapter_config.json; NULL: nothing is changed */
    const char *fragments[3];
} damages[] = {
    {"regex", "llama-text", NULL, NULL, {"expected shape", "another model"}},
    {"plain", "llama-bias", NULL, NULL, {"layers.1.self_attn.q_proj.lora_A.weight: the base model has no such module"}},
    {"torch", "llama-text", NULL, NULL, {"adapter_model.bin", "expected shape [3, 64]", "found [3, 128]"}},
    {"norms", "qwen3-ratio3", NULL, NULL, {"layernorm.weight", "build with --merge-lora"}},
    {"plain", "llama-text", "peft_type", "\"IA3\"", {"peft_type: expected LORA, found IA3"}},
    {"plain", "llama-text", "r", "9", {"expected rank 9 by adapter_config.json, found 8"}},
    {"plain", "llama-text", "r", "0", {"r: expected a rank from 1"}},
    {"plain", "llama-text", "lora_alpha", "\"16\"", {"lora_alpha: expected a number"}},
    {"plain", "llama-text", "target_modules", "[\"q_proj\"]", {"v_proj.lora_A.weight", "expected no such tensor"}},
    {"plain",
     "llama-text",
     "target_modules",
     "[\"q_proj\", \"v_proj\", \"o_proj\"]",
     {"o_proj.lora_A.weight", "found none"}},
    {"plain", "llama-text", "target_modules", "\"(\"", {"target_modules: expected a regular expression"}},
    {"plain",
     "llama-text",
     "target_modules",
     "\"(?:.|.)*[^ -~]\"",
     {"target_modules: expected a pattern that is quickly matched"}},
    {"plain", "llama-text", "target_modules", "7", {"target_modules: expected a text or a list"}},
    {"plain",
     "llama-text",
     "layers_to_transform",
     "[0]",
     {"layers.1.self_attn.q_proj.lora_A.weight", "expected no such"}},
    {"plain", "llama-text", "use_dora", "true", {"lora_magnitude_vector: expected this tensor by use_dora"}},
    {"plain", "llama-text", "lora_bias", "true", {"lora_B.bias: expected this tensor by lora_bias"}},
    {"plain",
     "llama-text",
     "modules_to_save",
     "[\"lm_head\"]",
     {"lm_head.weight: expected this tensor by modules_to_save"}},
    {"plain", "llama-text", "bias", "\"some\"", {"bias: expected none, all or lora_only"}},
    {"plain", "llama-text", "trainable_token_indices", "[1]", {"trainable_token_indices: is set and changes"}},
    {"plain", "llama-text", "target_parameters", "[\"x\"]", {"target_parameters: is set and changes"}},
    {"plain", "llama-text", "layer_replication", "[[0, 1]]", {"layer_replication: is set and changes"}},
    {"plain", "llama-text", "alora_invocation_tokens", "[1]", {"alora_invocation_tokens: is set and changes"}},
    {"plain", "llama-text", "use_qalora", "true", {"use_qalora: is set and changes"}},
    {"plain", "llama-text", "tomorrow", "{\"a\": 1}", {"tomorrow: is set and changes"}},
    {"plain", "llama-text", "init_lora_weights", "\"pissa_niter_4\"", {"init_lora_weights", "found pissa_niter_4"}},
    {"embedding", "llama-text", "use_dora", "true", {"lora_magnitude_vector: expected this tensor by use_dora"}},
    {"dora", "qwen3-ratio3", "use_dora", "false", {"lora_magnitude_vector: expected no such tensor by use_dora"}},
    {"lora-bias", "llama-text", "lora_bias", "false", {"lora_B.bias: expected no such tensor by lora_bias"}},
    {"bias", "qwen2-window", "bias", "\"none\"", {"base_layer.bias: expected no such tensor by bias"}},
    {"saved",
     "qwen3-ratio3",
     "modules_to_save",
     "[\"lm_head\", \"up_proj\"]",
     {"up_proj.weight: expected this tensor"}},
};

/* The adapter with one key of its config set, in a folder of its own. */
static const char *damaged(const struct damage *damage, int number)
{
    const char *folder = temporary_path("adapter%d", number);
    size_t length;
    file_copy(text("%s/tests/fixtures/adapters/%s", TEST_SOURCE_DIR, damage->adapter), folder);
    if (!damage->key)
        return folder;
    const char *path = text("%s/adapter_config.json", folder);
    char *source = file_read(path, &length);
    cJSON *config = json_parse(source, path), *value = json_parse(damage->value, damage->key);
    if (!cJSON_ReplaceItemInObjectCaseSensitive(config, damage->key, value))
        cJSON_AddItemToObject(config, damage->key, value);
    char *changed = cJSON_Print(config);
    file_write(path, changed, strlen(changed));
    cJSON_free(changed);
    cJSON_Delete(config);
    free(source);
    return folder;
}

static void check_refused(const char *base, const char *folder, const char *const fragments[3])
{
    struct process_result result;
    const char *output = temporary_path("package");
    process(&result, lathe(), "build", fixture_folder(base), "-o", output, "--lora", text("a=%s", folder), "--quiet",
            NULL);
    expect_refusal(&result, folder, "adapter_", fragments[0], fragments[1], fragments[2], NULL);
    ck_assert_msg(!file_exists(output), "%s: a refused adapter left a package behind", folder);
    process_free(&result);
}

START_TEST(damage_is_refused)
{
    check_refused(damages[_i].base, damaged(&damages[_i], _i), damages[_i].fragments);
}
END_TEST

START_TEST(cut_tensors_are_refused)
{
    static const char *const cut[3] = {"adapter_model.safetensors"};
    const char *folder = damaged(&(struct damage){"embedding", "llama-text", NULL, NULL, {NULL}}, 100);
    const char *path = text("%s/adapter_model.safetensors", folder);
    size_t length;
    char *bytes = file_read(path, &length);
    file_write(path, bytes, length - 1);
    free(bytes);
    check_refused("llama-text", folder, cut);
}
END_TEST

START_TEST(what_is_no_adapter_is_refused)
{
    static const char *const fragments[3] = {"expected a folder with adapter_config.json"};
    static const char *const empty[3] = {"cannot be opened"};
    check_refused("llama-text", temporary_path("nowhere"), fragments);
    const char *folder = temporary_path("empty/x");
    struct process_result result;
    process_ok(&result, "mkdir", "-p", folder, NULL);
    process_free(&result);
    check_refused("llama-text", folder, empty);
}
END_TEST

START_TEST(names_are_checked)
{
    static const char *const words[][2] = {{"a", "expected NAME=DIR"},
                                           {"=x", "names of letters"},
                                           {"a b=x", "names of letters"},
                                           {"all=x", "other than all and none"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        struct process_result result;
        process(&result, lathe(), "plan", fixture_folder("llama-text"), "--lora", words[i][0], NULL);
        expect_refusal(&result, words[i][0], "--lora", words[i][1], NULL);
        process_free(&result);
    }
    struct process_result result;
    process(&result, lathe(), "plan", fixture_folder("llama-text"), "--merge-lora", "b", NULL);
    expect_refusal(&result, "merge", "merge_lora: expected one of the adapters of --lora, found b", NULL);
    process_free(&result);
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("peft");
    TCase *cases = tcase_create("peft");
    tcase_set_timeout(cases, 120);
    tcase_add_loop_test(cases, damage_is_refused, 0, sizeof damages / sizeof *damages);
    tcase_add_test(cases, cut_tensors_are_refused);
    tcase_add_test(cases, what_is_no_adapter_is_refused);
    tcase_add_test(cases, names_are_checked);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
