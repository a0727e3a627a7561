/* tokenizer.json, and after a NUL a text: compiled to tables by the generator, which the runtime then uses. */
#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "text.h"

static const char run[] =
    "local compile, host, json_file = require 'tokenizer.compile', require 'host', require 'read.json_file'\n"
    "local expect = require 'read.expect'\n"
    "return function(path)\n"
    "   local value = json_file(path)\n"
    "   expect.object(path, 'the file', value)\n"
    "   expect.object(path, 'model', value.model)\n"
    "   return (compile(value, { bos_token = '<s>' }, path))\n"
    "end";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_part parts[2];
    fuzz_split(data, size, parts, 2);
    fuzz_file("tokenizer.json", parts[0].data, parts[0].length);
    if (!fuzz_lua(run, fuzz_path("tokenizer.json"), size))
        return 0;
    size_t bytes;
    const char *tables = lua_tolstring(fuzz_state(), -1, &bytes);
    void *copy = malloc(bytes); /* aligned, and its end watched by the sanitizer */
    if (!copy)
        return 0;
    memcpy(copy, tables, bytes);
    fuzz_text(copy, bytes, parts[1].data ? parts[1].data : "", parts[1].length, true);
    free(copy);
    return 0;
}
