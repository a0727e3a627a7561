/* Checks a target's mutator in an ordinary build, over files and the files of folders: mutations FILE|FOLDER...
   Whatever it makes of an input stays within the room that it was given, and that room is often exactly the input's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "mutate.h"
#include "support.h"

enum { ROUNDS = 48, GUARD = 0x5a, GUARD_BYTES = 64 };

static struct dice dice = {1};

/* In libFuzzer's place, with its promises and no more: one byte more, less or other, and one byte where nothing fits. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most)
{
    if (size > most)
        fuzz_abort("the mutator passes on %zu bytes with room for %zu", size, most);
    uint32_t at = roll(&dice, (uint32_t)size + 1), kind = roll(&dice, 4);
    if (kind == 0 && size > 1 && at < size) {
        memmove(data + at, data + at + 1, size - at - 1);
        return size - 1;
    }
    if (kind == 1 && size > 0) {
        data[at % size] = (uint8_t)roll(&dice, 256);
        return size;
    }
    if (size < most) {
        size_t added = kind == 2 ? most - size : 1;
        memmove(data + at + added, data + at, size - at);
        memset(data + at, roll(&dice, 2) ? 0 : 'x', added);
        return size + added;
    }
    data[0] = ' ';
    return 1;
}

static void check(const uint8_t *input, size_t size, size_t most)
{
    uint8_t *room = malloc(most + GUARD_BYTES), *expected = malloc(GUARD_BYTES);
    if (!room || !expected)
        fuzz_abort("no memory");
    memcpy(room, input, size);
    memset(room + most, GUARD, GUARD_BYTES);
    memset(expected, GUARD, GUARD_BYTES);
    size_t changed = LLVMFuzzerCustomMutator(room, size, most, roll(&dice, UINT32_MAX));
    if (changed > most || memcmp(room + most, expected, GUARD_BYTES) != 0)
        fuzz_abort("%zu bytes became %zu in room for %zu, or bytes behind them were changed", size, changed, most);
    free(room);
    free(expected);
}

/* The file as it is, cut short, and with the empty part at its end that a NUL makes. */
static void check_file(const char *path, uint8_t *data, size_t size)
{
    fprintf(stderr, "%s\n", path);
    for (int round = 0; round < ROUNDS; round++) {
        size_t cut = roll(&dice, 2) ? size : roll(&dice, (uint32_t)size + 1);
        uint8_t *input = calloc(1, cut + 1);
        if (!input)
            fuzz_abort("no memory");
        memcpy(input, data, cut);
        size_t length = cut + roll(&dice, 2);
        if (length == 0)
            length = 1;
        check(input, length, length + (roll(&dice, 2) ? roll(&dice, 8) * 16 : 0));
        free(input);
    }
}

int main(int argc, char **argv)
{
    unsigned count = files_in(argv + 1, argc - 1, check_file);
    printf("%u inputs\n", count);
    return count > 0 ? 0 : 1;
}
