/* A chat template: what the generator makes of it is read as a C compiler's first steps would, so that no text of the
   template gets out of its literal. */
#include <lua.h>

#include "support.h"

static const char run[] = "local host, translate = require 'host', require 'chat.translate'\n"
                          "return function(path)\n"
                          "   local file <close> = host.open(path)\n"
                          "   return translate(file:read(0, file:size()), path)\n"
                          "end";

/* The position after a literal or comment that begins at `at`; the position itself if none does. */
static size_t skip_literal(const char *text, size_t size, size_t at)
{
    char quote = text[at];
    if (quote == '/' && at + 1 < size && (text[at + 1] == '*' || text[at + 1] == '/')) {
        bool line = text[at + 1] == '/';
        for (size_t i = at + 2; i < size; i++)
            if (line ? text[i] == '\n' : text[i] == '/' && text[i - 1] == '*' && i > at + 2)
                return i + 1;
        fuzz_abort("the comment at %zu does not end", at);
    }
    if (quote != '"' && quote != '\'')
        return at;
    for (size_t i = at + 1; i < size && text[i] != '\n'; i++) {
        if (text[i] == quote)
            return i + 1;
        if (text[i] == '\\')
            i++;
    }
    fuzz_abort("the literal at %zu does not end", at);
}

static void check_source(const char *text, size_t size)
{
    char open[1024];
    size_t depth = 0;
    for (size_t i = 0; i < size;) {
        size_t after = skip_literal(text, size, i);
        for (size_t k = i; k <= after && k < size; k++)
            if ((text[k] < ' ' && text[k] != '\n' && text[k] != '\t') || text[k] > '~')
                fuzz_abort("byte 0x%02x at %zu", (unsigned char)text[k], k);
        if (after > i) {
            i = after;
            continue;
        }
        char c = text[i++];
        if (c == '(' || c == '[' || c == '{') {
            if (depth == sizeof open)
                fuzz_abort("more than %zu nested brackets", sizeof open);
            open[depth++] = c == '(' ? ')' : c == '[' ? ']' : '}';
        } else if ((c == ')' || c == ']' || c == '}') && (depth == 0 || open[--depth] != c)) {
            fuzz_abort("the %c at %zu closes nothing", c, i - 1);
        }
    }
    if (depth)
        fuzz_abort("%zu brackets do not close", depth);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t length;
    fuzz_file("template.jinja", data, size);
    if (!fuzz_lua(run, fuzz_path("template.jinja"), size))
        return 0;
    const char *text = lua_tolstring(fuzz_state(), -1, &length);
    check_source(text, length);
    return 0;
}
