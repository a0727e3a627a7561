#include "cuda_load.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "draft.h"
#include "weights.h"

enum {
    CHUNK = 8 << 20,   /* of the payload, read by one thread into a pinned buffer */
    BUFFERS = 8,       /* pinned */
    READERS = 4,       /* threads: one cannot copy as fast as the bus takes it */
    TILE = 16,         /* rows that the pack kernel wants together */
    PIECE = 128 << 20, /* bytes of a section that are packed at a time, if its rows can be */
};

static bool is_uploaded(const struct model *model, int32_t tensor)
{
    for (int32_t i = 0; i < model->cuda->section_count; i++)
        if (model->cuda->sections[i].tensor == tensor)
            return true;
    return false;
}

/* Do the kernels' tiles take rows from all over the matrix? */
static bool is_paired(const struct model *model, int32_t tensor)
{
    for (int32_t i = 0; i < model->cuda->section_count; i++)
        if (model->cuda->sections[i].tensor == tensor && model->cuda->sections[i].packing == CUDA_PACKING_PAIRS)
            return true;
    return false;
}

static uint64_t row_bytes(const struct tensor *tensor)
{
    return tensor->rows > 0 ? tensor->bytes / (uint64_t)tensor->rows : 0;
}

/* Rows of a tensor that are staged together: whole heads, whole tiles. */
static int64_t piece_rows(const struct model *model, int32_t index)
{
    const struct tensor *tensor = &model->tensors[index];
    int64_t unit = (int64_t)TILE * (model->head_dim > 0 ? model->head_dim : 1);
    if (model->draft && unit % model->draft->head_dim != 0)
        unit *= model->draft->head_dim;
    if (is_paired(model, index) || row_bytes(tensor) == 0)
        return tensor->rows;
    int64_t rows = (int64_t)(PIECE / row_bytes(tensor)) / unit * unit;
    rows = rows < unit ? unit : rows;
    return rows < tensor->rows ? rows : tensor->rows;
}

uint64_t cuda_load_staging(const struct model *model)
{
    uint64_t most = 16;
    for (int32_t i = 0; i < model->tensor_count; i++) {
        uint64_t bytes = (uint64_t)piece_rows(model, i) * row_bytes(&model->tensors[i]);
        most = is_uploaded(model, i) && bytes > most ? bytes : most;
    }
    return most;
}

/* Puts rows [first, first + count) of a tensor, which lie in the staging memory, where its sections have them. */
static int place_rows(struct cuda_stream *stream, const struct cuda_load *load, int32_t index, int64_t first,
                      int64_t count, struct error *error)
{
    const struct cuda_model *cuda = load->model->cuda;
    const struct tensor *tensor = &load->model->tensors[index];
    const struct cuda_driver *driver = &stream->device->driver;
    for (int32_t i = 0; i < cuda->section_count; i++) {
        const struct cuda_section *section = &cuda->sections[i];
        if (section->tensor != index || section->offset >= load->weights_bytes)
            continue;
        if (section->packing == CUDA_PACKING_COPY) {
            CUdeviceptr to = load->weights + section->offset + (uint64_t)first * row_bytes(tensor);
            if (cuda_check(driver,
                           driver->cuMemcpyDtoDAsync_v2(to, load->staging, (uint64_t)count * row_bytes(tensor),
                                                        stream->handle),
                           tensor->name, error))
                return -1;
            continue;
        }
        CUdeviceptr to = load->weights + section->offset;
        CUdeviceptr from = load->staging - (uint64_t)first * row_bytes(tensor);
        bool of_draft = section->packing == CUDA_PACKING_DRAFT_ROTARY;
        int rows = (int)tensor->rows, columns = (int)tensor->columns;
        int packing = of_draft ? CUDA_PACKING_ROTARY : (int)section->packing;
        int first_tile = (int)(first / TILE);
        unsigned tiles = (unsigned)((count + TILE - 1) / TILE);
        if (section->packing == CUDA_PACKING_PAIRS) /* half a tile of gate rows, half of up rows */
            tiles = (unsigned)((tensor->rows / 2 + TILE / 2 - 1) / (TILE / 2));
        cuda_stream_launch(stream, of_draft ? cuda->draft->pack_kernel : cuda->pack_kernel, "pack", -1,
                           (unsigned[]){tiles, 1, 1}, (void *[]){&to, &from, &rows, &columns, &packing, &first_tile});
    }
    return cuda_stream_take_error(stream, error);
}

static uint64_t uploaded_bytes(const struct model *model)
{
    uint64_t bytes = 0;
    for (int32_t i = 0; i < model->tensor_count; i++)
        bytes += is_uploaded(model, i) ? model->tensors[i].bytes : 0;
    return bytes;
}

static void report(const struct cuda_load *load, const char *what, uint64_t done, uint64_t total)
{
    if (load->progress)
        load->progress(load->progress_context, what, done, total);
}

/* Random weights are made a piece at a time in the staging memory. */
static int make_weights(struct cuda_stream *stream, const struct cuda_load *load, struct error *error)
{
    const struct model *model = load->model;
    uint64_t total = uploaded_bytes(model), done = 0;
    for (int32_t i = 0; i < model->tensor_count; i++) {
        const struct tensor *tensor = &model->tensors[i];
        if (!is_uploaded(model, i))
            continue;
        int64_t step = piece_rows(model, i);
        for (int64_t row = 0; row < tensor->rows; row += step) {
            int64_t rows = tensor->rows - row < step ? tensor->rows - row : step;
            CUdeviceptr to = load->staging;
            uint64_t first = (uint64_t)row * (uint64_t)tensor->columns;
            uint64_t count = (uint64_t)rows * (uint64_t)tensor->columns;
            uint64_t key = weights_random_key(model->random_seed, tensor->name);
            float centre = tensor->random_centre, scale = tensor->random_scale;
            int bf16 = tensor->dtype == DTYPE_BF16;
            unsigned blocks = (unsigned)stream->device->processors * 8;
            cuda_stream_launch(stream, model->cuda->random_kernel, "random weights", -1, (unsigned[]){blocks, 1, 1},
                               (void *[]){&to, &first, &count, &key, &centre, &scale, &bf16});
            if (place_rows(stream, load, i, row, rows, error))
                return -1;
        }
        done += tensor->bytes;
        report(load, "making random weights", done, total);
    }
    return 0;
}

/* The payload in chunks, in order: readers fill pinned buffers, one consumer uploads them; one thread hashes. */
struct reading {
    const unsigned char *payload;
    uint64_t bytes, chunks;
    unsigned char *buffer; /* [BUFFERS * CHUNK] pinned */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t next;             /* chunk that nobody reads yet */
    uint64_t released;         /* chunks before this one are out of their buffers */
    bool filled[BUFFERS], end; /* end: nobody wants more */
    XXH3_state_t *hash;        /* of the payload; NULL: nobody wants it */
};

static uint64_t chunk_bytes(const struct reading *reading, uint64_t chunk)
{
    uint64_t left = reading->bytes - chunk * CHUNK;
    return left < CHUNK ? left : CHUNK;
}

/* Asks for a piece of the mapped file as a whole, not page by page as the copy comes by; only speed depends on it. */
static void touch(const unsigned char *from, uint64_t bytes)
{
#ifdef MADV_POPULATE_READ
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)from / page * page;
    (void)madvise((void *)start, (uintptr_t)from + bytes - start, MADV_POPULATE_READ);
#else
    (void)from, (void)bytes;
#endif
}

/* The pages that lie whole inside the piece stay in the system's cache, but no longer count as this process's. */
static void leave(const unsigned char *from, uint64_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = ((uintptr_t)from + page - 1) / page * page, stop = ((uintptr_t)from + bytes) / page * page;
    if (stop > start)
        (void)madvise((void *)start, stop - start, MADV_DONTNEED);
}

static void *read_chunks(void *context)
{
    struct reading *reading = context;
    pthread_mutex_lock(&reading->lock);
    while (!reading->end && reading->next < reading->chunks) {
        uint64_t chunk = reading->next;
        if (chunk >= reading->released + BUFFERS) {
            pthread_cond_wait(&reading->changed, &reading->lock);
            continue;
        }
        reading->next++;
        pthread_mutex_unlock(&reading->lock);
        const unsigned char *from = reading->payload + chunk * CHUNK;
        touch(from, chunk_bytes(reading, chunk));
        memcpy(reading->buffer + chunk % BUFFERS * CHUNK, from, chunk_bytes(reading, chunk));
        leave(from, chunk_bytes(reading, chunk));
        pthread_mutex_lock(&reading->lock);
        reading->filled[chunk % BUFFERS] = true;
        pthread_cond_broadcast(&reading->changed);
    }
    pthread_mutex_unlock(&reading->lock);
    return NULL;
}

/* Hashes the mapped payload beside the readers: it is one long dependency, and what others have just written to the pinned
   buffers comes slower from their caches than the file from the system's. */
static void *hash_chunks(void *context)
{
    struct reading *reading = context;
    bool end = false;
    for (uint64_t chunk = 0; chunk < reading->chunks && !end; chunk++) {
        const unsigned char *from = reading->payload + chunk * CHUNK;
        touch(from, chunk_bytes(reading, chunk));
        XXH3_128bits_update(reading->hash, from, chunk_bytes(reading, chunk));
        leave(from, chunk_bytes(reading, chunk));
        pthread_mutex_lock(&reading->lock);
        end = reading->end;
        pthread_mutex_unlock(&reading->lock);
    }
    return NULL;
}

static void wait_for_chunk(struct reading *reading, uint64_t chunk)
{
    pthread_mutex_lock(&reading->lock);
    while (!reading->filled[chunk % BUFFERS])
        pthread_cond_wait(&reading->changed, &reading->lock);
    pthread_mutex_unlock(&reading->lock);
}

/* Chunks before `chunk` may be overwritten. */
static void release_chunks(struct reading *reading, uint64_t chunk)
{
    pthread_mutex_lock(&reading->lock);
    for (; reading->released < chunk; reading->released++)
        reading->filled[reading->released % BUFFERS] = false;
    pthread_cond_broadcast(&reading->changed);
    pthread_mutex_unlock(&reading->lock);
}

/* Where the consumer is. */
struct upload {
    struct cuda_stream *stream;
    const struct cuda_load *load;
    int32_t *order; /* [tensors] that go to the device, by their offset in the payload */
    int32_t tensors;
    int32_t current;        /* in `order` */
    uint64_t tensor_done;   /* bytes of it that have been staged */
    uint64_t uploaded;      /* bytes in all */
    CUevent event[BUFFERS]; /* the buffer's copies are done; NULL: not made */
};

/* Stages what [from, from + bytes) of the payload, which lies at `data`, holds of the tensors; places whole pieces. */
static int upload_bytes(struct upload *upload, const unsigned char *data, uint64_t from, uint64_t bytes,
                        struct error *error)
{
    const struct cuda_load *load = upload->load;
    const struct cuda_driver *driver = &upload->stream->device->driver;
    while (upload->current < upload->tensors) {
        int32_t index = upload->order[upload->current];
        const struct tensor *tensor = &load->model->tensors[index];
        uint64_t at = tensor->offset + upload->tensor_done; /* wanted next */
        if (at >= from + bytes)
            return 0;
        uint64_t piece = (uint64_t)piece_rows(load->model, index) * row_bytes(tensor);
        uint64_t inside = upload->tensor_done % piece, start = upload->tensor_done - inside;
        uint64_t whole = tensor->bytes - start < piece ? tensor->bytes - start : piece;
        uint64_t left = whole - inside, there = from + bytes - at, count = left < there ? left : there;
        if (cuda_check(
                driver,
                driver->cuMemcpyHtoDAsync_v2(load->staging + inside, data + (at - from), count, upload->stream->handle),
                tensor->name, error))
            return -1;
        upload->tensor_done += count;
        upload->uploaded += count;
        if (inside + count == whole && place_rows(upload->stream, load, index, (int64_t)(start / row_bytes(tensor)),
                                                  (int64_t)(whole / row_bytes(tensor)), error))
            return -1;
        if (upload->tensor_done == tensor->bytes) {
            upload->current++;
            upload->tensor_done = 0;
        }
    }
    return 0;
}

static int consume(struct upload *upload, struct reading *reading, struct error *error)
{
    const struct cuda_load *load = upload->load;
    const struct cuda_driver *driver = &upload->stream->device->driver;
    for (uint64_t chunk = 0; chunk < reading->chunks; chunk++) {
        const unsigned char *data = reading->buffer + chunk % BUFFERS * CHUNK;
        wait_for_chunk(reading, chunk);
        if (upload_bytes(upload, data, chunk * CHUNK, chunk_bytes(reading, chunk), error) ||
            cuda_check(driver, driver->cuEventRecord(upload->event[chunk % BUFFERS], upload->stream->handle),
                       "loading weights", error))
            return -1;
        /* Half of the buffers are on their way to the device, the others are being filled. */
        if (chunk + 1 >= BUFFERS / 2) {
            uint64_t done = chunk + 1 - BUFFERS / 2;
            if (cuda_check(driver, driver->cuEventSynchronize(upload->event[done % BUFFERS]), "loading weights", error))
                return -1;
            release_chunks(reading, done + 1);
        }
        report(load, "loading weights", upload->uploaded, uploaded_bytes(load->model));
    }
    return 0;
}

/* The tensors that go to the device, in order of the payload. */
static int sort_tensors(struct upload *upload, struct error *error)
{
    const struct model *model = upload->load->model;
    upload->order = calloc((size_t)model->tensor_count + 1, sizeof *upload->order);
    if (!upload->order)
        return error_set(error, "out of memory for the order of %d tensors", model->tensor_count);
    for (int32_t i = 0; i < model->tensor_count; i++) {
        if (!is_uploaded(model, i) || model->tensors[i].bytes == 0)
            continue;
        int32_t place = upload->tensors++;
        for (; place > 0 && model->tensors[upload->order[place - 1]].offset > model->tensors[i].offset; place--)
            upload->order[place] = upload->order[place - 1];
        upload->order[place] = i;
    }
    return 0;
}

static int check_hash(const struct cuda_load *load, XXH3_state_t *hash, struct error *error)
{
    XXH128_canonical_t found;
    XXH128_canonicalFromHash(&found, XXH3_128bits_digest(hash));
    return package_check_hash(load->package, found.digest, error);
}

static int read_and_upload(struct upload *upload, struct reading *reading, struct error *error)
{
    pthread_t reader[READERS], hasher;
    int readers = 0;
    bool hashes = reading->hash && pthread_create(&hasher, NULL, hash_chunks, reading) == 0;
    while (readers < READERS && pthread_create(&reader[readers], NULL, read_chunks, reading) == 0)
        readers++;
    int failed = readers && (hashes || !reading->hash)
                     ? consume(upload, reading, error)
                     : error_set(error, "cannot start the threads that read the weights");
    pthread_mutex_lock(&reading->lock);
    reading->end = failed || !readers;
    pthread_cond_broadcast(&reading->changed);
    pthread_mutex_unlock(&reading->lock);
    while (readers > 0)
        pthread_join(reader[--readers], NULL);
    if (hashes)
        pthread_join(hasher, NULL);
    return failed;
}

static int stream_weights(struct cuda_stream *stream, const struct cuda_load *load, struct error *error)
{
    const struct cuda_driver *driver = &stream->device->driver;
    struct upload upload = {.stream = stream, .load = load};
    struct reading reading = {
        .payload = load->package->payload,
        .bytes = load->package->bytes,
        .chunks = (load->package->bytes + CHUNK - 1) / CHUNK,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
    };
    XXH3_state_t *hash = load->verify ? XXH3_createState() : NULL;
    void *buffer = NULL;
    int failed = sort_tensors(&upload, error);
    if (!failed && load->verify && (!hash || XXH3_128bits_reset(hash) != XXH_OK))
        failed = error_set(error, "out of memory to check the weights");
    size_t bytes = (size_t)(reading.chunks < BUFFERS ? reading.chunks : BUFFERS) * CHUNK;
    failed = failed || cuda_check(driver, driver->cuMemHostAlloc(&buffer, bytes ? bytes : 1, CU_MEMHOSTALLOC_PORTABLE),
                                  "pinned memory for loading weights", error);
    for (int i = 0; i < BUFFERS && !failed; i++)
        failed = cuda_check(driver, driver->cuEventCreate(&upload.event[i], CU_EVENT_DISABLE_TIMING), "loading weights",
                            error);
    reading.buffer = buffer;
    reading.hash = hash;
    failed = failed || read_and_upload(&upload, &reading, error) || (hash && check_hash(load, hash, error));
    /* Nothing may read the buffers when they go. */
    (void)driver->cuStreamSynchronize(stream->handle);
    for (int i = 0; i < BUFFERS; i++)
        if (upload.event[i])
            (void)driver->cuEventDestroy_v2(upload.event[i]);
    if (buffer)
        (void)driver->cuMemFreeHost(buffer);
    XXH3_freeState(hash);
    free(upload.order);
    return failed ? -1 : 0;
}

int cuda_load(struct cuda_stream *stream, const struct cuda_load *load, struct error *error)
{
    const struct cuda_driver *driver = &stream->device->driver;
    if (cuda_check(driver, driver->cuMemsetD8Async(load->weights, 0, load->weights_bytes, stream->handle),
                   "clearing the weights' memory", error) ||
        (load->model->random ? make_weights(stream, load, error) : stream_weights(stream, load, error)))
        return -1;
    return cuda_stream_finish(stream, "loading weights", error);
}
