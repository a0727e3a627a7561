/* Mutations that keep an input's structure, for libFuzzer's custom mutators. Each takes the input in data[0, size),
   changes it, at most to `most` bytes, and returns its new size. Compiled into the fuzzers only. */
#ifndef LATHE_FUZZ_MUTATE_H
#define LATHE_FUZZ_MUTATE_H

#include <stddef.h>
#include <stdint.h>

/* libFuzzer's own: any change of bytes, dictionary included. Where it finds none to make it writes one byte, without room for
   it as well: mutators call mutate_bytes. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
/* What libFuzzer calls instead of it where a target has one. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);

/* Numbers that follow from the seed of a mutation. */
struct dice {
    uint64_t state;
};
/* One of 0 .. sides - 1. */
uint32_t roll(struct dice *dice, uint32_t sides);
/* A number of the kind that sizes and offsets go wrong at. */
uint64_t roll_number(struct dice *dice);

/* Any change of bytes. */
size_t mutate_bytes(uint8_t *data, size_t size, size_t most);

/* A JSON text: one value changed, moved, doubled or removed, or any bytes. Text that is not JSON: any bytes. */
size_t mutate_json(uint8_t *data, size_t size, size_t most, struct dice *dice);

/* The end of the last tensor's data by the header of a safetensors file, or 0. */
double safetensors_data_end(const uint8_t *header, size_t length);

/* One of the parts between NULs (see fuzz_split), by `mutate`; sometimes all bytes by libFuzzer's own. */
size_t mutate_part(uint8_t *data, size_t size, size_t most, struct dice *dice,
                   size_t (*mutate)(uint8_t *, size_t, size_t, struct dice *));

#endif
