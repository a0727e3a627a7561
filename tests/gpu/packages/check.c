/* Compares what a package's commands wrote. Prints one line; the exit status says whether it is as it should be.

       check logits A.npy B.npy TOLERANCE [POSITIONS]   relative error at most TOLERANCE; the likeliest tokens equal
                                                        wherever A's gap is above four times the largest error. POSITIONS:
                                                        a file of whole numbers, the rows of B that A has
       check bits A.npy B.npy                           bit by bit
       check greedy RUN.json SCORE.json                 each token that `run` chose is the likeliest in `score`
       check ids RUN.json RUN.json LEAST                at least the first LEAST tokens are the same
       check sampled RUN.json LOGITS.npy SEED TEMPERATURE TOP_K TOP_P MIN_P REPETITION FREQUENCY
                                                        each token that `run` chose is the one that the CPU's sampler
                                                        chooses from the logits before it */
#include <cJSON.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sampler.h"

struct array {
    float *data;
    size_t rows, columns;
};

static void quit(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void quit(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("error: ", stdout);
    vprintf(format, list);
    putchar('\n');
    va_end(list);
    exit(2);
}

static char *read_all(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        quit("%s: cannot open it", path);
    fseek(file, 0, SEEK_END);
    *length = (size_t)ftell(file);
    rewind(file);
    char *data = malloc(*length + 1);
    if (!data || fread(data, 1, *length, file) != *length)
        quit("%s: cannot read it", path);
    data[*length] = 0;
    fclose(file);
    return data;
}

/* As `score --logits` writes it: version 1, '<f4', two dimensions. */
static struct array read_array(const char *path)
{
    size_t length;
    char *data = read_all(path, &length);
    struct array array = {0};
    size_t header = length > 10 ? 10 + (unsigned char)data[8] + 256 * (size_t)(unsigned char)data[9] : 0;
    const char *shape = header && header < length ? strstr(data + 10, "'shape': (") : NULL;
    if (!shape || sscanf(shape, "'shape': (%zu, %zu", &array.rows, &array.columns) != 2 ||
        length - header != array.rows * array.columns * sizeof(float))
        quit("%s: no array of floats as it should be", path);
    array.data = malloc(length - header);
    memcpy(array.data, data + header, length - header);
    free(data);
    return array;
}

static cJSON *read_json(const char *path)
{
    size_t length;
    char *text = read_all(path, &length);
    cJSON *json = cJSON_Parse(text);
    if (!json)
        quit("%s: no JSON", path);
    free(text);
    return json;
}

struct ids {
    int32_t *id;
    int count;
};

static struct ids ids_of(const cJSON *json, const char *name)
{
    const cJSON *list = cJSON_GetObjectItem(json, name), *item;
    struct ids ids = {.id = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(int32_t))};
    if (!list)
        quit("no \"%s\"", name);
    cJSON_ArrayForEach(item, list) ids.id[ids.count++] = cJSON_IsNumber(item) ? (int32_t)item->valuedouble : -1;
    return ids;
}

static size_t largest(const float *row, size_t columns)
{
    size_t best = 0;
    for (size_t c = 1; c < columns; c++)
        best = row[c] > row[best] ? c : best;
    return best;
}

static double gap(const float *row, size_t columns)
{
    size_t best = largest(row, columns);
    float second = -INFINITY;
    for (size_t c = 0; c < columns; c++)
        second = c != best && row[c] > second ? row[c] : second;
    return (double)row[best] - (double)second;
}

static int check_logits(const char *left, const char *right, double tolerance, const char *positions)
{
    struct array a = read_array(left), b = read_array(right);
    FILE *file = positions ? fopen(positions, "r") : NULL;
    if (positions ? !file : a.rows != b.rows)
        quit("%zu rows and %zu", a.rows, b.rows);
    double error = 0, norm = 0, most = 0;
    size_t *row = calloc(a.rows + 1, sizeof *row), wrong = 0, close = 0;
    for (size_t i = 0; i < a.rows; i++) {
        row[i] = i;
        if ((file && fscanf(file, "%zu", &row[i]) != 1) || row[i] >= b.rows || a.columns != b.columns)
            quit("row %zu: not in both", i);
        for (size_t c = 0; c < a.columns; c++) {
            double x = (double)a.data[i * a.columns + c], y = (double)b.data[row[i] * a.columns + c];
            error += isfinite(y) ? (x - y) * (x - y) : INFINITY;
            norm += x * x;
            most = fmax(most, fabs(x - y));
        }
    }
    for (size_t i = 0; i < a.rows; i++) {
        const float *x = a.data + i * a.columns, *y = b.data + row[i] * a.columns;
        if (largest(x, a.columns) == largest(y, a.columns))
            continue;
        close++;
        wrong += gap(x, a.columns) > 4 * most;
    }
    double relative = sqrt(error / norm);
    printf(
        "relative error %.2e (at most %.0e), largest %.2e; of %zu rows %zu choose another token, %zu of them wrongly\n",
        relative, tolerance, most, a.rows, close, wrong);
    return !(relative <= tolerance) || wrong;
}

static int check_bits(const char *left, const char *right)
{
    struct array a = read_array(left), b = read_array(right);
    if (a.rows != b.rows || a.columns != b.columns)
        quit("%zu rows and %zu", a.rows, b.rows);
    size_t wrong = 0;
    for (size_t i = 0; i < a.rows; i++)
        wrong += memcmp(a.data + i * a.columns, b.data + i * a.columns, a.columns * sizeof(float)) != 0;
    printf("%zu rows, %zu differ\n", a.rows, wrong);
    return wrong != 0;
}

static int check_greedy(const char *run, const char *score)
{
    cJSON *made = read_json(run), *scored = read_json(score);
    struct ids prompt = ids_of(made, "prompt_ids"), ids = ids_of(made, "ids"), best = ids_of(scored, "argmax");
    int wrong = 0;
    for (int i = 0; i < ids.count && prompt.count + i < best.count; i++)
        wrong += best.id[prompt.count + i] != ids.id[i];
    printf("%d tokens, %d are not the likeliest\n", ids.count, wrong);
    return wrong != 0 || ids.count == 0;
}

static int check_ids(const char *left, const char *right, int least)
{
    struct ids a = ids_of(read_json(left), "ids"), b = ids_of(read_json(right), "ids");
    int same = 0;
    while (same < a.count && same < b.count && a.id[same] == b.id[same])
        same++;
    printf("the first %d of %d and %d tokens are the same (at least %d)\n", same, a.count, b.count, least);
    return same < least;
}

static int check_sampled(char **argument)
{
    cJSON *made = read_json(argument[0]);
    struct array logits = read_array(argument[1]);
    struct ids prompt = ids_of(made, "prompt_ids"), ids = ids_of(made, "ids");
    struct sampler_options options = sampler_defaults();
    struct error error;
    options.seed = strtoull(argument[2], NULL, 10);
    options.temperature = strtof(argument[3], NULL);
    options.top_k = (int32_t)atoi(argument[4]);
    options.top_p = strtof(argument[5], NULL);
    options.min_p = strtof(argument[6], NULL);
    options.repetition_penalty = strtof(argument[7], NULL);
    options.frequency_penalty = strtof(argument[8], NULL);
    struct sampler *sampler = sampler_open(&options, (int32_t)logits.columns, &error);
    if (!sampler)
        quit("%s", error.message);
    int wrong = 0;
    for (int i = 0; i < prompt.count; i++)
        sampler_see(sampler, prompt.id[i], false);
    for (int i = 0; i < ids.count; i++) {
        size_t row = (size_t)(prompt.count + i - 1);
        if (row >= logits.rows)
            quit("%zu rows of logits for %d tokens", logits.rows, prompt.count + ids.count);
        /* A wrong choice would be in the later ones' history: stop there. */
        int32_t token = sampler_choose(sampler, logits.data + row * logits.columns, prompt.count + i, NULL, &error);
        if (token != ids.id[i]) {
            wrong = i + 1;
            break;
        }
    }
    if (wrong)
        printf("%d tokens; the CPU's sampler chooses another for number %d\n", ids.count, wrong);
    else
        printf("%d tokens, all as the CPU's sampler chooses\n", ids.count);
    return wrong != 0 || ids.count == 0;
}

int main(int argc, char **argv)
{
    if (argc >= 5 && strcmp(argv[1], "logits") == 0)
        return check_logits(argv[2], argv[3], strtod(argv[4], NULL), argc > 5 ? argv[5] : NULL);
    if (argc == 4 && strcmp(argv[1], "bits") == 0)
        return check_bits(argv[2], argv[3]);
    if (argc == 4 && strcmp(argv[1], "greedy") == 0)
        return check_greedy(argv[2], argv[3]);
    if (argc == 5 && strcmp(argv[1], "ids") == 0)
        return check_ids(argv[2], argv[3], atoi(argv[4]));
    if (argc == 11 && strcmp(argv[1], "sampled") == 0)
        return check_sampled(argv + 2);
    fputs("usage: check logits|bits|greedy|ids|sampled ..., as the source says\n", stderr);
    return 2;
}
