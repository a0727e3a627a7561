/* Where everything lies on the device: one block of memory, planned when a package is opened. */
#ifndef LATHE_CUDA_PLAN_H
#define LATHE_CUDA_PLAN_H

#include "cuda_device.h"
#include "engine.h"
#include "model.h"

enum { CUDA_WORKSPACE = 32 << 20 };
enum { CUDA_RECORDS = 2 }; /* steps that can be under way: what a step reads is there so many times */

/* Offsets into the block; sizes are what the next offset leaves. */
struct cuda_plan {
    uint64_t weights, arena, logits;
    uint64_t record[CUDA_RECORDS];          /* struct cuda_counts, then: */
    uint64_t draw_counts, output_row, draw; /* from the start of a record */
    uint64_t group, output_group, row;
    uint64_t path; /* behind the last row: [paths] */
    uint64_t record_bytes;
    uint64_t tables, chosen;
    uint64_t adapters;                                                /* cuda_adapters.h */
    uint64_t draw_slot, sample_scratch, sample_part, sample_arrivals; /* cuda_draw.h */
    uint64_t staging;              /* of the load, in place of all that follows the weights */
    uint64_t state;                /* pages, then scratch slots */
    uint64_t bytes;                /* of the block */
    int32_t table, table_slots;    /* entries of a page table; page tables */
    int32_t paths;                 /* places for the paths of a step's trees */
    int32_t draw_slots, max_draws; /* that there are; in a step (0: the package has no sampling kernel) */
    int32_t pages;
    /* Of packages with a draft head; else nothing is there. */
    uint64_t draft_arena, taps, features;
    uint64_t draft_record; /* struct cuda_counts, then, from its start: */
    uint64_t draft_output_row, draft_feature, draft_feature_place, draft_entering, draft_row, draft_path;
    uint64_t draft_record_bytes;
    uint64_t workspace;     /* CUDA_WORKSPACE bytes for cuBLASLt, with `bulk` */
    uint64_t weights_bytes; /* of the sections that are loaded: all of them with `bulk` */
    bool bulk;              /* bulk steps have their row-major weights */
};

/* Plans the block for what is free on the device now. 0, or -1 and a message that says what is needed and what is free.
   Less state than the options want is announced through their notice. bulk: with room for bulk steps, unless that would
   leave less state than is wanted; also announced. */
int cuda_plan_make(struct cuda_plan *plan, const struct cuda_device *device, const struct model *model,
                   const struct engine_options *options, bool bulk, struct error *error);

#endif
