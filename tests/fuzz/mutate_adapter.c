/* An adapter: its config as JSON, or its tensors: the header of a safetensors file with as many bytes as it asks for, or any
   bytes of a zip. */
#include <string.h>

#include "mutate.h"

enum { LENGTH_BYTES = 8 };

static size_t mutate_tensors(uint8_t *data, size_t size, size_t most, struct dice *dice)
{
    uint64_t length = 0;
    if (size >= LENGTH_BYTES)
        memcpy(&length, data, LENGTH_BYTES);
    if (size < LENGTH_BYTES || length > size - LENGTH_BYTES || roll(dice, 4) == 0)
        return mutate_bytes(data, size, most);
    size_t header = mutate_json(data + LENGTH_BYTES, (size_t)length, most - LENGTH_BYTES, dice);
    size_t end = LENGTH_BYTES + header, bytes;
    length = header;
    memcpy(data, &length, LENGTH_BYTES);
    double wanted = safetensors_data_end(data + LENGTH_BYTES, header);
    bytes = wanted <= 65536 ? (size_t)wanted : 0;
    if (bytes > most - end)
        bytes = most - end;
    memset(data + end, (int)roll(dice, 256), bytes);
    return end + bytes;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    struct dice dice = {seed};
    uint8_t *end = size ? memchr(data, 0, size) : NULL;
    if (!end || roll(&dice, 16) == 0)
        return mutate_bytes(data, size, most);
    size_t front = (size_t)(end - data) + 1;
    if (roll(&dice, 2))
        return front + mutate_tensors(end + 1, size - front, most - front, &dice);
    /* The tensors are moved out of the config's way and back. */
    size_t back = size - (front - 1);
    memmove(data + most - back, end, back);
    size_t config = mutate_json(data, front - 1, most - back, &dice);
    memmove(data + config, data + most - back, back);
    return config + back;
}
