#include "peft.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "peft_config.h"
#include "tensor_file_internal.h"

#define PREFIX "base_model.model."
#define WRONG_BASE "this adapter was made for another model"

/* What a tensor's name ends in. Longer ends stand before those that they end in. */
enum part {
    PART_A,
    PART_B,
    PART_B_BIAS,
    PART_MAGNITUDE,
    PART_EMBEDDING_A,
    PART_EMBEDDING_B,
    PART_COPY,
    PART_BASE_BIAS,
    PART_WEIGHT,
    PART_BIAS,
    PART_UNKNOWN
};

static const struct {
    const char *suffix;
    enum part part;
} suffixes[] = {
    {".lora_A.weight", PART_A},
    {".lora_B.weight", PART_B},
    {".lora_B.bias", PART_B_BIAS},
    {".lora_magnitude_vector", PART_MAGNITUDE},
    {".lora_magnitude_vector.weight", PART_MAGNITUDE},
    {".lora_embedding_A", PART_EMBEDDING_A},
    {".lora_embedding_B", PART_EMBEDDING_B},
    {".base_layer.weight", PART_COPY},
    {".base_layer.bias", PART_BASE_BIAS},
    {".weight", PART_WEIGHT},
    {".bias", PART_BIAS},
};

/* What is known while a folder is read. */
struct reading {
    struct peft *peft;
    struct peft_config config;
    int32_t *order; /* [site_count] the sites, sorted by their modules' names */
    bool merging;
};

int32_t peft_padded_rank(int32_t rank)
{
    static const int32_t ranks[] = ADAPTER_RANKS;
    if (rank == 0)
        return 0;
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++)
        if (rank <= ranks[i])
            return ranks[i];
    return -1;
}

static enum peft_kind kind_of(const struct adapter_site *site)
{
    if (strcmp(site->name, "embedding") == 0)
        return PEFT_EMBEDDING;
    return strcmp(site->name, "head") == 0 ? PEFT_HEAD : PEFT_LINEAR;
}

/* qsort has no place for the table that the numbers stand for. */
struct named {
    const char *module;
    int32_t site;
};

static int compare_named(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->module, ((const struct named *)b)->module);
}

static int sort_sites(struct reading *reading, struct error *error)
{
    const struct peft *peft = reading->peft;
    struct named *named = calloc((size_t)peft->site_count + 1, sizeof *named);
    reading->order = calloc((size_t)peft->site_count + 1, sizeof *reading->order);
    if (!named || !reading->order) {
        free(named);
        return error_set(error, "%s: out of memory", peft->file.path);
    }
    for (int32_t i = 0; i < peft->site_count; i++)
        named[i] = (struct named){peft->sites[i].module, i};
    qsort(named, (size_t)peft->site_count, sizeof *named, compare_named);
    for (int32_t i = 0; i < peft->site_count; i++)
        reading->order[i] = named[i].site;
    free(named);
    return 0;
}

/* The site of module[0 .. length), or -1. */
static int32_t find_site(const struct reading *reading, const char *module, size_t length)
{
    int32_t first = 0, count = reading->peft->site_count;
    while (count > 0) {
        int32_t half = count / 2, site = reading->order[first + half];
        const char *name = reading->peft->sites[site].module;
        int order = strncmp(name, module, length);
        if (order == 0 && name[length])
            order = 1;
        if (order == 0)
            return site;
        if (order < 0) {
            first += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return -1;
}

static int check_shape(const struct peft *peft, const struct stored_tensor *tensor, int64_t rows, int64_t columns,
                       struct error *error)
{
    char found[TENSOR_FILE_SHAPE], wanted[64];
    bool fits = columns < 0 ? tensor->dimensions == 1 && tensor->shape[0] == (uint64_t)rows
                            : tensor->dimensions == 2 && tensor->shape[0] == (uint64_t)rows &&
                                  tensor->shape[1] == (uint64_t)columns;
    if (fits)
        return 0;
    if (columns < 0)
        snprintf(wanted, sizeof wanted, "[%" PRId64 "]", rows);
    else
        snprintf(wanted, sizeof wanted, "[%" PRId64 ", %" PRId64 "]", rows, columns);
    return error_set(error, "%s: %.120s: expected shape %s by the base model, found %s; " WRONG_BASE, peft->file.path,
                     tensor->name, wanted, tensor_file_shape(tensor, found));
}

/* Full matrices of embedding and head may have more rows: ids that were added. */
static int check_full(const struct peft *peft, int32_t number, const struct stored_tensor *tensor, struct error *error)
{
    const struct adapter_site *site = &peft->sites[number];
    bool resized = kind_of(site) != PEFT_LINEAR && tensor->dimensions == 2 &&
                   tensor->shape[0] >= (uint64_t)site->rows && tensor->shape[0] <= INT32_MAX;
    return check_shape(peft, tensor, resized ? (int64_t)tensor->shape[0] : site->rows, site->columns, error);
}

static int refuse_tensor(const struct peft *peft, const struct stored_tensor *tensor, const char *why,
                         struct error *error)
{
    return error_set(error, "%s: %.120s: %s", peft->file.path, tensor->name, why);
}

static int take(const struct peft *peft, const struct stored_tensor **place, const struct stored_tensor *tensor,
                struct error *error)
{
    if (*place)
        return error_set(error, "%s: %.120s: expected one tensor for this, found %.120s too", peft->file.path,
                         tensor->name, (*place)->name);
    *place = tensor;
    return 0;
}

/* A tensor of a site, before shapes are compared. */
static int take_part(struct reading *reading, int32_t number, enum part part, const struct stored_tensor *tensor,
                     struct error *error)
{
    struct peft *peft = reading->peft;
    struct peft_site *site = &peft->site[number];
    bool embedding = kind_of(&peft->sites[number]) == PEFT_EMBEDDING;
    switch (part) {
    case PART_A:
    case PART_B:
        if (embedding)
            return refuse_tensor(peft, tensor, "expected lora_embedding_A and _B for an embedding", error);
        return take(peft, part == PART_A ? &site->a : &site->b, tensor, error);
    case PART_EMBEDDING_A:
    case PART_EMBEDDING_B:
        if (!embedding)
            return refuse_tensor(peft, tensor, "expected lora_A and lora_B for a linear layer", error);
        return take(peft, part == PART_EMBEDDING_A ? &site->a : &site->b, tensor, error);
    case PART_B_BIAS:
        return take(peft, &site->b_bias, tensor, error);
    case PART_MAGNITUDE:
        if (embedding)
            return refuse_tensor(peft, tensor, "DoRA of an embedding is not read; train without it", error);
        return take(peft, &site->magnitude, tensor, error);
    case PART_COPY:
        return take(peft, &site->copy, tensor, error);
    case PART_WEIGHT:
        return take(peft, &site->full, tensor, error);
    case PART_BASE_BIAS:
    case PART_BIAS:
        return take(peft, &site->bias, tensor, error);
    case PART_UNKNOWN:
        break;
    }
    return refuse_tensor(peft, tensor, "this part of an adapter is not known", error);
}

/* A tensor that belongs to no site: a whole one of the base, or nothing that fits. */
static int take_other(struct reading *reading, const char *name, enum part part, const struct stored_tensor *tensor,
                      struct error *error)
{
    struct peft *peft = reading->peft;
    if (part != PART_WEIGHT && part != PART_BIAS)
        return error_set(error, "%s: %.120s: the base model has no such module; " WRONG_BASE, peft->file.path,
                         tensor->name);
    bool saved = false;
    if (peft_config_saves(&reading->config, name, &saved, error) != 0)
        return -1;
    if (!saved && !(part == PART_BIAS && reading->config.bias == PEFT_BIAS_ALL))
        return refuse_tensor(peft, tensor,
                             "expected it in modules_to_save of adapter_config.json, found it missing there", error);
    if (!reading->merging)
        return refuse_tensor(
            peft, tensor, "replaces a tensor that adapters cannot change row by row; build with --merge-lora", error);
    peft->others[peft->other_count++] = (struct peft_other){name, tensor};
    return 0;
}

static int take_tensor(struct reading *reading, const struct stored_tensor *tensor, struct error *error)
{
    struct peft *peft = reading->peft;
    size_t prefix = sizeof PREFIX - 1, length = strlen(tensor->name);
    if (strncmp(tensor->name, PREFIX, prefix) != 0)
        return refuse_tensor(peft, tensor, "expected a name that begins with " PREFIX ", as peft saves it", error);
    if (!tensor_file_is_float(tensor))
        return error_set(error, "%s: %.120s: dtype: expected F32, F16 or BF16, found %s; save it as one of them",
                         peft->file.path, tensor->name, tensor->dtype);
    enum part part = PART_UNKNOWN;
    size_t module = length;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes && part == PART_UNKNOWN; i++) {
        size_t own = strlen(suffixes[i].suffix);
        if (length > prefix + own && strcmp(tensor->name + length - own, suffixes[i].suffix) == 0) {
            part = suffixes[i].part;
            module = length - own;
        }
    }
    if (part == PART_UNKNOWN)
        return refuse_tensor(peft, tensor, "this part of an adapter is not known", error);
    int32_t site = find_site(reading, tensor->name + prefix, module - prefix);
    if (site < 0)
        return take_other(reading, tensor->name + prefix, part, tensor, error);
    return take_part(reading, site, part, tensor, error);
}

/* A and B: shapes, rank and scale. */
static int check_low_rank(struct reading *reading, int32_t number, struct error *error)
{
    struct peft *peft = reading->peft;
    const struct adapter_site *base = &peft->sites[number];
    struct peft_site *site = &peft->site[number];
    bool embedding = kind_of(base) == PEFT_EMBEDDING;
    int64_t inputs = embedding ? base->rows : base->columns, outputs = embedding ? base->columns : base->rows;
    int64_t rank = site->a->dimensions == 2 && site->a->shape[0] > 0 && site->a->shape[0] <= (uint64_t)INT32_MAX
                       ? (int64_t)site->a->shape[0]
                       : 1;
    int32_t by_config = 0;
    if (check_shape(peft, site->a, rank, inputs, error) != 0 || check_shape(peft, site->b, outputs, rank, error) != 0)
        return -1;
    if (peft_config_rank(&reading->config, base->module, &by_config, error) != 0)
        return -1;
    if (by_config != rank)
        return error_set(error, "%s: %.120s: expected rank %d by adapter_config.json, found %" PRId64, peft->file.path,
                         site->a->name, by_config, rank);
    int32_t padded = peft_padded_rank((int32_t)rank);
    if (padded < 0 && !reading->merging)
        return error_set(error, "%s: %.120s: expected a rank of at most %d, found %" PRId64 "; merge it (--merge-lora)",
                         peft->file.path, site->a->name, ADAPTER_MAX_RANK, rank);
    site->rank = (int32_t)rank;
    if (padded > peft->rank)
        peft->rank = padded;
    return peft_config_scale(&reading->config, base->module, site->rank, &site->scale, error);
}

/* Config and tensors must agree on whether a site has a part. */
static int check_presence(const struct reading *reading, const struct adapter_site *base, bool wanted,
                          const struct stored_tensor *tensor, const char *part, const char *key, struct error *error)
{
    if (wanted == (tensor != NULL))
        return 0;
    if (wanted)
        return error_set(error, "%s: " PREFIX "%.100s%s: expected this tensor by %s of adapter_config.json, found none",
                         reading->peft->file.path, base->module, part, key);
    return error_set(error, "%s: %.120s: expected no such tensor by %s of adapter_config.json, found one",
                     reading->peft->file.path, tensor->name, key);
}

static int check_bias(const struct reading *reading, int32_t number, bool targeted, bool saved, struct error *error)
{
    const struct peft *peft = reading->peft;
    const struct adapter_site *base = &peft->sites[number];
    const struct peft_site *site = &peft->site[number];
    enum peft_bias bias = reading->config.bias;
    bool has = base->bias_tensor >= 0;
    bool wanted = has && (saved || bias == PEFT_BIAS_ALL || (bias == PEFT_BIAS_LORA_ONLY && targeted));
    if (site->bias && !has)
        return refuse_tensor(peft, site->bias, "the base model has no bias here; " WRONG_BASE, error);
    return check_presence(reading, base, wanted, site->bias, targeted ? ".base_layer.bias" : ".bias",
                          saved ? "modules_to_save" : "bias", error);
}

static int check_site(struct reading *reading, int32_t number, struct error *error)
{
    struct peft *peft = reading->peft;
    struct peft_config *config = &reading->config;
    const struct adapter_site *base = &peft->sites[number];
    struct peft_site *site = &peft->site[number];
    enum peft_kind kind = kind_of(base);
    bool embedding = kind == PEFT_EMBEDDING, targeted = false, saved = false;
    if (peft_config_targets(config, base->module, kind, &targeted, error) != 0 ||
        peft_config_saves(config, base->module, &saved, error) != 0 ||
        check_presence(reading, base, targeted, site->a, embedding ? ".lora_embedding_A" : ".lora_A.weight",
                       "target_modules", error) != 0 ||
        check_presence(reading, base, targeted, site->b, embedding ? ".lora_embedding_B" : ".lora_B.weight",
                       "target_modules", error) != 0)
        return -1;
    if (embedding && targeted && config->dora)
        return error_set(error, "%s: use_dora: DoRA of an embedding is not read; train without it", config->path);
    if (embedding && targeted && config->lora_bias)
        return error_set(error, "%s: lora_bias: does not go with embeddings (peft refuses it too)", config->path);
    if (check_presence(reading, base, targeted && config->dora, site->magnitude, ".lora_magnitude_vector", "use_dora",
                       error) != 0 ||
        check_presence(reading, base, targeted && config->lora_bias, site->b_bias, ".lora_B.bias", "lora_bias",
                       error) != 0 ||
        check_bias(reading, number, targeted, saved, error) != 0)
        return -1;
    /* A resized embedding or head is saved whole without being asked for. */
    if ((saved || kind == PEFT_LINEAR) &&
        check_presence(reading, base, saved, site->full, ".weight", "modules_to_save", error) != 0)
        return -1;
    if (site->full && targeted)
        return refuse_tensor(peft, site->full, "a module has both a low-rank part and a whole matrix", error);
    if (site->copy && !targeted)
        return refuse_tensor(peft, site->copy, "a copy of the base's weight beside no adapter", error);
    if (targeted && check_low_rank(reading, number, error) != 0)
        return -1;
    if ((site->magnitude && check_shape(peft, site->magnitude, base->rows, -1, error) != 0) ||
        (site->b_bias && check_shape(peft, site->b_bias, base->rows, -1, error) != 0) ||
        (site->bias && check_shape(peft, site->bias, base->rows, -1, error) != 0) ||
        (site->copy && check_shape(peft, site->copy, base->rows, base->columns, error) != 0) ||
        (site->full && check_full(peft, number, site->full, error) != 0))
        return -1;
    return 0;
}

static bool file_is_there(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0;
}

static int open_tensors(struct peft *peft, const char *folder, struct error *error)
{
    static const char *const names[] = {"adapter_model.safetensors", "adapter_model.bin"};
    char path[sizeof peft->file.path];
    for (size_t i = 0; i < 2; i++) {
        if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, names[i]) >= sizeof path)
            return error_set(error, "%.100s...: the path is too long", folder);
        if (file_is_there(path))
            return tensor_file_open(&peft->file, path, error);
    }
    return error_set(error,
                     "%.3000s: expected adapter_model.safetensors or adapter_model.bin in this folder, found neither",
                     folder);
}

static int read_folder(struct reading *reading, const char *folder, struct error *error)
{
    struct peft *peft = reading->peft;
    if (peft_config_read(&reading->config, folder, error) != 0 || open_tensors(peft, folder, error) != 0)
        return -1;
    peft->site = calloc((size_t)peft->site_count + 1, sizeof *peft->site);
    peft->others = calloc(peft->file.count + 1, sizeof *peft->others);
    if (!peft->site || !peft->others)
        return error_set(error, "%s: out of memory", peft->file.path);
    if (peft->file.count == 0)
        return error_set(error, "%s: expected the tensors of an adapter, found none", peft->file.path);
    if (sort_sites(reading, error) != 0)
        return -1;
    for (size_t i = 0; i < peft->file.count; i++)
        if (take_tensor(reading, &peft->file.tensors[i], error) != 0)
            return -1;
    for (int32_t i = 0; i < peft->site_count; i++)
        if (check_site(reading, i, error) != 0)
            return -1;
    return 0;
}

int peft_open(struct peft *peft, const char *folder, const struct adapter_site *sites, int32_t site_count, bool merging,
              struct error *error)
{
    memset(peft, 0, sizeof *peft);
    peft->sites = sites;
    peft->site_count = site_count;
    struct reading reading = {.peft = peft, .merging = merging};
    int failed = read_folder(&reading, folder, error);
    peft_config_free(&reading.config);
    free(reading.order);
    if (failed)
        peft_close(peft);
    return failed;
}

void peft_close(struct peft *peft)
{
    tensor_file_close(&peft->file);
    free(peft->site);
    free(peft->others);
    memset(peft, 0, sizeof *peft);
}

int32_t peft_extra_ids(const struct peft *peft)
{
    int32_t most = 0;
    for (int32_t i = 0; i < peft->site_count; i++) {
        const struct stored_tensor *full = peft->site[i].full;
        if (full && full->shape[0] > (uint64_t)peft->sites[i].rows) {
            int32_t extra = (int32_t)full->shape[0] - peft->sites[i].rows;
            most = extra > most ? extra : most;
        }
    }
    return most;
}
