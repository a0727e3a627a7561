/* A safetensors file: its header as JSON, then the length before it, and often as many bytes of data as it asks for. */
#include <string.h>

#include "mutate.h"

enum { LENGTH_BYTES = 8, INDEX_BYTES = 6 };

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    struct dice dice = {seed};
    if (size >= INDEX_BYTES && memcmp(data, "INDEX\n", INDEX_BYTES) == 0)
        return INDEX_BYTES + mutate_json(data + INDEX_BYTES, size - INDEX_BYTES, most - INDEX_BYTES, &dice);
    uint64_t length = 0;
    if (size >= LENGTH_BYTES)
        memcpy(&length, data, LENGTH_BYTES);
    if (size < LENGTH_BYTES || length > size - LENGTH_BYTES || roll(&dice, 8) == 0)
        return mutate_bytes(data, size, most);

    /* The header at its place, the data dropped and made again: its bytes mean little. */
    size_t header = mutate_json(data + LENGTH_BYTES, (size_t)length, most - LENGTH_BYTES, &dice);
    size_t end = LENGTH_BYTES + header;
    uint64_t written = roll(&dice, 16) ? header : roll_number(&dice);
    memcpy(data, &written, LENGTH_BYTES);
    double wanted = safetensors_data_end(data + LENGTH_BYTES, header);
    size_t bytes = roll(&dice, 8) ? 0 : roll(&dice, 8); /* a few too many, now and then */
    if (wanted <= 65536)
        bytes += (size_t)wanted;
    if (bytes > most - end)
        bytes = most - end;
    memset(data + end, (int)roll(&dice, 256), bytes);
    return end + bytes;
}
