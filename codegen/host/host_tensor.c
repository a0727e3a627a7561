#include "host_tensor.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host.h"
#include "host_file.h"
#include "host_writer.h"

#define CHUNK 65536u          /* weights converted at a time, a multiple of TENSOR_BLOCK_MAX */
#define KEEP_MAPPED 0x800000u /* source bytes read before their pages are let go */

struct conversion {
    const struct tensor_source *source;
    enum dtype dtype;
    tensor_sink *sink;
    void *context;
    bool as_is;       /* stored as it is wanted: copied, not converted */
    uint64_t dropped; /* source bytes whose pages are let go */
    float values[CHUNK];
    uint16_t rounded[CHUNK];
};

int tensor_bytes(const struct tensor_format *format, uint64_t rows, uint64_t columns, uint64_t *bytes,
                 struct error *error)
{
    uint64_t blocks;
    if (columns % format->block_weights != 0)
        return error_set(error, "expected rows of a multiple of %" PRIu32 " weights for %s, found %" PRIu64,
                         format->block_weights, format->name, columns);
    if (__builtin_mul_overflow(rows, columns / format->block_weights, &blocks) ||
        __builtin_mul_overflow(blocks, (uint64_t)format->block_bytes, bytes))
        return error_set(error, "%" PRIu64 " x %" PRIu64 " weights are more than any file can hold", rows, columns);
    return 0;
}

static uint16_t round_to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t nan = (bits & 0x7fffffffu) > 0x7f800000u;
    uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return (uint16_t)(nan ? bits >> 16 | 0x40u : rounded);
}

/* The pages of source bytes [dropped, done) are read and not needed again: without this, memory in use would
   grow with the model. The file stays in the page cache. */
static void drop_pages(struct conversion *conversion, uint64_t done)
{
    if (!conversion->source->mapped)
        return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t base = (uintptr_t)conversion->source->data;
    uintptr_t from = (base + conversion->dropped) & ~(page - 1), to = (base + done) & ~(page - 1);
    if (to > from)
        madvise((void *)from, to - from, MADV_DONTNEED); /* advice: a failure costs memory, not correctness */
    conversion->dropped = done;
}

/* Converts `blocks` consecutive blocks, the first at byte `offset` of the source. */
static int convert_blocks(struct conversion *conversion, uint64_t offset, uint64_t blocks, struct error *error)
{
    const struct tensor_format *format = conversion->source->format;
    const unsigned char *data = conversion->source->data + offset;
    if (conversion->as_is)
        return conversion->sink(conversion->context, data, (size_t)(blocks * format->block_bytes), error);
    while (blocks > 0) {
        uint64_t count = CHUNK / format->block_weights;
        if (count > blocks)
            count = blocks;
        size_t weights = (size_t)count * format->block_weights;
        format->to_f32(data, (size_t)count, conversion->values);
        int failed;
        if (conversion->dtype == DTYPE_F32) {
            failed = conversion->sink(conversion->context, conversion->values, weights * sizeof(float), error);
        } else {
            for (size_t i = 0; i < weights; i++)
                conversion->rounded[i] = round_to_bf16(conversion->values[i]);
            failed = conversion->sink(conversion->context, conversion->rounded, weights * sizeof(uint16_t), error);
        }
        if (failed)
            return -1;
        data += count * format->block_bytes;
        blocks -= count;
    }
    return 0;
}

static int convert_in_order(struct conversion *conversion, uint64_t bytes, struct error *error)
{
    const struct tensor_format *format = conversion->source->format;
    uint64_t step = KEEP_MAPPED / format->block_bytes * format->block_bytes;
    for (uint64_t offset = 0; offset < bytes; offset += step) {
        uint64_t part = bytes - offset < step ? bytes - offset : step;
        if (convert_blocks(conversion, offset, part / format->block_bytes, error) != 0)
            return -1;
        drop_pages(conversion, offset + part);
    }
    return 0;
}

static int convert_heads(struct conversion *conversion, uint64_t bytes, struct error *error)
{
    const struct tensor_source *source = conversion->source;
    uint64_t row_blocks = source->columns / source->format->block_weights;
    uint64_t row_bytes = row_blocks * source->format->block_bytes;
    uint64_t head_rows = source->rows / source->heads;
    for (uint64_t head = 0; head < source->heads; head++) {
        for (uint64_t row = 0; row < head_rows; row++) {
            uint64_t half = row >= head_rows / 2;
            uint64_t stored = head * head_rows + 2 * (row - half * (head_rows / 2)) + half;
            if (convert_blocks(conversion, stored * row_bytes, row_blocks, error) != 0)
                return -1;
        }
        uint64_t done = (head + 1) * head_rows * row_bytes;
        if (done - conversion->dropped >= KEEP_MAPPED || done == bytes)
            drop_pages(conversion, done);
    }
    return 0;
}

static int check_heads(const struct tensor_source *source, struct error *error)
{
    if (source->heads && (source->rows % source->heads != 0 || source->rows / source->heads % 2 != 0))
        return error_set(error, "expected rows in pairs for each of %" PRIu64 " heads, found %" PRIu64 " rows",
                         source->heads, source->rows);
    return 0;
}

int tensor_convert(const struct tensor_source *source, enum dtype dtype, tensor_sink *sink, void *context,
                   struct error *error)
{
    uint64_t bytes;
    if (dtype != DTYPE_BF16 && dtype != DTYPE_F32)
        return error_set(error, "tensors are converted to bf16 or f32 only");
    if (tensor_bytes(source->format, source->rows, source->columns, &bytes, error) != 0)
        return -1;
    if (check_heads(source, error) != 0)
        return -1;
    struct conversion *conversion = malloc(sizeof *conversion);
    if (!conversion)
        return error_set(error, "out of memory");
    conversion->source = source;
    conversion->dtype = dtype;
    conversion->sink = sink;
    conversion->context = context;
    conversion->as_is = strcmp(source->format->name, dtype == DTYPE_F32 ? "F32" : "BF16") == 0;
    conversion->dropped = 0;
    int failed = source->heads ? convert_heads(conversion, bytes, error) : convert_in_order(conversion, bytes, error);
    free(conversion);
    return failed;
}

/* Where a row lies: the inverse of llama.cpp's order, as in convert_heads. */
static uint64_t stored_row(const struct tensor_source *source, uint64_t row)
{
    if (!source->heads)
        return row;
    uint64_t head_rows = source->rows / source->heads, head = row / head_rows, own = row % head_rows;
    uint64_t half = own >= head_rows / 2;
    return head * head_rows + 2 * (own - half * (head_rows / 2)) + half;
}

void tensor_rows(const struct tensor_source *source, enum dtype dtype, uint64_t first, uint64_t rows, float *out)
{
    uint64_t blocks = source->columns / source->format->block_weights;
    uint64_t row_bytes = blocks * source->format->block_bytes;
    for (uint64_t i = 0; i < rows; i++)
        source->format->to_f32(source->data + stored_row(source, first + i) * row_bytes, (size_t)blocks,
                               out + i * source->columns);
    for (uint64_t i = 0; dtype == DTYPE_BF16 && i < rows * source->columns; i++) {
        uint32_t bits = (uint32_t)round_to_bf16(out[i]) << 16;
        memcpy(&out[i], &bits, sizeof bits);
    }
}

void tensor_drop(const struct tensor_source *source, uint64_t first, uint64_t rows)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), base = (uintptr_t)source->data;
    uint64_t row_bytes = source->columns / source->format->block_weights * source->format->block_bytes;
    uintptr_t from = (base + first * row_bytes) & ~(page - 1), to = (base + (first + rows) * row_bytes) & ~(page - 1);
    if (source->mapped && to > from)
        madvise((void *)from, to - from, MADV_DONTNEED);
}

static int write_to_writer(void *context, const void *data, size_t bytes, struct error *error)
{
    return writer_append(context, data, bytes, error);
}

enum dtype host_check_dtype(lua_State *lua, int index)
{
    static const char *const dtypes[] = {"bf16", "f32", NULL};
    return luaL_checkoption(lua, index, NULL, dtypes) == 0 ? DTYPE_BF16 : DTYPE_F32;
}

/* Field `key` of the tensor at `index` as a size; `otherwise` when it is nil. */
static uint64_t size_field(lua_State *lua, int index, const char *key, lua_Integer otherwise)
{
    lua_getfield(lua, index, key);
    lua_Integer value = lua_isnil(lua, -1) ? otherwise : luaL_checkinteger(lua, -1);
    luaL_argcheck(lua, value >= 0, index, "a size is negative");
    lua_pop(lua, 1);
    return (uint64_t)value;
}

/* The shape of the tensor at `index` as rows x columns: all but the last dimension are rows. */
static void read_shape(lua_State *lua, int index, struct tensor_source *source)
{
    source->rows = source->columns = 1;
    lua_getfield(lua, index, "shape");
    luaL_checktype(lua, -1, LUA_TTABLE);
    lua_Integer dimensions = luaL_len(lua, -1);
    for (lua_Integer i = 1; i <= dimensions; i++) {
        lua_geti(lua, -1, i);
        lua_Integer value = luaL_checkinteger(lua, -1);
        luaL_argcheck(lua, value >= 0, index, "a dimension is negative");
        luaL_argcheck(lua, !__builtin_mul_overflow(source->rows, source->columns, &source->rows), index,
                      "shape overflows");
        source->columns = (uint64_t)value;
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
    if (source->heads && dimensions == 1) { /* a bias: every element is a row */
        source->rows = source->columns;
        source->columns = 1;
    }
}

void host_check_tensor(lua_State *lua, int index, struct tensor_source *source)
{
    luaL_checktype(lua, index, LUA_TTABLE);
    lua_getfield(lua, index, "file");
    struct mapped_file *file = host_check_file(lua, -1);
    lua_getfield(lua, index, "name");
    const char *name = luaL_checkstring(lua, -1);
    lua_getfield(lua, index, "dtype");
    const char *stored = luaL_checkstring(lua, -1);

    struct error error;
    uint64_t offset = size_field(lua, index, "offset", 0), bytes = size_field(lua, index, "bytes", 0), expected;
    *source = (struct tensor_source){.format = tensor_format_find(stored), .mapped = true};
    if (!source->format)
        host_fail(lua, "%s: %s: dtype %s cannot be converted; convert the checkpoint to BF16 first", file->path, name,
                  stored);
    source->heads = size_field(lua, index, "permute", 0);
    read_shape(lua, index, source);
    if (tensor_bytes(source->format, source->rows, source->columns, &expected, &error) != 0 ||
        check_heads(source, &error) != 0)
        host_fail(lua, "%s: %s: %s", file->path, name, error.message);
    if (expected != bytes || offset > file->size || bytes > file->size - offset)
        host_fail(lua, "%s: %s: expected %" PRIu64 " bytes inside the file, found %" PRIu64 " at offset %" PRIu64,
                  file->path, name, expected, bytes, offset);
    source->data = bytes ? file->data + offset : NULL;
    lua_pop(lua, 3);
}

/* writer:tensor(tensor, "bf16" | "f32"): an entry of checkpoint.tensors, converted. */
static int writer_tensor(lua_State *lua)
{
    struct writer *writer = host_check_writer(lua, 1);
    enum dtype dtype = host_check_dtype(lua, 3);
    struct tensor_source source;
    struct error error;
    host_check_tensor(lua, 2, &source);
    if (source.data && tensor_convert(&source, dtype, write_to_writer, writer, &error) != 0) {
        lua_getfield(lua, 2, "name");
        host_fail(lua, "%s: %s", lua_tostring(lua, -1), error.message);
    }
    return 0;
}

/* host.tensor_formats() -> { Q4_1 = { block_bytes = 20, block_weights = 32 }, ... }: what writer:tensor
 * converts. */
static int push_formats(lua_State *lua)
{
    lua_createtable(lua, 0, (int)tensor_format_count);
    for (size_t i = 0; i < tensor_format_count; i++) {
        lua_createtable(lua, 0, 2);
        lua_pushinteger(lua, tensor_formats[i].block_bytes);
        lua_setfield(lua, -2, "block_bytes");
        lua_pushinteger(lua, tensor_formats[i].block_weights);
        lua_setfield(lua, -2, "block_weights");
        lua_setfield(lua, -2, tensor_formats[i].name);
    }
    return 1;
}

/* Called after host_open_writer, whose metatable gets the method `tensor`. */
void host_open_tensor(lua_State *lua)
{
    lua_pushcfunction(lua, push_formats);
    lua_setfield(lua, -2, "tensor_formats");
    luaL_getmetatable(lua, HOST_WRITER);
    lua_pushcfunction(lua, writer_tensor);
    lua_setfield(lua, -2, "tensor");
    lua_pop(lua, 1);
}
