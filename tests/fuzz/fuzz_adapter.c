/* adapter_config.json and, after a NUL, the adapter's tensors (safetensors, or what torch.save writes): read for a tiny model,
   for its slots and to be merged, and what was taken is written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peft.h"
#include "support.h"

enum { HIDDEN = 8, VOCAB = 8, LAYERS = 2, SITES = 7 * LAYERS + 2 };

static struct adapter_site sites[SITES];
static char names[SITES][2][64];

static void make_sites(void)
{
    static const char *const modules[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                          "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                          "mlp.down_proj"};
    for (int i = 0; i < SITES; i++) {
        bool layer = i < 7 * LAYERS;
        snprintf(names[i][0], sizeof names[i][0],
                 layer            ? "layer.%d.%d"
                 : i == SITES - 2 ? "head"
                                  : "embedding",
                 i / 7, i % 7);
        snprintf(names[i][1], sizeof names[i][1],
                 layer            ? "model.layers.%d.%s"
                 : i == SITES - 2 ? "lm_head"
                                  : "model.embed_tokens",
                 i / 7, modules[i % 7]);
        sites[i] = (struct adapter_site){.name = names[i][0],
                                         .module = names[i][1],
                                         .rows = layer && (i % 7 == 1 || i % 7 == 2) ? HIDDEN / 2 : HIDDEN,
                                         .columns = HIDDEN,
                                         .bias_tensor = layer && i % 7 < 3 ? 0 : -1};
    }
}

/* The base: 1 in every place, 0.5 in every bias. */
static int base_rows(void *context, int32_t site, int32_t first, int32_t rows, float *out, struct error *error)
{
    (void)context, (void)error;
    if (first < 0 || rows < 1 || first + rows > sites[site].rows)
        fuzz_abort("rows %d to %d of site %d are asked for", first, first + rows, site);
    for (int32_t i = 0; i < rows * sites[site].columns; i++)
        out[i] = 1.0f;
    return 0;
}

static int base_bias(void *context, int32_t site, float *out, struct error *error)
{
    (void)context, (void)error;
    if (sites[site].bias_tensor < 0)
        fuzz_abort("the bias of site %d is asked for, which has none", site);
    for (int32_t i = 0; i < sites[site].rows; i++)
        out[i] = 0.5f;
    return 0;
}

static int count_bytes(void *context, const void *data, uint64_t bytes, struct error *error)
{
    (void)error;
    volatile unsigned char seen = 0;
    for (uint64_t i = 0; i < bytes; i++) /* every byte is there to be read */
        seen ^= ((const unsigned char *)data)[i];
    (void)seen;
    *(uint64_t *)context += bytes;
    return 0;
}

/* A refusal must be one that a person can read. */
static int refused(int failed, const struct error *error)
{
    if (failed) {
        fuzz_check_message(error->message, strlen(error->message));
        if (getenv("FUZZ_SHOW"))
            fprintf(stderr, "refused: %s\n", error->message);
    }
    return failed;
}

static void merge(const struct peft *peft)
{
    struct error error;
    float weights[HIDDEN * HIDDEN], scales[HIDDEN];
    for (int i = 0; i < SITES; i++) {
        struct peft_merge state;
        if (peft->site[i].full || refused(peft_merge_open(&state, peft, i, DTYPE_F32, &error), &error) != 0)
            continue;
        base_rows(NULL, i, 0, sites[i].rows, weights, &error);
        refused(peft_merge_rows(&state, 0, sites[i].rows, weights, scales, &error), &error);
        memset(scales, 0, sizeof scales);
        refused(peft_merge_bias(peft, i, scales, &error), &error);
        peft_merge_close(&state);
    }
}

static void write(const struct peft *peft, enum dtype dtype)
{
    struct error error;
    const struct peft_base base = {base_rows, base_bias, NULL};
    uint64_t expected, written = 0;
    if (refused(peft_blob_bytes(peft, dtype, &expected, &error), &error) != 0 ||
        refused(peft_write_blob(peft, dtype, &base, count_bytes, &written, &error), &error) != 0)
        return;
    if (written != expected || expected % 64 != 0)
        fuzz_abort("%llu bytes were promised, %llu written", (unsigned long long)expected, (unsigned long long)written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_part parts[2];
    if (!sites[0].name)
        make_sites();
    fuzz_split(data, size, parts, 2);
    fuzz_file("adapter_config.json", parts[0].data ? parts[0].data : "", parts[0].length);
    fuzz_file("adapter_model.safetensors", parts[1].data ? parts[1].data : "", parts[1].length);
    for (int merging = 0; merging < 2; merging++) {
        struct peft peft;
        struct error error = {""};
        if (refused(peft_open(&peft, fuzz_folder(), sites, SITES, merging, &error), &error) != 0)
            continue;
        if (merging)
            merge(&peft);
        else
            write(&peft, size % 2 ? DTYPE_F32 : DTYPE_BF16);
        peft_close(&peft);
    }
    return 0;
}
