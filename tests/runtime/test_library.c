/* lathe.h as a user of libNAME.so sees it, on the fake model. Text is tested with real packages: the fake model has no
   tokenizer. */
#include <check.h>
#include <string.h>

#include "fake_model.h"
#include "lathe.h"

/* The library's model; generated code defines a constant one. */
struct model package_model;

static struct fake_model fake;

static lathe_model *open_library(void)
{
    char message[256];
    lathe_model *model = lathe_open(NULL, message, sizeof message);
    ck_assert_msg(model != NULL, "%s", message);
    return model;
}

START_TEST(a_conversation)
{
    lathe_model *model = open_library();
    ck_assert_str_eq(lathe_error(model), "");
    int first = lathe_sequence_open(model), row = -1;
    static const int32_t tokens[] = {3, 1, 4, 1, 5, 9, 2, 6};
    for (int i = 0; i < 6; i++)
        row = lathe_add(model, first, tokens[i], i == 5);
    ck_assert_int_eq(row, 5);
    ck_assert_int_eq(lathe_room(model), 10);
    ck_assert_int_eq(lathe_run(model), 0);
    ck_assert_int_eq(lathe_sequence_length(model, first), 6);
    float six[32];
    memcpy(six, lathe_logits(model, row), sizeof six);
    int fork = lathe_sequence_fork(model, first);
    ck_assert_int_ge(fork, 0);
    ck_assert_int_eq(lathe_add(model, fork, 2, true), 0);
    ck_assert_int_eq(lathe_run(model), 0);
    ck_assert_int_eq(lathe_sequence_rollback(model, fork, 5), 0);
    ck_assert_int_eq(lathe_add(model, fork, 9, true), 0);
    lathe_discard(model);
    ck_assert_int_eq(lathe_add(model, fork, 9, true), 0);
    ck_assert_int_eq(lathe_run(model), 0);
    ck_assert_mem_eq(lathe_logits(model, 0), six, sizeof six);
    lathe_sequence_close(model, fork);
    ck_assert_int_eq(lathe_sequence_length(model, fork), -1);
    lathe_close(model);
}
END_TEST

START_TEST(information)
{
    lathe_model *model = open_library();
    const struct lathe_info *info = lathe_info(model);
    ck_assert_str_eq(info->name, "fake");
    ck_assert_str_eq(info->cpu, "scalar");
    ck_assert_int_eq(info->vocab, 32);
    ck_assert_int_eq(lathe_vocab(model), 32);
    ck_assert_int_eq(info->max_seq, 64);
    ck_assert_int_eq(info->max_rows, 16);
    ck_assert_uint_eq(info->state_bytes_total, 16 * 80);
    ck_assert_uint_eq(info->weight_bytes, 512 + 128);
    ck_assert_ptr_null(info->chat_template);
    lathe_close(model);
}
END_TEST

START_TEST(errors)
{
    char message[256];
    struct lathe_options options = {.bytes = sizeof options, .kv_memory = 1};
    ck_assert_ptr_null(lathe_open(&options, message, sizeof message));
    ck_assert_ptr_nonnull(strstr(message, "80 bytes"));
    ck_assert_ptr_null(lathe_open(&options, message, 5));
    ck_assert_uint_eq(strlen(message), 4);
    ck_assert_ptr_null(lathe_open(&options, NULL, 0));
    ck_assert_ptr_null(lathe_open(&(struct lathe_options){.bytes = 0}, message, sizeof message));
    ck_assert_ptr_nonnull(strstr(message, "options.bytes"));
    /* An older caller: the fields it does not know have their defaults. */
    options.bytes = offsetof(struct lathe_options, kv_memory);
    lathe_model *model = lathe_open(&options, message, sizeof message);
    ck_assert_msg(model != NULL, "%s", message);

    int32_t ids[4];
    char text[4];
    ck_assert_int_eq(lathe_tokenize(model, "a", 1, true, ids, 4), -1);
    ck_assert_ptr_nonnull(strstr(lathe_error(model), "without a tokenizer"));
    ck_assert_int_eq(lathe_detokenize(model, ids, 0, true, text, 4), -1);
    int sequence = lathe_sequence_open(model);
    ck_assert_int_eq(lathe_add(model, sequence, 32, true), -1);
    ck_assert_ptr_nonnull(strstr(lathe_error(model), "vocabulary"));
    ck_assert_int_eq(lathe_add(model, sequence + 1, 0, true), -1);
    ck_assert_int_eq(lathe_sequence_rollback(model, sequence, 1), -1);
    ck_assert_int_eq(lathe_sequence_fork(model, 77), -1);
    ck_assert_int_eq(lathe_add(model, sequence, 0, false), 0);
    ck_assert_int_eq(lathe_run(model), 0);
    ck_assert_ptr_null(lathe_logits(model, 0));
    ck_assert_ptr_nonnull(strstr(lathe_error(model), "row 0"));
    lathe_close(model);
    lathe_close(NULL);
}
END_TEST

START_TEST(two_models)
{
    lathe_model *first = open_library(), *second = open_library();
    int a = lathe_sequence_open(first), b = lathe_sequence_open(second);
    ck_assert_int_eq(lathe_add(first, a, 1, true), 0);
    ck_assert_int_eq(lathe_add(second, b, 2, true), 0);
    ck_assert_int_eq(lathe_run(first), 0);
    ck_assert_int_eq(lathe_run(second), 0);
    ck_assert_mem_ne(lathe_logits(first, 0), lathe_logits(second, 0), 32 * sizeof(float));
    lathe_close(first);
    ck_assert_int_eq(lathe_add(second, b, 3, true), 0);
    ck_assert_int_eq(lathe_run(second), 0);
    lathe_close(second);
}
END_TEST

int main(void)
{
    fake_model_init(&fake, &(struct fake_options){.random = true});
    package_model = fake.model;
    Suite *suite = suite_create("library");
    TCase *test = tcase_create("library");
    tcase_add_test(test, a_conversation);
    tcase_add_test(test, information);
    tcase_add_test(test, errors);
    tcase_add_test(test, two_models);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
