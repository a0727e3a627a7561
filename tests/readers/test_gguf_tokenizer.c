/* The tokenizer of a GGUF file, written as a tokenizer.json. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint.h"
#include "fixture.h"
#include "gguf_file.h"
#include "host.h"
#include "process.h"

#define KEY "tokenizer.ggml."

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

static void put_model(struct gguf_file *file, uint64_t vocab)
{
    gguf_string(file, "general.architecture", "llama");
    gguf_u32(file, "llama.block_count", 1);
    gguf_u32(file, "llama.context_length", 128);
    gguf_u32(file, "llama.embedding_length", 64);
    gguf_u32(file, "llama.feed_forward_length", 96);
    gguf_u32(file, "llama.attention.head_count", 4);
    gguf_f32(file, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_tensor(file, "token_embd.weight", GGUF_TYPE_F32, 64, vocab, NULL, vocab * 256);
}

static const char *write_file(struct gguf_file *file)
{
    static int number;
    const char *path = temporary_path("tokenizer-%d-%d.gguf", (int)getpid(), number++);
    gguf_write(file, path);
    gguf_free(file);
    return path;
}

/* {"tokenizer": ..., "config": ...} of the file, read in this process. */
static cJSON *read_tokenizer(const char *path)
{
    lua_State *lua = host_state();
    ck_assert_ptr_nonnull(lua);
    ck_assert_int_eq(luaL_loadstring(lua, "local checkpoint = require 'read.checkpoint' (...)\n"
                                          "return require 'json'.encode { tokenizer = checkpoint.tokenizer,"
                                          " config = checkpoint.tokenizer_config }"),
                     LUA_OK);
    lua_pushstring(lua, path);
    if (lua_pcall(lua, 1, 1, 0) != LUA_OK) {
        if (lua_istable(lua, -1))
            lua_getfield(lua, -1, "message");
        ck_abort_msg("%s", lua_tostring(lua, -1));
    }
    cJSON *json = json_parse(lua_tostring(lua, -1), path);
    lua_close(lua);
    return json;
}

/* What stands at `place` ("model.merges"), as compact JSON with sorted keys, in a static buffer; "nothing" for nothing.
 */
static const char *at(const cJSON *json, const char *place)
{
    char name[64];
    while (json && *place) {
        size_t length = strcspn(place, ".");
        memcpy(name, place, length);
        name[length] = '\0';
        json = cJSON_GetObjectItemCaseSensitive(json, name);
        place += length + (place[length] == '.');
    }
    char *printed = json ? cJSON_PrintUnformatted(json) : NULL;
    const char *result = text("%s", printed ? printed : "nothing");
    cJSON_free(printed);
    return result;
}

static void put_byte_level(struct gguf_file *file, const char *pre)
{
    static const int32_t types[] = {NORMAL, NORMAL, NORMAL, CONTROL, USER_DEFINED, UNUSED, CONTROL};
    put_model(file, 8);
    gguf_string(file, KEY "model", "gpt2");
    if (pre)
        gguf_string(file, KEY "pre", pre);
    gguf_strings(file, KEY "tokens", "a b ab <|end|> <think~more> [PAD5] <\uff5cbegin\uff5c>");
    gguf_i32s(file, KEY "token_type", types, 7);
    gguf_strings(file, KEY "merges", "a~b");
    gguf_u32(file, KEY "eos_token_id", 3);
    gguf_u32(file, KEY "bos_token_id", 6);
}

START_TEST(byte_level_vocabularies_are_read)
{
    struct gguf_file file;
    gguf_init(&file);
    put_byte_level(&file, "smollm");
    gguf_string(&file, "tokenizer.chat_template", "{{ messages }}");
    const char *path = write_file(&file);
    cJSON *json = read_tokenizer(path), *tokenizer = cJSON_GetObjectItemCaseSensitive(json, "tokenizer");
    /* The added tokens that are not in the byte alphabet, and the padding, are not in the vocabulary. */
    ck_assert_str_eq(at(tokenizer, "model.vocab"), "{\"<|end|>\":3,\"a\":0,\"ab\":2,\"b\":1}");
    ck_assert_str_eq(at(tokenizer, "model.merges"), "[\"a b\"]");
    ck_assert_str_eq(at(tokenizer, "model.type"), "\"BPE\"");
    ck_assert_str_eq(at(tokenizer, "model.byte_fallback"), "false");
    ck_assert_str_eq(at(tokenizer, "model.ignore_merges"), "false");
    ck_assert_str_eq(at(tokenizer, "normalizer"), "nothing");
    ck_assert_str_eq(at(tokenizer, "post_processor"), "nothing");
    ck_assert_str_eq(at(tokenizer, "decoder.type"), "\"ByteLevel\"");
    ck_assert_str_eq(at(tokenizer, "pre_tokenizer"),
                     "{\"pretokenizers\":[{\"individual_digits\":true,\"type\":\"Digits\"},{\"add_prefix_space\":false,"
                     "\"trim_offsets\":true,\"type\":\"ByteLevel\",\"use_regex\":true}],\"type\":\"Sequence\"}");
    const cJSON *added = json_member(tokenizer, "added_tokens", path);
    ck_assert_int_eq(cJSON_GetArraySize(added), 3);
    ck_assert_str_eq(at(cJSON_GetArrayItem(added, 0), ""),
                     "{\"content\":\"<|end|>\",\"id\":3,\"lstrip\":false,\"normalized\":false,\"rstrip\":false,"
                     "\"single_word\":false,\"special\":true}");
    ck_assert_str_eq(at(cJSON_GetArrayItem(added, 1), "content"), "\"<think more>\"");
    ck_assert_str_eq(at(cJSON_GetArrayItem(added, 1), "special"), "false");
    ck_assert_str_eq(at(cJSON_GetArrayItem(added, 2), "id"), "6");
    ck_assert_str_eq(at(json, "config.eos_token"), "\"<|end|>\"");
    ck_assert_str_eq(at(json, "config.add_bos_token"), "false");
    ck_assert_str_eq(at(json, "config.chat_template"), "\"{{ messages }}\"");
    cJSON_Delete(json);
}
END_TEST

START_TEST(kinds_of_splitting_differ)
{
    static const struct {
        const char *pre;
        int splits; /* Split pre-tokenizers */
        const char *fragment, *ignore_merges, *add_bos;
    } cases[] = {
        {"llama-bpe", 1, "\\\\p{N}{1,3}", "true", "true"},
        {"qwen2", 1, "|\\\\p{N}| ?", "false", "false"},
        {"tekken", 1, "\\\\p{Lt}", "true", "true"},
        {"gpt-4o", 1, "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|", "false", "false"},
        {"deepseek-v3", 3, "\\\\p{N}{1,3}", "false", "false"},
        {"deepseek-coder", 5, "\\\\s?\\\\p{P}+", "false", "false"},
        {"gpt-2", 0, "\"use_regex\":true", "false", "false"},
        {"default", 4, "[0-9][0-9][0-9]", "false", "false"},
        {NULL, 4, "[0-9][0-9][0-9]", "false", "false"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gguf_file file;
        gguf_init(&file);
        put_byte_level(&file, cases[i].pre);
        cJSON *json = read_tokenizer(write_file(&file));
        const char *pre = at(json, "tokenizer.pre_tokenizer"), *name = cases[i].pre ? cases[i].pre : "none";
        int splits = 0;
        for (const char *found = pre; (found = strstr(found, "\"type\":\"Split\"")); found++)
            splits++;
        ck_assert_msg(splits == cases[i].splits, "%s: %d splits: %s", name, splits, pre);
        ck_assert_msg(strstr(pre, cases[i].fragment) != NULL, "%s: %s", name, pre);
        ck_assert_str_eq(at(json, "tokenizer.model.ignore_merges"), cases[i].ignore_merges);
        ck_assert_str_eq(at(json, "config.add_bos_token"), cases[i].add_bos);
        ck_assert_str_eq(at(json, "tokenizer.normalizer.type"), strcmp(name, "qwen2") == 0 ? "\"NFC\"" : "nothing");
        cJSON_Delete(json);
    }
}
END_TEST

/* Every pattern compiles with the tokenizer's own engine. */
START_TEST(patterns_compile)
{
    lua_State *lua = host_state();
    static const char chunk[] = "local host, pretokenizers = require 'host', require 'read.gguf_pretokenizers'\n"
                                "local count = 0\n"
                                "for name in ([[default gpt-2 smollm llama-bpe dbrx qwen2 stablelm2 qwen35 seed-coder "
                                "tekken gpt-4o deepseek-v3\n"
                                "   deepseek-coder]]):gmatch '%S+' do\n"
                                "   local kind = assert(pretokenizers.find(name), name)\n"
                                "   for _, pattern in ipairs(kind.splits or {}) do\n"
                                "      assert(host.regex_check(pattern))\n"
                                "      count = count + 1\n"
                                "   end\n"
                                "end\n"
                                "return count";
    ck_assert_msg(luaL_dostring(lua, chunk) == LUA_OK, "%s", lua_tostring(lua, -1));
    ck_assert_int_eq((int)lua_tointeger(lua, -1), 20);
    lua_close(lua);
}
END_TEST

START_TEST(bos_and_eos_are_added)
{
    struct gguf_file file;
    gguf_init(&file);
    put_byte_level(&file, "llama-bpe");
    gguf_bool(&file, KEY "add_eos_token", 1);
    cJSON *json = read_tokenizer(write_file(&file));
    ck_assert_str_eq(at(json, "tokenizer.post_processor.type"), "\"TemplateProcessing\"");
    ck_assert_str_eq(at(json, "tokenizer.post_processor.single"),
                     "[{\"SpecialToken\":{\"id\":\"<\uff5cbegin\uff5c>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\","
                     "\"type_id\":0}},"
                     "{\"SpecialToken\":{\"id\":\"<|end|>\",\"type_id\":0}}]");
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(
                         cJSON_GetObjectItem(cJSON_GetObjectItem(json, "tokenizer"), "post_processor"), "pair")),
                     6);
    ck_assert_str_eq(
        at(json, "tokenizer.post_processor.special_tokens"),
        "{\"<|end|>\":{\"id\":\"<|end|>\",\"ids\":[3],\"tokens\":[\"<|end|>\"]},\"<\uff5cbegin\uff5c>\":{\"id\":"
        "\"<\uff5cbegin\uff5c>\",\"ids\":[6],\"tokens\":[\"<\uff5cbegin\uff5c>\"]}}");
    cJSON_Delete(json);
}
END_TEST

#define VISIBLE "\u2581"

static void put_sentencepiece(struct gguf_file *file, const char *tokens, const float *scores, size_t count)
{
    static const int32_t types[] = {UNKNOWN, CONTROL, CONTROL, BYTE, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL};
    put_model(file, 10);
    gguf_string(file, KEY "model", "llama");
    gguf_strings(file, KEY "tokens", tokens);
    gguf_i32s(file, KEY "token_type", types, count);
    gguf_f32s(file, KEY "scores", scores, count);
}

START_TEST(sentencepiece_vocabularies_are_read)
{
    static const float scores[] = {0, 0, 0, 0, -3, -1, -7, -7, -7, -2};
    struct gguf_file file;
    gguf_init(&file);
    put_sentencepiece(&file, "<unk> <s> </s> <0x0A> ab" VISIBLE " ab a b " VISIBLE " b" VISIBLE, scores, 10);
    cJSON *json = read_tokenizer(write_file(&file)), *tokenizer = cJSON_GetObjectItemCaseSensitive(json, "tokenizer");
    /* By score; the two ways to "ab_" in the order of the left part's id. */
    ck_assert_str_eq(at(tokenizer, "model.merges"),
                     "[[\"a\",\"b\"],[\"b\",\"" VISIBLE "\"],[\"ab\",\"" VISIBLE "\"],[\"a\",\"b" VISIBLE "\"]]");
    ck_assert_str_eq(at(tokenizer, "model.merge_ranks"), "[0,1,2,2]");
    ck_assert_str_eq(at(tokenizer, "model.byte_fallback"), "true");
    ck_assert_str_eq(at(tokenizer, "model.fuse_unk"), "true");
    ck_assert_str_eq(at(tokenizer, "model.unk_token"), "\"<unk>\"");
    ck_assert_str_eq(at(tokenizer, "model.vocab.<0x0A>"), "3");
    ck_assert_str_eq(at(tokenizer, "pre_tokenizer"), "nothing");
    ck_assert_str_eq(at(tokenizer, "normalizer"),
                     "{\"normalizers\":[{\"prepend\":\"" VISIBLE "\",\"type\":\"Prepend\"},{\"content\":\"" VISIBLE
                     "\",\"pattern\":{\"String\":\" \"},\"type\":\"Replace\"}],\"type\":\"Sequence\"}");
    ck_assert_str_eq(at(tokenizer, "decoder"),
                     "{\"decoders\":[{\"content\":\" \",\"pattern\":{\"String\":\"" VISIBLE
                     "\"},\"type\":\"Replace\"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
                     "{\"content\":\" \",\"start\":1,\"stop\":0,\"type\":\"Strip\"}],\"type\":\"Sequence\"}");
    const cJSON *single = json_member(json_member(tokenizer, "post_processor", ""), "single", "");
    ck_assert_int_eq(cJSON_GetArraySize(single), 2); /* BOS, unless the file says otherwise */
    ck_assert_str_eq(at(cJSON_GetArrayItem(single, 0), "SpecialToken.id"), "\"<s>\"");
    ck_assert_int_eq(cJSON_GetArraySize(json_member(tokenizer, "added_tokens", "")), 3);
    cJSON_Delete(json);
}
END_TEST

START_TEST(sentencepiece_flags_count)
{
    static const float scores[] = {0, 0, 0, 0, -1};
    struct gguf_file file;
    gguf_init(&file);
    put_sentencepiece(&file, "<unk> <s> </s> <0x0A> a", scores, 5);
    gguf_bool(&file, KEY "add_space_prefix", 0);
    gguf_bool(&file, KEY "add_bos_token", 0);
    cJSON *json = read_tokenizer(write_file(&file));
    ck_assert_str_eq(at(json, "tokenizer.normalizer.type"), "\"Replace\"");
    ck_assert_ptr_null(strstr(at(json, "tokenizer.decoder"), "Strip"));
    ck_assert_str_eq(at(json, "tokenizer.post_processor"), "nothing");
    cJSON_Delete(json);
}
END_TEST

START_TEST(a_file_without_a_vocabulary_has_no_tokenizer)
{
    struct gguf_file file;
    gguf_init(&file);
    put_model(&file, 4);
    gguf_string(&file, KEY "model", "none");
    cJSON *json = read_tokenizer(write_file(&file));
    ck_assert_str_eq(at(json, "tokenizer"), "nothing");
    cJSON_Delete(json);
}
END_TEST

typedef void change(struct gguf_file *file);

static void put_two(struct gguf_file *file, const char *tokens, const char *merges)
{
    put_model(file, 4);
    gguf_string(file, KEY "model", "gpt2");
    gguf_string(file, KEY "pre", "gpt-2");
    gguf_strings(file, KEY "tokens", tokens);
    if (merges)
        gguf_strings(file, KEY "merges", merges);
}

static void unknown_pre(struct gguf_file *file)
{
    put_byte_level(file, "my-own");
}
static void merges_missing(struct gguf_file *file)
{
    put_two(file, "a b ab", NULL);
}
static void merge_of_one(struct gguf_file *file)
{
    put_two(file, "a b ab", "ab");
}
static void merge_of_three(struct gguf_file *file)
{
    put_two(file, "a b ab", "a~b a~b~b");
}
static void merge_of_nothing(struct gguf_file *file)
{
    put_two(file, "a b ab", "~b");
}
static void merge_not_utf8(struct gguf_file *file)
{
    put_two(file, "a b ab", "a~\xff");
}
static void token_not_utf8(struct gguf_file *file)
{
    put_two(file, "a \xc3 ab", "a~b");
}
static void token_twice(struct gguf_file *file)
{
    put_two(file, "a b a", "a~b");
}
static void too_many(struct gguf_file *file)
{
    put_two(file, "a b c d e", "a~b");
}

static void other_model(struct gguf_file *file)
{
    put_model(file, 4);
    gguf_string(file, KEY "model", "bert");
}

static void model_number(struct gguf_file *file)
{
    put_model(file, 4);
    gguf_u32(file, KEY "model", 1);
}

static void tokens_missing(struct gguf_file *file)
{
    put_model(file, 4);
    gguf_string(file, KEY "model", "gpt2");
}

static void tokens_are_numbers(struct gguf_file *file)
{
    tokens_missing(file);
    gguf_i32s(file, KEY "tokens", (const int32_t[]){1, 2}, 2);
}

static void tokens_are_text(struct gguf_file *file)
{
    tokens_missing(file);
    gguf_string(file, KEY "tokens", "a b");
}

static void types_short(struct gguf_file *file)
{
    put_two(file, "a b ab", "a~b");
    gguf_i32s(file, KEY "token_type", (const int32_t[]){1, 1}, 2);
}

static void types_are_text(struct gguf_file *file)
{
    put_two(file, "a b ab", "a~b");
    gguf_strings(file, KEY "token_type", "1 1 1");
}

static void bos_far(struct gguf_file *file)
{
    put_two(file, "a b ab", "a~b");
    gguf_u32(file, KEY "bos_token_id", 3);
}

static void bos_unset(struct gguf_file *file)
{
    put_two(file, "a b ab", "a~b");
    gguf_bool(file, KEY "add_bos_token", 1);
}

static void flag_number(struct gguf_file *file)
{
    put_two(file, "a b ab", "a~b");
    gguf_u32(file, KEY "add_bos_token", 1);
}

static void scores_missing(struct gguf_file *file)
{
    put_model(file, 4);
    gguf_string(file, KEY "model", "llama");
    gguf_strings(file, KEY "tokens", "<unk> <s> </s>");
}

static void scores_short(struct gguf_file *file)
{
    scores_missing(file);
    gguf_f32s(file, KEY "scores", (const float[]){0}, 1);
}

static void scores_nan(struct gguf_file *file)
{
    scores_missing(file);
    gguf_f32s(file, KEY "scores", (const float[]){0, 0, __builtin_nanf("")}, 3);
}

static void put_three(struct gguf_file *file)
{
    static const float scores[] = {0, 0, 0, 0, -1};
    put_sentencepiece(file, "<unk> <s> </s> <0x0A> a", scores, 5);
}

static void extra_spaces(struct gguf_file *file)
{
    put_three(file);
    gguf_bool(file, KEY "remove_extra_whitespaces", 1);
}

static void charsmap(struct gguf_file *file)
{
    put_three(file);
    gguf_key(file, KEY "precompiled_charsmap", GGUF_ARRAY);
    put_u32(&file->keys, GGUF_U8);
    put_u64(&file->keys, 4);
    put(&file->keys, "\1\2\3\4", 4);
}

static const struct lie {
    change *put;
    const char *fragment;
} lies[] = {
    {unknown_pre, KEY "pre: expected one of a.x-4.0, chatglm-bpe, "},
    {unknown_pre, "trillion, found \"my-own\"; use the model's Hugging Face folder"},
    {extra_spaces, KEY "remove_extra_whitespaces: expected false, found true"},
    {charsmap, KEY "precompiled_charsmap: expected no rules of normalization, found 4 bytes"},
    {other_model, KEY "model: expected gpt2 (byte-level BPE) or llama (SentencePiece BPE), found \"bert\""},
    {model_number, KEY "model: expected a string, found 1"},
    {tokens_missing, KEY "tokens: expected an array of strings, found nothing"},
    {tokens_are_numbers, KEY "tokens: expected an array of strings, found another kind of array"},
    {tokens_are_text, KEY "tokens: expected an array, found \"a b\""},
    {too_many, KEY "tokens: expected at most 4 tokens, the rows of token_embd.weight, found 5"},
    {token_twice, KEY "tokens[2]: expected each token once, found \"a\" at 0 too"},
    {token_not_utf8, KEY "tokens[1]: expected UTF-8"},
    {types_short, KEY "token_type: expected 3 numbers, one a token, found 2"},
    {types_are_text, KEY "token_type: expected an array of numbers"},
    {merges_missing, KEY "merges: expected an array of strings, found nothing"},
    {merge_of_one, KEY "merges[0]: expected two tokens with a space between, found \"ab\""},
    {merge_of_three, KEY "merges[1]: expected two tokens"},
    {merge_of_nothing, KEY "merges[0]: expected two tokens"},
    {merge_not_utf8, KEY "merges[0]: expected two tokens"},
    {bos_far, KEY "bos_token_id: expected a whole number from 0 to 2, found 3"},
    {bos_unset, KEY "add_bos_token: expected " KEY "bos_token_id with it, found none"},
    {flag_number, KEY "add_bos_token: expected true or false, found 1"},
    {scores_missing, KEY "scores: expected an array of numbers, found nothing"},
    {scores_short, KEY "scores: expected 3 numbers, one a token, found 1"},
    {scores_nan, KEY "scores[2]: expected a number, found NaN"},
};

START_TEST(lies_are_found)
{
    struct gguf_file file;
    gguf_init(&file);
    lies[_i].put(&file);
    checkpoint_refused(write_file(&file), ".gguf: ", lies[_i].fragment, NULL);
}
END_TEST

static void make_folder(void)
{
    temporary_folder();
}

int main(void)
{
    Suite *suite = suite_create("gguf tokenizer");
    TCase *tests = tcase_create("read");
    tcase_set_timeout(tests, 120);
    tcase_add_unchecked_fixture(tests, make_folder, NULL);
    tcase_add_test(tests, byte_level_vocabularies_are_read);
    tcase_add_test(tests, kinds_of_splitting_differ);
    tcase_add_test(tests, patterns_compile);
    tcase_add_test(tests, bos_and_eos_are_added);
    tcase_add_test(tests, sentencepiece_vocabularies_are_read);
    tcase_add_test(tests, sentencepiece_flags_count);
    tcase_add_test(tests, a_file_without_a_vocabulary_has_no_tokenizer);
    tcase_add_loop_test(tests, lies_are_found, 0, (int)(sizeof lies / sizeof lies[0]));
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
