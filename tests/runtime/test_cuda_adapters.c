/* Adapters on a device (cuda_adapters.h), with the driver that is none: what is where, groups of rows, refusals. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_adapters.h"
#include "cuda_device.h"
#include "fake_cuda_model.h"
#include "fake_model.h"

enum { SITES = 9, END = SITES - 2, BUILT_IN = 1, RESERVED = 2, RANK = 16, HIDDEN = 70, VOCABULARY = 40 };

static struct adapter_site sites[SITES]; /* one layer of 7, head, embedding */
static const struct adapter built_in[BUILT_IN] = {{"first", 0}};

struct place {
    struct fake_model fake;
    struct fake_cuda gpu;
    struct cuda_device device;
    struct cuda_stream stream;
    struct cuda_adapters adapters;
    CUdeviceptr memory;
};

static void enqueue_nothing(struct cuda_stream *stream, const struct cuda_step *step, int rows)
{
    (void)stream, (void)step, (void)rows;
}

static void place_open(struct place *place)
{
    struct error error = {""};
    setenv("LATHE_CUDA_DRIVER", TEST_BINARY_DIR "/tests/fake_cuda.so", 1);
    setenv("FAKE_CUDA", "", 1);
    fake_model_init(&place->fake, &(struct fake_options){.random = true});
    fake_cuda_init(&place->gpu, &place->fake, NULL);
    for (int i = 0; i < SITES; i++)
        sites[i] = (struct adapter_site){.name = "site", .module = "module", .rows = 24 + i, .columns = HIDDEN};
    sites[END].rows = sites[END + 1].rows = VOCABULARY;
    sites[END].module = "lm_head";
    place->gpu.cuda.enqueue_adapters = enqueue_nothing;
    place->fake.tensor[0].bytes = 200000; /* of the first adapter's blob */
    struct model *model = &place->fake.model;
    model->sites = sites;
    model->site_count = SITES;
    model->adapters = built_in;
    model->adapter_count = BUILT_IN;
    model->adapter_slots = RESERVED;
    model->adapter_max_rank = RANK;
    ck_assert_int_eq(cuda_device_open(&place->device, model->cuda, "fake", "do without", NULL, NULL, NULL, &error), 0);
    ck_assert_int_eq(cuda_stream_open(&place->stream, &place->device, &error), 0);
    ck_assert_int_eq(place->device.driver.cuMemAlloc_v2(&place->memory, cuda_adapters_bytes(model)), 0);
    ck_assert_int_eq(cuda_adapters_open(&place->adapters, model, &place->stream, place->memory, &error), 0);
}

static void place_close(struct place *place)
{
    cuda_adapters_close(&place->adapters);
    (void)place->device.driver.cuMemFree_v2(place->memory);
    cuda_stream_close(&place->stream);
    cuda_device_close(&place->device);
}

/* A blob whose site `site` has everything that an adapter can have there, of this rank; elements count up from `first`. */
static unsigned char *blob_of(int site, int rank, bool full, uint64_t *bytes)
{
    bool embedding = site == SITES - 1;
    uint64_t rows = (uint64_t)sites[site].rows, r = (uint64_t)rank, outputs = embedding ? HIDDEN : rows;
    uint64_t head = sizeof(struct adapter_entry) * SITES / 64 * 64 + 64, a = r * (embedding ? rows : HIDDEN) * 2;
    uint64_t at = head, whole = full ? rows * HIDDEN * 2 : 0;
    unsigned char *blob = calloc(1, *bytes = head + (a + 63) / 64 * 64 + outputs * r * 2 + outputs * 8 + whole + 512);
    struct adapter_entry *entry = (struct adapter_entry *)(void *)blob + site;
    *entry = (struct adapter_entry){.rank = rank, .scale = 0.5f};
    if (rank) {
        entry->a = at;
        entry->b = at += (a + 63) / 64 * 64;
        at += (outputs * r * 2 + 63) / 64 * 64;
    }
    if (full)
        entry->full = at;
    at += (whole + 63) / 64 * 64;
    if (!embedding && !full) {
        entry->row_scale = at;
        entry->bias = at + (outputs * 4 + 63) / 64 * 64;
    }
    for (uint64_t i = head; i < *bytes; i++)
        blob[i] = (unsigned char)(i * 31 % 251);
    return blob;
}

/* Element [row][column] of a matrix in tiles of fragments (docs/cuda.md). */
static uint16_t of_fragments(const uint16_t *packed, int row, int column)
{
    int fragment = row / 16 * (128 / 16) + column / 16, lane = row % 8 * 4 + column % 8 / 2;
    return packed[fragment * 256 + lane * 8 + (row % 16 / 8 + column % 16 / 8 * 2) * 2 + column % 2];
}

START_TEST(where_everything_is)
{
    static const struct {
        int slot, site, rank;
        bool full;
    } cases[] = {{0, 2, 8, false},  {1, 0, 16, false}, {2, END, 16, false},   {1, END + 1, 16, false},
                 {0, 6, 32, false}, {0, END, 0, true}, {0, END + 1, 0, true}, {2, 3, 0, false}};
    struct place place = {0};
    place_open(&place);
    place.gpu.cuda.own_heads = true;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int site = cases[i].site, rank = cases[i].rank;
        struct error error = {""};
        uint64_t bytes;
        unsigned char *blob = blob_of(site, rank, cases[i].full, &bytes);
        const struct adapter_entry *entry = (const struct adapter_entry *)(const void *)blob + site;
        ck_assert_msg(cuda_adapters_put(&place.adapters, cases[i].slot, "one", blob, bytes, &error) == 0, "%s",
                      error.message);
        /* The fake driver's memory is the host's. */
        const struct cuda_adapter_site *at =
            (const struct cuda_adapter_site *)(uintptr_t)place.memory + cases[i].slot * SITES;
        for (int other = 0; other < SITES; other++)
            ck_assert(other == site || (at[other].rank == 0 && !at[other].a && !at[other].bias && !at[other].full));
        at += site;
        ck_assert_int_eq(at->rank, rank);
        ck_assert(at->scale == 0.5f);
        bool embedding = site == SITES - 1;
        size_t rows = (size_t)sites[site].rows, outputs = embedding ? HIDDEN : rows;
        const uint16_t *matrix = (const uint16_t *)(const void *)(blob + (cases[i].full ? entry->full : entry->a));
        uint64_t packed = cases[i].full ? at->full : at->a;
        ck_assert_int_eq(packed % 512, 0);
        if (embedding)
            ck_assert_mem_eq((const void *)(uintptr_t)packed, matrix,
                             rows * (size_t)(cases[i].full ? HIDDEN : rank) * 2);
        for (int row = 0; !embedding && row < (cases[i].full ? (int)rows : (rank + 15) / 16 * 16); row++)
            for (int column = 0; column < HIDDEN; column++)
                ck_assert_int_eq(of_fragments((const uint16_t *)(uintptr_t)packed, row, column),
                                 row < rank || cases[i].full ? matrix[row * HIDDEN + column] : 0);
        if (rank)
            ck_assert_mem_eq((const void *)(uintptr_t)at->b, blob + entry->b, outputs * (size_t)rank * 2);
        ck_assert_int_eq(at->row_scale != 0, entry->row_scale != 0);
        if (at->row_scale)
            ck_assert_mem_eq((const void *)(uintptr_t)at->row_scale, blob + entry->row_scale, outputs * 4);
        if (at->bias)
            ck_assert_mem_eq((const void *)(uintptr_t)at->bias, blob + entry->bias, outputs * 4);
        free(blob);
    }
    place_close(&place);
}
END_TEST

START_TEST(refused)
{
    struct place place = {0};
    struct error error = {""};
    uint64_t bytes;
    place_open(&place);
    unsigned char *blob = blob_of(4, 0, true, &bytes);
    ck_assert_int_eq(cuda_adapters_put(&place.adapters, 0, "whole", blob, bytes, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "adapter \"whole\": module: a whole matrix"));
    free(blob);
    blob = blob_of(END, 0, true, &bytes);
    ck_assert_int_eq(cuda_adapters_put(&place.adapters, 1, "own", blob, bytes, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "adapter \"own\": lm_head: for a whole head"));
    free(blob);
    blob = blob_of(END + 1, 256, false, &bytes);
    ck_assert_int_eq(cuda_adapters_put(&place.adapters, 1, "large", blob, bytes, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.message, "adapter \"large\": expected at most"));
    ck_assert_ptr_nonnull(strstr(error.message, "--lora-max-rank"));
    free(blob);
    place_close(&place);
}
END_TEST

/* Every row with an adapter is in one group, and groups are as full as they can be. */
START_TEST(groups)
{
    enum { ROWS = 40 };
    struct place place = {0};
    struct error error = {""};
    uint64_t bytes;
    place_open(&place);
    place.fake.model.max_rows = ROWS;
    for (int slot = 0; slot < 3; slot++) {
        unsigned char *blob = blob_of(slot == 1 ? 1 : END, slot == 2 ? 8 : slot == 1 ? 16 : 32, false, &bytes);
        ck_assert_int_eq(cuda_adapters_put(&place.adapters, slot, "one", blob, bytes, &error), 0);
        free(blob);
    }
    struct row rows[ROWS];
    int32_t outputs[ROWS], seed = _i;
    for (int r = 0; r < ROWS; r++) {
        seed = (int32_t)((uint32_t)seed * 1103515245u + 12345u);
        rows[r] = (struct row){.adapter = (seed >> 16 & 0xff) % 4 - 1};
        outputs[r] = r;
    }
    for (int r = 0; r < ROWS; r++)
        rows[r].adapter = _i == 0 ? -1 : _i == 1 && rows[r].adapter == 0 ? 2 : rows[r].adapter;
    struct engine_batch batch = {.rows = ROWS, .outputs = ROWS / 2, .row = rows, .output_row = outputs + ROWS / 2};
    struct cuda_group group[ROWS], output_group[ROWS];
    struct cuda_counts counts = {.rows = ROWS};
    cuda_adapters_group(&place.adapters, &batch, &counts, group, output_group);
    bool seen[ROWS] = {false}, largest = false;
    int of[3] = {0}, not_full[3] = {0};
    for (int g = 0; g < counts.groups; g++) {
        ck_assert(group[g].rows > 0 && group[g].rows <= CUDA_GROUP_ROWS);
        not_full[group[g].adapter] += group[g].rows < CUDA_GROUP_ROWS;
        for (int i = 0; i < group[g].rows; i++) {
            ck_assert(!seen[group[g].row[i]] && rows[group[g].row[i]].adapter == group[g].adapter);
            seen[group[g].row[i]] = true;
            of[group[g].adapter]++;
        }
        largest = largest || group[g].adapter == 0;
    }
    for (int r = 0; r < ROWS; r++)
        ck_assert(seen[r] == (rows[r].adapter >= 0));
    for (int slot = 0; slot < 3; slot++)
        ck_assert_int_le(not_full[slot], 1);
    ck_assert_int_eq(counts.adapter_tiles, largest ? 2 : counts.groups > 0);
    ck_assert_int_le(counts.groups, cuda_adapters_groups(&place.fake.model, ROWS));
    int total = 0, expected = 0;
    for (int g = 0; g < counts.output_groups; g++)
        for (int i = 0; i < output_group[g].rows; i++, total++)
            ck_assert_int_eq(rows[ROWS / 2 + output_group[g].row[i]].adapter, output_group[g].adapter);
    for (int r = ROWS / 2; r < ROWS; r++)
        expected += rows[r].adapter >= 0 && rows[r].adapter != 1; /* which does nothing at the head */
    ck_assert_int_eq(total, expected);
    place_close(&place);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_adapters");
    TCase *tests = tcase_create("adapters");
    tcase_add_test(tests, where_everything_is);
    tcase_add_test(tests, refused);
    tcase_add_loop_test(tests, groups, 0, 6);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
