/* The engine: one opened package, its threads, its state pages, and the step being assembled.

       engine_open -> sequence_open -> engine_add ... -> engine_run -> engine_logits -> sequence_close -> engine_close

   Not thread-safe: one thread drives an engine; its own threads compute. */
#ifndef LATHE_ENGINE_H
#define LATHE_ENGINE_H

#include "error.h"
#include "model.h"
#include "sampler.h"

struct engine;

/* An adapter that is read into a reserved slot: a folder of peft's (peft.h). */
struct adapter_folder {
    const char *name, *folder;
};

struct engine_options {
    const char *weights; /* file that holds the payload; NULL: the executable itself, or weights.bin beside it */
    const char *device;  /* "cpu" or "cuda"; NULL: the GPU if the package was built for one. There is no falling back */
    const char *cpu;     /* variant to force; NULL: the first supported one */
    int threads;         /* 0: one a core that this process may use */
    uint64_t kv_memory;  /* bytes for state pages, exactly; 0: what kv_wanted says */
    uint64_t kv_wanted;  /* bytes that the pages will need; 0: enough for one sequence of max_seq. A GPU that has less
                            left gives what is left */
    bool skip_verify;    /* do not check the payload's hash */
    bool exact;          /* no bulk steps: a row's bits are the same in any chunking of its prompt (docs/cuda.md) */
    const struct adapter_folder *adapters; /* [adapter_count] read at start, beside those that were built in */
    int adapter_count;
    void (*notice)(void *context, const char *message);                               /* may be NULL */
    void (*progress)(void *context, const char *what, uint64_t done, uint64_t total); /* may be NULL */
    void *progress_context;                                                           /* of notice too */
};

/* Maps the payload, checks it against the model (layout, length, hash), allocates everything a step needs and
   starts the threads. Nothing is allocated after this but page-table growth. NULL and a message on any
   failure. */
struct engine *engine_open(const struct model *model, const struct engine_options *options, struct error *error);
void engine_close(struct engine *engine);

const struct model *engine_model(const struct engine *engine);
const char *engine_device(const struct engine *engine);  /* "cpu", "cuda" */
const char *engine_variant(const struct engine *engine); /* "avx512", "sm_90a" */
int engine_threads(const struct engine *engine);         /* that compute; 1 on a GPU */
const char *engine_gpu(const struct engine *engine);     /* "NVIDIA H100 80GB HBM3"; NULL on a CPU */
/* A section of the payload; NULL: there is none, or it is on the device only. */
const void *engine_section(const struct engine *engine, const char *name, uint64_t *bytes);
/* The tensors that a trace is shown, as model.traces has them: on a GPU not all of them. */
const char *const *engine_traces(const struct engine *engine, int32_t *count);
/* What is sent to the trace of each step from now on; NULL: nothing. */
void engine_set_trace(struct engine *engine, const struct trace *trace);
/* Who measures the stages of each step from now on, on a CPU; NULL: nobody. */
void engine_set_watch(struct engine *engine, const struct stopwatch *watch);

/* Adapters (adapter.h) are known by slot; -1 stands for none. The slot of a name; -1 and a message that lists the names. */
int engine_adapter(const struct engine *engine, const char *name, struct error *error);
/* Slots in all; what is in one, false: nothing. */
struct adapter_info {
    const char *name;
    int32_t rank, sites;        /* the largest rank, padded; sites that it changes */
    uint64_t bytes, step_bytes; /* in all, and what a step with it reads */
    bool built_in;
};
int32_t engine_adapter_slots(const struct engine *engine);
bool engine_adapter_info(const struct engine *engine, int32_t slot, struct adapter_info *info);
/* Puts a blob, [bytes] from aligned_alloc(64, ...), under a new name into a free reserved slot and returns the slot; the engine
   frees the blob when it is closed. -1 and a message: it is not this model's, or there is no slot; then it stays the
   caller's. */
int engine_add_adapter(struct engine *engine, const char *name, unsigned char *blob, uint64_t bytes,
                       struct error *error);

/* A sequence: a page table over the engine's state. Ids are small integers, reused after close. -1 on error.
 */
int sequence_open(struct engine *engine, int32_t adapter, struct error *error);
/* With rows in the step being assembled, the sequence ends when that step has run or is discarded. */
void sequence_close(struct engine *engine, int sequence);
/* Positions stored (committed); -1: not open. */
int32_t sequence_length(const struct engine *engine, int sequence);
/* Forgets positions >= length; pages no longer needed return to the pool. -1 when there are fewer, or when
   rows of the sequence are in the step being assembled. */
int sequence_rollback(struct engine *engine, int sequence, int32_t length, struct error *error);
/* A new sequence with the same stored positions and adapter; rows in the step being assembled are not part of
   it. Pages are shared, and copied when one of the two writes into them. -1 on error. */
int sequence_fork(struct engine *engine, int sequence, struct error *error);

/* Appends a row to the step being assembled: the token that follows everything stored or already added to the
   sequence. `token` may be ENGINE_DRAWN(slot). Returns the row's index, or -1 with a message: the step is full (max_rows, or max_outputs when
   `logits`), the position is max_seq, the token is not in the vocabulary, or the pages have run out. Nothing
   has changed then: the rows added before can still be run. */
int engine_add(struct engine *engine, int sequence, int32_t token, bool logits, struct error *error);
/* Speculation: a row whose token may turn out to follow row `parent`, which is the last plain row of the sequence or another
   such row; -1: what is stored and added so far. The rows make a tree, level by level: each sees its own ancestors only, and
   has the bits that it would have at the end of a plain sequence. Nothing of it is stored unless engine_accept, or a draw
   (engine_draw), says which path of the tree is the text. Plain rows come before those of a tree. As engine_add otherwise. */
int engine_add_child(struct engine *engine, int sequence, int32_t parent, int32_t token, bool logits,
                     struct error *error);
/* Rows that can still be added to the step. */
int engine_room(const struct engine *engine);

/* Runs the step and commits its rows; then the step is empty again. An empty step does nothing. Steps that were
   submitted before are collected first. */
int engine_run(struct engine *engine, struct error *error);
/* After engine_run or engine_collect of a step with trees, before the next row is added: stores the rows of a path from the
   top of a tree downwards. What is not accepted is forgotten with the next row. Not after draws, which accept themselves. */
int engine_accept(struct engine *engine, const int32_t *rows, int32_t count, struct error *error);
/* Drops the step being assembled without running it. */
void engine_discard(struct engine *engine);

/* After engine_run or engine_collect: logits [vocab] of the row with that index in the step; NULL when it did not ask for
   them. Valid until the next step is submitted or run, whatever is added to it meanwhile; the caller may change them
   (samplers do). */
float *engine_logits(struct engine *engine, int row);

/* Choosing tokens where the logits are, and the next step without waiting for the last: a draw slot is a sampler
   (sampler.h) that lives on the device. A row asks for a draw; the next step's row may name the token by its slot before
   anybody knows it.

       slot = draw_open -> draw_see (the prompt) -> engine_add ... engine_draw -> engine_submit
       loop:  engine_add(ENGINE_DRAWN(slot)), engine_draw -> engine_submit;   engine_collect -> the token before that

   What was submitted too much (the text had ended) is taken back with sequence_rollback, and its draws are ignored. */
#define ENGINE_DRAWN(slot) (~(int32_t)(slot)) /* as a token for engine_add: the slot's last */

/* A chosen token. */
struct drawn {
    int32_t slot, row;       /* row: of its step */
    int32_t token, position; /* position: that the token will have */
    float logprob;           /* under the model's own distribution, as sampler_choose gives it */
};

/* A draw slot; -1 and a message: an option is out of its range, or there are too many. */
int draw_open(struct engine *engine, const struct sampler_options *options, struct error *error);
/* Tokens of the prompt, or of an output that the slot did not choose itself, before its first draw. */
int draw_see(struct engine *engine, int slot, const int32_t *tokens, size_t count, bool output, struct error *error);
/* Its draws in steps under way are still made, and collected. */
void draw_close(struct engine *engine, int slot);

/* The row added last: `slot` chooses the token after it. One draw a slot and step, unless it is at rows of a tree whose
   parents have one: then the draw at the plain row counts; if a child has the token that was drawn, that child is accepted
   and its draw counts, and so on down the tree. So a slot draws what it would draw without the tree, several tokens in a
   step. -1 and a message when the step has max_outputs rows with logits or draws. */
int engine_draw(struct engine *engine, int row, int slot, struct error *error);

/* Draws that a step can have. */
int32_t engine_max_draws(const struct engine *engine);

/* Steps that may be under way: 1 on a CPU, where a step is over when it has been submitted. */
int engine_depth(const struct engine *engine);
int engine_under_way(const struct engine *engine);
/* Starts the step and commits its rows. -1 and a message: engine_depth steps, or one with trees, are under way, or the
   device failed. */
int engine_submit(struct engine *engine, struct error *error);
/* Waits for the oldest step under way. *drawn: its draws in order of plain rows, those down a tree right behind them, valid
   until the next engine_collect. Their number, or -1 and a message: none is under way, the device failed, or a logit is NaN
   or +infinity. */
int engine_collect(struct engine *engine, const struct drawn **drawn, struct error *error);
/* What collecting has taken so far behind the waiting: draws (on a CPU), which of a tree's rows are kept, and keeping them. */
double engine_accept_seconds(const struct engine *engine);

/* Draft steps (draft.h): those of the package's head, between target steps. Nothing may be under way. */
struct engine_draft_step {
    int32_t rows, outputs;
    const struct row *row;        /* [rows] a pair's page must be stored already: it is made the sequence's own */
    const int32_t *output_row;    /* [outputs] ascending */
    const int32_t *path;          /* of the rows that are guesses */
    const int32_t *feature;       /* [rows] */
    const int32_t *feature_place; /* [rows] */
    int32_t guesses;              /* likeliest tokens that engine_draft_best will be asked for, of each output */
};

/* One of the likeliest tokens of a draft step's output: an id of the head's own. */
struct engine_guess {
    int32_t id;
    double logprob;
};
/* Whether this device runs the package's head, if there is one. */
bool engine_drafts(const struct engine *engine);
int engine_draft_run(struct engine *engine, const struct engine_draft_step *step, struct error *error);
/* Of the draft step run last: the `count` likeliest tokens of an output, best first, the lowest ids first among equals. -1
   and a message: a logit is NaN or +infinity, or all are -infinity. */
int engine_draft_best(struct engine *engine, int32_t output, int32_t count, struct engine_guess *best,
                      struct error *error);

/* For `bench`. Steps from now on are timed stage by stage (on), one at a time and slower than otherwise. -1 and a message:
   this device cannot. */
int engine_time_stages(struct engine *engine, bool on, struct error *error);

/* A stage of the step collected last, all its launches together. */
struct stage_time {
    const char *stage;
    int32_t launches;
    double seconds;
    uint64_t weight_bytes, flops_per_row; /* of one launch */
};

/* Their number, in order of the first launch; valid until the next step. */
int32_t engine_stage_times(const struct engine *engine, const struct stage_time **times);

/* How fast the device reads the weights where it keeps them. 1: it keeps them in the host's memory (bandwidth.h). */
struct bandwidth;
int engine_bandwidth(struct engine *engine, double seconds, struct bandwidth *result, struct error *error);

/* State in use and in all, in bytes; and the bytes of everything else the engine holds (activations, logits).
 */
void engine_memory(const struct engine *engine, uint64_t *state_used, uint64_t *state_total, uint64_t *other);

#endif
