/* tokenizer.json as JSON; the text behind it as bytes, which most of mutate_json's parsing leaves it. */
#include "mutate.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    struct dice dice = {seed};
    return mutate_part(data, size, most, &dice, mutate_json);
}
