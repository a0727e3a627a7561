#include "utf8.h"

size_t utf8_next(const char *text, size_t length, bool *valid)
{
    const unsigned char *byte = (const unsigned char *)text;
    *valid = true;
    if (byte[0] < 0x80)
        return 1;
    /* The second byte's range depends on the first: no overlong forms, no surrogates, nothing above U+10FFFF. */
    unsigned low = 0x80, high = 0xbf;
    size_t needed;
    if (byte[0] >= 0xc2 && byte[0] <= 0xdf) {
        needed = 2;
    } else if (byte[0] >= 0xe0 && byte[0] <= 0xef) {
        needed = 3;
        low = byte[0] == 0xe0 ? 0xa0 : 0x80;
        high = byte[0] == 0xed ? 0x9f : 0xbf;
    } else if (byte[0] >= 0xf0 && byte[0] <= 0xf4) {
        needed = 4;
        low = byte[0] == 0xf0 ? 0x90 : 0x80;
        high = byte[0] == 0xf4 ? 0x8f : 0xbf;
    } else {
        *valid = false;
        return 1;
    }
    size_t have = 1;
    while (have < needed && have < length && byte[have] >= low && byte[have] <= high) {
        have++;
        low = 0x80;
        high = 0xbf;
    }
    *valid = have == needed;
    return have;
}

bool utf8_valid(const char *text, size_t length)
{
    bool valid = true;
    for (size_t i = 0; valid && i < length;)
        i += utf8_next(text + i, length - i, &valid);
    return valid;
}
