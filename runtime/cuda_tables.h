/* Page tables on the device: one slot for each row that a step can have, given to the sequences that steps name. What has
   changed since a sequence's last step goes there in the stream, between the steps. */
#ifndef LATHE_CUDA_TABLES_H
#define LATHE_CUDA_TABLES_H

#include "cuda_plan.h"
#include "cuda_stream.h"
#include "state.h"

struct cuda_table_slot {
    int32_t sequence; /* -1: none */
    uint64_t used;    /* number of the last step that named it */
};

struct cuda_tables {
    const struct cuda_plan *plan;
    struct cuda_stream *stream;
    CUdeviceptr memory;             /* the planned block */
    struct state *state;            /* whose tables they are */
    int32_t *staging[CUDA_RECORDS]; /* [table_slots * table] pinned: entries on their way */
    struct cuda_table_slot *slot;   /* [plan.table_slots] */
    int32_t *slot_of, sequences;    /* [sequences] of each sequence; -1: none */
    uint64_t step;                  /* number of the step being prepared, from 1 */
    int place;                      /* its record: staging that no step under way uses */
};

int cuda_tables_open(struct cuda_tables *tables, const struct cuda_plan *plan, struct cuda_stream *stream,
                     CUdeviceptr memory, struct state *state, struct error *error);
/* All zero is allowed. */
void cuda_tables_close(struct cuda_tables *tables);

/* A new step, in this record. */
void cuda_tables_begin(struct cuda_tables *tables, int place);
/* The slot of a sequence that the step names, brought up to date; -1 and a message on an error. */
int32_t cuda_tables_slot(struct cuda_tables *tables, int32_t sequence, struct error *error);

#endif
