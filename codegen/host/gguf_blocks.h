/* How weights are stored in checkpoints: one table of formats. A format cuts a row into blocks of so many
   weights and so many bytes; plain numbers are blocks of one weight. */
#ifndef LATHE_GGUF_BLOCKS_H
#define LATHE_GGUF_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

struct tensor_format {
    const char *name;       /* as safetensors or GGML spell it: "BF16", "Q4_1" */
    uint32_t block_bytes;   /* of one block in the file */
    uint32_t block_weights; /* weights in it, a divisor of TENSOR_BLOCK_MAX */
    /* out[count * block_weights] = the weights of `count` blocks, exactly as the reference dequantises them.
       `blocks` need not be aligned. */
    void (*to_f32)(const unsigned char *blocks, size_t count, float *out);
};

#define TENSOR_BLOCK_MAX 256u /* weights in the largest block */

/* The formats that lathe converts, in a fixed order. */
extern const struct tensor_format tensor_formats[];
extern const size_t tensor_format_count;

/* The format called `name`, or NULL. */
const struct tensor_format *tensor_format_find(const char *name);

#endif
