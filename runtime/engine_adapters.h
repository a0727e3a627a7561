/* The adapters of an engine: which is in which slot, and the runs of rows that a step has of each. Slots 0, 1, ... hold those
   that were built in, used in place from the payload; the ones behind them are filled at start. */
#ifndef LATHE_ENGINE_ADAPTERS_H
#define LATHE_ENGINE_ADAPTERS_H

#include "adapter_blob.h"
#include "error.h"
#include "model.h"
#include "package.h"

struct adapter_slot {
    const char *name; /* NULL: nothing is there */
    const unsigned char *blob;
    uint64_t bytes;
    struct adapter_summary summary;
    char *own_name; /* what is the engine's own to free: of a slot that was filled */
    void *own_blob;
};

struct engine_adapters {
    const struct model *model;
    struct adapter_slot *slot;  /* [slots] */
    const unsigned char **blob; /* [slots] as kernels want them */
    int32_t slots;
    struct adapter_run *run;        /* [max_rows] of the step that is submitted */
    struct adapter_run *output_run; /* [max_outputs] */
    int32_t runs, output_runs;
};

/* Finds and checks what was built in. Without adapters and slots nothing is allocated. -1 and a message;
   engine_adapters_close is right in both cases, and for one that is all zero. */
int engine_adapters_open(struct engine_adapters *adapters, const struct model *model, const struct package *package,
                         struct error *error);
void engine_adapters_close(struct engine_adapters *adapters);

/* The slot of the adapter; -1 and a message that lists those that there are. */
int engine_adapters_find(const struct engine_adapters *adapters, const char *name, struct error *error);

/* Puts a blob (from aligned_alloc, [bytes]) under a new name into a free slot and returns the slot. The blob is the engine's
   then. -1 and a message: the blob is still the caller's. */
int engine_adapters_add(struct engine_adapters *adapters, const char *name, unsigned char *blob, uint64_t bytes,
                        struct error *error);
/* Takes what was added out of its slot again; the blob is the caller's. */
void engine_adapters_release(struct engine_adapters *adapters, int slot);
/* The same as engine_adapters_add with what peft saved in a folder. payload: where the tensors lie at their offsets, for adapters that cannot do
   without the base's weights; NULL: the host has them not. */
int engine_adapters_read(struct engine_adapters *adapters, const char *name, const char *folder,
                         const unsigned char *payload, struct error *error);

/* Finds the runs of a step. */
void engine_adapters_assemble(struct engine_adapters *adapters, const struct row *row, int32_t rows,
                              const int32_t *output_row, int32_t outputs);

#endif
