#include "state.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

enum { FIRST_SEQUENCES = 16 };

struct sequence {
    bool open, closing; /* closing: open until its appended positions are committed or dropped */
    int32_t adapter;
    int32_t stored, appended; /* positions */
    int32_t pages;            /* entries of the table in use: ceil((stored + appended) / page) */
    int32_t changed;          /* entries from this one on may have changed since state_take_changes */
};

struct state {
    const struct model *model;
    int32_t page;        /* positions a page */
    int32_t table_pages; /* entries of a page table: ceil(max_seq / page) */

    unsigned char **base; /* [groups] pages_total pages, then the scratch slots */
    uint64_t *base_bytes; /* [groups] */
    uint64_t page_bytes, scratch_bytes;

    int32_t pages_total;
    int32_t *references; /* [pages_total] sequences whose table has the page */
    int32_t *free_page;  /* [free_pages] a stack, the lowest page on top at first */
    int32_t free_pages;

    void (*copy)(void *context, int32_t from, int32_t to); /* NULL: the pages are in `base` */
    void *copy_context;

    int sequences; /* capacity of the two arrays */
    struct sequence *sequence;
    int32_t **table; /* [sequences] page tables of table_pages entries; NULL: never used */
};

static int32_t divide_up(int32_t positions, int32_t page)
{
    return positions / page + (positions % page != 0);
}

static int32_t pages_of(const struct state *state, int32_t positions)
{
    return divide_up(positions, state->page);
}

/* Bytes behind a group's pages for max_rows scratch slots. Slot i is addressed as slot pages_total * page +
   i, so whole pages are kept for them. */
static uint64_t scratch_bytes_of(const struct model *model, const struct state_group *group)
{
    uint64_t page = (uint64_t)model->page;
    uint64_t pages = ((uint64_t)model->max_rows + page - 1) / page;
    uint64_t slot_pages = group->scratch_bytes * page;
    return pages * (group->page_bytes > slot_pages ? group->page_bytes : slot_pages);
}

uint64_t state_model_page_bytes(const struct model *model)
{
    uint64_t bytes = 0;
    for (int32_t g = 0; g < model->state_count; g++)
        bytes += model->states[g].page_bytes;
    return bytes ? bytes : 1; /* a model without state: pages still count positions */
}

uint64_t state_model_scratch_bytes(const struct model *model)
{
    uint64_t bytes = 0;
    for (int32_t g = 0; g < model->state_count; g++)
        bytes += scratch_bytes_of(model, &model->states[g]);
    return bytes;
}

int32_t state_model_table(const struct model *model)
{
    return divide_up(model->max_seq, model->page);
}

uint64_t state_model_most_pages(const struct model *model)
{
    /* Slots are counted in 32 bits, scratch slots included. */
    return ((uint64_t)INT32_MAX - (uint64_t)model->max_rows) / (uint64_t)model->page - 1;
}

/* How many pages `kv_memory` pays for; -1 and a message when that is no sensible number. */
static int32_t count_pages(const struct state *state, uint64_t kv_memory, struct error *error)
{
    const struct model *model = state->model;
    if (kv_memory == 0)
        return state->table_pages;
    uint64_t pages = kv_memory / state->page_bytes;
    if (pages < 1)
        return error_set(error,
                         "--kv-memory %llu: one page of state (%d positions) takes %llu bytes; give at least that, "
                         "or %llu for a sequence of %d positions",
                         (unsigned long long)kv_memory, model->page, (unsigned long long)state->page_bytes,
                         (unsigned long long)state->page_bytes * (uint64_t)state->table_pages, model->max_seq);
    if (kv_memory > memory_total())
        return error_set(error, "--kv-memory %llu: this process can have %llu bytes of memory at most",
                         (unsigned long long)kv_memory, (unsigned long long)memory_total());
    uint64_t most = state_model_most_pages(model);
    if (pages > most)
        return error_set(error, "--kv-memory %llu: %llu pages of %d positions are too many; give at most %llu bytes",
                         (unsigned long long)kv_memory, (unsigned long long)pages, model->page,
                         (unsigned long long)(most * state->page_bytes));
    return (int32_t)pages;
}

/* A state without pages yet; NULL and a message for a model that this runtime cannot keep the state of. */
static struct state *new_state(const struct model *model, struct error *error)
{
    for (int32_t g = 0; g < model->state_count; g++)
        if (model->states[g].kind != STATE_PAGED) {
            error_set(error, "state \"%s\" is of a kind that this runtime does not know (%d); rebuild the package",
                      model->states[g].name, (int)model->states[g].kind);
            return NULL;
        }
    struct state *state = calloc(1, sizeof *state);
    if (!state) {
        error_set(error, "out of memory for the state");
        return NULL;
    }
    state->model = model;
    state->page = model->page;
    state->table_pages = state_model_table(model);
    state->page_bytes = state_model_page_bytes(model);
    state->scratch_bytes = state_model_scratch_bytes(model);
    return state;
}

/* The accounts of `pages` free pages. */
static int make_pages(struct state *state, int32_t pages, struct error *error)
{
    state->pages_total = pages;
    state->base = calloc((size_t)state->model->state_count + 1, sizeof *state->base);
    state->base_bytes = calloc((size_t)state->model->state_count + 1, sizeof *state->base_bytes);
    state->references = calloc((size_t)pages, sizeof *state->references);
    state->free_page = calloc((size_t)pages, sizeof *state->free_page);
    if (!state->base || !state->base_bytes || !state->references || !state->free_page)
        return error_set(error, "out of memory for %d pages of state", pages);
    for (int32_t page = pages; page-- > 0;)
        state->free_page[state->free_pages++] = page;
    return 0;
}

static int map_pages(struct state *state, struct error *error)
{
    for (int32_t g = 0; g < state->model->state_count; g++) {
        const struct state_group *group = &state->model->states[g];
        uint64_t bytes = (uint64_t)state->pages_total * group->page_bytes + scratch_bytes_of(state->model, group);
        state->base[g] = memory_map(bytes, true, "sequence state (try a smaller --kv-memory)", error);
        if (!state->base[g])
            return -1;
        state->base_bytes[g] = bytes;
    }
    return 0;
}

struct state *state_open(const struct model *model, uint64_t kv_memory, struct error *error)
{
    struct state *state = new_state(model, error);
    int32_t pages = state ? count_pages(state, kv_memory, error) : -1;
    if (pages >= 0 && make_pages(state, pages, error) == 0 && map_pages(state, error) == 0)
        return state;
    state_close(state);
    return NULL;
}

struct state *state_open_remote(const struct model *model, int32_t pages,
                                void (*copy)(void *context, int32_t from, int32_t to), void *context,
                                struct error *error)
{
    struct state *state = new_state(model, error);
    if (state && make_pages(state, pages, error) == 0) {
        state->copy = copy;
        state->copy_context = context;
        return state;
    }
    state_close(state);
    return NULL;
}

void state_close(struct state *state)
{
    if (!state)
        return;
    for (int32_t g = 0; state->base && g < state->model->state_count; g++)
        memory_unmap(state->base[g], state->base_bytes[g]);
    for (int s = 0; s < state->sequences; s++)
        free(state->table[s]);
    free(state->base);
    free(state->base_bytes);
    free(state->references);
    free(state->free_page);
    free(state->sequence);
    free(state->table);
    free(state);
}

/* Twice as many sequences, or the first few. */
static int grow(struct state *state, struct error *error)
{
    int count = state->sequences ? state->sequences : FIRST_SEQUENCES / 2;
    if (count > INT32_MAX / 4)
        return error_set(error, "too many sequences (%d)", state->sequences);
    count *= 2;
    struct sequence *sequence = realloc(state->sequence, (size_t)count * sizeof *sequence);
    if (sequence)
        state->sequence = sequence;
    int32_t **table = realloc(state->table, (size_t)count * sizeof *table);
    if (table)
        state->table = table;
    if (!sequence || !table)
        return error_set(error, "out of memory for %d sequences", count);
    memset(state->sequence + state->sequences, 0, (size_t)(count - state->sequences) * sizeof *sequence);
    memset(state->table + state->sequences, 0, (size_t)(count - state->sequences) * sizeof *table);
    state->sequences = count;
    return 0;
}

int state_sequence_open(struct state *state, int32_t adapter, struct error *error)
{
    int s = 0;
    while (s < state->sequences && state->sequence[s].open)
        s++;
    if (s == state->sequences && grow(state, error) != 0)
        return -1;
    if (!state->table[s]) {
        state->table[s] = calloc((size_t)state->table_pages, sizeof **state->table);
        if (!state->table[s])
            return error_set(error, "out of memory for a page table of %d pages", state->table_pages);
    }
    state->sequence[s] = (struct sequence){.open = true, .adapter = adapter};
    return s;
}

static void release_page(struct state *state, int32_t page)
{
    if (--state->references[page] == 0)
        state->free_page[state->free_pages++] = page;
}

/* Gives back the pages that `positions` positions do not need. */
static void trim(struct state *state, int s, int32_t positions)
{
    struct sequence *sequence = &state->sequence[s];
    for (int32_t keep = pages_of(state, positions); sequence->pages > keep;)
        release_page(state, state->table[s][--sequence->pages]);
}

void state_sequence_close(struct state *state, int s)
{
    struct sequence *sequence = &state->sequence[s];
    if (sequence->appended > 0) {
        sequence->closing = true;
        return;
    }
    trim(state, s, 0);
    sequence->open = false;
}

bool state_sequence_valid(const struct state *state, int s)
{
    return s >= 0 && s < state->sequences && state->sequence[s].open && !state->sequence[s].closing;
}

int32_t state_adapter(const struct state *state, int s)
{
    return state->sequence[s].adapter;
}

int32_t state_stored(const struct state *state, int s)
{
    return state->sequence[s].stored;
}

int32_t state_appended(const struct state *state, int s)
{
    return state->sequence[s].appended;
}

static int32_t take_page(struct state *state, struct error *error)
{
    if (state->free_pages == 0) {
        int open = 0;
        for (int s = 0; s < state->sequences; s++)
            open += state->sequence[s].open;
        return error_set(error,
                         "out of state pages: all %d pages of %d positions (%llu bytes) are in use by %d sequence%s; "
                         "raise --kv-memory (a sequence of %d positions takes %llu bytes)",
                         state->pages_total, state->page,
                         (unsigned long long)state->page_bytes * (uint64_t)state->pages_total, open,
                         open == 1 ? "" : "s", state->model->max_seq,
                         (unsigned long long)state->page_bytes * (uint64_t)state->table_pages);
    }
    int32_t page = state->free_page[--state->free_pages];
    state->references[page] = 1;
    return page;
}

static void copy_page(struct state *state, int32_t from, int32_t to)
{
    if (state->copy) {
        state->copy(state->copy_context, from, to);
        return;
    }
    for (int32_t g = 0; g < state->model->state_count; g++) {
        size_t bytes = (size_t)state->model->states[g].page_bytes;
        memcpy(state->base[g] + (size_t)to * bytes, state->base[g] + (size_t)from * bytes, bytes);
    }
}

/* A table entry from now on. */
static void set_entry(struct state *state, int s, int32_t index, int32_t page)
{
    struct sequence *sequence = &state->sequence[s];
    state->table[s][index] = page;
    sequence->changed = index < sequence->changed ? index : sequence->changed;
}

int state_own(struct state *state, int s, int32_t position, struct error *error)
{
    int32_t index = position / state->page, old = state->table[s][index];
    if (state->references[old] == 1)
        return 0;
    int32_t page = take_page(state, error);
    if (page < 0)
        return -1;
    copy_page(state, old, page);
    release_page(state, old);
    set_entry(state, s, index, page);
    return 0;
}

int32_t state_append(struct state *state, int s, struct error *error)
{
    struct sequence *sequence = &state->sequence[s];
    int32_t position = sequence->stored + sequence->appended;
    if (position >= state->model->max_seq)
        return error_set(error,
                         "the sequence is full: it has %d positions, as many as this package was built for "
                         "(lathe build --max-seq)",
                         state->model->max_seq);
    int32_t index = position / state->page;
    if (index == sequence->pages) {
        int32_t page = take_page(state, error);
        if (page < 0)
            return -1;
        set_entry(state, s, index, page);
        sequence->pages++;
    } else if (state_own(state, s, position, error) != 0) {
        return -1;
    }
    sequence->appended++;
    return position;
}

void state_commit_some(struct state *state, int s, int32_t count)
{
    struct sequence *sequence = &state->sequence[s];
    sequence->stored += count;
    sequence->appended -= count;
    if (sequence->closing)
        state_sequence_close(state, s);
}

void state_commit(struct state *state, int s)
{
    state_commit_some(state, s, state->sequence[s].appended);
}

void state_drop(struct state *state, int s)
{
    struct sequence *sequence = &state->sequence[s];
    sequence->appended = 0;
    trim(state, s, sequence->stored);
    if (sequence->closing)
        state_sequence_close(state, s);
}

int state_rollback(struct state *state, int s, int32_t length, struct error *error)
{
    struct sequence *sequence = &state->sequence[s];
    if (sequence->appended > 0)
        return error_set(error,
                         "roll back of sequence %d: %d of its rows are in the step being assembled; run or "
                         "discard it first",
                         s, sequence->appended);
    if (length < 0 || length > sequence->stored)
        return error_set(error, "roll back of sequence %d to %d positions: it has %d", s, length, sequence->stored);
    sequence->stored = length;
    trim(state, s, length);
    return 0;
}

int state_fork(struct state *state, int s, struct error *error)
{
    int fork = state_sequence_open(state, state->sequence[s].adapter, error);
    if (fork < 0)
        return -1;
    struct sequence *sequence = &state->sequence[fork];
    sequence->stored = state->sequence[s].stored;
    sequence->pages = pages_of(state, sequence->stored);
    for (int32_t i = 0; i < sequence->pages; i++) {
        set_entry(state, fork, i, state->table[s][i]);
        state->references[state->table[s][i]]++;
    }
    return fork;
}

bool state_take_changes(struct state *state, int s, int32_t *first, int32_t *end)
{
    struct sequence *sequence = &state->sequence[s];
    *first = sequence->changed;
    *end = sequence->pages;
    sequence->changed = sequence->pages;
    return *first < *end;
}

int32_t state_table_used(const struct state *state, int s)
{
    return state->sequence[s].pages;
}

const int32_t *const *state_pages(const struct state *state)
{
    return (const int32_t *const *)state->table;
}

unsigned char *const *state_bases(const struct state *state)
{
    return state->base;
}

int32_t state_pages_total(const struct state *state)
{
    return state->pages_total;
}

int32_t state_pages_used(const struct state *state)
{
    return state->pages_total - state->free_pages;
}

uint64_t state_page_bytes(const struct state *state)
{
    return state->page_bytes;
}

uint64_t state_scratch_bytes(const struct state *state)
{
    return state->scratch_bytes;
}
