/* LoRA adapters on the device: a place for each slot, planned when the package is opened, filled from blobs (adapter.h), and
   the rows of a step in groups with the same adapter, as the kernels want them (docs/cuda.md, "Adapters"). */
#ifndef LATHE_CUDA_ADAPTERS_H
#define LATHE_CUDA_ADAPTERS_H

#include "cuda_stream.h"
#include "engine_backend.h"
#include "error.h"
#include "model.h"

struct cuda_adapters {
    const struct model *model;
    struct cuda_stream *stream;
    CUdeviceptr memory;              /* [cuda_adapters_bytes] the table, the slots' places, staging */
    struct cuda_adapter_site *table; /* [slots][sites] as it is on the device */
    int32_t *tiles;                  /* [slots] of the largest A; 0: nothing is there */
    bool *at_head;                   /* [slots] it does something at the head */
    struct cuda_group **last;        /* [slots] of the groups being made: the one that is not full yet */
};

/* Adapter slots of the package; 0: it was built without. */
int32_t cuda_adapters_slots(const struct model *model);

/* Device memory for all of it. */
uint64_t cuda_adapters_bytes(const struct model *model);

/* Groups that `rows` rows can make, at most. */
int32_t cuda_adapters_groups(const struct model *model, int32_t rows);

/* Nothing is in the slots at first. 0, or -1 and a message. */
int cuda_adapters_open(struct cuda_adapters *adapters, const struct model *model, struct cuda_stream *stream,
                       CUdeviceptr memory, struct error *error);
void cuda_adapters_close(struct cuda_adapters *adapters);

/* Puts an adapter into its slot, in place of what was there (engine_backend.h). */
int cuda_adapters_put(struct cuda_adapters *adapters, int32_t slot, const char *name, const unsigned char *blob,
                      uint64_t bytes, struct error *error);

/* Writes the groups of a step, and what `counts` says of them. group, output_group: room for cuda_adapters_groups(max_rows)
   and (max_outputs). */
void cuda_adapters_group(struct cuda_adapters *adapters, const struct engine_batch *batch, struct cuda_counts *counts,
                         struct cuda_group *group, struct cuda_group *output_group);

#endif
