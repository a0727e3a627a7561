/* LoRA adapters as `peft` saves them: a folder with adapter_config.json and adapter_model.safetensors (or .bin). Nobody vouches
   for it: what it says is checked against the sites of the model (adapter.h) and refused with a message that names file,
   tensor and what was expected. The tensors are the truth; a config that says something else is an error. docs/lora.md lists
   what is read and what is refused.

   The generator makes blobs of it for the payload, an executable for the slots that it has reserved: one reader, the same
   bytes on any machine. */
#ifndef LATHE_PEFT_H
#define LATHE_PEFT_H

#include <stdbool.h>
#include <stdint.h>

#include "adapter.h"
#include "error.h"
#include "model.h"
#include "tensor_file.h"

/* What an adapter does at one site. Tensors of the adapter's file; NULL: there is none. */
struct peft_site {
    int32_t rank; /* as it is in the file; 0: no low-rank part */
    float scale;
    const struct stored_tensor *a, *b;     /* [rank, columns], [rows, rank]; embedding: [rank, rows], [columns, rank] */
    const struct stored_tensor *magnitude; /* DoRA: [rows] */
    const struct stored_tensor *b_bias;    /* lora_bias: [rows], scaled like the product */
    const struct stored_tensor *bias;      /* the base's bias as the adapter has it: [rows] */
    const struct stored_tensor *full;      /* modules_to_save: [rows or more, columns] */
    const struct stored_tensor *copy;      /* the base's weight, which peft saves beside adapters of embeddings */
};

/* A tensor that replaces one of the base which is no site (a norm). */
struct peft_other {
    const char *name; /* the base's */
    const struct stored_tensor *tensor;
};

struct peft {
    struct tensor_file file;
    const struct adapter_site *sites; /* the caller's */
    int32_t site_count;
    struct peft_site *site; /* [site_count] */
    struct peft_other *others;
    int32_t other_count;
    int32_t rank; /* the largest of the sites, padded; 0: none has a low-rank part */
};

/* What the model itself has at a site. Returns 0, or -1 and a message. */
struct peft_base {
    /* out[rows][columns] = weights of rows first .. first + rows - 1 */
    int (*rows)(void *context, int32_t site, int32_t first, int32_t rows, float *out, struct error *error);
    /* out[rows of the site] = its bias; only called where it has one (bias_tensor is not negative) */
    int (*bias)(void *context, int32_t site, float *out, struct error *error);
    void *context;
};

/* Receives bytes in order. 0, or -1 and a message, which ends the writing. */
typedef int peft_sink(void *context, const void *data, uint64_t bytes, struct error *error);

/* Reads and checks a folder. merging: it will be merged into the base, which takes what no site can do (norms, more ids,
   any rank). `sites` must stay while the adapter is open. -1 and a message: nothing is open. */
int peft_open(struct peft *peft, const char *folder, const struct adapter_site *sites, int32_t site_count, bool merging,
              struct error *error);
/* All zero is allowed. */
void peft_close(struct peft *peft);

/* The next of ADAPTER_RANKS; 0 for 0, -1: there is none. */
int32_t peft_padded_rank(int32_t rank);

/* Ids that the adapter's embedding or head has beyond the base's: unreachable unless it is merged. */
int32_t peft_extra_ids(const struct peft *peft);

/* Bytes of the blob (adapter.h), a multiple of 64. */
int peft_blob_bytes(const struct peft *peft, enum dtype dtype, uint64_t *bytes, struct error *error);
/* Writes that many bytes to `sink`. `base` is asked where the adapter needs it: DoRA, a changed bias, a copy of the base's
   weight. Needs memory for one site's matrices. */
int peft_write_blob(const struct peft *peft, enum dtype dtype, const struct peft_base *base, peft_sink *sink,
                    void *context, struct error *error);

/* 0 when the copies of the base's weights that the adapter carries are the base's (to bfloat16, in which they may have been
   saved). peft_write_blob checks this itself. */
int peft_check_copies(const struct peft *peft, const struct peft_base *base, struct error *error);

/* Does merging change the weight or the bias of this site? */
bool peft_changes_weight(const struct peft *peft, int32_t site);
bool peft_changes_bias(const struct peft *peft, int32_t site);

/* Merging, some rows at a time: W' = W + scale B A, times DoRA's row scale. Start with peft_merge_open, which decodes the
   site's matrices, rounded to `dtype`: what a package keeps them as, or DTYPE_F32 where they go into the weights. Not for sites with `full`, whose tensor is the new weight itself. */
struct peft_merge {
    const struct peft *peft;
    int32_t site;
    float *a, *b; /* decoded: [rank][columns], [rows][rank] (embedding: A's columns are the rows) */
    float *magnitude;
    float *delta; /* one row */
};
int peft_merge_open(struct peft_merge *merge, const struct peft *peft, int32_t site, enum dtype dtype,
                    struct error *error);
/* weights[rows][columns]: the base's, replaced by the merged ones. row_scale[rows] may be NULL; DoRA's, 1 elsewhere. */
int peft_merge_rows(struct peft_merge *merge, int32_t first, int32_t rows, float *weights, float *row_scale,
                    struct error *error);
void peft_merge_close(struct peft_merge *merge);
/* bias[rows]: the base's (zeros where it has none), replaced by the merged one. */
int peft_merge_bias(const struct peft *peft, int32_t site, float *bias, struct error *error);

/* The base of a package whose weights the host can read: payload as struct package has it. `context` of the result points at
   `package_base`, which must stay. */
struct peft_package_base {
    const struct model *model;
    const unsigned char *payload;
};
struct peft_base peft_base_of_package(struct peft_package_base *package_base);

#endif
