/* What the readers of tensor files share. */
#ifndef LATHE_TENSOR_FILE_INTERNAL_H
#define LATHE_TENSOR_FILE_INTERNAL_H

#include <stdbool.h>

#include "tensor_file.h"

/* What a damaged file is answered with. */
#define TENSOR_FILE_ADVICE "download the file again"

/* Bytes of one element; 0: the dtype is not known. */
uint32_t tensor_dtype_bytes(const char *dtype);
/* The same text, but constant; NULL: not known. */
const char *tensor_dtype_find(const char *dtype);

/* Appends a tensor, whose name is copied, and checks what every format demands: a printable name, a shape whose product and
   bytes do not overflow, data inside the file. tensor->elements and ->bytes are worked out here. */
struct tensor_list {
    struct tensor_file *file;
    size_t capacity, names_used, names_capacity;
};
int tensor_list_add(struct tensor_list *list, struct stored_tensor tensor, const char *name, size_t name_length,
                    struct error *error);
/* Sorts them and refuses names that stand twice. */
int tensor_list_finish(struct tensor_list *list, struct error *error);

/* Each fills file->tensors from file->data. What they allocated is freed by the caller, in either case. */
int tensor_file_read_safetensors(struct tensor_file *file, struct error *error);
int tensor_file_read_zip(struct tensor_file *file, struct error *error);

/* A name for a message: at most 80 bytes of it. For "%.*s". */
#define TENSOR_NAME_SHOWN 80

#endif
