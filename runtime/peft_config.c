/* Source: peft's tuners/lora/config.py, tuners_utils.check_target_module_exists, utils.other.get_pattern_key. */
#include "peft_config.h"

#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json_document.h"

enum {
    LARGEST_FILE = 4 << 20, /* bytes; peft writes a few kilobytes */
    MOST_NAMES = 32768,     /* in one list */
    MOST_PATTERNS = 1024,
    LARGEST_RANK = 65536
};

/* Keys that say nothing about what is computed: origin, training, how weights were initialised or saved. */
static const char *const harmless[] = {
    "auto_mapping",   "base_model_name_or_path", "corda_config",  "eva_config",
    "fan_in_fan_out", "inference_mode",          "loftq_config",  "lora_dropout",
    "lora_ga_config", "megatron_config",         "megatron_core", "peft_version",
    "revision",       "runtime_config",          "task_type",     "qalora_group_size",
};

/* Keys that are read below. */
static const char *const understood[] = {
    "peft_type",  "target_modules",  "exclude_modules",   "layers_to_transform", "layers_pattern", "r",
    "lora_alpha", "rank_pattern",    "alpha_pattern",     "use_rslora",          "use_dora",       "lora_bias",
    "bias",       "modules_to_save", "init_lora_weights",
};

/* These initialisations leave the base's weights alone; the others subtract what they put into the adapter. */
static const char *const kept_bases[] = {"gaussian", "eva", "orthogonal", "mica"};

static bool is_one_of(const char *text, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, list[i]) == 0)
            return true;
    return false;
}

#define IS_ONE_OF(text, list) is_one_of(text, list, sizeof(list) / sizeof *(list))

static const cJSON *member(const struct peft_config *config, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(config->document, key);
    return cJSON_IsNull(item) ? NULL : item;
}

static const char *where(const struct peft_config *config, const char *key, char text[4200])
{
    snprintf(text, 4200, "%s: %s", config->path, key);
    return text;
}

static int expected(const struct peft_config *config, const char *key, const char *what, struct error *error)
{
    return error_set(error, "%s: %s: expected %s, found something else; save the adapter with peft", config->path, key,
                     what);
}

/* null, false, 0, "", [] and {} say that a feature is not used. */
static bool is_unused(const cJSON *item)
{
    return cJSON_IsNull(item) || cJSON_IsFalse(item) || (cJSON_IsNumber(item) && item->valuedouble == 0) ||
           (cJSON_IsString(item) && !*item->valuestring) ||
           ((cJSON_IsArray(item) || cJSON_IsObject(item)) && !item->child);
}

/* Each key once, and none that would be ignored though it changes what is computed. */
static int check_keys(const struct peft_config *config, struct error *error)
{
    const cJSON *document = config->document;
    int count = 0;
    for (const cJSON *item = document->child; item; item = item->next) {
        if (++count > 256)
            return error_set(error, "%s: expected at most 256 keys, found more", config->path);
        for (const cJSON *other = document->child; other != item; other = other->next)
            if (strcmp(other->string, item->string) == 0)
                return error_set(error, "%s: %.80s: expected each key once, found it twice", config->path,
                                 item->string);
        if (!is_unused(item) && !IS_ONE_OF(item->string, harmless) && !IS_ONE_OF(item->string, understood))
            return error_set(
                error,
                "%s: %.80s: is set and changes what the adapter computes, which lathe does not do; merge the "
                "adapter with peft and build from the result",
                config->path, item->string);
    }
    return 0;
}

static int read_bool(const struct peft_config *config, const char *key, bool *value, struct error *error)
{
    const cJSON *item = member(config, key);
    if (item && !cJSON_IsBool(item))
        return expected(config, key, "true or false", error);
    *value = cJSON_IsTrue(item);
    return 0;
}

static int read_rank(const struct peft_config *config, const char *key, const cJSON *item, double *rank,
                     struct error *error)
{
    uint64_t value = 0;
    if (json_document_size(item, &value) != 0 || value < 1 || value > LARGEST_RANK)
        return error_set(error, "%s: %.80s: expected a rank from 1 to %d, found something else", config->path, key,
                         LARGEST_RANK);
    *rank = (double)value;
    return 0;
}

static int read_alpha(const struct peft_config *config, const char *key, const cJSON *item, double *alpha,
                      struct error *error)
{
    if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble) || fabs(item->valuedouble) > 1e9)
        return error_set(error, "%s: %.80s: expected a number up to 1e9, found something else", config->path, key);
    *alpha = item->valuedouble;
    return 0;
}

/* A list of texts. */
static int read_names(const struct peft_config *config, const char *key, const cJSON *list,
                      struct peft_modules *modules, struct error *error)
{
    int count = 0;
    for (const cJSON *item = list->child; item; item = item->next)
        if (!cJSON_IsString(item) || !*item->valuestring || ++count > MOST_NAMES)
            return expected(config, key, "a list of names", error);
    modules->names = calloc((size_t)count + 1, sizeof *modules->names);
    if (!modules->names)
        return error_set(error, "%s: out of memory", config->path);
    for (const cJSON *item = list->child; item; item = item->next)
        modules->names[modules->count++] = item->valuestring;
    return 0;
}

/* A pattern for the whole name, or a list of suffixes. */
static int read_modules(const struct peft_config *config, const char *key, struct peft_modules *modules,
                        struct error *error)
{
    char text[4200];
    const cJSON *item = member(config, key);
    if (!item)
        return 0;
    if (cJSON_IsString(item))
        return *item->valuestring ? peft_pattern_compile(&modules->pattern, "", item->valuestring, "", true,
                                                         where(config, key, text), error)
                                  : 0;
    if (!cJSON_IsArray(item))
        return expected(config, key, "a text or a list of names", error);
    return read_names(config, key, item, modules, error);
}

static int read_targets(struct peft_config *config, struct error *error)
{
    const cJSON *item = member(config, "target_modules");
    if (!item)
        return expected(config, "target_modules", "the modules that the adapter is for", error);
    if (cJSON_IsString(item) && strcasecmp(item->valuestring, "all-linear") == 0) {
        config->all_linear = true;
        return 0;
    }
    return read_modules(config, "target_modules", &config->target, error);
}

static int read_saved(struct peft_config *config, struct error *error)
{
    char text[4200];
    const cJSON *item = member(config, "modules_to_save");
    if (!item)
        return 0;
    if (!cJSON_IsArray(item))
        return expected(config, "modules_to_save", "a list of names", error);
    if (read_names(config, "modules_to_save", item, &config->save, error) != 0)
        return -1;
    if (config->save.count > MOST_PATTERNS)
        return expected(config, "modules_to_save", "at most 1024 names", error);
    config->saved = calloc((size_t)config->save.count + 1, sizeof *config->saved);
    if (!config->saved)
        return error_set(error, "%s: out of memory", config->path);
    for (int32_t i = 0; i < config->save.count; i++)
        if (peft_pattern_compile(&config->saved[i], "(^|.*\\.)", config->save.names[i], "($|\\..*)", true,
                                 where(config, "modules_to_save", text), error) != 0)
            return -1;
    return 0;
}

static int read_layers(struct peft_config *config, struct error *error)
{
    static const char key[] = "layers_to_transform";
    const cJSON *item = member(config, key), *first = cJSON_IsArray(item) ? item->child : item;
    int count = 0;
    for (const cJSON *layer = first; layer; layer = cJSON_IsArray(item) ? layer->next : NULL) {
        uint64_t number = 0;
        if (json_document_size(layer, &number) != 0 || ++count > MOST_NAMES)
            return expected(config, key, "layers' numbers", error);
    }
    config->layers = calloc((size_t)count + 1, sizeof *config->layers);
    if (!config->layers)
        return error_set(error, "%s: out of memory", config->path);
    for (const cJSON *layer = first; layer; layer = cJSON_IsArray(item) ? layer->next : NULL)
        config->layers[config->layer_count++] = (int64_t)layer->valuedouble;
    if (config->layer_count > 0 && (config->target.pattern.code || config->all_linear))
        return error_set(error, "%s: %s: only goes with a list of target_modules, found a pattern", config->path, key);
    return 0;
}

/* Where the layer's number stands in a module's name: after one of layers_pattern, or after any name. */
static int read_positions(struct peft_config *config, struct error *error)
{
    static const char key[] = "layers_pattern";
    char text[4200];
    const cJSON *item = member(config, key);
    struct peft_modules given = {0};
    if (item && !cJSON_IsString(item) && !cJSON_IsArray(item))
        return expected(config, key, "a text or a list of texts", error);
    int failed = cJSON_IsArray(item) ? read_names(config, key, item, &given, error) : 0;
    const char *single = cJSON_IsString(item) ? item->valuestring : "";
    bool any = given.count == 0 && !*single;
    int32_t count = given.count ? given.count : 1;
    if (!failed && count > MOST_PATTERNS)
        failed = expected(config, key, "at most 1024 texts", error);
    if (!failed && !(config->positions = calloc((size_t)count, sizeof *config->positions)))
        failed = error_set(error, "%s: out of memory", config->path);
    for (int32_t i = 0; i < count && !failed; i++) {
        config->position_count = i + 1;
        failed = peft_pattern_compile(&config->positions[i], any ? ".*?\\.[^.]*" : "(?:^|.*?\\.)",
                                      given.count ? given.names[i] : single, "\\.(?P<idx>\\d+)\\.", false,
                                      where(config, key, text), error);
    }
    free(given.names);
    return failed;
}

static int read_rules(const struct peft_config *config, const char *key, struct peft_rules *rules, bool ranks,
                      struct error *error)
{
    char text[4200];
    const cJSON *item = member(config, key);
    if (!item)
        return 0;
    int count = cJSON_IsObject(item) ? cJSON_GetArraySize(item) : -1;
    if (count < 0 || count > MOST_PATTERNS)
        return expected(config, key, "an object of at most 1024 patterns and numbers", error);
    rules->rules = calloc((size_t)count + 1, sizeof *rules->rules);
    if (!rules->rules)
        return error_set(error, "%s: out of memory", config->path);
    for (const cJSON *rule = item->child; rule; rule = rule->next) {
        struct peft_rule *made = &rules->rules[rules->count++];
        if ((ranks ? read_rank : read_alpha)(config, key, rule, &made->value, error) != 0 ||
            peft_pattern_compile(&made->pattern, "(.*\\.)?(", rule->string, ")$", false, where(config, key, text),
                                 error) != 0)
            return -1;
    }
    return 0;
}

static int read_bias(struct peft_config *config, struct error *error)
{
    static const char *const names[] = {"none", "all", "lora_only"};
    const cJSON *item = member(config, "bias");
    if (!item)
        return 0;
    for (int i = 0; i < 3; i++)
        if (cJSON_IsString(item) && strcmp(item->valuestring, names[i]) == 0) {
            config->bias = (enum peft_bias)i;
            return 0;
        }
    return expected(config, "bias", "none, all or lora_only", error);
}

/* PiSSA and its like put a part of the base's weights into the adapter, which then fits no other base. */
static int check_initialisation(const struct peft_config *config, struct error *error)
{
    const cJSON *item = member(config, "init_lora_weights");
    if (!item || cJSON_IsBool(item) || (cJSON_IsString(item) && IS_ONE_OF(item->valuestring, kept_bases)))
        return 0;
    return error_set(
        error,
        "%s: init_lora_weights: expected an initialisation that leaves the base's weights as they are, found "
        "%.40s; save the adapter with peft's path_initial_model_for_weight_conversion",
        config->path, cJSON_IsString(item) ? item->valuestring : "something else");
}

static int read_all(struct peft_config *config, struct error *error)
{
    const cJSON *type = member(config, "peft_type");
    double rank = 0;
    if (!cJSON_IsString(type) || strcmp(type->valuestring, "LORA") != 0)
        return error_set(error, "%s: peft_type: expected LORA, found %.40s; only LoRA adapters are read", config->path,
                         cJSON_IsString(type) ? type->valuestring : "something else");
    if (check_keys(config, error) != 0 || check_initialisation(config, error) != 0 ||
        read_targets(config, error) != 0 || read_modules(config, "exclude_modules", &config->exclude, error) != 0 ||
        read_saved(config, error) != 0 || read_layers(config, error) != 0 || read_positions(config, error) != 0 ||
        read_rank(config, "r", member(config, "r"), &rank, error) != 0 ||
        read_alpha(config, "lora_alpha", member(config, "lora_alpha"), &config->alpha, error) != 0 ||
        read_rules(config, "rank_pattern", &config->ranks, true, error) != 0 ||
        read_rules(config, "alpha_pattern", &config->alphas, false, error) != 0 ||
        read_bool(config, "use_rslora", &config->rslora, error) != 0 ||
        read_bool(config, "use_dora", &config->dora, error) != 0 ||
        read_bool(config, "lora_bias", &config->lora_bias, error) != 0 || read_bias(config, error) != 0)
        return -1;
    config->rank = (int32_t)rank;
    if (config->dora && config->lora_bias)
        return error_set(error, "%s: lora_bias: does not go with use_dora (peft refuses it too)", config->path);
    return 0;
}

/* The whole file, or NULL and a message. */
static char *read_text(const char *path, size_t *length, struct error *error)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    if (descriptor < 0) {
        error_set(error, "%s: cannot be opened: %s; an adapter is a folder that peft saved", path, strerror(errno));
        return NULL;
    }
    char *text = NULL;
    if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size > LARGEST_FILE) {
        error_set(error, "%s: expected a file of at most %d bytes, found something else", path, LARGEST_FILE);
    } else if (!(text = malloc((size_t)status.st_size + 1))) {
        error_set(error, "%s: out of memory", path);
    } else {
        *length = 0;
        ssize_t got = 1;
        while (*length < (size_t)status.st_size && got > 0) {
            got = read(descriptor, text + *length, (size_t)status.st_size - *length);
            *length += got > 0 ? (size_t)got : 0;
        }
        if (got < 0) {
            error_set(error, "%s: cannot be read: %s", path, strerror(errno));
            free(text);
            text = NULL;
        }
    }
    close(descriptor);
    return text;
}

int peft_config_read(struct peft_config *config, const char *folder, struct error *error)
{
    memset(config, 0, sizeof *config);
    if ((size_t)snprintf(config->path, sizeof config->path, "%s/adapter_config.json", folder) >= sizeof config->path)
        return error_set(error, "%.100s...: the path is too long", folder);
    size_t length = 0;
    char *text = read_text(config->path, &length, error);
    if (!text)
        return -1;
    config->document = json_document_parse(text, length, config->path, error);
    free(text);
    return config->document ? read_all(config, error) : -1;
}

static void free_patterns(struct peft_pattern *patterns, int32_t count)
{
    for (int32_t i = 0; patterns && i < count; i++)
        peft_pattern_free(&patterns[i]);
    free(patterns);
}

static void free_rules(struct peft_rules *rules)
{
    for (int32_t i = 0; i < rules->count; i++)
        peft_pattern_free(&rules->rules[i].pattern);
    free(rules->rules);
}

void peft_config_free(struct peft_config *config)
{
    peft_pattern_free(&config->target.pattern);
    peft_pattern_free(&config->exclude.pattern);
    free_patterns(config->saved, config->save.count);
    free_patterns(config->positions, config->position_count);
    free(config->target.names);
    free(config->exclude.names);
    free(config->save.names);
    free(config->layers);
    free_rules(&config->ranks);
    free_rules(&config->alphas);
    cJSON_Delete(config->document);
    memset(config, 0, sizeof *config);
}

/* A list names a module by its whole name or by its end, from a dot on. */
static bool is_listed(const struct peft_modules *modules, const char *module)
{
    size_t length = strlen(module);
    for (int32_t i = 0; i < modules->count; i++) {
        size_t own = strlen(modules->names[i]);
        if (own <= length && strcmp(module + length - own, modules->names[i]) == 0 &&
            (own == length || module[length - own - 1] == '.'))
            return true;
    }
    return false;
}

static int names(struct peft_config *config, struct peft_modules *modules, const char *key, const char *module,
                 bool *result, struct error *error)
{
    char text[4200];
    if (modules->pattern.code)
        return peft_pattern_match(&modules->pattern, module, where(config, key, text), result, NULL, error);
    *result = is_listed(modules, module);
    return 0;
}

/* layers_to_transform: is the module in one of these layers? */
static int in_layers(struct peft_config *config, const char *module, bool *result, struct error *error)
{
    char text[4200];
    int64_t layer = -1;
    bool found = false;
    for (int32_t i = 0; i < config->position_count && !found; i++)
        if (peft_pattern_match(&config->positions[i], module, where(config, "layers_pattern", text), &found, &layer,
                               error) != 0)
            return -1;
    *result = false;
    for (int32_t i = 0; i < config->layer_count && found && layer >= 0; i++)
        *result = *result || config->layers[i] == layer;
    return 0;
}

int peft_config_saves(struct peft_config *config, const char *module, bool *result, struct error *error)
{
    char text[4200];
    *result = false;
    for (int32_t i = 0; i < config->save.count && !*result; i++)
        if (peft_pattern_match(&config->saved[i], module, where(config, "modules_to_save", text), result, NULL,
                               error) != 0)
            return -1;
    return 0;
}

int peft_config_targets(struct peft_config *config, const char *module, enum peft_kind kind, bool *result,
                        struct error *error)
{
    bool left_out = false;
    *result = false;
    if (names(config, &config->exclude, "exclude_modules", module, &left_out, error) != 0)
        return -1;
    if (!left_out && peft_config_saves(config, module, &left_out, error) != 0)
        return -1;
    if (left_out)
        return 0;
    if (config->all_linear) {
        *result = kind == PEFT_LINEAR;
        return 0;
    }
    if (names(config, &config->target, "target_modules", module, result, error) != 0)
        return -1;
    return *result && config->layer_count > 0 ? in_layers(config, module, result, error) : 0;
}

/* The value of the first rule that matches; *found: is there one? */
static int find_rule(struct peft_config *config, struct peft_rules *rules, const char *key, const char *module,
                     double *value, struct error *error)
{
    char text[4200];
    for (int32_t i = 0; i < rules->count; i++) {
        bool found;
        if (peft_pattern_match(&rules->rules[i].pattern, module, where(config, key, text), &found, NULL, error) != 0)
            return -1;
        if (found) {
            *value = rules->rules[i].value;
            return 0;
        }
    }
    return 0;
}

int peft_config_rank(struct peft_config *config, const char *module, int32_t *rank, struct error *error)
{
    double value = config->rank;
    if (find_rule(config, &config->ranks, "rank_pattern", module, &value, error) != 0)
        return -1;
    *rank = (int32_t)value;
    return 0;
}

int peft_config_scale(struct peft_config *config, const char *module, int32_t rank, float *scale, struct error *error)
{
    double alpha = config->alpha;
    if (find_rule(config, &config->alphas, "alpha_pattern", module, &alpha, error) != 0)
        return -1;
    *scale = (float)(alpha / (config->rslora ? sqrt((double)rank) : (double)rank));
    return 0;
}
