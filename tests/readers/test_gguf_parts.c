/* Models in several GGUF files: any part stands for the whole, and parts that do not belong together are refused. */
#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint.h"
#include "fixture.h"
#include "gguf_file.h"
#include "process.h"

#define COUNT 3

static void put_config(struct gguf_file *file)
{
    gguf_string(file, "general.architecture", "llama");
    gguf_u32(file, "llama.block_count", 1);
    gguf_u32(file, "llama.context_length", 128);
    gguf_u32(file, "llama.embedding_length", 64);
    gguf_u32(file, "llama.feed_forward_length", 96);
    gguf_u32(file, "llama.attention.head_count", 4);
    gguf_f32(file, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
}

/* What one part says and holds; changed by the tests that lie. */
struct part {
    int number, count, tensors; /* split.no + 1, split.count, split.tensors.count */
    const char *architecture;   /* repeated in a part that is not the first; NULL: as llama.cpp does, not */
    bool embedding;             /* holds token_embd.weight */
    bool missing;               /* is not written */
    int name, name_count;       /* in the file's name */
};

static void put_part(const char *folder, const struct part *part, int index)
{
    struct gguf_file file;
    gguf_init(&file);
    if (index == 0)
        put_config(&file);
    else if (part->architecture)
        gguf_string(&file, "general.architecture", part->architecture);
    gguf_u32(&file, "split.no", (uint32_t)(part->number - 1));
    gguf_u32(&file, "split.count", (uint32_t)part->count);
    gguf_u32(&file, "split.tensors.count", (uint32_t)part->tensors);
    if (part->embedding)
        gguf_tensor(&file, "token_embd.weight", GGUF_TYPE_F32, 64, 10, NULL, 2560);
    if (index == 1)
        gguf_tensor(&file, "blk.0.attn_q.weight", GGUF_TYPE_F16, 64, 64, NULL, 8192);
    if (index == 2)
        gguf_tensor(&file, "output_norm.weight", GGUF_TYPE_F32, 64, 0, NULL, 256);
    if (!part->missing)
        gguf_write(&file, text("%s/model-%05d-of-%05d.gguf", folder, part->name, part->name_count));
    gguf_free(&file);
}

static void right_parts(struct part parts[COUNT])
{
    for (int i = 0; i < COUNT; i++)
        parts[i] = (struct part){
            .number = i + 1, .count = COUNT, .tensors = 3, .embedding = i == 1, .name = i + 1, .name_count = COUNT};
}

/* A folder with the parts. */
static const char *put_parts(const struct part parts[COUNT])
{
    const char *folder = checkpoint_folder(NULL);
    for (int i = 0; i < COUNT; i++)
        put_part(folder, &parts[i], i);
    return folder;
}

/* The first part has no tensors here, as with gguf-split's --no-tensor-first-split. */
START_TEST(any_part_stands_for_the_whole)
{
    struct part parts[COUNT];
    right_parts(parts);
    const char *folder = put_parts(parts);
    for (int i = 1; i <= COUNT; i++) {
        const char *path = text("%s/model-%05d-of-%05d.gguf", folder, i, COUNT);
        cJSON *json = checkpoint_read(path);
        ck_assert_str_eq(json_member(json, "name", path)->valuestring, "model");
        const cJSON *tensors = json_member(json, "tensors", path);
        ck_assert_int_eq(cJSON_GetArraySize(tensors), 3);
        const cJSON *q = json_member(tensors, "model.layers.0.self_attn.q_proj.weight", path);
        ck_assert_int_eq(json_member(q, "permute", path)->valueint, 4);
        ck_assert_ptr_nonnull(strstr(json_member(q, "file", path)->valuestring, "model-00002-of-00003.gguf"));
        const cJSON *norm = json_member(tensors, "model.norm.weight", path);
        ck_assert_ptr_nonnull(strstr(json_member(norm, "file", path)->valuestring, "model-00003-of-00003.gguf"));
        cJSON_Delete(json);
    }
}
END_TEST

/* One file of one part needs no such name. */
START_TEST(one_part_is_a_whole)
{
    struct gguf_file file;
    const char *path = temporary_path("single-%d.gguf", (int)getpid());
    gguf_init(&file);
    put_config(&file);
    gguf_u32(&file, "split.no", 0);
    gguf_u32(&file, "split.count", 1);
    gguf_tensor(&file, "token_embd.weight", GGUF_TYPE_F32, 64, 10, NULL, 2560);
    gguf_write(&file, path);
    gguf_free(&file);
    cJSON_Delete(checkpoint_read(path));
}
END_TEST

static void part_missing(struct part *parts)
{
    parts[2].missing = true;
}
static void first_missing(struct part *parts)
{
    parts[0].missing = true;
}
static void renamed(struct part *parts)
{
    parts[1].number = 3;
    parts[2].number = 2;
}
static void twice(struct part *parts)
{
    parts[2].number = 2;
}
static void tensor_twice(struct part *parts)
{
    parts[2].embedding = true;
    for (int i = 0; i < COUNT; i++)
        parts[i].tensors = 4;
}
static void tensor_missing(struct part *parts)
{
    parts[1].embedding = false;
}
static void other_count(struct part *parts)
{
    parts[2].count = 4;
}
static void whole_among_parts(struct part *parts)
{
    parts[2].count = 1;
}
static void other_total(struct part *parts)
{
    parts[2].tensors = 4;
}
static void other_model(struct part *parts)
{
    parts[1].architecture = "qwen2";
}
static void beyond(struct part *parts)
{
    parts[1].number = 4;
}
static void negative_count(struct part *parts)
{
    parts[1].count = -1;
}
static void many(struct part *parts)
{
    parts[1].count = 100000;
}
static void other_name(struct part *parts)
{
    parts[1].name_count = 4;
}

static const struct lie {
    void (*tell)(struct part *parts);
    const char *given, *fragments[2];
} lies[] = {
    {part_missing, "2-of-00003", {"model-00003-of-00003.gguf: expected part 3 of 3 of the model, found nothing there"}},
    {first_missing,
     "2-of-00003",
     {"model-00001-of-00003.gguf: expected part 1 of 3 of the model, found nothing there"}},
    {renamed,
     "1-of-00003",
     {"model-00002-of-00003.gguf: split.no: expected part 2 of 3, as the name says, found part 3 of 3", "downloaded"}},
    {twice,
     "1-of-00003",
     {"model-00003-of-00003.gguf: split.no: expected part 3 of 3, as the name says, found part 2"}},
    {tensor_twice,
     "1-of-00003",
     {"model-00003-of-00003.gguf: token_embd.weight: expected each tensor in one part",
      "found it in model-00002-of-00003.gguf too"}},
    {tensor_missing, "1-of-00003", {"split.tensors.count: expected 3 tensors in all parts, found 2"}},
    {other_count, "1-of-00003", {"model-00003-of-00003.gguf: split.count: expected 3, as in model-00001", "found 4"}},
    {whole_among_parts, "1-of-00003", {"model-00003-of-00003.gguf: split.count: expected 3", "found 1"}},
    {other_total, "1-of-00003", {"model-00003-of-00003.gguf: split.tensors.count: expected 3, as in the first part"}},
    {other_model,
     "1-of-00003",
     {"model-00002-of-00003.gguf: general.architecture: expected \"llama\", as in the first part, found \"qwen2\"",
      "different models"}},
    {beyond, "2-of-00003", {"split.no: expected a whole number from 0 to 2, found 3"}},
    {negative_count, "2-of-00003", {"split.count: expected a whole number from 1 to 99999"}},
    {many, "2-of-00003", {"split.count: expected a whole number from 1 to 99999, found 100000"}},
    {other_name, "2-of-00004", {"split.no: expected part 2 of 4, as the name says, found part 2 of 3"}},
};

START_TEST(parts_that_do_not_belong_together_are_refused)
{
    struct part parts[COUNT];
    right_parts(parts);
    lies[_i].tell(parts);
    const char *folder = put_parts(parts);
    checkpoint_refused(text("%s/model-0000%s.gguf", folder, lies[_i].given), lies[_i].fragments[0],
                       lies[_i].fragments[1], NULL);
}
END_TEST

START_TEST(a_part_under_another_name_is_refused)
{
    struct part parts[COUNT];
    right_parts(parts);
    const char *folder = put_parts(parts), *path = text("%s/other.gguf", folder);
    ck_assert_int_eq(rename(text("%s/model-00001-of-00003.gguf", folder), path), 0);
    checkpoint_refused(path, "other.gguf: split.count: expected a name that ends with -00001-of-00003.gguf", NULL);
}
END_TEST

START_TEST(a_damaged_part_is_named)
{
    struct part parts[COUNT];
    right_parts(parts);
    const char *folder = put_parts(parts), *path = text("%s/model-00003-of-00003.gguf", folder);
    size_t length;
    char *data = file_read(path, &length);
    file_write(path, data, length - 32);
    checkpoint_refused(text("%s/model-00001-of-00003.gguf", folder),
                       "model-00003-of-00003.gguf: output_norm.weight: offset", "truncated", NULL);
    file_write(path, "not GGUF at all", 15);
    checkpoint_refused(text("%s/model-00001-of-00003.gguf", folder), "model-00003-of-00003.gguf: magic", NULL);
    free(data);
}
END_TEST

/* Before the tests fork, so that they share the folder. */
static void make_folder(void)
{
    temporary_folder();
}

int main(void)
{
    Suite *suite = suite_create("gguf_parts");
    TCase *tests = tcase_create("parts");
    tcase_set_timeout(tests, 60);
    tcase_add_unchecked_fixture(tests, make_folder, NULL);
    tcase_add_test(tests, any_part_stands_for_the_whole);
    tcase_add_test(tests, one_part_is_a_whole);
    tcase_add_loop_test(tests, parts_that_do_not_belong_together_are_refused, 0, sizeof lies / sizeof lies[0]);
    tcase_add_test(tests, a_part_under_another_name_is_refused);
    tcase_add_test(tests, a_damaged_part_is_named);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
