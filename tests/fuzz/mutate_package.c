/* A payload and its trailer: one field changed, then the sums that would otherwise hide it from everything behind. */
#include <stddef.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "mutate.h"
#include "package.h"

static void change_field(struct package_trailer *trailer, size_t size, struct dice *dice)
{
    switch (roll(dice, 8)) {
    case 0:
        trailer->version = (uint32_t)roll_number(dice);
        break;
    case 1:
        trailer->trailer_bytes = (uint32_t)roll_number(dice);
        break;
    case 2:
        trailer->payload_offset = roll(dice, 2) ? roll_number(dice) : (uint64_t)roll(dice, 4) * PACKAGE_ALIGNMENT;
        break;
    case 3:
        trailer->payload_bytes = roll_number(dice);
        break;
    case 4: /* what fits the file */
        trailer->payload_bytes = size - sizeof *trailer - trailer->payload_offset;
        break;
    case 5:
        trailer->layout[roll(dice, sizeof trailer->layout)] = (char)roll(dice, 256);
        break;
    case 6:
        trailer->reserved = roll_number(dice);
        break;
    default:
        trailer->magic[roll(dice, sizeof trailer->magic)] ^= (char)(1 << roll(dice, 8));
    }
}

static void seal(struct package_trailer *trailer, const uint8_t *data, size_t size, struct dice *dice)
{
    size_t room = size - sizeof *trailer;
    if (trailer->payload_offset <= room && trailer->payload_bytes <= room - trailer->payload_offset && roll(dice, 8)) {
        XXH128_canonical_t hash;
        XXH128_canonicalFromHash(&hash, XXH3_128bits(data + trailer->payload_offset, (size_t)trailer->payload_bytes));
        memcpy(trailer->payload_hash, hash.digest, sizeof hash.digest);
    }
    if (roll(dice, 16))
        trailer->trailer_hash = XXH3_64bits(trailer, offsetof(struct package_trailer, trailer_hash));
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    struct dice dice = {seed};
    struct package_trailer trailer;
    if (roll(&dice, 3) == 0)
        size = mutate_bytes(data, size, most);
    if (size < sizeof trailer)
        return size;
    memcpy(&trailer, data + size - sizeof trailer, sizeof trailer);
    if (roll(&dice, 4)) {
        memcpy(trailer.magic, PACKAGE_MAGIC, sizeof trailer.magic);
        change_field(&trailer, size, &dice);
    }
    seal(&trailer, data, size, &dice);
    memcpy(data + size - sizeof trailer, &trailer, sizeof trailer);
    return size;
}
