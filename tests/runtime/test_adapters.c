/* Blobs of adapters that are not what they say, the engine's slots, and the runs of a step. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine_adapters.h"

/* A layer's linear, a head, an embedding. */
static const struct adapter_site sites[] = {
    {"layer.0.q", "model.layers.0.self_attn.q_proj", 6, 10, 0, 0, -1},
    {"head", "lm_head", 20, 10, 0, 0, -1},
    {"embedding", "model.embed_tokens", 20, 10, 0, 0, -1},
};

enum { SITES = sizeof sites / sizeof *sites, BYTES = 4096, ENTRIES = 192 };

static struct model model_with(int slots)
{
    return (struct model){.name = "m",
                          .dtype = "bf16",
                          .sites = sites,
                          .site_count = SITES,
                          .adapter_slots = slots,
                          .adapter_max_rank = 16,
                          .adapter_rank = 16,
                          .max_rows = 8,
                          .max_outputs = 8};
}

/* A good blob: rank 16 at q, with scales and a bias; a whole head; rank 8 at the embedding. */
static unsigned char *good_blob(void)
{
    unsigned char *blob = aligned_alloc(64, BYTES);
    ck_assert_ptr_nonnull(blob);
    memset(blob, 0, BYTES);
    struct adapter_entry *entry = (struct adapter_entry *)(void *)blob;
    entry[0] = (struct adapter_entry){.rank = 16, .scale = 0.5f, .a = 192, .b = 512, .row_scale = 704, .bias = 768};
    entry[1] = (struct adapter_entry){.full = 832};
    entry[2] = (struct adapter_entry){.rank = 8, .scale = 1, .a = 1280, .b = 1600};
    return blob;
}

START_TEST(good)
{
    struct model model = model_with(0);
    struct adapter_summary summary;
    struct error error = {""};
    unsigned char *blob = good_blob();
    _Static_assert(SITES * sizeof(struct adapter_entry) <= ENTRIES, "what good_blob puts behind them");
    ck_assert_msg(adapter_check(&model, "a", blob, BYTES, 16, &summary, &error) == 0, "%s", error.message);
    ck_assert_int_eq(summary.sites, 3);
    ck_assert_int_eq(summary.rank, 16);
    ck_assert_uint_eq(summary.step_bytes, 16 * (6 + 10) * 2 + 2 * 6 * 4 + 20 * 10 * 2);
    ck_assert_int_eq(adapter_check(&model, "a", blob, 1600 + 160, 16, NULL, &error), 0); /* to its last byte */
    ck_assert_int_eq(adapter_check(&model, "a", blob, 1600 + 159, 16, NULL, &error), -1);
    free(blob);
}
END_TEST

/* What a damaged or forged blob may say, and what must be complained of. */
static const struct {
    int site;
    struct adapter_entry entry;
    const char *words;
} bad[] = {
    {0, {.rank = 32, .scale = 1, .a = 192, .b = 192}, "layer.0.q: expected a padded rank up to 16, found 32"},
    {0, {.rank = 12, .scale = 1, .a = 192, .b = 192}, "found 12"},
    {0, {.rank = -8, .scale = 1, .a = 192, .b = 192}, "found -8"},
    {0, {.rank = 8, .scale = 1, .b = 192}, "A is not inside"},
    {0, {.rank = 8, .scale = 1, .a = 192}, "B is not inside"},
    {0, {.rank = 8, .scale = 1, .a = 64, .b = 192}, "A is not inside"}, /* among the entries */
    {0, {.rank = 8, .scale = 1, .a = 200, .b = 192}, "A is not inside"},
    {0, {.rank = 8, .scale = 1, .a = 4032, .b = 192}, "A is not inside"}, /* 160 bytes */
    {0, {.rank = 8, .scale = 1, .a = 192, .b = 4096}, "B is not inside"},
    {0, {.rank = 8, .scale = 1, .a = 192, .b = UINT64_MAX - 63}, "B is not inside"},
    {0, {.rank = 8, .scale = 1.0f / 0.0f, .a = 192, .b = 192}, "scale"},
    {0, {.row_scale = 4096}, "layer.0.q: the scales of the rows"},
    {0, {.bias = 128}, "bias"},
    {1, {.full = 3776}, "head: the whole matrix"},                                   /* 400 bytes, 320 left */
    {2, {.rank = 8, .scale = 1, .a = 3840, .b = 192}, "embedding: A is not inside"}, /* 320 bytes: turned */
};

START_TEST(damaged)
{
    struct model model = model_with(0);
    struct error error;
    unsigned char *blob = good_blob();
    memcpy(blob + (size_t)bad[_i].site * sizeof bad[_i].entry, &bad[_i].entry, sizeof bad[_i].entry);
    ck_assert_int_eq(adapter_check(&model, "a", blob, BYTES, 16, NULL, &error), -1);
    ck_assert_msg(strstr(error.message, bad[_i].words) != NULL, "%s", error.message);
    ck_assert_msg(strncmp(error.message, "adapter a: ", 11) == 0, "%s", error.message);
    free(blob);
}
END_TEST

START_TEST(slots)
{
    struct model model = model_with(2);
    struct package package = {0};
    struct engine_adapters adapters;
    struct error error;
    ck_assert_int_eq(engine_adapters_open(&adapters, &model, &package, &error), 0);
    ck_assert_int_eq(engine_adapters_find(&adapters, "a", &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "--lora-dir"));
    ck_assert_int_eq(engine_adapters_add(&adapters, "a", good_blob(), BYTES, &error), 0);
    unsigned char *blob = good_blob();
    ck_assert_int_eq(engine_adapters_add(&adapters, "a", blob, BYTES, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "of this name already"));
    ck_assert_int_eq(engine_adapters_add(&adapters, "", blob, BYTES, &error), -1);
    ck_assert_int_eq(engine_adapters_add(&adapters, "b", blob, 100, &error), -1);
    ck_assert_int_eq(engine_adapters_add(&adapters, "b", blob, BYTES, &error), 1);
    blob = good_blob();
    ck_assert_int_eq(engine_adapters_add(&adapters, "c", blob, BYTES, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "has 2 slots"));
    free(blob);
    ck_assert_int_eq(engine_adapters_find(&adapters, "b", &error), 1);
    ck_assert_int_eq(engine_adapters_find(&adapters, "c", &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "expected one of a, b"));
    /* What is released is the caller's again, and its slot free. */
    unsigned char *released = adapters.slot[0].own_blob;
    engine_adapters_release(&adapters, 0);
    ck_assert_int_eq(engine_adapters_add(&adapters, "c", released, BYTES, &error), 0);
    engine_adapters_close(&adapters);
}
END_TEST

START_TEST(none)
{
    struct model model = model_with(0);
    struct package package = {0};
    struct engine_adapters adapters;
    struct error error;
    ck_assert_int_eq(engine_adapters_open(&adapters, &model, &package, &error), 0);
    ck_assert_int_eq(engine_adapters_find(&adapters, "a", &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "built without adapters"));
    ck_assert_int_eq(engine_adapters_read(&adapters, "a", "/nowhere", NULL, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "--lora-slots"));
    engine_adapters_assemble(&adapters, NULL, 0, NULL, 0);
    ck_assert_int_eq(adapters.runs, 0);
    engine_adapters_close(&adapters);
}
END_TEST

/* A built-in blob of the payload is used where it is; a damaged one is refused. */
START_TEST(built_in)
{
    static const struct adapter list[] = {{"inside", 0}};
    static const struct tensor tensors[] = {{.name = "adapter.inside", .offset = 64, .bytes = BYTES}};
    struct model model = model_with(0);
    struct error error;
    unsigned char *payload = aligned_alloc(64, 64 + BYTES), *blob = good_blob();
    struct package package = {.payload = payload, .bytes = 64 + BYTES};
    struct engine_adapters adapters;
    model.adapters = list, model.adapter_count = 1, model.tensors = tensors, model.tensor_count = 1;
    memcpy(payload + 64, blob, BYTES);
    ck_assert_int_eq(engine_adapters_open(&adapters, &model, &package, &error), 0);
    ck_assert_int_eq(engine_adapters_find(&adapters, "inside", &error), 0);
    ck_assert_ptr_eq(adapters.blob[0], payload + 64);
    engine_adapters_close(&adapters);
    ((struct adapter_entry *)(void *)(payload + 64))->b = BYTES;
    ck_assert_int_eq(engine_adapters_open(&adapters, &model, &package, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "adapter inside: layer.0.q: B is not inside it"));
    engine_adapters_close(&adapters);
    free(payload);
    free(blob);
}
END_TEST

START_TEST(runs)
{
    static const int32_t adapter[] = {-1, 1, 1, 0, -1, 0, 0, 1}, output_row[] = {0, 2, 3, 5, 6};
    static const struct adapter_run expected[] = {{1, 2, 1}, {3, 1, 0}, {5, 2, 0}, {7, 1, 1}};
    static const struct adapter_run outputs[] = {{1, 1, 1}, {2, 3, 0}}; /* rows 3, 5 and 6 are neighbours there */
    struct model model = model_with(2);
    struct package package = {0};
    struct engine_adapters adapters;
    struct error error;
    struct row row[8] = {0};
    for (int i = 0; i < 8; i++)
        row[i].adapter = adapter[i];
    ck_assert_int_eq(engine_adapters_open(&adapters, &model, &package, &error), 0);
    engine_adapters_assemble(&adapters, row, 8, output_row, 5);
    ck_assert_int_eq(adapters.runs, 4);
    ck_assert_int_eq(memcmp(adapters.run, expected, sizeof expected), 0);
    ck_assert_int_eq(adapters.output_runs, 2);
    ck_assert_int_eq(memcmp(adapters.output_run, outputs, sizeof outputs), 0);
    engine_adapters_assemble(&adapters, row, 1, output_row, 1);
    ck_assert_int_eq(adapters.runs + adapters.output_runs, 0);
    engine_adapters_close(&adapters);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("runtime/adapters");
    TCase *blobs = tcase_create("blobs");
    tcase_add_test(blobs, good);
    tcase_add_loop_test(blobs, damaged, 0, sizeof bad / sizeof *bad);
    tcase_add_test(blobs, slots);
    tcase_add_test(blobs, none);
    tcase_add_test(blobs, built_in);
    tcase_add_test(blobs, runs);
    suite_add_tcase(suite, blobs);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
