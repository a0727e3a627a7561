/* Checking the blob of an adapter (adapter.h) before kernels follow its offsets: a payload may come from anywhere. */
#ifndef LATHE_ADAPTER_BLOB_H
#define LATHE_ADAPTER_BLOB_H

#include "error.h"
#include "model.h"

/* What a blob does. */
struct adapter_summary {
    int32_t sites;       /* that it changes */
    int32_t rank;        /* the largest, padded */
    uint64_t step_bytes; /* that a step with it reads, besides a few rows of an embedding */
};

/* Checks that ranks are padded and at most max_rank, and that everything at model's sites lies inside the blob, aligned;
   blob is aligned to 64. `name` is the adapter's, for messages. -1 and a message, or 0 and *summary (may be NULL). */
int adapter_check(const struct model *model, const char *name, const unsigned char *blob, uint64_t bytes,
                  int32_t max_rank, struct adapter_summary *summary, struct error *error);

#endif
