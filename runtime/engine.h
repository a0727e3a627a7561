/* The engine: one opened package, its threads, its state pages, and the step being assembled.

       engine_open -> sequence_open -> engine_add ... -> engine_run -> engine_logits -> sequence_close ->
   engine_close

   Not thread-safe: one thread drives an engine; its own threads compute. */
#ifndef LATHE_ENGINE_H
#define LATHE_ENGINE_H

#include "error.h"
#include "model.h"

struct engine;

struct engine_options {
    const char *weights; /* file that holds the payload; NULL: the executable itself, or weights.bin beside it */
    const char *cpu;     /* variant to force; NULL: the first supported one */
    int threads;         /* 0: one a core that this process may use */
    uint64_t kv_memory;  /* bytes for state pages; 0: enough for one sequence of max_seq */
    bool skip_verify;    /* do not check the payload's hash */
    void (*progress)(void *context, const char *what, uint64_t done, uint64_t total); /* may be NULL */
    void *progress_context;
};

/* Maps the payload, checks it against the model (layout, length, hash), allocates everything a step needs and
   starts the threads. Nothing is allocated after this but page-table growth. NULL and a message on any
   failure. */
struct engine *engine_open(const struct model *model, const struct engine_options *options, struct error *error);
void engine_close(struct engine *engine);

const struct model *engine_model(const struct engine *engine);
const char *engine_variant(const struct engine *engine); /* "avx512" */
int engine_threads(const struct engine *engine);
/* A section of the payload, or NULL. */
const void *engine_section(const struct engine *engine, const char *name, uint64_t *bytes);
/* What is sent to the trace of each step from now on; NULL: nothing. */
void engine_set_trace(struct engine *engine, const struct trace *trace);

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
   sequence. Returns the row's index, or -1 with a message: the step is full (max_rows, or max_outputs when
   `logits`), the position is max_seq, the token is not in the vocabulary, or the pages have run out. Nothing
   has changed then: the rows added before can still be run. */
int engine_add(struct engine *engine, int sequence, int32_t token, bool logits, struct error *error);
/* Rows that can still be added to the step. */
int engine_room(const struct engine *engine);

/* Runs the step and commits its rows; then the step is empty again. An empty step does nothing. */
int engine_run(struct engine *engine, struct error *error);
/* Drops the step being assembled without running it. */
void engine_discard(struct engine *engine);

/* After engine_run: logits [vocab] of the row with that index; NULL when it did not ask for them. Valid until
   the next engine_run, whatever is added to the next step meanwhile; the caller may change them (samplers
   do). */
float *engine_logits(struct engine *engine, int row);

/* State in use and in all, in bytes; and the bytes of everything else the engine holds (activations, logits).
 */
void engine_memory(const struct engine *engine, uint64_t *state_used, uint64_t *state_total, uint64_t *other);

#endif
