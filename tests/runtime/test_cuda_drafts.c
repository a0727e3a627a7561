/* Draft steps on a GPU that is none (fake_cuda.h): what their kernels are given. The head is one kernel that keeps keys in pages and
   scratch slots and chains a hash over them and over the features, so its guesses are right only if rows, paths, page tables,
   features and places are. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_model.h"
#include "draft.h"
#include "engine.h"
#include "fake_cuda.h"
#include "fake_cuda_model.h"
#include "fake_model.h"

enum { VOCAB = 11, PLACES = 16, TEXT = 9, GUESSES = 3 };

static int32_t page_size, stride; /* of a page in bytes: all groups */

static uint32_t mix(uint32_t a, uint32_t b)
{
    uint32_t x = (a ^ b * 0x9e3779b9u) * 0x85ebca6bu;
    return (x ^ x >> 15) * 0xc2b2ae35u + b;
}

static uint32_t *key_of(const struct cuda_step *step, int32_t slot)
{
    return (uint32_t *)(void *)(step->state + slot / page_size * stride) + slot % page_size;
}

static int32_t slot_of(const struct cuda_step *step, const struct cuda_row *row, int32_t position)
{
    if (position < row->shared)
        return step->pages[row->sequence * step->table + position / page_size] * page_size + position % page_size;
    return step->pages_total * page_size + step->path[row->path + position - row->shared];
}

static void run_draft(void **p, const unsigned grid[3], unsigned threads)
{
    const struct cuda_step *step = p[0];
    uint32_t hash[PLACES], *features = (uint32_t *)(void *)step->features;
    int32_t entering = 0, rows = step->counts->rows;
    (void)threads;
    ck_assert(rows <= (int32_t)grid[0] && step->taps);
    for (int32_t r = 0; r < rows; r++) {
        const struct cuda_row *row = &step->row[r];
        *key_of(step, slot_of(step, row, row->position)) = mix((uint32_t)row->token, (uint32_t)row->position);
        if (step->feature[r] >= 0)
            ck_assert(entering < step->counts->entering && step->entering[entering++] == r);
    }
    ck_assert_int_eq(entering, step->counts->entering);
    for (int32_t r = 0; r < rows; r++) {
        const struct cuda_row *row = &step->row[r];
        hash[r] = step->feature[r] >= 0 ? (uint32_t)step->feature[r] : features[~step->feature[r]];
        for (int32_t position = 0; position <= row->position; position++)
            hash[r] = mix(hash[r], *key_of(step, slot_of(step, row, position)));
    }
    for (int32_t r = 0; r < rows; r++)
        if (step->feature_place[r] >= 0)
            features[step->feature_place[r]] = hash[r];
    for (int32_t i = 0; i < step->counts->outputs; i++)
        for (int32_t k = 0; k < step->counts->guesses; k++)
            step->guesses[i * CUDA_GUESSES + k] =
                (struct cuda_guess){(int32_t)((hash[step->output_row[i]] + (uint32_t)k) % VOCAB), -1.0f - (float)k};
}

static void enqueue_draft(struct cuda_stream *stream, const struct cuda_step *step, int rows)
{
    int32_t nothing = 0;
    cuda_launch(stream, FAKE_KERNELS, "draft", rows, 1, 1, step, &nothing, sizeof nothing, 0);
}

/* The fake model with a head. */
struct headed {
    struct fake_model fake;
    struct fake_cuda gpu;
    struct cuda_image image[FAKE_KERNELS + 1];
    struct cuda_kernel kernel[FAKE_KERNELS + 1];
    struct cuda_target target;
    struct cuda_draft cuda_draft;
    struct draft_model draft;
    struct engine *engine;
};

static void headed_open(struct headed *h)
{
    static const struct fake_cuda_image image = {
        FAKE_CUDA_MAGIC, "fake_draft", run_draft, {sizeof(struct cuda_step), 4, 4}};
    struct error error;
    setenv("LATHE_CUDA_DRIVER", TEST_BINARY_DIR "/tests/fake_cuda.so", 1);
    setenv("FAKE_CUDA", "", 1);
    fake_model_init(&h->fake, &(struct fake_options){.random = true, .random_seed = 5});
    fake_cuda_init(&h->gpu, &h->fake, NULL);
    memcpy(h->image, h->gpu.cuda.targets[0].images, FAKE_KERNELS * sizeof *h->image);
    memcpy(h->kernel, h->gpu.kernel, FAKE_KERNELS * sizeof *h->kernel);
    h->image[FAKE_KERNELS] = (struct cuda_image){(const unsigned char *)&image, sizeof image};
    h->kernel[FAKE_KERNELS] = (struct cuda_kernel){"fake_draft", 32, 0, NULL};
    h->target = (struct cuda_target){"90a", 9, 0, true, false, h->image};
    h->cuda_draft = (struct cuda_draft){.pack_kernel = FAKE_PACK,
                                        .arena_bytes = 64,
                                        .taps_bytes = 64,
                                        .features_bytes = PLACES * sizeof(float),
                                        .enqueue = enqueue_draft};
    h->draft = (struct draft_model){
        .kind = "eagle3", .name = "head", .vocab = VOCAB, .tensor = -1, .head_dim = 16, .places = PLACES, .state = 1};
    h->gpu.cuda.targets = &h->target;
    h->gpu.cuda.target_count = 1;
    h->gpu.cuda.kernels = h->kernel;
    h->gpu.cuda.kernel_count = FAKE_KERNELS + 1;
    h->gpu.cuda.draft = &h->cuda_draft;
    h->fake.model.draft = &h->draft;
    page_size = h->fake.model.page;
    stride = (int32_t)(h->fake.state[0].page_bytes + h->fake.state[1].page_bytes);
    h->engine = engine_open(&h->fake.model, &(struct engine_options){.device = "cuda"}, &error);
    ck_assert_msg(h->engine != NULL, "%s", error.message);
    ck_assert(engine_drafts(h->engine));
}

static void run_step(struct headed *h, const struct engine_draft_step *step, const uint32_t *expected)
{
    struct error error;
    struct engine_guess best[GUESSES];
    ck_assert_msg(engine_draft_run(h->engine, step, &error) == 0, "%s", error.message);
    for (int32_t i = 0; i < step->outputs; i++) {
        ck_assert_int_eq(engine_draft_best(h->engine, i, GUESSES, best, &error), 0);
        for (int32_t k = 0; k < GUESSES; k++) {
            ck_assert_int_eq(best[k].id, (int32_t)((expected[step->output_row[i]] + (uint32_t)k) % VOCAB));
            ck_assert(best[k].logprob == -1.0 - k);
        }
    }
}

/* The text's pairs in two steps of different buckets, beside another sequence, and two levels of a tree behind them. */
START_TEST(pairs_and_trees)
{
    static struct headed headed;
    struct error error;
    memset(&headed, 0, sizeof headed);
    headed_open(&headed);
    int other = sequence_open(headed.engine, -1, &error), sequence = sequence_open(headed.engine, -1, &error);
    ck_assert(other >= 0 && sequence > other);
    for (int32_t i = 0; i < 3; i++)
        ck_assert_int_ge(engine_add(headed.engine, other, 1, false, &error), 0);
    ck_assert_int_eq(engine_run(headed.engine, &error), 0);
    for (int32_t i = 0; i < TEXT; i++)
        ck_assert_int_ge(engine_add(headed.engine, sequence, i, false, &error), 0);
    ck_assert_int_eq(engine_run(headed.engine, &error), 0);

    struct row row[TEXT] = {{0}};
    int32_t feature[TEXT], place[TEXT], output_row[TEXT], path[TEXT];
    uint32_t key[TEXT + 2], expected[TEXT], last = 0;
    for (int32_t i = 0; i < TEXT; i++)
        key[i] = mix((uint32_t)i + 1, (uint32_t)i);
    for (int32_t first = 0, end = 3; first < TEXT; first = end, end = TEXT) {
        for (int32_t i = 0; first + i < end; i++) {
            row[i] = (struct row){.token = first + i + 1,
                                  .position = first + i,
                                  .sequence = sequence,
                                  .adapter = -1,
                                  .parent = i - 1,
                                  .shared = first + i + 1,
                                  .scratch = -1};
            feature[i] = 2 * i; /* of every other row of the target's step */
            place[i] = first + i + 1 == TEXT ? 5 : -1;
            expected[i] = (uint32_t)feature[i];
            for (int32_t p = 0; p <= first + i; p++)
                expected[i] = mix(expected[i], key[p]);
            output_row[0] = i;
            last = expected[i];
        }
        run_step(&headed,
                 &(struct engine_draft_step){.rows = end - first,
                                             .outputs = 1,
                                             .row = row,
                                             .output_row = output_row,
                                             .feature = feature,
                                             .feature_place = place,
                                             .guesses = GUESSES},
                 expected);
    }

    /* Three nodes in slots 2, 0 and 3, then one below the second; its feature goes where its parent's was. */
    static const int32_t slot[] = {2, 0, 3};
    uint32_t above[3] = {0};
    for (int32_t level = 0; level < 2; level++) {
        int32_t rows = level == 0 ? 3 : 1;
        for (int32_t i = 0; i < rows; i++) {
            row[i] = (struct row){.token = 20 + i + level,
                                  .position = TEXT + level,
                                  .sequence = sequence,
                                  .adapter = -1,
                                  .parent = -1,
                                  .shared = TEXT,
                                  .path = i + 1,
                                  .scratch = level == 0 ? slot[i] : 7};
            path[i + 1] = slot[i];
            feature[i] = level == 0 ? ~5 : ~(6 + 1);
            place[i] = level == 0 ? 6 + i : 7;
            output_row[i] = i;
            expected[i] = level == 0 ? last : above[1];
            for (int32_t p = 0; p < TEXT; p++)
                expected[i] = mix(expected[i], key[p]);
            if (level == 1) {
                path[1] = slot[1];
                path[2] = 7;
                expected[i] = mix(expected[i], mix(21, TEXT));
            }
            expected[i] = mix(expected[i], mix((uint32_t)row[i].token, (uint32_t)row[i].position));
        }
        run_step(&headed,
                 &(struct engine_draft_step){.rows = rows,
                                             .outputs = rows,
                                             .row = row,
                                             .output_row = output_row,
                                             .path = path,
                                             .feature = feature,
                                             .feature_place = place,
                                             .guesses = GUESSES},
                 expected);
        memcpy(above, expected, sizeof above);
    }
    engine_close(headed.engine);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_drafts");
    TCase *tests = tcase_create("drafts");
    tcase_add_test(tests, pairs_and_trees);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
