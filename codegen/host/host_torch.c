#include "host_torch.h"

#include "host.h"
#include "host_file.h"

void host_push_stored(lua_State *lua, const char *name, const struct stored_tensor *tensor)
{
    lua_createtable(lua, 0, 6);
    lua_pushstring(lua, name);
    lua_setfield(lua, -2, "name");
    lua_pushstring(lua, tensor->dtype);
    lua_setfield(lua, -2, "dtype");
    lua_createtable(lua, tensor->dimensions, 0);
    for (int32_t i = 0; i < tensor->dimensions; i++) {
        lua_pushinteger(lua, (lua_Integer)tensor->shape[i]);
        lua_rawseti(lua, -2, i + 1);
    }
    lua_setfield(lua, -2, "shape");
    lua_pushinteger(lua, (lua_Integer)tensor->offset);
    lua_setfield(lua, -2, "offset");
    lua_pushinteger(lua, (lua_Integer)tensor->bytes);
    lua_setfield(lua, -2, "bytes");
}

/* host.torch_tensors(file) -> { { name, dtype, shape, offset, bytes }, ... } sorted by name: what torch.save wrote. */
static int torch_tensors(lua_State *lua)
{
    struct mapped_file *file = host_check_file(lua, 1);
    struct tensor_file tensors;
    struct error error;
    if (tensor_file_read_torch(&tensors, file->path, file->data, file->size, &error) != 0)
        host_fail(lua, "%s", error.message);
    /* Only memory that runs out can end this early, and that ends the generator. */
    lua_createtable(lua, (int)tensors.count, 0);
    for (size_t i = 0; i < tensors.count; i++) {
        host_push_stored(lua, tensors.tensors[i].name, &tensors.tensors[i]);
        lua_rawseti(lua, -2, (lua_Integer)i + 1);
    }
    tensor_file_free(&tensors);
    return 1;
}

void host_open_torch(lua_State *lua)
{
    lua_pushcfunction(lua, torch_tensors);
    lua_setfield(lua, -2, "torch_tensors");
}
