/* The commands as programs: what they print, their exit statuses, signals, full disks and closed pipes. */
#include <cJSON.h>
#include <check.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine.h"
#include "fake_model.h"
#include "fake_program.h"
#include "tokenizer_fixture.h"

static struct process_result result;
static struct tokenizer_fixture fixture;

/* 64 tokens: a to z, space, line feed, the two bytes of an e with acute accent, A to Z, some signs, an end. */
static char *tokenizer_json(void)
{
    char *json = NULL;
    size_t length;
    FILE *out = open_memstream(&json, &length);
    fputs("{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[{\"id\":63,\"content\":\"<|end|>"
          "\","
          "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}],"
          "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":"
          "true,"
          "\"use_regex\":true},\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
          "\"trim_offsets\":true,\"use_regex\":true},\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
          "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,"
          "\"merges\":[],\"vocab\":{",
          out);
    for (int i = 0; i < 26; i++)
        fprintf(out, "\"%c\":%d,\"%c\":%d,", 'a' + i, i, 'A' + i, 30 + i);
    fputs("\"\\u0120\":26,\"\\u010a\":27,\"\\u00c3\":28,\"\\u00a9\":29,\".\":56,\",\":57,\"!\":58,\"?\":59,\"0\":60,"
          "\"1\":61,\"2\":62}}}",
          out);
    fclose(out);
    return json;
}

/* Programs after this have the tokenizer. */
static void with_tokenizer(void)
{
    char *json = tokenizer_json();
    tokenizer_compile(&fixture, json, strlen(json));
    file_write(temporary_path("tables"), fixture.tables, fixture.bytes);
    fake_program_tokenizer(temporary_path("tables"));
    free(json);
}

static void setup(void)
{
    fake_program_tokenizer(NULL);
}

static void teardown(void)
{
    process_free(&result);
    memset(&result, 0, sizeof result);
}

/* The fake program's only output, parsed. */
static cJSON *output_json(void)
{
    ck_assert_msg(result.status == 0 || result.status == 130, "status %d: %s", result.status, result.err);
    cJSON *json = cJSON_ParseWithLengthOpts(result.out, result.out_length + 1, NULL, true);
    ck_assert_msg(json != NULL, "not JSON: %s", result.out);
    return json;
}

static const cJSON *member(const cJSON *json, const char *name)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(json, name);
    ck_assert_msg(value != NULL, "no member '%s'", name);
    return value;
}

static const char *member_text(const cJSON *json, const char *name)
{
    const char *value = cJSON_GetStringValue(member(json, name));
    ck_assert_msg(value != NULL, "'%s' is no string", name);
    return value;
}

static void run(struct process_options options, const char *const *arguments)
{
    process_free(&result);
    fake_program_run(&result, options, arguments);
}
#define RUN(...) run((struct process_options){0}, (const char *const[]){__VA_ARGS__, NULL})
#define RUN_INPUT(text, ...) run((struct process_options){.input = (text)}, (const char *const[]){__VA_ARGS__, NULL})

static void expect(int status, const char *words)
{
    ck_assert_msg(result.status == status, "status %d instead of %d: %s", result.status, status, result.err);
    ck_assert_msg(strstr(result.err, words) != NULL, "'%s' not in '%s'", words, result.err);
    ck_assert_msg(strncmp(result.err, "fake: error: ", 13) == 0, "%s", result.err);
    const char *end = strchr(result.err, '\n');
    ck_assert_msg(end && !end[1], "not one line: %s", result.err);
}

START_TEST(run_json)
{
    RUN("run", "--ids", "1,2,3", "-n", "10", "--json", "--logprobs", "2");
    cJSON *json = output_json();
    ck_assert_int_eq(cJSON_GetArraySize(member(json, "prompt_ids")), 3);
    ck_assert_int_eq(cJSON_GetArraySize(member(json, "ids")), 10);
    ck_assert_int_eq(cJSON_GetArraySize(member(json, "logprobs")), 10);
    ck_assert_int_eq(cJSON_GetArraySize(member(json, "top_logprobs")), 10);
    const cJSON *top = cJSON_GetArrayItem(cJSON_GetArrayItem(member(json, "top_logprobs"), 4), 0);
    ck_assert_int_eq(member(top, "id")->valueint, cJSON_GetArrayItem(member(json, "ids"), 4)->valueint);
    ck_assert(cJSON_IsNull(member(json, "text")));
    ck_assert_str_eq(member_text(json, "finish"), "length");
    ck_assert(member(json, "prefill_seconds")->valuedouble > 0);
    ck_assert(member(json, "decode_seconds")->valuedouble > 0);
    cJSON_Delete(json);
}
END_TEST

START_TEST(run_without_tokenizer)
{
    RUN("run", "--ids", "1,2,3", "-n", "4");
    ck_assert_int_eq(result.status, 0);
    int ids[4], end = 0;
    ck_assert_int_eq(sscanf(result.out, "%d %d %d %d%n", &ids[0], &ids[1], &ids[2], &ids[3], &end), 4);
    ck_assert_str_eq(result.out + end, "\n");
    RUN("run", "some text");
    expect(1, "no tokenizer");
    RUN("run", "--ids", "1", "--stop", "x");
    expect(1, "no tokenizer");
    RUN_INPUT("text", "tokenize");
    expect(1, "no tokenizer");
    RUN_INPUT("1 2", "detokenize");
    expect(1, "no tokenizer");
    RUN_INPUT("text", "score", "-");
    expect(1, "no tokenizer");
}
END_TEST

START_TEST(seeds)
{
    char *texts[3];
    static const char *const seed[] = {"7", "7", "8"};
    for (int i = 0; i < 3; i++) {
        RUN("run", "--ids", "1,2,3", "--temp", "2", "--seed", seed[i]);
        ck_assert_int_eq(result.status, 0);
        texts[i] = strdup(result.out);
    }
    ck_assert_str_eq(texts[0], texts[1]);
    ck_assert_str_ne(texts[0], texts[2]);
    for (int i = 0; i < 3; i++)
        free(texts[i]);
}
END_TEST

START_TEST(logit_bias_and_eos)
{
    RUN("run", "--ids", "1", "--logit-bias", "63=100", "--json");
    cJSON *json = output_json();
    ck_assert_str_eq(member_text(json, "finish"), "stop");
    ck_assert_int_eq(cJSON_GetArraySize(member(json, "ids")), 1);
    cJSON_Delete(json);
    RUN("run", "--ids", "1", "--logit-bias", "63=100", "--ignore-eos", "-n", "5", "--json");
    json = output_json();
    ck_assert_str_eq(member_text(json, "finish"), "length");
    ck_assert_int_eq(cJSON_GetArrayItem(member(json, "ids"), 4)->valueint, 63);
    cJSON_Delete(json);
    RUN("run", "--ids", "1", "--logit-bias", "63=100", "--min-tokens", "3", "--json");
    json = output_json();
    ck_assert_int_eq(cJSON_GetArraySize(member(json, "ids")), 4);
    cJSON_Delete(json);
    RUN("run", "--ids", "1", "--logit-bias", "5=100", "--stop-id", "5", "--json");
    json = output_json();
    ck_assert_str_eq(member_text(json, "finish"), "stop");
    cJSON_Delete(json);
}
END_TEST

START_TEST(streamed_text)
{
    with_tokenizer();
    RUN("run", "hello", "-n", "100", "--json");
    cJSON *json = output_json();
    char *whole = strdup(member_text(json, "text"));
    ck_assert_int_eq(cJSON_GetArraySize(member(json, "prompt_ids")), 5);
    cJSON_Delete(json);
    ck_assert_uint_gt(strlen(whole), 20);
    RUN("run", "hello", "-n", "100");
    ck_assert_int_eq(result.out_length, strlen(whole) + 1);
    ck_assert_int_eq(memcmp(result.out, whole, strlen(whole)), 0);
    RUN("run", "hello", "-n", "100", "--echo");
    ck_assert_int_eq(memcmp(result.out, "hello", 5), 0);
    ck_assert_int_eq(memcmp(result.out + 5, whole, strlen(whole)), 0);
    /* A stop string from the middle of the text, across several tokens (every token is a character here). */
    char stop[6] = "";
    memcpy(stop, whole + 10, 4);
    RUN("run", "hello", "-n", "100", "--stop", "never in it", "--stop", stop, "--json");
    json = output_json();
    const char *cut = member_text(json, "text");
    const char *found = strstr(whole, stop);
    ck_assert_str_eq(member_text(json, "finish"), "stop");
    ck_assert_uint_eq(strlen(cut), (size_t)(found - whole));
    ck_assert_int_eq(memcmp(cut, whole, strlen(cut)), 0);
    cJSON_Delete(json);
    RUN("run", "hello", "-n", "100", "--stop", stop);
    ck_assert_uint_eq(result.out_length, (size_t)(found - whole) + 1);
    free(whole);
}
END_TEST

START_TEST(half_characters_are_not_printed)
{
    with_tokenizer();
    /* The first byte of a character alone: only at the end is it known that nothing follows. */
    RUN("run", "a", "-n", "3", "--logit-bias", "28=1000");
    ck_assert_int_eq(result.status, 0);
    ck_assert_str_eq(result.out, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\n");
    RUN("run", "a", "-n", "2", "--json", "--special", "--logit-bias", "63=1000", "--ignore-eos");
    cJSON *json = output_json();
    ck_assert_str_eq(member_text(json, "text"), "<|end|><|end|>");
    cJSON_Delete(json);
}
END_TEST

START_TEST(prompt_sources)
{
    with_tokenizer();
    RUN("run", "ab c", "--json", "-n", "0");
    cJSON *direct = output_json();
    RUN_INPUT("ab c", "run", "-", "--json", "-n", "0");
    cJSON *standard = output_json();
    file_write(temporary_path("prompt"), "ab c", 4);
    RUN("run", "-f", temporary_path("prompt"), "--json", "-n", "0");
    cJSON *file = output_json();
    ck_assert(cJSON_Compare(member(direct, "prompt_ids"), member(standard, "prompt_ids"), true));
    ck_assert(cJSON_Compare(member(direct, "prompt_ids"), member(file, "prompt_ids"), true));
    ck_assert_int_eq(cJSON_GetArraySize(member(direct, "ids")), 0);
    cJSON_Delete(direct);
    cJSON_Delete(standard);
    cJSON_Delete(file);
    RUN("run", "-f", "/nonexistent/file");
    expect(1, "/nonexistent/file: No such file");
    RUN("run", "-f", temporary_folder());
    expect(1, "directory");
    RUN("run", "");
    expect(1, "no tokens");
}
END_TEST

static const struct {
    const char *arguments[8];
    int status;
    const char *words;
} wrong[] = {
    {{"frobnicate"}, 2, "unknown command 'frobnicate'"},
    {{"scor", "x"}, 2, "did you mean score?"},
    {{"--frobnicate"}, 2, "unknown option '--frobnicate'"},
    {{"run"}, 2, "no prompt"},
    {{"run", "a", "b"}, 2, "unexpected 'b'"},
    {{"run", "a", "--ids", "1"}, 2, "expected one prompt"},
    {{"run", "--temperature", "1", "x"}, 2, "did you mean --temp?"},
    {{"run", "--ids", "1", "--temp", "hot"}, 2, "--temp: expected a number"},
    {{"run", "--ids", "1", "--stop", ""}, 2, "empty"},
    {{"run", "--ids", "1", "--stop", "\xff"}, 2, "UTF-8"},
    {{"run", "--ids", "1", "--stop-id", "64"}, 2, "--stop-id 64: expected an id from 0 to 63"},
    {{"run", "--ids", "1", "--logit-bias", "64=1"}, 2, "--logit-bias 64"},
    {{"run", "--ids", "1", "--logit-bias", "5=inf"}, 1, "--logit-bias 5=inf"},
    {{"run", "--ids", "1,64"}, 1, "token 2 is id 64: expected 0 to 63"},
    {{"run", "--ids", ""}, 1, "no tokens"},
    {{"run", "--ids", "1", "--device", "cuda"}, 1, "built for cpu only"},
    {{"run", "--ids", "1", "--device", "tpu"}, 2, "expected cpu or cuda"},
    {{"run", "--ids", "1", "--cpu", "z80"}, 1, "--cpu z80"},
    {{"run", "--ids", "1", "--cpu", "unsupported"}, 1, "--cpu unsupported"},
    {{"run", "--ids", "1", "--threads", "-1"}, 2, "--threads"},
    {{"run", "--ids", "1", "--kv-memory", "1"}, 1, ""},
    {{"run", "--ids", "1", "--dump", "nothing", "/tmp/x"}, 1, "layer.*.key"},
    {{"run", "--ids", "1", "--dump", "logits", "/proc/none/x"}, 1, "/proc/none/x"},
    {{"run", "--lora", "x", "y"}, 2, "built without adapters"},
    {{"score"}, 2, "expected one of FILE"},
    {{"score", "a", "b"}, 2, "unexpected 'b'"},
    {{"score", "/nonexistent"}, 1, "/nonexistent: No such file"},
    {{"score", "--jsonl", "/nonexistent"}, 1, "/nonexistent: No such file"},
    {{"score", "--ids", ""}, 1, "at least one token"},
    {{"score", "--ids", "1,99"}, 1, "--ids: token 2 is id 99"},
    {{"score", "--ids", "1", "--batch", "17"}, 1, "16 rows"},
    {{"score", "--ids", "1", "--neighbours"}, 2, "--batch 2"},
    {{"score", "--ids", "1", "--context", "4", "--stride", "5"}, 2, "--stride 5"},
    {{"score", "--ids", "1", "--logits", "/nonexistent/x"}, 1, "/nonexistent/x"},
    {{"bench", "x"}, 2, "unexpected 'x'"},
    {{"bench", "--prompt", "4000", "--gen", "100"}, 1, "4100 positions"},
    {{"bench", "--batch", "9"}, 1, "--batch 9"},
    {{"info", "x"}, 2, "unexpected 'x'"},
    {{"tokenize", "x"}, 2, "unexpected 'x'"},
    {{"detokenize", "x"}, 2, "unexpected 'x'"},
};

START_TEST(wrong_command_lines)
{
    run((struct process_options){0}, wrong[_i].arguments);
    expect(wrong[_i].status, wrong[_i].words);
    ck_assert_uint_eq(result.out_length, 0);
}
END_TEST

START_TEST(prompt_longer_than_the_context)
{
    char *ids = malloc(2 * 4097 + 1);
    for (int i = 0; i < 4097; i++)
        memcpy(ids + 2 * i, "1,", 3);
    RUN("run", "--ids", ids);
    expect(1, "the prompt has 4097 tokens and the context holds 4096");
    ck_assert_ptr_nonnull(strstr(result.err, "--max-seq"));
    free(ids);
}
END_TEST

START_TEST(helps)
{
    static const char *const commands[] = {"run", "score", "bench", "info", "tokenize", "detokenize"};
    for (int i = 0; i < 6; i++) {
        RUN(commands[i], "--help");
        ck_assert_int_eq(result.status, 0);
        ck_assert_ptr_nonnull(strstr(result.out, text("usage: fake %s", commands[i])));
        ck_assert_ptr_nonnull(strstr(result.out, "--threads"));
    }
    RUN("--help");
    ck_assert_int_eq(result.status, 0);
    for (int i = 0; i < 6; i++)
        ck_assert_ptr_nonnull(strstr(result.out, commands[i]));
    RUN("--version");
    ck_assert_int_eq(result.status, 0);
    ck_assert_ptr_nonnull(strstr(result.out, "lathe test"));
    run((struct process_options){0}, (const char *const[]){NULL});
    ck_assert_int_eq(result.status, 2);
    ck_assert_ptr_nonnull(strstr(result.err, "usage:"));
}
END_TEST

static char *score_hash(const char *const *arguments)
{
    run((struct process_options){0}, arguments);
    cJSON *json = output_json();
    char *hash = strdup(member_text(json, "logits_hash"));
    cJSON_Delete(json);
    return hash;
}

#define IDS "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22"

START_TEST(score_agrees_with_run)
{
    RUN("run", "--ids", "1,2,3", "-n", "9", "--json");
    cJSON *ran = output_json();
    char ids[200] = "1,2,3";
    const cJSON *id;
    cJSON_ArrayForEach(id, member(ran, "ids")) snprintf(ids + strlen(ids), 20, ",%d", id->valueint);
    RUN("score", "--ids", ids, "--json");
    cJSON *scored = output_json();
    for (int i = 0; i < 9; i++) {
        ck_assert_int_eq(cJSON_GetArrayItem(member(scored, "argmax"), 3 + i)->valueint,
                         cJSON_GetArrayItem(member(ran, "ids"), i)->valueint);
        ck_assert(cJSON_GetArrayItem(member(scored, "logprobs"), 3 + i)->valuedouble ==
                  cJSON_GetArrayItem(member(ran, "logprobs"), i)->valuedouble);
        ck_assert(cJSON_GetArrayItem(member(scored, "gap"), 3 + i)->valuedouble >= 0);
    }
    ck_assert(cJSON_IsNull(cJSON_GetArrayItem(member(scored, "logprobs"), 0)));
    ck_assert(cJSON_IsNull(cJSON_GetArrayItem(member(scored, "argmax"), 0)));
    ck_assert(cJSON_IsNull(cJSON_GetArrayItem(member(scored, "gap"), 0)));
    double nll = 0;
    cJSON_ArrayForEach(id, member(scored, "logprobs")) nll -= cJSON_IsNull(id) ? 0 : id->valuedouble;
    ck_assert_int_eq(member(scored, "scored")->valueint, 11);
    ck_assert_double_eq_tol(member(scored, "nll")->valuedouble, nll, 1e-5);
    ck_assert_double_eq_tol(member(scored, "perplexity")->valuedouble, exp(nll / 11), 1e-3);
    RUN("run", "--ids", ids, "-n", "1", "--json");
    cJSON *next = output_json();
    ck_assert_int_eq(member(member(scored, "next"), "id")->valueint,
                     cJSON_GetArrayItem(member(next, "ids"), 0)->valueint);
    cJSON_Delete(next);
    cJSON_Delete(scored);
    cJSON_Delete(ran);
}
END_TEST

START_TEST(score_is_invariant)
{
    char *plain = score_hash((const char *const[]){"score", "--ids", IDS, "--json", NULL});
    static const char *const others[][4] = {
        {"--chunk", "1"},  {"--chunk", "5"}, {"--batch", "2"}, {"--batch", "16"}, {"--batch", "7", "--neighbours"},
        {"--threads", "3"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *hash = score_hash(
            (const char *const[]){"score", "--ids", IDS, "--json", others[i][0], others[i][1], others[i][2], NULL});
        ck_assert_str_eq(hash, plain);
        free(hash);
    }
    /* The hash sees a difference in the last token. */
    char *other = score_hash((const char *const[]){"score", "--ids", IDS ",23", "--json", NULL});
    ck_assert_str_ne(other, plain);
    free(other);
    free(plain);
}
END_TEST

/* In windows: a place's figures are those of the window scored by itself. */
START_TEST(score_windows)
{
    RUN("score", "--ids", "1,2,3,4,5,6,7,8,9,10", "--context", "4", "--json");
    cJSON *json = output_json();
    ck_assert_int_eq(member(json, "windows")->valueint, 3);
    ck_assert_int_eq(member(json, "scored")->valueint, 7);
    ck_assert(cJSON_IsNull(cJSON_GetArrayItem(member(json, "logprobs"), 4)));
    double seventh = cJSON_GetArrayItem(member(json, "logprobs"), 6)->valuedouble;
    cJSON_Delete(json);
    RUN("score", "--ids", "5,6,7,8", "--json");
    json = output_json();
    ck_assert(cJSON_GetArrayItem(member(json, "logprobs"), 2)->valuedouble == seventh);
    cJSON_Delete(json);
    RUN("score", "--ids", "1,2,3,4,5,6,7,8,9,10", "--context", "4", "--stride", "2", "--json");
    json = output_json();
    ck_assert_int_eq(member(json, "windows")->valueint, 4);
    ck_assert_int_eq(member(json, "scored")->valueint, 9); /* all but the first */
    double sixth = cJSON_GetArrayItem(member(json, "logprobs"), 5)->valuedouble;
    cJSON_Delete(json);
    RUN("score", "--ids", "3,4,5,6", "--json");
    json = output_json();
    ck_assert(cJSON_GetArrayItem(member(json, "logprobs"), 3)->valuedouble == sixth);
    cJSON_Delete(json);
}
END_TEST

START_TEST(score_lines)
{
    with_tokenizer();
    file_write(temporary_path("lines"), "\"abc\"\n\n[1, 2, 3, 4]\n", 21);
    RUN("score", "--jsonl", temporary_path("lines"), "--json");
    ck_assert_int_eq(result.status, 0);
    char *second = strchr(result.out, '\n') + 1;
    cJSON *a = cJSON_Parse(result.out), *b = cJSON_Parse(second);
    ck_assert_int_eq(member(a, "tokens")->valueint, 3);
    ck_assert_int_eq(member(b, "tokens")->valueint, 4);
    cJSON_Delete(a);
    cJSON_Delete(b);
    RUN("score", "--jsonl", temporary_path("lines"));
    ck_assert_int_eq(strncmp(result.out, "tokens 7, scored 5, nll ", 24), 0);
    file_write(temporary_path("lines"), "[1]\n[99]\n", 9);
    RUN("score", "--jsonl", temporary_path("lines"));
    expect(1, "line 2: array: token 1 is id 99");
    RUN_INPUT("abc", "score", "-", "--json");
    cJSON_Delete(output_json());
}
END_TEST

/* The header, the shape and the first row of an array file. */
static float *read_npy(const char *path, int *rows, int *columns)
{
    size_t length;
    char *data = file_read(path, &length);
    ck_assert_uint_ge(length, 128);
    ck_assert_int_eq(memcmp(data, "\x93NUMPY\x01\x00\x76\x00", 10), 0);
    ck_assert_int_eq(data[127], '\n');
    data[127] = 0;
    ck_assert_int_eq(sscanf(data + 10, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", rows, columns),
                     2);
    ck_assert_uint_eq(length, 128 + (size_t)*rows * (size_t)*columns * 4);
    memmove(data, data + 128, length - 128);
    return (float *)(void *)data;
}

START_TEST(logits_file)
{
    RUN("score", "--ids", IDS, "--logits", temporary_path("logits.npy"), "--json", "--batch", "2");
    ck_assert_int_eq(result.status, 0);
    int rows, columns;
    float *logits = read_npy(temporary_path("logits.npy"), &rows, &columns);
    ck_assert_int_eq(rows, 22);
    ck_assert_int_eq(columns, 64);
    struct fake_options options = fake_program_options();
    struct fake_model fake;
    struct error error;
    fake_model_init(&fake, &options);
    struct engine *engine = engine_open(&fake.model, NULL, &error);
    int32_t tokens[22];
    float expected[64];
    for (int i = 0; i < 22; i++) {
        tokens[i] = i + 1;
        fake_model_logits(&fake, engine_section(engine, "head", NULL), engine_section(engine, "embedding", NULL),
                          tokens, i + 1, expected);
        ck_assert_int_eq(memcmp(expected, logits + i * 64, sizeof expected), 0);
    }
    engine_close(engine);
    free(logits);
    RUN("score", "--ids", IDS, "--logits", "/dev/full");
    expect(1, "/dev/full: writing: No space left");
}
END_TEST

START_TEST(dumps)
{
    RUN("run", "--ids", "1,2,3", "-n", "4", "--dump", "layer.*.key", temporary_path("dump"));
    ck_assert_msg(result.status == 0, "%s", result.err);
    int rows, columns;
    float *key = read_npy(temporary_path("dump/layer.0.key.npy"), &rows, &columns);
    ck_assert_int_eq(rows, 6); /* the prompt, and three of the four tokens */
    ck_assert_int_eq(columns, FAKE_TRACE_COLUMNS);
    ck_assert_float_eq(key[1 * FAKE_TRACE_COLUMNS + 3], 2 * FAKE_TRACE_COLUMNS + 3);
    free(key);
    key = read_npy(temporary_path("dump/layer.1.key.npy"), &rows, &columns);
    ck_assert_float_eq(key[0], 1); /* bf16, widened */
    ck_assert_float_eq(key[2 * FAKE_TRACE_COLUMNS], 1.015625f);
    free(key);
    ck_assert(!file_exists(temporary_path("dump/logits.npy")));
    RUN("run", "--ids", "1,2,3", "-n", "4", "--dump", "all", temporary_path("dump"));
    ck_assert(file_exists(temporary_path("dump/logits.npy")));
}
END_TEST

START_TEST(bench_and_info)
{
    RUN("bench", "--prompt", "40", "--gen", "10", "--batch", "3", "--repeat", "2", "--json");
    cJSON *json = output_json();
    ck_assert_int_eq(member(json, "prompt")->valueint, 40);
    ck_assert_int_eq(member(json, "decode_steps")->valueint, 20);
    ck_assert(member(json, "prefill_tokens_per_second")->valuedouble > 0);
    ck_assert(member(json, "decode_ms_median")->valuedouble >= member(json, "decode_ms_min")->valuedouble);
    ck_assert(member(json, "bandwidth_bytes_per_second")->valuedouble > 0);
    ck_assert(member(json, "roof_share")->valuedouble > 0);
    cJSON_Delete(json);
    RUN("bench", "--prompt", "5", "--gen", "0");
    ck_assert_int_eq(result.status, 0);
    RUN("info", "--json", "--threads", "3");
    json = output_json();
    ck_assert_int_eq(member(json, "vocab")->valueint, 64);
    ck_assert_int_eq(member(json, "threads")->valueint, 3);
    ck_assert_str_eq(member_text(json, "variant"), "scalar");
    ck_assert_int_eq(cJSON_GetArraySize(member(json, "variants")), 3);
    ck_assert(cJSON_IsFalse(member(cJSON_GetArrayItem(member(json, "variants"), 0), "supported")));
    ck_assert_int_eq(cJSON_GetArraySize(member(json, "sections")), 2);
    ck_assert_int_eq(cJSON_GetArraySize(member(json, "traces")), 2);
    cJSON_Delete(json);
    RUN("info", "--cpu", "twin");
    ck_assert_int_eq(result.status, 0);
    ck_assert_ptr_nonnull(strstr(result.out, "using twin"));
}
END_TEST

START_TEST(tokenize_and_back)
{
    with_tokenizer();
    RUN_INPUT("ab c\n", "tokenize");
    ck_assert_str_eq(result.out, "0 1 26 2 27\n");
    RUN_INPUT("0 1 26\n2,27 28 29", "detokenize");
    ck_assert_str_eq(result.out, "ab c\n\xc3\xa9");
    RUN_INPUT("\"ab\"\n\n\"\\u0000\\u00e9<|end|>\"\n\"\"\n", "tokenize", "--jsonl");
    ck_assert_str_eq(result.out, "[0, 1]\n[28, 29, 63]\n[]\n");
    RUN_INPUT("[0, 1]\n[28,29,63]\n[28]\n[]", "detokenize", "--jsonl");
    ck_assert_str_eq(result.out, "\"ab\"\n\"\xc3\xa9<|end|>\"\n\"\xef\xbf\xbd\"\n\"\"\n");
    RUN_INPUT("[0, 63]", "detokenize", "--jsonl", "--skip-special");
    ck_assert_str_eq(result.out, "\"a\"\n");
    RUN_INPUT("", "tokenize");
    ck_assert_str_eq(result.out, "\n");
    RUN_INPUT("\"a\"\nb\n", "tokenize", "--jsonl");
    ck_assert_str_eq(result.out, "[0]\n");
    expect(1, "standard input: line 2: column 1: expected a JSON string");
    RUN_INPUT("0 x", "detokenize");
    expect(1, "token 2: expected a token id, found 'x'");
    RUN_INPUT("64", "detokenize");
    expect(1, "token 1 is id 64: expected 0 to 63");
    RUN_INPUT("99999999999999999999", "detokenize");
    expect(1, "found");
}
END_TEST

START_TEST(a_megabyte_in_one_line)
{
    with_tokenizer();
    size_t length = 1 << 20;
    char *line = malloc(length + 3);
    memset(line, 'a', length + 2);
    line[0] = line[length + 1] = '"';
    line[length + 2] = 0;
    RUN_INPUT(line, "tokenize", "--jsonl");
    ck_assert_int_eq(result.status, 0);
    ck_assert_uint_eq(result.out_length, 3 * length + 1); /* "[0, 0, ... 0]\n" */
    char *ids = strdup(result.out);
    RUN_INPUT(ids, "detokenize", "--jsonl");
    ck_assert_int_eq(result.status, 0);
    ck_assert_uint_eq(result.out_length, length + 3);
    ck_assert_int_eq(memcmp(result.out, line, length + 2), 0);
    free(ids);
    free(line);
}
END_TEST

/* The dump's file is there as soon as the prompt has been read: then comes the signal. */
static void interrupt_run(const char *json, int signal_number)
{
    const char *folder = temporary_path("interrupt-%s-%d", json ? "json" : "text", signal_number);
    struct process_options options = {
        .signal_when = text("%s/logits.npy", folder), .signal = signal_number, .seconds = 60};
    run(options, (const char *const[]){"run", "--ids", "1,2,3", "-n", "-1", "--ignore-eos", "--dump", "logits", folder,
                                       json, NULL});
}

START_TEST(interruption)
{
    interrupt_run("--json", SIGINT);
    ck_assert_int_eq(result.status, 130);
    cJSON *json = output_json();
    ck_assert_str_eq(member_text(json, "finish"), "interrupted");
    int count = cJSON_GetArraySize(member(json, "ids"));
    ck_assert_int_lt(count, 4093); /* it had not come to its own end */
    ck_assert_int_eq(cJSON_GetArraySize(member(json, "logprobs")), count);
    cJSON_Delete(json);
    interrupt_run(NULL, SIGINT);
    ck_assert_int_eq(result.status, 130);
    ck_assert_int_eq(result.out[result.out_length - 1], '\n');
    interrupt_run("--json", SIGKILL);
    ck_assert_int_eq(result.status, 128 + SIGKILL); /* so the others were not killed by chance */
}
END_TEST

static int shell(const char *command)
{
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    ck_assert_int_gt(length, 0);
    self[length] = 0;
    setenv("FAKE", self, 1);
    setenv("FAKE_PROGRAM", "", 1);
    process_free(&result);
    process(&result, "bash", "-c", command, NULL);
    unsetenv("FAKE_PROGRAM");
    return result.status;
}

START_TEST(full_disk)
{
    static const char *const lines[] = {
        "run --ids 1", "run --ids 1 --json", "score --ids 1,2", "score --ids 1,2 --json", "info", "info --json",
        "--help",      "run --help",         "--version"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        shell(text("\"$FAKE\" %s > /dev/full", lines[i]));
        expect(1, "standard output: No space left");
    }
}
END_TEST

START_TEST(closed_pipe)
{
    /* Whoever reads goes away at once; both with the signal's default action and with the signal ignored. */
    ck_assert_int_eq(shell("\"$FAKE\" info --json | true; echo ${PIPESTATUS[0]} >&2"), 0);
    ck_assert_msg(strcmp(result.err, "141\n") == 0 || strcmp(result.err, "0\n") == 0, "%s", result.err);
    ck_assert_int_eq(shell("trap '' PIPE; (sleep 0.2; \"$FAKE\" info --json; echo $? >&2) | true"), 0);
    ck_assert_str_eq(result.err, "141\n");
}
END_TEST

int main(int argc, char **argv)
{
    fake_program_main(argc, argv);
    temporary_folder();
    Suite *suite = suite_create("commands/commands");
    TCase *test = tcase_create("commands");
    tcase_set_timeout(test, 120);
    tcase_add_checked_fixture(test, setup, teardown);
    tcase_add_test(test, run_json);
    tcase_add_test(test, run_without_tokenizer);
    tcase_add_test(test, seeds);
    tcase_add_test(test, logit_bias_and_eos);
    tcase_add_test(test, streamed_text);
    tcase_add_test(test, half_characters_are_not_printed);
    tcase_add_test(test, prompt_sources);
    tcase_add_loop_test(test, wrong_command_lines, 0, sizeof wrong / sizeof *wrong);
    tcase_add_test(test, prompt_longer_than_the_context);
    tcase_add_test(test, helps);
    tcase_add_test(test, score_agrees_with_run);
    tcase_add_test(test, score_is_invariant);
    tcase_add_test(test, score_windows);
    tcase_add_test(test, score_lines);
    tcase_add_test(test, logits_file);
    tcase_add_test(test, dumps);
    tcase_add_test(test, bench_and_info);
    tcase_add_test(test, tokenize_and_back);
    tcase_add_test(test, a_megabyte_in_one_line);
    tcase_add_test(test, interruption);
    tcase_add_test(test, full_disk);
    tcase_add_test(test, closed_pipe);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
