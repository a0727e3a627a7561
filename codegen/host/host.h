/* The generator's C host: a Lua state with the module `host`, which gives the Lua stages what Lua has not:
   mapped files, JSON, hashes, streamed writing, child processes. One file a topic, each with one `host_open_*`. */
#ifndef LATHE_HOST_H
#define LATHE_HOST_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdint.h>

#include "error.h"

/* Raises `error` as a user error: a table {message = ...}, which main prints as one line without a traceback. */
int host_fail(lua_State *lua, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));

/* Each adds its functions to the table `host` on top of the stack. */
void host_open_json(lua_State *lua);
void host_open_file(lua_State *lua);
void host_open_writer(lua_State *lua);
void host_open_tensor(lua_State *lua);
void host_open_torch(lua_State *lua);
void host_open_peft(lua_State *lua);
void host_open_process(lua_State *lua);
void host_open_lock(lua_State *lua);
void host_open_regex(lua_State *lua);
void host_open_embed(lua_State *lua);
void host_open_nvrtc(lua_State *lua);

/* A state with the standard libraries, the module `host`, and `require` finding the generator's embedded Lua files.
   NULL when memory is out. */
lua_State *host_state(void);

/* Runs the embedded chunk `main` with the command line; returns the exit status. */
int host_main(int argc, char **argv);

#endif
