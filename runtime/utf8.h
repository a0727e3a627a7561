/* Walking over UTF-8 that may be broken. */
#ifndef LATHE_UTF8_H
#define LATHE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the character at the start of text[0 .. length), length >= 1, and whether it is valid. Of a broken one: the
   bytes of the maximal part that could begin a character, at least 1 (Unicode 15, section 3.9, "U+FFFD Substitution
   of Maximal Subparts"). */
size_t utf8_next(const char *text, size_t length, bool *valid);

/* Whether all of it is valid. */
bool utf8_valid(const char *text, size_t length);

#endif
