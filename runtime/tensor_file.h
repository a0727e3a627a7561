/* Files of named tensors that nobody vouches for: safetensors, and what torch.save writes (a zip with a pickle in it, read by
   a machine that can make tensors and nothing else). Both give the same list; the bytes stay in the mapped file. */
#ifndef LATHE_TENSOR_FILE_H
#define LATHE_TENSOR_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum {
    TENSOR_FILE_DIMENSIONS = 8, /* of a tensor, at most */
    TENSOR_FILE_NAME = 1024,    /* bytes of a name, at most */
    TENSOR_FILE_SHAPE = 200     /* bytes that tensor_file_shape needs */
};

struct stored_tensor {
    const char *name;
    const char *dtype; /* as safetensors spells it: "BF16" */
    int32_t dimensions;
    uint64_t shape[TENSOR_FILE_DIMENSIONS];
    uint64_t elements;      /* the product of the shape */
    uint64_t offset, bytes; /* in the file: row-major, little-endian, inside it */
};

struct tensor_file {
    char path[4096];
    const unsigned char *data; /* the mapped file */
    uint64_t size;
    struct stored_tensor *tensors; /* [count], sorted by name; no name stands twice */
    size_t count;
    char *names; /* what their names point into */
};

/* Maps and reads `path`: a zip is taken for torch's, anything else for safetensors. -1 and a message that names the file
   when it cannot be trusted; nothing is left open then. */
int tensor_file_open(struct tensor_file *file, const char *path, struct error *error);
/* All zero, or closed already, is allowed. */
void tensor_file_close(struct tensor_file *file);

/* Reads a file that is mapped already as torch's (read by read/torch.lua, which maps files itself). `path` is for messages.
   tensor_file_free instead of close afterwards. */
int tensor_file_read_torch(struct tensor_file *file, const char *path, const unsigned char *data, uint64_t size,
                           struct error *error);
void tensor_file_free(struct tensor_file *file);

/* The tensor called `name`, or NULL. */
const struct stored_tensor *tensor_file_find(const struct tensor_file *file, const char *name);

/* 1 when tensor_file_floats can read its dtype: F32, F16 or BF16. */
int tensor_file_is_float(const struct stored_tensor *tensor);
/* out[count] = elements first .. first + count - 1, which must be inside. The dtype is a float's (see above). */
void tensor_file_floats(const struct tensor_file *file, const struct stored_tensor *tensor, uint64_t first,
                        uint64_t count, float *out);

/* "[8, 64]", cut short when there are many dimensions. Returns `text` [TENSOR_FILE_SHAPE]. */
const char *tensor_file_shape(const struct stored_tensor *tensor, char *text);

#endif
