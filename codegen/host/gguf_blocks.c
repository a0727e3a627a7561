/* The block formats, from GGML's own description of them (ggml-common.h, and gguf-py's quants.py, which the
   tests compare with). Everything is little-endian, whatever the machine.

   A product here (scale * quant) has at most 11 + 7 + 5 significant bits, so it is exact in fp32, and the one
   addition rounds once: the bits do not depend on the order of operations or on fused multiply-add. */
#include "gguf_blocks.h"

#include <string.h>

static uint16_t load_u16(const unsigned char *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* IEEE half to float, exact. Moving the half's exponent and fraction into a float's place gives the value
   times 2^-112 (the difference of the exponent biases), for subnormal halves too; infinities and NaNs have
   their own place. */
static float half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t magnitude = half & 0x7fffu;
    if (magnitude >= 0x7c00u)
        return float_of_bits(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    float value = float_of_bits(magnitude << 13) * 0x1p112f;
    return sign ? -value : value;
}

static float load_half(const unsigned char *at)
{
    return half_to_float(load_u16(at));
}

static void f32_to_f32(const unsigned char *blocks, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) {
        const unsigned char *at = blocks + 4 * i;
        out[i] = float_of_bits(load_u16(at) | (uint32_t)load_u16(at + 2) << 16);
    }
}

static void f16_to_f32(const unsigned char *blocks, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = load_half(blocks + 2 * i);
}

static void bf16_to_f32(const unsigned char *blocks, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = float_of_bits((uint32_t)load_u16(blocks + 2 * i) << 16);
}

/*  Q4_0   | d: f16 | 16 bytes of quants |     weight = d * (quant - 8)
    Byte j holds weight j in its low half and weight j + 16 in its high half; so do the other 4-bit formats.
 */
static void q4_0_to_f32(const unsigned char *blocks, size_t count, float *out)
{
    for (; count > 0; count--, blocks += 18, out += 32) {
        float scale = load_half(blocks);
        for (int j = 0; j < 16; j++) {
            out[j] = scale * (float)((blocks[2 + j] & 15) - 8);
            out[j + 16] = scale * (float)((blocks[2 + j] >> 4) - 8);
        }
    }
}

/*  Q4_1   | d: f16 | m: f16 | 16 bytes of quants |     weight = d * quant + m */
static void q4_1_to_f32(const unsigned char *blocks, size_t count, float *out)
{
    for (; count > 0; count--, blocks += 20, out += 32) {
        float scale = load_half(blocks), minimum = load_half(blocks + 2);
        for (int j = 0; j < 16; j++) {
            out[j] = scale * (float)(blocks[4 + j] & 15) + minimum;
            out[j + 16] = scale * (float)(blocks[4 + j] >> 4) + minimum;
        }
    }
}

static int signed_byte(unsigned char byte)
{
    return byte < 128 ? byte : byte - 256;
}

/*  Q8_0   | d: f16 | 32 signed bytes |     weight = d * quant */
static void q8_0_to_f32(const unsigned char *blocks, size_t count, float *out)
{
    for (; count > 0; count--, blocks += 34, out += 32) {
        float scale = load_half(blocks);
        for (int j = 0; j < 32; j++)
            out[j] = scale * (float)signed_byte(blocks[2 + j]);
    }
}

/*  Q6_K   | low: 128 bytes | high: 64 bytes | scales: 16 signed bytes | d: f16 |     256 weights
    weight = d * scale[weight / 16] * (quant - 32). Each half (128 weights) has 64 bytes of low and 32 of high
   bits; byte j < 32 of the high bits holds the two top bits of weights j, j + 32, j + 64, j + 96. The low
   four bits of weights 0..63 are the low halves of the 64 bytes, those of weights 64..127 the high halves. */
static void q6_k_to_f32(const unsigned char *blocks, size_t count, float *out)
{
    for (; count > 0; count--, blocks += 210, out += 256) {
        const unsigned char *scales = blocks + 192;
        float scale = load_half(blocks + 208);
        for (int half = 0; half < 2; half++) {
            const unsigned char *low = blocks + 64 * half, *high = blocks + 128 + 32 * half;
            for (int j = 0; j < 128; j++) {
                int four = j < 64 ? low[j] & 15 : low[j - 64] >> 4;
                int two = high[j & 31] >> 2 * (j >> 5) & 3;
                int index = 128 * half + j;
                out[index] = scale * (float)signed_byte(scales[index / 16]) * (float)((four | two << 4) - 32);
            }
        }
    }
}

const struct tensor_format tensor_formats[] = {
    {"F32", 4, 1, f32_to_f32},       {"F16", 2, 1, f16_to_f32},     {"BF16", 2, 1, bf16_to_f32},
    {"Q4_0", 18, 32, q4_0_to_f32},   {"Q4_1", 20, 32, q4_1_to_f32}, {"Q8_0", 34, 32, q8_0_to_f32},
    {"Q6_K", 210, 256, q6_k_to_f32},
};
const size_t tensor_format_count = sizeof tensor_formats / sizeof tensor_formats[0];

const struct tensor_format *tensor_format_find(const char *name)
{
    for (size_t i = 0; i < tensor_format_count; i++)
        if (strcmp(tensor_formats[i].name, name) == 0)
            return &tensor_formats[i];
    return NULL;
}
