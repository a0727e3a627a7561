/* The payload of a package: weights, tokenizer tables. It is appended to the executable (fat) or lies beside
   it in weights.bin (thin); in both cases a trailer ends the file:

       ... executable or nothing ... | padding to 4096 | payload | trailer (96 bytes)

   A damaged, truncated or stripped file is found at start, before anything runs. The generator writes the
   same structure (codegen/host/pack.c), from this header. All integers are little-endian. */
#ifndef LATHE_PACKAGE_H
#define LATHE_PACKAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "model.h"

#define PACKAGE_MAGIC "LATHEPKG"
#define PACKAGE_VERSION 1u
#define PACKAGE_ALIGNMENT 4096u

struct package_trailer {
    char magic[8];           /* PACKAGE_MAGIC */
    uint32_t version;        /* PACKAGE_VERSION */
    uint32_t trailer_bytes;  /* sizeof(struct package_trailer) */
    uint64_t payload_offset; /* from the start of the file, a multiple of PACKAGE_ALIGNMENT */
    uint64_t payload_bytes;
    char layout[32];          /* model.layout, without a terminating NUL */
    uint8_t payload_hash[16]; /* XXH3-128 of the payload, canonical (big-endian) form */
    uint64_t reserved;        /* zero */
    uint64_t trailer_hash;    /* XXH3-64 of all the bytes of the trailer before this field */
};

_Static_assert(sizeof(struct package_trailer) == 96, "the trailer is 96 bytes on disk");

/* A mapped payload, read-only. */
struct package {
    const unsigned char *payload; /* [model.payload_bytes], aligned to PACKAGE_ALIGNMENT; NULL: closed */
    uint64_t bytes;               /* of the payload */
    void *mapping;
    uint64_t mapping_bytes;
    uint8_t hash[16]; /* that the trailer gives for the payload */
    char path[4096];  /* the file, for messages */
};

/* Finds and maps the payload of `model`: `weights` if given (weights.bin or a fat executable), else the
   executable or library that holds `model` itself, else, for a library, the executable model.name beside it,
   else weights.bin beside it. Checks the trailer, and the payload's hash if `verify`, reporting to `progress`
   (may be NULL). Random-weight packages have only their bytes sections here (payload_bytes of them, maybe
   none: then this finds nothing to do and payload is NULL); the rest is made by weights_random. */
int package_open(struct package *package, const struct model *model, const char *weights, bool verify,
                 void (*progress)(void *context, const char *what, uint64_t done, uint64_t total),
                 void *progress_context, struct error *error);
/* For who hashes the payload while reading it: 0 when `hash` (XXH3-128 of the payload, canonical form) is the trailer's,
   else -1 and the message. */
int package_check_hash(const struct package *package, const uint8_t hash[16], struct error *error);
/* Unmaps; a package that is all zero or already closed is allowed. */
void package_close(struct package *package);

#endif
