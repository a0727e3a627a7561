/* The directory of a zip file whose entries are stored as they are: what torch.save writes. */
#ifndef LATHE_TENSOR_ZIP_H
#define LATHE_TENSOR_ZIP_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct zip_entry {
    const char *name; /* [name_length] in the mapped file */
    uint32_t name_length;
    uint64_t offset, bytes; /* of its data, inside the file */
};

struct zip {
    struct zip_entry *entries; /* [count], sorted by name */
    size_t count;
};

/* data[size]: the mapped file; path: for messages. Entries that are compressed or encrypted are refused by name. Free with
   zip_free, also after a failure. */
int zip_read(struct zip *zip, const unsigned char *data, uint64_t size, const char *path, struct error *error);
void zip_free(struct zip *zip);

/* The entry called prefix + name, or NULL. */
const struct zip_entry *zip_find(const struct zip *zip, const char *prefix, size_t prefix_length, const char *name,
                                 size_t name_length);

#endif
