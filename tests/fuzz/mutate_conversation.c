/* The conversation as JSON, the template's name before it as bytes. */
#include "mutate.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    struct dice dice = {seed};
    return mutate_part(data, size, most, &dice, mutate_json);
}
