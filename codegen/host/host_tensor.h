/* Streaming conversion of a tensor of a checkpoint to what a package stores. */
#ifndef LATHE_HOST_TENSOR_H
#define LATHE_HOST_TENSOR_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "gguf_blocks.h"
#include "model.h"

/* Receives the converted bytes, in order. 0, or -1 and a message, which ends the conversion. */
typedef int tensor_sink(void *context, const void *data, size_t bytes, struct error *error);

struct tensor_source {
    const struct tensor_format *format;
    uint64_t rows, columns;    /* row-major; columns is a multiple of format->block_weights */
    uint64_t heads;            /* 0, or: rows are in llama.cpp's order for interleaved RoPE, to be undone (see below) */
    const unsigned char *data; /* [tensor_bytes] */
    bool mapped;               /* data is a read-only file mapping: its pages are let go when they have been read */
};

/* Bytes of rows * columns weights in that format. -1 and a message if columns are not whole blocks, or if it
 * overflows. */
int tensor_bytes(const struct tensor_format *format, uint64_t rows, uint64_t columns, uint64_t *bytes,
                 struct error *error);

/* Streams the tensor to `sink` as DTYPE_BF16 (rounded to nearest, ties to even; NaNs stay NaNs, quiet) or
   DTYPE_F32. Needs less than 1 MiB whatever the tensor's size.

   Heads: llama.cpp's converter stores row 2i + p of each head of q and k where the Hugging Face model has row
   p * d/2 + i (p = 0, 1; d rows a head; convert_hf_to_gguf.py, `permute`). The output is in Hugging Face
   order. */
int tensor_convert(const struct tensor_source *source, enum dtype dtype, tensor_sink *sink, void *context,
                   struct error *error);

/* out[rows][columns] = rows first .. first + rows - 1 as floats, in Hugging Face order, rounded to `dtype`. Rows of GGUF
   heads must be in pairs (tensor_convert checks it). */
void tensor_rows(const struct tensor_source *source, enum dtype dtype, uint64_t first, uint64_t rows, float *out);
/* Those rows of a mapped file were read and are not needed again soon. */
void tensor_drop(const struct tensor_source *source, uint64_t first, uint64_t rows);

/* The entry of checkpoint.tensors at that stack index, checked; data is NULL when it is empty. A user error otherwise. */
void host_check_tensor(lua_State *lua, int index, struct tensor_source *source);
/* "bf16" or "f32" at that stack index. */
enum dtype host_check_dtype(lua_State *lua, int index);

#endif
