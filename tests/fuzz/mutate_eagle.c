/* A draft head: its config as JSON, or the header of its tensors, whose data stay, or bytes of these. */
#include <stdlib.h>
#include <string.h>

#include "mutate.h"

enum { LENGTH_BYTES = 8 };

/* JSON in front of `behind` bytes that keep their contents; the new length of both. */
static size_t mutate_front(uint8_t *data, size_t length, size_t behind, size_t most, struct dice *dice)
{
    uint8_t *kept = malloc(behind ? behind : 1);
    if (!kept)
        return length + behind;
    memcpy(kept, data + length, behind);
    size_t changed = mutate_json(data, length, most - behind, dice);
    memcpy(data + changed, kept, behind);
    free(kept);
    return changed + behind;
}

static size_t mutate_tensors(uint8_t *data, size_t size, size_t most, struct dice *dice)
{
    uint64_t length = 0;
    if (size >= LENGTH_BYTES)
        memcpy(&length, data, LENGTH_BYTES);
    if (size < LENGTH_BYTES || length > size - LENGTH_BYTES || roll(dice, 8) == 0)
        return mutate_bytes(data, size, most);
    size_t bytes = size - LENGTH_BYTES - (size_t)length;
    if (bytes > 0 && roll(dice, 4) == 0) {
        data[LENGTH_BYTES + length + roll(dice, (uint32_t)bytes)] = (uint8_t)roll_number(dice);
        return size;
    }
    size_t changed = mutate_front(data + LENGTH_BYTES, (size_t)length, bytes, most - LENGTH_BYTES, dice);
    uint64_t written = changed - bytes;
    memcpy(data, &written, LENGTH_BYTES);
    return LENGTH_BYTES + changed;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    struct dice dice = {seed};
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    if (!end || roll(&dice, 16) == 0)
        return mutate_bytes(data, size, most);
    size_t config = (size_t)(end - data);
    if (roll(&dice, 2))
        return mutate_front(data, config, size - config, most, &dice);
    size_t first = config + 1;
    return first + mutate_tensors(data + first, size - first, most - first, &dice);
}
