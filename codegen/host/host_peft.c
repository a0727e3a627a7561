/* LoRA adapters for Lua (runtime/peft.h): read, written as sections of the payload, merged into weights while those are
   written. */
#include "peft.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "host_tensor.h"
#include "host_torch.h"
#include "host_writer.h"
#include "weights.h"

#define HOST_PEFT "lathe.peft"      /* metatable */
#define FLOATS_AT_ONCE 65536u       /* weights merged at a time, or one row if that is more */
#define DROPPED_AT_ONCE (64u << 20) /* bytes of merged weights after which the source's pages are let go */

struct adapter_handle {
    struct peft peft;
    struct adapter_site *sites; /* [count], their names in one block */
    char *names;
};

static struct adapter_handle *check_adapter(lua_State *lua, int index)
{
    struct adapter_handle *handle = luaL_checkudata(lua, index, HOST_PEFT);
    if (!handle->sites)
        luaL_error(lua, "the adapter is closed");
    return handle;
}

static int adapter_gc(lua_State *lua)
{
    struct adapter_handle *handle = luaL_checkudata(lua, 1, HOST_PEFT);
    peft_close(&handle->peft);
    free(handle->sites);
    free(handle->names);
    memset(handle, 0, sizeof *handle);
    return 0;
}

static int32_t integer_field(lua_State *lua, int index, const char *key)
{
    lua_getfield(lua, index, key);
    lua_Integer value = luaL_checkinteger(lua, -1);
    luaL_argcheck(lua, value > 0 && value <= INT32_MAX, 2, key);
    lua_pop(lua, 1);
    return (int32_t)value;
}

/* The text field `key` of the table on top, copied to *names; its bytes are counted where names is NULL. */
static const char *copy_name(lua_State *lua, const char *key, char **names, size_t *bytes)
{
    size_t length;
    lua_getfield(lua, -1, key);
    const char *text = luaL_checklstring(lua, -1, &length), *copy = NULL;
    if (names) {
        copy = memcpy(*names, text, length + 1);
        *names += length + 1;
    }
    *bytes += length + 1;
    lua_pop(lua, 1);
    return copy;
}

/* The sites of the table at index 2: { name, module, rows, columns, has_bias } each. */
static int32_t read_sites(lua_State *lua, struct adapter_handle *handle)
{
    luaL_checktype(lua, 2, LUA_TTABLE);
    lua_Integer count = luaL_len(lua, 2);
    size_t bytes = 0;
    luaL_argcheck(lua, count > 0 && count < 1 << 20, 2, "sites");
    for (lua_Integer i = 1; i <= count; i++) {
        lua_geti(lua, 2, i);
        copy_name(lua, "name", NULL, &bytes);
        copy_name(lua, "module", NULL, &bytes);
        lua_pop(lua, 1);
    }
    handle->sites = calloc((size_t)count, sizeof *handle->sites);
    handle->names = malloc(bytes);
    if (!handle->sites || !handle->names)
        luaL_error(lua, "out of memory");
    char *names = handle->names;
    for (lua_Integer i = 0; i < count; i++) {
        struct adapter_site *site = &handle->sites[i];
        lua_geti(lua, 2, i + 1);
        site->name = copy_name(lua, "name", &names, &bytes);
        site->module = copy_name(lua, "module", &names, &bytes);
        site->rows = integer_field(lua, -1, "rows");
        site->columns = integer_field(lua, -1, "columns");
        lua_getfield(lua, -1, "has_bias");
        site->bias_tensor = lua_toboolean(lua, -1) ? 0 : -1;
        lua_pop(lua, 2);
    }
    return (int32_t)count;
}

/* host.peft(folder, sites, merging) -> adapter */
static int open_adapter(lua_State *lua)
{
    const char *folder = luaL_checkstring(lua, 1);
    struct adapter_handle *handle = lua_newuserdatauv(lua, sizeof *handle, 0);
    memset(handle, 0, sizeof *handle);
    luaL_setmetatable(lua, HOST_PEFT);
    int32_t count = read_sites(lua, handle);
    struct error error;
    if (peft_open(&handle->peft, folder, handle->sites, count, lua_toboolean(lua, 3), &error) != 0)
        host_fail(lua, "%s", error.message);
    return 1;
}

/* adapter:blob_bytes("bf16" | "f32") -> bytes of its section */
static int blob_bytes(lua_State *lua)
{
    struct adapter_handle *handle = check_adapter(lua, 1);
    struct error error;
    uint64_t bytes;
    if (peft_blob_bytes(&handle->peft, host_check_dtype(lua, 2), &bytes, &error) != 0)
        host_fail(lua, "%s", error.message);
    lua_pushinteger(lua, (lua_Integer)bytes);
    return 1;
}

static void set_flag(lua_State *lua, const char *key, bool value)
{
    lua_pushboolean(lua, value);
    lua_setfield(lua, -2, key);
}

/* adapter:contents() -> what it changes (read/peft.lua says how that looks) */
static int contents(lua_State *lua)
{
    const struct peft *peft = &check_adapter(lua, 1)->peft;
    lua_createtable(lua, 0, 6);
    lua_pushstring(lua, peft->file.path);
    lua_setfield(lua, -2, "file");
    lua_pushinteger(lua, peft->rank);
    lua_setfield(lua, -2, "rank");
    lua_pushinteger(lua, peft_extra_ids(peft));
    lua_setfield(lua, -2, "extra_ids");
    lua_createtable(lua, 0, peft->site_count);
    for (int32_t i = 0; i < peft->site_count; i++) {
        const struct peft_site *site = &peft->site[i];
        if (!peft_changes_weight(peft, i) && !peft_changes_bias(peft, i))
            continue;
        lua_createtable(lua, 0, 8);
        lua_pushinteger(lua, site->rank);
        lua_setfield(lua, -2, "rank");
        lua_pushinteger(lua, peft_padded_rank(site->rank));
        lua_setfield(lua, -2, "padded");
        lua_pushnumber(lua, (lua_Number)site->scale);
        lua_setfield(lua, -2, "scale");
        set_flag(lua, "dora", site->magnitude != NULL);
        set_flag(lua, "bias", peft_changes_bias(peft, i));
        set_flag(lua, "copy", site->copy != NULL);
        if (site->full) {
            host_push_stored(lua, site->full->name, site->full);
            lua_setfield(lua, -2, "full");
        }
        lua_rawseti(lua, -2, i);
    }
    lua_setfield(lua, -2, "sites");
    lua_createtable(lua, peft->other_count, 0);
    for (int32_t i = 0; i < peft->other_count; i++) {
        host_push_stored(lua, peft->others[i].name, peft->others[i].tensor);
        lua_rawseti(lua, -2, i + 1);
    }
    lua_setfield(lua, -2, "others");
    return 1;
}

/* A tensor of the checkpoint, maybe with an adapter that is merged into it. */
struct source {
    struct tensor_source tensor; /* data NULL: zeros, [count] */
    const struct adapter_handle *merge;
    int32_t site;
    uint64_t count; /* elements */
};

/* The tensor at that stack index (absolute): an entry of checkpoint.tensors, or one that read/peft.lua made of it, with the
   fields merge (adapter), site (number), and zeros (elements) where the base has nothing. */
static void read_source(lua_State *lua, int index, struct source *source)
{
    memset(source, 0, sizeof *source);
    lua_getfield(lua, index, "merge");
    if (!lua_isnil(lua, -1)) {
        source->merge = check_adapter(lua, lua_gettop(lua));
        lua_getfield(lua, index, "site");
        lua_Integer site = luaL_checkinteger(lua, -1);
        luaL_argcheck(lua, site >= 0 && site < source->merge->peft.site_count, index, "site");
        source->site = (int32_t)site;
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
    lua_getfield(lua, index, "zeros");
    if (lua_isnil(lua, -1)) {
        host_check_tensor(lua, index, &source->tensor);
        source->count = source->tensor.rows * source->tensor.columns;
    } else {
        source->count = (uint64_t)luaL_checkinteger(lua, -1);
    }
    lua_pop(lua, 1);
}

/* Merged rows of a source, or its own. *merge is the open state for the source of the last call. */
static int source_rows(const struct source *source, struct peft_merge *merge, enum dtype dtype, uint64_t first,
                       uint64_t rows, float *out, struct error *error)
{
    tensor_rows(&source->tensor, source->merge ? DTYPE_F32 : dtype, first, rows, out);
    if (!source->merge)
        return 0;
    const struct peft *peft = &source->merge->peft;
    if (merge->peft != peft || merge->site != source->site) {
        peft_merge_close(merge);
        if (peft_merge_open(merge, peft, source->site, DTYPE_F32, error) != 0)
            return -1;
    }
    if (peft_merge_rows(merge, (int32_t)first, (int32_t)rows, out, NULL, error) != 0)
        return -1;
    /* As the package will hold them. */
    for (uint64_t i = 0; dtype == DTYPE_BF16 && i < rows * source->tensor.columns; i++)
        memcpy(&out[i], &(uint32_t){(uint32_t)weights_bf16(out[i]) << 16}, sizeof out[i]);
    return 0;
}

static int source_bias(const struct source *source, float *out, struct error *error)
{
    memset(out, 0, source->count * sizeof *out);
    if (source->tensor.data)
        tensor_rows(&source->tensor, DTYPE_F32, 0, source->tensor.rows, out);
    return source->merge ? peft_merge_bias(&source->merge->peft, source->site, out, error) : 0;
}

/* The base as peft.h asks for it. */
struct base {
    struct source *weights, *biases; /* [sites] */
    struct peft_merge merge;
    enum dtype dtype;
};

static int base_rows(void *context, int32_t site, int32_t first, int32_t rows, float *out, struct error *error)
{
    struct base *base = context;
    const struct source *source = &base->weights[site];
    if (!source->tensor.data)
        return error_set(error,
                         "site %d: its weights are not known when the package is built (--random-weights): DoRA, "
                         "biases and copies of embeddings need them",
                         site);
    return source_rows(source, &base->merge, base->dtype, (uint64_t)first, (uint64_t)rows, out, error);
}

static int base_bias(void *context, int32_t site, float *out, struct error *error)
{
    struct base *base = context;
    return source_bias(&base->biases[site], out, error);
}

/* The table at index 4, { [site] = { weight = tensor, bias = tensor } }: pushes the memory that `base` points into. */
static void read_base(lua_State *lua, int index, const struct peft *peft, struct base *base)
{
    size_t count = (size_t)peft->site_count;
    struct source *sources = lua_newuserdatauv(lua, 2 * count * sizeof *sources, 0);
    memset(sources, 0, 2 * count * sizeof *sources);
    base->weights = sources;
    base->biases = sources + count;
    for (size_t i = 0; i < count; i++) {
        const struct adapter_site *site = &peft->sites[i];
        lua_geti(lua, index, (lua_Integer)i);
        if (!lua_isnil(lua, -1)) {
            lua_getfield(lua, -1, "weight");
            read_source(lua, lua_gettop(lua), &base->weights[i]);
            luaL_argcheck(lua, base->weights[i].count == (uint64_t)site->rows * (uint64_t)site->columns, index,
                          site->name);
            lua_pop(lua, 1);
            lua_getfield(lua, -1, "bias");
            if (!lua_isnil(lua, -1)) {
                read_source(lua, lua_gettop(lua), &base->biases[i]);
                luaL_argcheck(lua, base->biases[i].count == (uint64_t)site->rows, index, site->name);
            }
            lua_pop(lua, 1);
        }
        lua_pop(lua, 1);
    }
}

static int append(void *context, const void *data, uint64_t bytes, struct error *error)
{
    return writer_append(context, data, (size_t)bytes, error);
}

/* writer:adapter(adapter, dtype, base): its section. */
static int writer_adapter(lua_State *lua)
{
    struct writer *writer = host_check_writer(lua, 1);
    const struct peft *peft = &check_adapter(lua, 2)->peft;
    struct base base = {.dtype = host_check_dtype(lua, 3)};
    struct error error;
    read_base(lua, 4, peft, &base);
    struct peft_base callbacks = {base_rows, base_bias, &base};
    int failed = peft_write_blob(peft, base.dtype, &callbacks, append, writer, &error);
    peft_merge_close(&base.merge);
    if (failed)
        host_fail(lua, "%s", error.message);
    return 0;
}

/* adapter:check(dtype, base): the copies of weights that it carries are the base's. */
static int check_copies(lua_State *lua)
{
    const struct peft *peft = &check_adapter(lua, 1)->peft;
    struct base base = {.dtype = host_check_dtype(lua, 2)};
    struct error error;
    read_base(lua, 3, peft, &base);
    int failed = peft_check_copies(peft, &(struct peft_base){base_rows, base_bias, &base}, &error);
    peft_merge_close(&base.merge);
    if (failed)
        host_fail(lua, "%s", error.message);
    return 0;
}

/* values[count] as the package stores them, appended. */
static int append_floats(struct writer *writer, enum dtype dtype, float *values, uint64_t count, struct error *error)
{
    if (dtype == DTYPE_F32)
        return writer_append(writer, values, count * sizeof *values, error);
    uint16_t rounded[1024];
    for (uint64_t at = 0; at < count;) {
        uint64_t part = count - at < 1024 ? count - at : 1024;
        for (uint64_t i = 0; i < part; i++)
            rounded[i] = weights_bf16(values[at + i]);
        if (writer_append(writer, rounded, part * sizeof *rounded, error) != 0)
            return -1;
        at += part;
    }
    return 0;
}

static int write_merged_rows(struct writer *writer, const struct source *source, enum dtype dtype, float *values,
                             uint64_t at_once, struct error *error)
{
    struct peft_merge merge = {0};
    uint64_t rows = source->tensor.rows, columns = source->tensor.columns, dropped = 0;
    int failed = 0;
    for (uint64_t first = 0; first < rows && !failed; first += at_once) {
        uint64_t count = rows - first < at_once ? rows - first : at_once;
        failed = source_rows(source, &merge, DTYPE_F32, first, count, values, error);
        if (!failed)
            failed = append_floats(writer, dtype, values, count * columns, error);
        if ((first + count - dropped) * columns * sizeof *values >= DROPPED_AT_ONCE) {
            tensor_drop(&source->tensor, dropped, first + count - dropped);
            dropped = first + count;
        }
    }
    tensor_drop(&source->tensor, dropped, rows - dropped);
    peft_merge_close(&merge);
    return failed;
}

/* writer:merged(tensor, dtype): a tensor with the field merge: a matrix, or a bias (the field is_bias). */
static int writer_merged(lua_State *lua)
{
    struct writer *writer = host_check_writer(lua, 1);
    enum dtype dtype = host_check_dtype(lua, 3);
    struct source source;
    struct error error = {""};
    read_source(lua, 2, &source);
    const struct adapter_site *site = source.merge ? &source.merge->peft.sites[source.site] : NULL;
    lua_getfield(lua, 2, "is_bias");
    bool is_bias = lua_toboolean(lua, -1);
    uint64_t columns = is_bias ? source.count : source.tensor.columns;
    luaL_argcheck(lua, columns > 0 && columns < UINT32_MAX, 2, "columns");
    if (is_bias)
        luaL_argcheck(lua, !site || source.count == (uint64_t)site->rows, 2, "a bias of another size");
    else
        luaL_argcheck(lua,
                      site && source.tensor.data && source.tensor.rows == (uint64_t)site->rows &&
                          source.tensor.columns == (uint64_t)site->columns,
                      2, "a matrix of another shape");
    uint64_t at_once = columns < FLOATS_AT_ONCE ? FLOATS_AT_ONCE / columns : 1;
    float *values = malloc((is_bias ? 1 : at_once) * columns * sizeof *values);
    if (!values)
        luaL_error(lua, "out of memory");
    int failed;
    if (is_bias)
        failed = source_bias(&source, values, &error) != 0 ? -1 : append_floats(writer, dtype, values, columns, &error);
    else
        failed = write_merged_rows(writer, &source, dtype, values, at_once, &error);
    free(values);
    if (failed)
        host_fail(lua, "%s", error.message);
    return 0;
}

/* Called after host_open_writer, whose metatable gets two methods. */
void host_open_peft(lua_State *lua)
{
    static const luaL_Reg methods[] = {{"blob_bytes", blob_bytes},
                                       {"contents", contents},
                                       {"check", check_copies},
                                       {"__gc", adapter_gc},
                                       {NULL, NULL}};
    static const luaL_Reg writers[] = {{"adapter", writer_adapter}, {"merged", writer_merged}, {NULL, NULL}};
    luaL_newmetatable(lua, HOST_PEFT);
    luaL_setfuncs(lua, methods, 0);
    lua_pushvalue(lua, -1);
    lua_setfield(lua, -2, "__index");
    lua_pop(lua, 1);
    luaL_getmetatable(lua, HOST_WRITER);
    luaL_setfuncs(lua, writers, 0);
    lua_pop(lua, 1);
    lua_pushcfunction(lua, open_adapter);
    lua_setfield(lua, -2, "peft");
}
