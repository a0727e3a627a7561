/* GGUF: what the keys and tensors become, and every way in which a file can lie. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint.h"
#include "fixture.h"
#include "gguf_file.h"
#include "process.h"
#include "refusal.h"

/* The keys of a small model: hidden 64, 4 heads of 16 over 2, one layer. */
static void put_config(struct gguf_file *file, const char *architecture)
{
    gguf_string(file, "general.architecture", architecture);
    gguf_u32(file, text("%s.block_count", architecture), 1);
    gguf_u32(file, text("%s.context_length", architecture), 128);
    gguf_u32(file, text("%s.embedding_length", architecture), 64);
    gguf_u32(file, text("%s.feed_forward_length", architecture), 96);
    gguf_u32(file, text("%s.attention.head_count", architecture), 4);
    gguf_u32(file, text("%s.attention.head_count_kv", architecture), 2);
    gguf_f32(file, text("%s.attention.layer_norm_rms_epsilon", architecture), 1e-5f);
    gguf_f32(file, text("%s.rope.freq_base", architecture), 10000);
}

static void put_tensors(struct gguf_file *file)
{
    gguf_tensor(file, "token_embd.weight", GGUF_TYPE_Q8_0, 64, 10, NULL, 10 * 68);
    gguf_tensor(file, "blk.0.attn_norm.weight", GGUF_TYPE_F32, 64, 0, NULL, 256);
    gguf_tensor(file, "blk.0.attn_q.weight", GGUF_TYPE_Q4_1, 64, 64, NULL, 64 * 40);
    gguf_tensor(file, "blk.0.attn_k.weight", GGUF_TYPE_Q4_1, 64, 32, NULL, 32 * 40);
    gguf_tensor(file, "blk.0.attn_v.weight", GGUF_TYPE_F16, 64, 32, NULL, 32 * 128);
    gguf_tensor(file, "blk.0.attn_output.weight", GGUF_TYPE_BF16, 64, 64, NULL, 64 * 128);
    gguf_tensor(file, "blk.0.ffn_norm.weight", GGUF_TYPE_F32, 64, 0, NULL, 256);
    gguf_tensor(file, "blk.0.ffn_gate.weight", GGUF_TYPE_Q4_1, 64, 96, NULL, 96 * 40);
    gguf_tensor(file, "blk.0.ffn_up.weight", GGUF_TYPE_Q4_1, 64, 96, NULL, 96 * 40);
    gguf_tensor(file, "blk.0.ffn_down.weight", GGUF_TYPE_Q4_1, 96, 64, NULL, 64 * 60);
    gguf_tensor(file, "output_norm.weight", GGUF_TYPE_F32, 64, 0, NULL, 256);
}

static const char *write_file(struct gguf_file *file)
{
    static int number;
    const char *path = temporary_path("model-%d-%d.gguf", (int)getpid(), number++);
    gguf_write(file, path);
    gguf_free(file);
    return path;
}

static const char *number_text(double value)
{
    return text("%.9g", value);
}

/* Numbers of config, by name; NAN: the key is not there. */
static double number(const cJSON *object, const char *name)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
    return value ? value->valuedouble : NAN;
}

START_TEST(keys_become_those_of_config_json)
{
    struct gguf_file file;
    gguf_init(&file);
    put_config(&file, "llama");
    gguf_u32(&file, "tokenizer.ggml.eos_token_id", 7);
    gguf_u32(&file, "tokenizer.ggml.bos_token_id", 6);
    gguf_u32(&file, "tokenizer.ggml.eot_token_id", 5);
    put_tensors(&file);
    const char *path = write_file(&file);
    cJSON *json = checkpoint_read(path);
    const cJSON *config = json_member(json, "config", path);
    static const struct {
        const char *name;
        double value;
    } expected[] = {{"hidden_size", 64},        {"intermediate_size", 96},
                    {"num_hidden_layers", 1},   {"num_attention_heads", 4},
                    {"num_key_value_heads", 2}, {"head_dim", 16},
                    {"vocab_size", 10},         {"max_position_embeddings", 128},
                    {"rms_norm_eps", 1e-5},     {"rope_theta", 10000},
                    {"bos_token_id", 6},        {"eos_token_id", 7}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        ck_assert_msg(number(config, expected[i].name) == expected[i].value, "%s: %s", expected[i].name,
                      number_text(number(config, expected[i].name)));
    ck_assert(cJSON_IsTrue(json_member(config, "tie_word_embeddings", path)));
    ck_assert(cJSON_IsFalse(json_member(config, "attention_bias", path)));
    ck_assert_ptr_null(cJSON_GetObjectItemCaseSensitive(config, "rope_scaling"));
    ck_assert_str_eq(json_member(json, "architecture", path)->valuestring, "LlamaForCausalLM");
    ck_assert_str_eq(json_member(json, "kind", path)->valuestring, "gguf");
    struct ids ends = json_ids(json_member(json, "generation", path), "eos_token_id", path);
    ck_assert_uint_eq(ends.count, 2);
    ck_assert(ends.id[0] == 7 && ends.id[1] == 5);
    free(ends.id);

    const cJSON *tensors = json_member(json, "tensors", path);
    ck_assert_int_eq(cJSON_GetArraySize(tensors), 11);
    const cJSON *q = json_member(tensors, "model.layers.0.self_attn.q_proj.weight", path);
    const cJSON *k = json_member(tensors, "model.layers.0.self_attn.k_proj.weight", path);
    ck_assert(number(q, "permute") == 4 && number(k, "permute") == 2);
    ck_assert_str_eq(json_member(q, "dtype", path)->valuestring, "Q4_1");
    struct ids shape = json_ids(json_member(tensors, "model.layers.0.mlp.down_proj.weight", path), "shape", path);
    ck_assert(shape.count == 2 && shape.id[0] == 64 && shape.id[1] == 96);
    free(shape.id);
    const cJSON *v = json_member(tensors, "model.layers.0.self_attn.v_proj.weight", path);
    ck_assert(isnan(number(v, "permute")) && number(v, "bytes") == 32 * 128 && fmod(number(v, "offset"), 32) == 0);
    json_member(tensors, "model.layers.0.input_layernorm.weight", path);
    json_member(tensors, "model.layers.0.post_attention_layernorm.weight", path);
    json_member(tensors, "model.embed_tokens.weight", path);
    json_member(tensors, "model.norm.weight", path);
    cJSON_Delete(json);
}
END_TEST

START_TEST(qwen_files_are_read)
{
    for (int version = 2; version <= 3; version++) {
        struct gguf_file file;
        const char *name = version == 2 ? "qwen2" : "qwen3";
        gguf_init(&file);
        file.version = (uint32_t)version;
        put_config(&file, name);
        gguf_u32(&file, text("%s.attention.key_length", name), 16);
        gguf_u32(&file, text("%s.attention.value_length", name), 16);
        put_tensors(&file);
        gguf_tensor(&file, "output.weight", GGUF_TYPE_Q8_0, 64, 10, NULL, 10 * 68);
        gguf_tensor(&file, "blk.0.attn_q.bias", GGUF_TYPE_F32, 64, 0, NULL, 256);
        gguf_tensor(&file, "blk.0.attn_q_norm.weight", GGUF_TYPE_F32, 16, 0, NULL, 64);
        const char *path = write_file(&file);
        cJSON *json = checkpoint_read(path);
        ck_assert_str_eq(json_member(json, "architecture", path)->valuestring,
                         version == 2 ? "Qwen2ForCausalLM" : "Qwen3ForCausalLM");
        ck_assert(cJSON_IsFalse(json_member(json_member(json, "config", path), "tie_word_embeddings", path)));
        const cJSON *tensors = json_member(json, "tensors", path);
        json_member(tensors, "lm_head.weight", path);
        json_member(tensors, "model.layers.0.self_attn.q_norm.weight", path);
        ck_assert(isnan(number(json_member(tensors, "model.layers.0.self_attn.q_proj.bias", path), "permute")));
        ck_assert(isnan(number(json_member(tensors, "model.layers.0.self_attn.q_proj.weight", path), "permute")));
        cJSON_Delete(json);
    }
}
END_TEST

static void put_divisors(struct gguf_file *file, double factor, double original, double distortion)
{
    float divisors[8];
    for (int i = 0; i < 8; i++) {
        double wave = 2 * M_PI * pow(10000, i / 8.0), blend = (original / wave - 1) / 3;
        divisors[i] = (float)(wave < original / 4 ? 1 : wave > original ? factor : 1 / ((1 - blend) / factor + blend));
    }
    divisors[4] *= (float)distortion;
    gguf_tensor(file, "rope_freqs.weight", GGUF_TYPE_F32, 8, 0, divisors, sizeof divisors);
}

START_TEST(rope_scaling_is_found)
{
    static const char *const expected[] = {
        "{\"factor\":4,\"rope_type\":\"linear\"}",
        "{\"factor\":8,\"high_freq_factor\":4,\"low_freq_factor\":1,\"original_max_position_embeddings\":1024,\"rope_"
        "type\":\"llama3\"}",
        "{\"factor\":4,\"original_max_position_embeddings\":32,\"rope_type\":\"yarn\"}",
        NULL,
        NULL,
        "{\"factor\":4,\"rope_type\":\"linear\"}", /* a factor without a type */
    };
    struct gguf_file file;
    gguf_init(&file);
    put_config(&file, "llama");
    if (_i == 0 || _i == 2)
        gguf_string(&file, "llama.rope.scaling.type", _i == 0 ? "linear" : "yarn");
    if (_i == 0 || _i == 2 || _i == 5)
        gguf_f32(&file, "llama.rope.scaling.factor", 4);
    if (_i == 2)
        gguf_u32(&file, "llama.rope.scaling.original_context_length", 32);
    if (_i == 4)
        gguf_string(&file, "llama.rope.scaling.type", "none");
    put_tensors(&file);
    if (_i == 1 || _i == 3)
        put_divisors(&file, _i == 1 ? 8 : 1, 1024, 1);
    const char *path = write_file(&file);
    cJSON *json = checkpoint_read(path);
    const cJSON *scaling = cJSON_GetObjectItemCaseSensitive(json_member(json, "config", path), "rope_scaling");
    if (expected[_i]) {
        ck_assert_ptr_nonnull(scaling);
        char *found = cJSON_PrintUnformatted(scaling);
        ck_assert_str_eq(found, expected[_i]);
        cJSON_free(found);
    } else {
        ck_assert_ptr_null(scaling);
    }
    ck_assert_ptr_null(cJSON_GetObjectItemCaseSensitive(json_member(json, "tensors", path), "rope_freqs.weight"));
    cJSON_Delete(json);
}
END_TEST

START_TEST(a_window_makes_it_mistral)
{
    struct gguf_file file;
    gguf_init(&file);
    put_config(&file, "llama");
    gguf_u32(&file, "llama.attention.sliding_window", 37);
    put_tensors(&file);
    cJSON *json = checkpoint_read(write_file(&file));
    ck_assert_str_eq(json_member(json, "architecture", "model")->valuestring, "MistralForCausalLM");
    ck_assert(number(json_member(json, "config", "model"), "sliding_window") == 37);
    ck_assert_ptr_null(
        cJSON_GetObjectItem(json_member(json, "config", "model"), "attention_bias")); /* not a key of it */
    cJSON_Delete(json);
}
END_TEST

START_TEST(another_alignment_is_followed)
{
    struct gguf_file file;
    gguf_init(&file);
    file.alignment = 256;
    gguf_u32(&file, "general.alignment", 256);
    put_config(&file, "llama");
    put_tensors(&file);
    cJSON *json = checkpoint_read(write_file(&file));
    const cJSON *tensors = json_member(json, "tensors", "model");
    const cJSON *tensor;
    cJSON_ArrayForEach(tensor, tensors) ck_assert(fmod(number(tensor, "offset"), 256) == 0);
    cJSON_Delete(json);
}
END_TEST

/* Damage, by what it does to the right file: before the tensors are put, or after. */

static void bad_magic(struct gguf_file *file)
{
    file->magic[3] = 'X';
}
static void version_1(struct gguf_file *file)
{
    file->version = 1;
}
static void version_4(struct gguf_file *file)
{
    file->version = 4;
}
static void big_endian(struct gguf_file *file)
{
    file->version = 0x03000000;
}
static void many_tensors(struct gguf_file *file)
{
    file->tensor_count = UINT64_C(1) << 40;
}
static void huge_tensors(struct gguf_file *file)
{
    file->tensor_count = UINT64_MAX;
}
static void many_keys(struct gguf_file *file)
{
    file->key_count = UINT64_C(1) << 63;
}
static void one_key_more(struct gguf_file *file)
{
    file->key_count += 1;
}
static void one_tensor_more(struct gguf_file *file)
{
    file->tensor_count += 1;
}
static void unknown_value(struct gguf_file *file)
{
    gguf_key(file, "x.y", (enum gguf_value)13);
}
static void bad_bool(struct gguf_file *file)
{
    gguf_bool(file, "x.y", 2);
}
static void same_key(struct gguf_file *file)
{
    gguf_u32(file, "llama.block_count", 1);
}
static void control_key(struct gguf_file *file)
{
    gguf_u32(file, "a\nb", 1);
}
static void empty_key(struct gguf_file *file)
{
    gguf_u32(file, "", 1);
}
static void alignment_48(struct gguf_file *file)
{
    gguf_u32(file, "general.alignment", 48);
}
static void alignment_0(struct gguf_file *file)
{
    gguf_u32(file, "general.alignment", 0);
}
static void alignment_text(struct gguf_file *file)
{
    gguf_string(file, "general.alignment", "32");
}
static void experts(struct gguf_file *file)
{
    gguf_u32(file, "llama.expert_count", 8);
}
static void parts(struct gguf_file *file)
{
    gguf_u32(file, "split.count", 2);
}
static void shared_experts(struct gguf_file *file)
{
    gguf_u32(file, "llama.expert_count", 0);
    gguf_u32(file, "llama.expert_shared_count", 1);
}
static void encoder(struct gguf_file *file)
{
    gguf_bool(file, "llama.attention.causal", 0);
}
static void attention_factor(struct gguf_file *file)
{
    gguf_f32(file, "llama.rope.scaling.attn_factor", 1.25f);
}
static void value_length(struct gguf_file *file)
{
    gguf_u32(file, "llama.attention.value_length", 32);
}
static void window_text(struct gguf_file *file)
{
    gguf_string(file, "llama.attention.sliding_window", "37");
}
static void eos_far(struct gguf_file *file)
{
    gguf_u32(file, "tokenizer.ggml.eos_token_id", 10);
}
static void rope_text(struct gguf_file *file)
{
    gguf_u32(file, "llama.rope.scaling.type", 1);
}
static void rope_factor(struct gguf_file *file)
{
    gguf_string(file, "llama.rope.scaling.type", "linear");
}

static void long_string(struct gguf_file *file)
{
    gguf_key(file, "x.y", GGUF_STRING);
    put_u64(&file->keys, UINT64_C(1) << 40);
}

static void negative_string(struct gguf_file *file)
{
    gguf_key(file, "x.y", GGUF_STRING);
    put_u64(&file->keys, UINT64_MAX);
}

static void put_bad_array(struct gguf_file *file, uint32_t type, uint64_t count)
{
    gguf_key(file, "x.y", GGUF_ARRAY);
    put_u32(&file->keys, type);
    put_u64(&file->keys, count);
}

static void nested_array(struct gguf_file *file)
{
    put_bad_array(file, GGUF_ARRAY, 1);
}
static void unknown_array(struct gguf_file *file)
{
    put_bad_array(file, 99, 1);
}
static void long_array(struct gguf_file *file)
{
    put_bad_array(file, GGUF_F64, UINT64_C(1) << 61);
}
static void long_string_array(struct gguf_file *file)
{
    put_bad_array(file, GGUF_STRING, UINT64_C(1) << 61);
}

static void string_in_array(struct gguf_file *file)
{
    put_bad_array(file, GGUF_STRING, 2);
    put_u64(&file->keys, UINT64_C(1) << 62);
}

static void per_layer_heads(struct gguf_file *file)
{
    gguf_i32s(file, "llama.attention.value_length", (const int32_t[]){16, 17}, 2);
}

static void longrope(struct gguf_file *file)
{
    gguf_tensor(file, "rope_factors_long.weight", GGUF_TYPE_F32, 8, 0, NULL, 32);
}
static void zero_divisors(struct gguf_file *file)
{
    gguf_tensor(file, "rope_freqs.weight", GGUF_TYPE_F32, 8, 0, NULL, 32);
}
static void short_divisors(struct gguf_file *file)
{
    gguf_tensor(file, "rope_freqs.weight", GGUF_TYPE_F32, 7, 0, NULL, 28);
}
static void odd_divisors(struct gguf_file *file)
{
    put_divisors(file, 8, 1024, 1.001);
}
static void unknown_tensor(struct gguf_file *file)
{
    gguf_tensor(file, "blk.0.attn_sinks.weight", GGUF_TYPE_F32, 4, 0, NULL, 16);
}
static void same_tensor(struct gguf_file *file)
{
    gguf_tensor(file, "output_norm.weight", GGUF_TYPE_F32, 64, 0, NULL, 256);
}
static void code_tensor(struct gguf_file *file)
{
    gguf_tensor(file, "x*/\n#include", GGUF_TYPE_F32, 4, 0, NULL, 16);
}
static void misaligned(struct gguf_file *file)
{
    gguf_tensor_entry(file, "output.weight", GGUF_TYPE_F32, 4, 0, 8);
}
static void outside(struct gguf_file *file)
{
    gguf_tensor_entry(file, "output.weight", GGUF_TYPE_F32, 64, 10, file->data.length & ~UINT64_C(31));
}
static void far_outside(struct gguf_file *file)
{
    gguf_tensor_entry(file, "output.weight", GGUF_TYPE_F32, 4, 0, ~UINT64_C(31));
}
static void too_large(struct gguf_file *file)
{
    gguf_tensor_entry(file, "output.weight", GGUF_TYPE_F32, 1 << 20, 1 << 20, 0);
}
static void overlap(struct gguf_file *file)
{
    gguf_tensor_entry(file, "output.weight", GGUF_TYPE_F32, 4, 0, 32);
}
static void no_rows(struct gguf_file *file)
{
    gguf_tensor_entry(file, "output.weight", GGUF_TYPE_F32, 0, 0, 0);
}
static void overflow(struct gguf_file *file)
{
    gguf_tensor_entry(file, "output.weight", GGUF_TYPE_F32, UINT64_C(1) << 40, UINT64_C(1) << 40, 0);
}
static void unknown_type(struct gguf_file *file)
{
    gguf_tensor_entry(file, "output.weight", 99, 256, 10, 0);
}
static void half_block(struct gguf_file *file)
{
    gguf_tensor_entry(file, "output.weight", GGUF_TYPE_Q6_K, 64, 10, 0);
}
static void no_tensors(struct gguf_file *file)
{
    file->tensor_count = 0;
}

static void five_dimensions(struct gguf_file *file)
{
    put_string(&file->tensors, "output.weight");
    put_u32(&file->tensors, 5);
    put(&file->tensors, NULL, 5 * 8 + 12);
    file->tensor_count++;
}

typedef void damage(struct gguf_file *file);

static const struct lie {
    damage *before, *after;
    const char *fragment;
} lies[] = {
    {NULL, bad_magic, "magic: expected \"GGUF\", found \"GGUX\""},
    {NULL, version_1, "version: expected 2 or 3, found 1"},
    {NULL, version_4, "version: expected 2 or 3, found 4"},
    {NULL, big_endian, "big-endian"},
    {NULL, many_tensors, "tensor count: expected at most"},
    {NULL, huge_tensors, "tensor count: expected at most"},
    {NULL, many_keys, "key count: expected at most"},
    {NULL, one_key_more, "model-"},
    {NULL, one_tensor_more, "model-"},
    {unknown_value, NULL, "x.y: expected a value type from 0 to 12, found 13"},
    {bad_bool, NULL, "x.y: expected 0 or 1, found 2"},
    {same_key, NULL, "llama.block_count: expected each key once"},
    {control_key, NULL, "printable characters"},
    {empty_key, NULL, "printable characters"},
    {alignment_48, NULL, "general.alignment: expected a power of two, found 48"},
    {alignment_0, NULL, "general.alignment: expected a whole number from 1"},
    {alignment_text, NULL, "general.alignment: expected a whole number from 1"},
    {long_string, NULL, "x.y: expected at most"},
    {negative_string, NULL, "x.y: expected at most"},
    {nested_array, NULL, "x.y: expected an array of numbers or strings, found an array of arrays"},
    {unknown_array, NULL, "x.y: element type: expected a value type from 0 to 12, found 99"},
    {long_array, NULL, "x.y: count: expected at most"},
    {long_string_array, NULL, "x.y: count: expected at most"},
    {string_in_array, NULL, "x.y: expected at most"},
    {experts, NULL, "llama.expert_count: expected a plain dense model, found 8"},
    {parts, NULL, "split.no: expected a whole number from 0 to 1, found nothing"},
    {shared_experts, NULL, "llama.expert_shared_count: expected a plain dense model, found 1"},
    {encoder, NULL, "llama.attention.causal: expected a model that generates text"},
    {attention_factor, NULL, "llama.rope.scaling.attn_factor: expected 1 beside none scaling, found 1.25"},
    {value_length, NULL, "llama.attention.value_length: expected the same as the keys' 16, found 32"},
    {per_layer_heads, NULL, "llama.attention.value_length: expected the same value for every layer"},
    {window_text, NULL, "sliding_window: expected a whole number"},
    {eos_far, NULL, "eos_token_id: expected a whole number from 0 to 9, found 10"},
    {rope_text, NULL, "llama.rope.scaling.type: expected a string, found 1"},
    {rope_factor, NULL, "llama.rope.scaling.factor: expected a positive number, found nothing"},
    {NULL, longrope, "LongRoPE"},
    {NULL, zero_divisors, "rope_freqs.weight[0]: expected a positive number, found 0"},
    {NULL, short_divisors, "rope_freqs.weight: expected 8 numbers of F32, found 7"},
    {NULL, odd_divisors, "rope_freqs.weight: expected the divisors of llama3 scaling"},
    {NULL, unknown_tensor, "tensor blk.0.attn_sinks.weight: is not known for LlamaForCausalLM"},
    {NULL, same_tensor, "output_norm.weight: expected each tensor once"},
    {NULL, code_tensor, "a name of letters, digits, dots and dashes"},
    {NULL, misaligned, "output.weight: offset: expected a multiple of 32, found 8"},
    {NULL, outside, "output.weight: offset: expected 2560 bytes inside"},
    {NULL, far_outside, "output.weight: offset: expected at most"},
    {NULL, too_large, "output.weight: offset: expected 4398046511104 bytes inside"},
    {NULL, overlap, "overlaps token_embd.weight"},
    {NULL, no_rows, "output.weight: dimension 0: expected at least 1, found 0"},
    {NULL, overflow, "output.weight: dimension 1: expected at most"},
    {NULL, unknown_type, "found number 99, which is not known"},
    {NULL, half_block, "output.weight: expected rows of a multiple of 256 weights for Q6_K, found 64"},
    {NULL, no_tensors, "expected the tensor token_embd.weight"},
    {NULL, five_dimensions, "output.weight: dimensions: expected a whole number from 1 to 4, found 5"},
};

/* Every type that is not converted is refused by its name, with what to do. */
START_TEST(other_types_are_refused_by_name)
{
    static const struct {
        uint32_t number;
        const char *name, *advice;
    } types[] = {
        {9, "Q8_1", "activations"}, {15, "Q8_K", "activations"}, {16, "IQ2_XXS", "Q4_K_M"}, {17, "IQ2_XS", "Q4_K_M"},
        {18, "IQ3_XXS", "Q4_K_M"},  {19, "IQ1_S", "Q4_K_M"},     {20, "IQ4_NL", "Q4_K_M"},  {21, "IQ3_S", "Q4_K_M"},
        {22, "IQ2_S", "Q4_K_M"},    {23, "IQ4_XS", "Q4_K_M"},    {24, "I8", "BF16"},        {27, "I64", "BF16"},
        {28, "F64", "BF16"},        {29, "IQ1_M", "Q4_K_M"},     {31, "Q4_0_4_4", "Q4_0"},  {34, "TQ1_0", "Q4_K_M"},
        {35, "TQ2_0", "Q4_K_M"},    {39, "MXFP4", "Q4_K_M"},     {40, "NVFP4", "Q4_K_M"},   {41, "Q1_0", "Q4_K_M"},
        {4, "Q4_2", "convert"},
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct gguf_file file;
        gguf_init(&file);
        put_config(&file, "llama");
        gguf_tensor_entry(&file, "token_embd.weight", types[i].number, 256, 10, 0);
        checkpoint_refused(write_file(&file),
                           "token_embd.weight: type: expected one of BF16, F16, F32, Q2_K, Q3_K, Q4_0",
                           text("found %s, which is not supported; ", types[i].name), types[i].advice, NULL);
    }
}
END_TEST

/* A key of the architecture that nobody knows goes on into the config, where the family judges it. */
START_TEST(unknown_keys_reach_the_family)
{
    struct gguf_file file;
    gguf_init(&file);
    put_config(&file, "llama");
    gguf_f32(&file, "llama.attention.clamp_kqv", 8);
    gguf_u32(&file, "llama.expert_count", 0); /* as if it were not there */
    gguf_f32(&file, "llama.logit_scale", 0);
    put_tensors(&file);
    const char *path = write_file(&file);
    cJSON *json = checkpoint_read(path);
    const cJSON *config = json_member(json, "config", path);
    ck_assert(number(config, "llama.attention.clamp_kqv") == 8);
    ck_assert(isnan(number(config, "llama.expert_count")) && isnan(number(config, "llama.logit_scale")));
    cJSON_Delete(json);
    struct process_result result;
    process(&result, lathe(), "plan", path, NULL);
    expect_refusal(&result, "an unknown key", "llama.attention.clamp_kqv: this key is not known",
                   "--ignore-config-key llama.attention.clamp_kqv", NULL);
    process_free(&result);
}
END_TEST

/* Qwen's windows are in some layers only: one that is as long as the context is none, another one is refused. */
START_TEST(windows_of_qwen)
{
    for (uint32_t window = 127; window <= 128; window++) {
        struct gguf_file file;
        gguf_init(&file);
        put_config(&file, "qwen2");
        gguf_u32(&file, "qwen2.attention.sliding_window", window);
        put_tensors(&file);
        const char *path = write_file(&file);
        if (window == 128) {
            cJSON *json = checkpoint_read(path);
            ck_assert(isnan(number(json_member(json, "config", path), "sliding_window")));
            cJSON_Delete(json);
        } else {
            checkpoint_refused(path,
                               "qwen2.attention.sliding_window: expected no window shorter than the context of 128",
                               "which layers", NULL);
        }
    }
}
END_TEST

START_TEST(lies_are_found)
{
    struct gguf_file file;
    gguf_init(&file);
    put_config(&file, "llama");
    if (lies[_i].before)
        lies[_i].before(&file);
    put_tensors(&file);
    if (lies[_i].after)
        lies[_i].after(&file);
    checkpoint_refused(write_file(&file), ".gguf: ", lies[_i].fragment, NULL);
}
END_TEST

/* Required keys: left out, of another type, out of range. */
START_TEST(keys_are_checked)
{
    static const struct {
        const char *name;
        enum { MISSING, TEXT, ZERO, HUGE_NUMBER, NEGATIVE, FLOAT } wrong;
        const char *fragment;
    } cases[] = {
        {"llama.block_count", MISSING, "llama.block_count: expected a number, found nothing"},
        {"llama.context_length", MISSING, "llama.context_length: expected a number, found nothing"},
        {"llama.embedding_length", TEXT, "llama.embedding_length: expected a whole number"},
        {"llama.feed_forward_length", ZERO, "llama.feed_forward_length: expected a whole number from 1"},
        {"llama.attention.head_count", HUGE_NUMBER, "llama.attention.head_count: expected a whole number"},
        {"llama.attention.head_count_kv", NEGATIVE, "llama.attention.head_count_kv: expected a whole number"},
        {"llama.block_count", FLOAT, "llama.block_count: expected a whole number"},
        {"llama.attention.layer_norm_rms_epsilon", MISSING,
         "layer_norm_rms_epsilon: expected a positive number, found nothing"},
        {"llama.attention.layer_norm_rms_epsilon", TEXT,
         "layer_norm_rms_epsilon: expected a positive number, found \"x\""},
        {"general.architecture", MISSING, "general.architecture: expected a string, found nothing"},
        {"general.architecture", ZERO, "general.architecture: expected a string, found 0"},
        {"general.architecture", TEXT, "general.architecture: expected one of llama, qwen2, qwen3, found \"x\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gguf_file right, file;
        gguf_init(&right);
        put_config(&right, "llama");
        gguf_init(&file);
        /* All of the config's keys but that one: they follow each other in the bytes. */
        size_t name_length = strlen(cases[i].name);
        for (size_t at = 0; at < right.keys.length;) {
            uint64_t length = right.keys.data[at];
            uint32_t type = right.keys.data[at + 8 + length];
            size_t size = 12 + length + (type == GGUF_STRING ? 8 + (size_t)right.keys.data[at + 12 + length] : 4);
            if (length != name_length || memcmp(right.keys.data + at + 8, cases[i].name, length) != 0) {
                put(&file.keys, right.keys.data + at, size);
                file.key_count++;
            }
            at += size;
        }
        gguf_free(&right);
        if (cases[i].wrong == TEXT)
            gguf_string(&file, cases[i].name, "x");
        if (cases[i].wrong == ZERO)
            gguf_u32(&file, cases[i].name, 0);
        if (cases[i].wrong == FLOAT)
            gguf_f32(&file, cases[i].name, 1.5f);
        if (cases[i].wrong == HUGE_NUMBER || cases[i].wrong == NEGATIVE) {
            gguf_key(&file, cases[i].name, cases[i].wrong == NEGATIVE ? GGUF_I64 : GGUF_U64);
            put_u64(&file.keys, cases[i].wrong == NEGATIVE ? (uint64_t)-2 : UINT64_C(1) << 50);
        }
        put_tensors(&file);
        checkpoint_refused(write_file(&file), ".gguf: ", cases[i].fragment, NULL);
    }
}
END_TEST

/* Cut anywhere, or with any byte of the header changed, the file is read or refused in one line: never a crash. */
START_TEST(damage_is_survived)
{
    struct gguf_file file;
    gguf_init(&file);
    put_config(&file, "llama");
    gguf_strings(&file, "tokenizer.ggml.tokens", "a b c");
    put_tensors(&file);
    size_t header = 24 + file.keys.length + file.tensors.length, length;
    const char *path = write_file(&file);
    char *data = file_read(path, &length);
    ck_assert_uint_gt(length, header);
    for (size_t bytes = 0; bytes < length; bytes += bytes < header ? 41 : 4001) {
        file_write(path, data, bytes);
        checkpoint_refused(path, path, NULL);
    }
    for (size_t at = 4; at < header; at += 23) {
        struct process_result result;
        char byte = data[at];
        data[at] = (char)(byte ^ (1 << at % 8));
        file_write(path, data, length);
        process(&result, lathe(), "checkpoint", path, NULL);
        ck_assert_msg(result.status == 0 || result.status == 1, "byte %zu: status %d: %s", at, result.status,
                      result.err);
        process_free(&result);
        data[at] = byte;
    }
    free(data);
}
END_TEST

static void make_folder(void)
{
    temporary_folder();
}

int main(void)
{
    Suite *suite = suite_create("gguf");
    TCase *tests = tcase_create("read");
    tcase_set_timeout(tests, 240);
    tcase_add_unchecked_fixture(tests, make_folder, NULL);
    tcase_add_test(tests, keys_become_those_of_config_json);
    tcase_add_test(tests, qwen_files_are_read);
    tcase_add_loop_test(tests, rope_scaling_is_found, 0, 6);
    tcase_add_test(tests, a_window_makes_it_mistral);
    tcase_add_test(tests, windows_of_qwen);
    tcase_add_test(tests, other_types_are_refused_by_name);
    tcase_add_test(tests, unknown_keys_reach_the_family);
    tcase_add_test(tests, another_alignment_is_followed);
    tcase_add_loop_test(tests, lies_are_found, 0, (int)(sizeof lies / sizeof lies[0]));
    tcase_add_test(tests, keys_are_checked);
    tcase_add_test(tests, damage_is_survived);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
