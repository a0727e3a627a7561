/* adapter_config.json: which modules an adapter is for, and with what rank and scale. */
#ifndef LATHE_PEFT_CONFIG_H
#define LATHE_PEFT_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "peft_pattern.h"

enum peft_bias { PEFT_BIAS_NONE, PEFT_BIAS_ALL, PEFT_BIAS_LORA_ONLY };

/* A module is named by one pattern, or by a list of suffixes. */
struct peft_modules {
    struct peft_pattern pattern; /* code NULL: a list */
    const char **names;          /* [count], in the config's text */
    int32_t count;
};

/* A rule of rank_pattern or alpha_pattern. */
struct peft_rule {
    struct peft_pattern pattern;
    double value;
};

struct peft_rules {
    struct peft_rule *rules; /* [count], the first that matches counts */
    int32_t count;
};

struct peft_config {
    char path[4096];
    void *document; /* cJSON; what the names point into */
    struct peft_modules target, exclude;
    bool all_linear;                /* target_modules is "all-linear" */
    struct peft_modules save;       /* modules_to_save: names only */
    struct peft_pattern *saved;     /* [save.count] */
    int64_t *layers;                /* [layer_count] layers_to_transform */
    int32_t layer_count;            /* 0: all */
    struct peft_pattern *positions; /* [position_count] where a module's name has its layer's number */
    int32_t position_count;
    int32_t rank;
    double alpha;
    struct peft_rules ranks, alphas;
    bool rslora, dora, lora_bias;
    enum peft_bias bias;
};

/* What a module is to peft. */
enum peft_kind { PEFT_LINEAR, PEFT_HEAD, PEFT_EMBEDDING };

/* Reads FOLDER/adapter_config.json. Free with peft_config_free, also after a failure. */
int peft_config_read(struct peft_config *config, const char *folder, struct error *error);
void peft_config_free(struct peft_config *config);

/* Each *result is what peft's rules say of a module; -1 and a message when a pattern takes too long. */
int peft_config_targets(struct peft_config *config, const char *module, enum peft_kind kind, bool *result,
                        struct error *error);
int peft_config_saves(struct peft_config *config, const char *module, bool *result, struct error *error);
/* The rank by the config, and the scale of a module whose tensors have `rank`. */
int peft_config_rank(struct peft_config *config, const char *module, int32_t *rank, struct error *error);
int peft_config_scale(struct peft_config *config, const char *module, int32_t rank, float *scale, struct error *error);

#endif
