/* The kernels of a row by itself, embed and rope_state, against the C kernels' formulas.

   usage: test_rows FOLDER TIED     compiled with FOLDER/shapes.cuh; TIED: 1 if the embedding lies in fragments */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shapes.cuh"
#include "support.h"

enum { ROWS = 37, SEQUENCES = 3, TABLE = 4, PAGES = SEQUENCES * TABLE };

static uint64_t seed = 3;

/* As the embed.cu of this test has them: theta 500000, nine digits. */
static float frequency(int i)
{
    char text[32];
    snprintf(text, sizeof text, "%.9g", pow(500000.0, -2.0 * i / HEAD_DIM));
    return strtof(text, NULL);
}

static struct cuda_row row[ROWS];
static struct cuda_step step;
static struct activations *arena, *host;

static void run(CUfunction kernel, struct layer layer, int index)
{
    struct gpu_launch launch = {kernel, {(ROWS + 7) / 8 * 8}, 256, 0, 0};
    gpu_launch(&launch, (void *[]){&step, &layer, &index});
    gpu_download(host, arena, sizeof *host);
}

/* An element of an activation that lies in pieces (docs/cuda.md). */
static element in_pieces(const element *buffer, int columns, int r, int c)
{
    return buffer[((r / 8) * (columns / 8) + c / 8) * 64 + r % 8 * 8 + c % 8];
}

static void check_embed(const char *folder, const float *gain, const element *table)
{
    char path[512];
    snprintf(path, sizeof path, "%s/embed.cubin", folder);
    gpu_poison(arena, sizeof *arena);
    run(gpu_kernel(path, "embed", 0), (struct layer){.attention_norm = (uint64_t)VOCAB * HIDDEN_PADDED * 2}, 0);
    int wrong_residual = 0, wrong_input = 0;
    double worst_squares = 0, worst_angle = 0;
    for (int r = 0; r < ROWS; r++) {
        int token = row[r].token < 0 ? 7 * ~row[r].token : row[r].token;
        for (int c = 0; c < HIDDEN; c++) {
            float x = bf16_to_float(table[(size_t)token * HIDDEN + (size_t)c]);
            wrong_residual += host->residual[r][c] != x;
            wrong_input += in_pieces(host->input, HIDDEN_PADDED, r, c) != bf16_of(x * gain[c]);
        }
        for (int tile = 0; tile < HIDDEN_TILES; tile++) {
            double sum = 0;
            for (int c = 16 * tile; c < 16 * tile + 16 && c < HIDDEN; c++)
                sum += (double)host->residual[r][c] * (double)host->residual[r][c];
            worst_squares = fmax(worst_squares, fabs(sum - (double)host->squares[r][tile]) / sum);
        }
        for (int i = 0; i < HEAD_DIM / 2; i++) {
            float angle = (float)row[r].position * frequency(i);
            worst_angle = fmax(worst_angle, fabs(cos((double)angle) - (double)host->cosine[r][i]));
            worst_angle = fmax(worst_angle, fabs(sin((double)angle) - (double)host->sine[r][i]));
        }
    }
    test_check(wrong_residual == 0, "embed: %d values of the residual differ", wrong_residual);
    test_check(wrong_input == 0, "embed: %d values of the input differ", wrong_input);
    test_check(worst_squares < 1e-6, "embed: squares are off by %g", worst_squares);
    test_check(worst_angle < 3.1e-8, "embed: sines are off by %g", worst_angle);
    uint32_t padding;
    memcpy(&padding, &host->residual[ROWS][0], 4);
    test_check(padding == 0xffffffffu, "embed: a padding row was written");
}

static void turn(const float *x, const float *gain, const float *cosine, const float *sine, float *out)
{
    double squares = 0;
    for (int i = 0; i < HEAD_DIM; i++)
        squares += (double)x[i] * (double)x[i];
    float scale = (float)(1 / sqrt(squares / HEAD_DIM + 1e-6));
    for (int i = 0; i < HEAD_DIM / 2; i++) {
        float a = x[i] * scale * gain[i], b = x[i + HEAD_DIM / 2] * scale * gain[i + HEAD_DIM / 2];
        out[i] = a * cosine[i] - b * sine[i];
        out[i + HEAD_DIM / 2] = b * cosine[i] + a * sine[i];
    }
}

static void check_rope(const char *folder, const float *gain)
{
    char path[512];
    size_t bytes = (size_t)(PAGES + 1) * PAGE_ELEMENTS * 2;
    element *state = malloc(bytes);
    snprintf(path, sizeof path, "%s/rope_state.cubin", folder);
    step.state = gpu_allocate(bytes);
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < QKV; i++)
            host->qkv[r][i] = 3 * random_float(&seed);
        for (int i = 0; i < HEAD_DIM / 2; i++) {
            host->cosine[r][i] = random_float(&seed);
            host->sine[r][i] = random_float(&seed);
        }
    }
    gpu_upload(arena, host, sizeof *host);
    gpu_poison(arena->query, sizeof arena->query);
    uint64_t offset = (uint64_t)VOCAB * HIDDEN_PADDED * 2;
    run(gpu_kernel(path, "rope_state", 0), (struct layer){.query_norm = offset, .key_norm = offset + 4}, LAYERS - 1);
    gpu_download(state, step.state, bytes);
    double worst = 0;
    int wrong_values = 0, written = 0;
    for (int r = 0; r < ROWS; r++)
        for (int head = 0; head < HEADS + KV_HEADS; head++) {
            float expected[HEAD_DIM];
            turn(host->qkv[r] + head * HEAD_DIM, gain + (head >= HEADS), host->cosine[r], host->sine[r], expected);
            const element *found = host->query[r] + head * HEAD_DIM;
            if (head >= HEADS) {
                int slot = row[r].scratch < 0
                               ? (row[r].sequence * TABLE + row[r].position % (TABLE * PAGE) / PAGE) * PAGE +
                                     row[r].position % PAGE
                               : PAGES * PAGE + row[r].scratch;
                found = state + (size_t)(slot / PAGE) * PAGE_ELEMENTS +
                        (size_t)((LAYERS - 1) * KV_HEADS + head - HEADS) * HEAD_ELEMENTS +
                        (size_t)(slot % PAGE) * HEAD_DIM;
                for (int i = 0; i < HEAD_DIM; i++)
                    wrong_values += found[VALUE_OFFSET + i] != bf16_of(host->qkv[r][(head + KV_HEADS) * HEAD_DIM + i]);
            }
            for (int i = 0; i < HEAD_DIM; i++)
                worst = fmax(worst, fabs((double)bf16_to_float(found[i]) - (double)expected[i]) /
                                        (0.1 + fabs((double)expected[i])));
        }
    for (size_t i = 0; i < bytes / 2; i++)
        written += state[i] != 0xffff;
    test_check(worst < 0.004, "rope_state: off by %g", worst);
    test_check(wrong_values == 0, "rope_state: %d values differ", wrong_values);
    test_check(written == ROWS * 2 * KEY, "rope_state: %d elements of the pages were written, expected %d", written,
               ROWS * 2 * KEY);
    free(state);
}

int main(int count, char **arguments)
{
    if (count < 3)
        return 2;
    int tied = atoi(arguments[2]);
    gpu_open();
    element *table = malloc((size_t)VOCAB * HIDDEN * 2), *packed = calloc((size_t)VOCAB * HIDDEN_PADDED, 2);
    for (size_t i = 0; i < (size_t)VOCAB * HIDDEN; i++)
        table[i] = bf16_of(random_float(&seed));
    for (int token = 0; token < VOCAB; token++)
        for (int c = 0; c < HIDDEN; c++) {
            size_t at = (size_t)(token / 16 * (HIDDEN_PADDED / 16) + c / 16) * 256;
            at += (size_t)((token % 8 * 4 + c % 8 / 2) * 8 + (token % 16 / 8 + c % 16 / 8 * 2) * 2 + c % 2);
            if (!tied)
                at = (size_t)token * HIDDEN + (size_t)c;
            packed[at] = table[(size_t)token * HIDDEN + (size_t)c];
        }
    static float gain[HIDDEN + HEAD_DIM + 8];
    for (size_t i = 0; i < sizeof gain / sizeof *gain; i++)
        gain[i] = 1 + 0.5f * random_float(&seed);
    unsigned char *weights = gpu_allocate((size_t)VOCAB * HIDDEN_PADDED * 2 + sizeof gain);
    gpu_upload(weights, packed, (size_t)VOCAB * HIDDEN_PADDED * 2);
    gpu_upload(weights + (size_t)VOCAB * HIDDEN_PADDED * 2, gain, sizeof gain);

    int32_t chosen[64], pages[PAGES];
    static const int positions[] = {0, 1, 2, 100, 1000, 8191, 65535, 131071, 524287, 1048575};
    for (int i = 0; i < 64; i++)
        chosen[i] = 7 * i;
    for (int i = 0; i < PAGES; i++)
        pages[i] = i;
    for (int r = 0; r < ROWS; r++)
        row[r] = (struct cuda_row){.token = r % 3 == 1 ? ~r : (int)(random_next(&seed) % VOCAB),
                                   .position = positions[r % 10] + r / 10,
                                   .sequence = r % SEQUENCES,
                                   .adapter = -1,
                                   .parent = -1,
                                   .shared = 1 << 30,
                                   .scratch = -1};
    struct cuda_counts counts = {.rows = ROWS};
    arena = gpu_allocate(sizeof *arena);
    host = malloc(sizeof *host);
    step = (struct cuda_step){.counts = gpu_allocate(sizeof counts),
                              .row = gpu_allocate(sizeof row),
                              .chosen = gpu_allocate(sizeof chosen),
                              .pages = gpu_allocate(sizeof pages),
                              .path = gpu_allocate(4),
                              .weights = weights,
                              .arena = (unsigned char *)arena,
                              .table = TABLE,
                              .pages_total = PAGES};
    gpu_upload((void *)step.counts, &counts, sizeof counts);
    gpu_upload((void *)step.row, row, sizeof row);
    gpu_upload((void *)step.chosen, chosen, sizeof chosen);
    gpu_upload((void *)step.pages, pages, sizeof pages);
    check_embed(arguments[1], gain, table);
    for (int r = 0; r < ROWS; r++) { /* every row a place of its own, in the pages or in scratch */
        row[r].sequence = r % SEQUENCES;
        row[r].position = r / SEQUENCES * (TABLE * PAGE / 16);
        row[r].scratch = r == 5 || r == 8 ? r : -1;
    }
    gpu_upload((void *)step.row, row, sizeof row);
    check_rope(arguments[1], gain);
    return test_result("test_rows");
}
