/* What is done with a tokenizer whose tables come from an input. */
#ifndef LATHE_FUZZ_TEXT_H
#define LATHE_FUZZ_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Opens the tables, encodes the text, decodes its ids and others in every way. Aborts where one way disagrees with
   another, where an id lies outside the vocabulary, and where a refusal has no proper message. `must_open`: the generator
   has just written the tables, so a refusal of them is wrong too. */
void fuzz_text(const void *tables, size_t bytes, const char *text, size_t length, bool must_open);

#endif
