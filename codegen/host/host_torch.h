/* Tensors of the runtime's reader (runtime/tensor_file.h), as Lua sees them. */
#ifndef LATHE_HOST_TORCH_H
#define LATHE_HOST_TORCH_H

#include <lua.h>

#include "tensor_file.h"

/* Pushes an entry of checkpoint.tensors, without its file. */
void host_push_stored(lua_State *lua, const char *name, const struct stored_tensor *tensor);

#endif
