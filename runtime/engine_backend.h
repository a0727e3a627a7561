/* What computes the steps of an engine: the CPU's threads, or a GPU. The engine (engine.c) knows rows, sequences and
   draws; a backend knows where weights, state and activations lie, and how a step runs there. */
#ifndef LATHE_ENGINE_BACKEND_H
#define LATHE_ENGINE_BACKEND_H

#include <stdbool.h>

#include "engine.h"
#include "error.h"
#include "model.h"
#include "package.h"
#include "state.h"

/* A draw that a step makes: slot `slot` chooses the token of `position` from the logits of output `output`. */
struct engine_draw {
    int32_t slot, row, output, position;
    int32_t parent; /* the draw, of the same slot, at the row above in a tree; -1: none */
    bool tree;      /* the slot draws at rows of a tree: which of its draws count is found out afterwards */
};

/* A step as the engine assembled it; valid during `submit`. */
struct engine_batch {
    int32_t rows, outputs;
    const struct row *row;     /* [rows]; a token may be ~slot where the backend draws itself */
    const int32_t *output_row; /* [outputs] ascending */
    const bool *wanted;        /* [outputs] the logits are to reach the host */
    const struct engine_draw *draw;
    int32_t draws;       /* 0 where the engine draws */
    const int32_t *path; /* [paths] of the rows that are trees */
    int32_t paths;
    const unsigned char *const *adapter; /* [slots] blobs, NULL where none is; as step.h, like the runs */
    const struct adapter_run *run, *output_run;
    int32_t runs, output_runs;
    const struct trace *trace;     /* NULL: nobody looks */
    const struct stopwatch *watch; /* NULL: nobody measures; for the CPU's stages only */
};

/* One for each open engine; every backend has its own. */
struct engine_device;

struct engine_backend {
    const char *name; /* "cpu", "cuda" */

    /* Opens everything that needs no weights, so that what can be found wrong at once comes before what takes time.
       NULL and a message on failure. *state: the accounts of the pages that there are; the engine closes it. */
    struct engine_device *(*open)(const struct model *model, const struct engine_options *options, struct state **state,
                                  struct error *error);
    /* NULL is allowed. */
    void (*close)(struct engine_device *device);
    /* Puts the weights where the steps read them; `package` stays mapped. Checks the payload's hash if `verifies`
       and options->skip_verify does not forbid it; the engine has checked it otherwise, and that of random weights. */
    int (*load)(struct engine_device *device, const struct engine_options *options, const struct package *package,
                struct error *error);
    bool verifies;
    /* Puts an adapter (adapter.h) into its slot, instead of what was there, when no row with that slot is under way.
       blob: [bytes] checked against the model's sites; it stays where it is while the engine is open. The engine calls it
       after `load`, for slots below model.adapter_count + model.adapter_slots. -1 and a message: this device has no kernel
       for something in it, or no room. NULL: the engine hands blobs over with each step. */
    int (*adapter)(struct engine_device *device, int32_t slot, const char *name, const unsigned char *blob,
                   uint64_t bytes, struct error *error);

    const char *(*variant)(const struct engine_device *device);
    int (*threads)(const struct engine_device *device);
    const char *(*gpu)(const struct engine_device *device); /* its name; NULL: there is none */
    /* A section of the payload where the host can read it; NULL: it cannot. */
    const void *(*section)(const struct engine_device *device, const struct package *package,
                           const struct tensor *tensor);
    /* engine_traces; NULL: all of model.traces. */
    const char *const *(*traces)(const struct engine_device *device, int32_t *count);
    uint64_t (*other_bytes)(const struct engine_device *device); /* all but weights and pages */

    /* Steps that may be submitted before the oldest is collected; 1: tokens must be known, the engine draws. */
    int (*depth)(const struct engine_device *device);
    /* Starts a step. `number` counts them. */
    int (*submit)(struct engine_device *device, const struct engine_batch *batch, struct error *error);
    /* Waits for the oldest step that has not been collected. drawn[draws] gets the token and logprob of each draw, where
       the backend draws; token -1: there was none to choose, which draw_error explains. */
    int (*collect)(struct engine_device *device, struct drawn *drawn, int32_t draws, struct error *error);
    /* Behind the step collected last: the state in slot from[i] goes to slot to[i], in all groups of the model's own. */
    int (*keep)(struct engine_device *device, const int32_t *from, const int32_t *to, int32_t count,
                struct error *error);
    /* Whether it runs the draft head that the model has. NULL: never. */
    bool (*drafts)(const struct engine_device *device);
    /* Runs a draft step to its end. */
    int (*draft)(struct engine_device *device, const struct engine_draft_step *step, struct error *error);
    /* Of the draft step run last: the logits of an output. */
    const float *(*draft_logits)(struct engine_device *device, int32_t output);
    /* And its likeliest tokens, as many as that step was asked for at most; NULL: the engine looks for them itself. */
    int (*draft_best)(struct engine_device *device, int32_t output, int32_t count, struct engine_guess *best,
                      struct error *error);
    /* Of the step collected last: the logits of an output that wanted them. */
    float *(*logits)(struct engine_device *device, int32_t output);

    /* Draw slots on the device, if it `draws`; else the engine draws. draw_open's options have been checked. draw_see
       comes before the slot's first draw. */
    bool (*draws)(const struct engine_device *device);
    int (*draw_open)(struct engine_device *device, int32_t slot, const struct sampler_options *options,
                     struct error *error);
    int (*draw_see)(struct engine_device *device, int32_t slot, const int32_t *tokens, size_t count, bool output,
                    struct error *error);
    /* What a slot's draws in the step collected last came to: its output goes on with these tokens. tree: they were draws of
       a tree, which have not counted them themselves. */
    int (*draw_accept)(struct engine_device *device, int32_t slot, const int32_t *tokens, int32_t count, bool tree,
                       struct error *error);
    /* Draws that a step can have. */
    int32_t (*max_draws)(const struct engine_device *device);
    /* Why draw `draw` of the step collected last chose nothing; always -1. */
    int (*draw_error)(const struct engine_device *device, int32_t draw, struct error *error);

    /* engine.h's engine_time_stages, engine_stage_times and engine_bandwidth; NULL: the backend cannot. */
    int (*time_stages)(struct engine_device *device, bool on, struct error *error);
    int32_t (*stage_times)(const struct engine_device *device, const struct stage_time **times);
    int (*bandwidth)(struct engine_device *device, double seconds, struct bandwidth *result, struct error *error);
};

extern const struct engine_backend engine_cpu;
extern const struct engine_backend engine_cuda;

#endif
