/* The block formats, from GGML's own description of them (ggml-common.h, and gguf-py's quants.py, which the
   tests compare with). Everything is little-endian, whatever the machine.

   A product here (scale * quant) has at most 11 + 7 + 5 significant bits, so it is exact in fp32, and the one
   addition rounds once: the bits do not depend on the order of operations or on fused multiply-add. (Those of a NaN,
   which an infinite scale makes of a quant of zero, do.) */
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

/* Weight j of 32 in a block of Q5_0 or Q5_1. */
static int five_bits(const unsigned char *high, const unsigned char *low, int j)
{
    int four = j < 16 ? low[j] & 15 : low[j - 16] >> 4;
    return four | (high[j / 8] >> j % 8 & 1) << 4;
}

/*  Q5_0   | d: f16 | high: u32 | 16 bytes of quants |     weight = d * (quant - 16)
    Bit j of the high bits is the top bit of weight j; the other four are stored as in Q4_0. */
static void q5_0_to_f32(const unsigned char *blocks, size_t count, float *out)
{
    for (; count > 0; count--, blocks += 22, out += 32) {
        float scale = load_half(blocks);
        for (int j = 0; j < 32; j++)
            out[j] = scale * (float)(five_bits(blocks + 2, blocks + 6, j) - 16);
    }
}

/*  Q5_1   | d: f16 | m: f16 | high: u32 | 16 bytes of quants |     weight = d * quant + m */
static void q5_1_to_f32(const unsigned char *blocks, size_t count, float *out)
{
    for (; count > 0; count--, blocks += 24, out += 32) {
        float scale = load_half(blocks), minimum = load_half(blocks + 2);
        for (int j = 0; j < 32; j++)
            out[j] = scale * (float)five_bits(blocks + 4, blocks + 8, j) + minimum;
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

/*  The formats with K in their name have blocks of 256 weights in parts of 16 or 32 with scales of their own, which are
    small integers.

    Q2_K   | scales: 16 bytes | quants: 64 bytes | d: f16 | m: f16 |     weight = d * scale * quant - m * minimum
    Byte p of the scales holds the scale of weights 16p .. 16p + 15 in its low half and their minimum in its high half.
    Each half of the block (128 weights) has 32 bytes of quants; byte j holds weights j, j + 32, j + 64, j + 96. */
static void q2_k_to_f32(const unsigned char *blocks, size_t count, float *out)
{
    for (; count > 0; count--, blocks += 84, out += 256) {
        const unsigned char *quants = blocks + 16;
        float scale = load_half(blocks + 80), minimum = load_half(blocks + 82);
        for (int i = 0; i < 256; i++) {
            int quant = quants[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3, part = blocks[i / 16];
            out[i] = scale * (float)(part & 15) * (float)quant - minimum * (float)(part >> 4);
        }
    }
}

/*  Q3_K   | high: 32 bytes | low: 64 bytes | scales: 12 bytes | d: f16 |     weight = d * (scale - 32) * (quant - 4)
    The two low bits are stored as in Q2_K. Bit b of byte j of the high bits is the third bit of weight 32b + j.
    The low four bits of scale p are the low halves of bytes 0 .. 7 (p < 8) and their high halves (p >= 8); the top
    two are bits 2(p / 4) and 2(p / 4) + 1 of byte 8 + p % 4. */
static void q3_k_to_f32(const unsigned char *blocks, size_t count, float *out)
{
    for (; count > 0; count--, blocks += 110, out += 256) {
        const unsigned char *low = blocks + 32, *scales = blocks + 96;
        float scale = load_half(blocks + 108), parts[16];
        for (int p = 0; p < 16; p++) {
            int four = scales[p % 8] >> p / 8 * 4 & 15, two = scales[8 + p % 4] >> p / 4 * 2 & 3;
            parts[p] = scale * (float)((four | two << 4) - 32);
        }
        for (int i = 0; i < 256; i++) {
            int two = low[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3, one = blocks[i % 32] >> i / 32 & 1;
            out[i] = parts[i / 16] * (float)((two | one << 2) - 4);
        }
    }
}

/* The scales and minima of the eight parts of a block of Q4_K or Q5_K, six bits each in 12 bytes. Those of parts 0 .. 3
   are the low six bits of bytes 0 .. 3 and 4 .. 7, whose top two bits go to parts 4 .. 7; the low four bits of these are
   the halves of bytes 8 .. 11. */
static void part_scales(const unsigned char *packed, float scale, float minimum, float scales[8], float minima[8])
{
    for (int p = 0; p < 4; p++) {
        scales[p] = scale * (float)(packed[p] & 63);
        minima[p] = minimum * (float)(packed[4 + p] & 63);
        scales[4 + p] = scale * (float)((packed[8 + p] & 15) | packed[p] >> 6 << 4);
        minima[4 + p] = minimum * (float)(packed[8 + p] >> 4 | packed[4 + p] >> 6 << 4);
    }
}

/*  Q4_K   | d: f16 | m: f16 | scales: 12 bytes | quants: 128 bytes |     weight = d * scale * quant - m * minimum
    Each quarter (64 weights) has 32 bytes of quants: the low halves are its first 32 weights, the high ones the others.
 */
static void q4_k_to_f32(const unsigned char *blocks, size_t count, float *out)
{
    for (; count > 0; count--, blocks += 144, out += 256) {
        const unsigned char *quants = blocks + 16;
        float scales[8], minima[8];
        part_scales(blocks + 4, load_half(blocks), load_half(blocks + 2), scales, minima);
        for (int i = 0; i < 256; i++) {
            int quant = quants[i / 64 * 32 + i % 32] >> i / 32 % 2 * 4 & 15;
            out[i] = scales[i / 32] * (float)quant - minima[i / 32];
        }
    }
}

/*  Q5_K   | d: f16 | m: f16 | scales: 12 bytes | high: 32 bytes | quants: 128 bytes |     as Q4_K
    Bit b of byte j of the high bits is the fifth bit of weight 32b + j. */
static void q5_k_to_f32(const unsigned char *blocks, size_t count, float *out)
{
    for (; count > 0; count--, blocks += 176, out += 256) {
        const unsigned char *high = blocks + 16, *quants = blocks + 48;
        float scales[8], minima[8];
        part_scales(blocks + 4, load_half(blocks), load_half(blocks + 2), scales, minima);
        for (int i = 0; i < 256; i++) {
            int four = quants[i / 64 * 32 + i % 32] >> i / 32 % 2 * 4 & 15, one = high[i % 32] >> i / 32 & 1;
            out[i] = scales[i / 32] * (float)(four | one << 4) - minima[i / 32];
        }
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
    {"F32", 4, 1, f32_to_f32},       {"F16", 2, 1, f16_to_f32},       {"BF16", 2, 1, bf16_to_f32},
    {"Q4_0", 18, 32, q4_0_to_f32},   {"Q4_1", 20, 32, q4_1_to_f32},   {"Q5_0", 22, 32, q5_0_to_f32},
    {"Q5_1", 24, 32, q5_1_to_f32},   {"Q8_0", 34, 32, q8_0_to_f32},   {"Q2_K", 84, 256, q2_k_to_f32},
    {"Q3_K", 110, 256, q3_k_to_f32}, {"Q4_K", 144, 256, q4_k_to_f32}, {"Q5_K", 176, 256, q5_k_to_f32},
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
