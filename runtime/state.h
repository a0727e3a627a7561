/* Sequence state: what a sequence leaves behind for its later rows. It lies in pages of model.page positions;
   a page index stands for one page in every paged group at once, and each sequence has a table of them. Pages
   are counted: forks share them, and the first to write into a shared page gets a copy.

       append (makes room for a row) ... -> commit (the step has run), all or the first few, or drop (it has not)
       fork, roll back                       between steps, on what is committed

   Knows nothing of rows or steps. Not thread-safe. */
#ifndef LATHE_STATE_H
#define LATHE_STATE_H

#include <stdint.h>

#include "error.h"
#include "model.h"

struct state;

/* kv_memory: bytes for pages; 0: enough for one sequence of max_seq. Memory is only used when touched.
   NULL and a message when not even one page fits, or the memory cannot be had. */
struct state *state_open(const struct model *model, uint64_t kv_memory, struct error *error);
/* State whose memory is a device's: `pages` pages, numbered from 0. copy(context, from, to) is called for each page that
   is to be copied, before anything may write to `to`. */
struct state *state_open_remote(const struct model *model, int32_t pages,
                                void (*copy)(void *context, int32_t from, int32_t to), void *context,
                                struct error *error);
void state_close(struct state *state);

/* A new empty sequence. Returns a small integer, reused after close; -1 on error. `adapter` is only kept. */
int state_sequence_open(struct state *state, int32_t adapter, struct error *error);
/* With appended positions that are neither committed nor dropped, the sequence ends when they are. */
void state_sequence_close(struct state *state, int sequence);
/* Is this the number of an open sequence? All functions below demand one. */
bool state_sequence_valid(const struct state *state, int sequence);

int32_t state_adapter(const struct state *state, int sequence);
int32_t state_stored(const struct state *state, int sequence);   /* committed positions */
int32_t state_appended(const struct state *state, int sequence); /* positions beyond them */

/* Makes the next position writable and returns it: the page exists and belongs to this sequence alone. -1 and
   a message when the sequence has max_seq positions or the pages have run out; nothing has changed then. */
int32_t state_append(struct state *state, int sequence, struct error *error);
/* A stored position is about to be written anew: its page belongs to this sequence alone from now on. -1 and a message when
   the pages have run out. */
int state_own(struct state *state, int sequence, int32_t position, struct error *error);
/* The appended positions have been written: they are stored now. */
void state_commit(struct state *state, int sequence);
/* The first `count` of them; the others stay appended. */
void state_commit_some(struct state *state, int sequence, int32_t count);
/* The appended positions are forgotten, with the pages that only they needed. */
void state_drop(struct state *state, int sequence);

/* Forgets positions >= length. -1 and a message: there are fewer, or appended ones. */
int state_rollback(struct state *state, int sequence, int32_t length, struct error *error);
/* A new sequence with the same stored positions and adapter (not the appended ones). -1 on error. */
int state_fork(struct state *state, int sequence, struct error *error);

/* Entries first <= i < end of the sequence's page table have changed since the last call for it (none: false). */
bool state_take_changes(struct state *state, int sequence, int32_t *first, int32_t *end);

/* Entries of the sequence's page table in use. */
int32_t state_table_used(const struct state *state, int sequence);

/* For struct step: [sequences] page tables and [groups] bases, valid until the next call that opens a
 * sequence. */
const int32_t *const *state_pages(const struct state *state);
unsigned char *const *state_bases(const struct state *state); /* NULLs for a remote state */
int32_t state_pages_total(const struct state *state);
int32_t state_pages_used(const struct state *state);
uint64_t state_page_bytes(const struct state *state);    /* of one page in all groups */
uint64_t state_scratch_bytes(const struct state *state); /* of all scratch slots in all groups */

/* The same, of a model: bytes of a page in all groups, bytes of all scratch slots, entries of a page table. */
uint64_t state_model_page_bytes(const struct model *model);
uint64_t state_model_scratch_bytes(const struct model *model);
int32_t state_model_table(const struct model *model);
/* The most pages that slots can be counted for. */
uint64_t state_model_most_pages(const struct model *model);

#endif
