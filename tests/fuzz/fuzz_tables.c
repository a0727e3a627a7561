/* Tokenizer tables as an executable finds them in its payload. The input's last byte is the length of the text before
   it; what is left is the tables. */
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t length = size ? data[size - 1] : 0;
    size -= size ? 1 : 0;
    if (length > size)
        length = size;
    size_t bytes = size - length;
    void *tables = malloc(bytes ? bytes : 1);
    if (!tables)
        return 0;
    if (bytes)
        memcpy(tables, data, bytes);
    fuzz_text(tables, bytes, (const char *)data + bytes, length, false);
    free(tables);
    return 0;
}
