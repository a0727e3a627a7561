/* The parts of fuzz_config.c as JSON. */
#include "mutate.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    struct dice dice = {seed};
    return mutate_part(data, size, most, &dice, mutate_json);
}
