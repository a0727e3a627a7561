#!/usr/bin/env python3
"""Writes GGUF files in bfloat16 for tests/bench/llama_cpp.sh, so that llama.cpp and lathe run on the same weights.

    bf16_gguf.py convert IN.gguf OUT.gguf    every matrix dequantised and rounded to bf16, vectors as float32
    bf16_gguf.py random-1b OUT.gguf          random weights in the shape of a 1.2 B Llama, no vocabulary

Needs the packages gguf and numpy.
"""
import sys

import gguf
import numpy


def round_to_bf16(values):
    """To nearest even, as the bytes of a bf16 array."""
    bits = numpy.ascontiguousarray(values, dtype=numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16)


def add_tensor(writer, name, values):
    if values.ndim == 1:
        writer.add_tensor(name, numpy.ascontiguousarray(values, dtype=numpy.float32))
    else:
        writer.add_tensor(name, round_to_bf16(values).view(numpy.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def convert(source, target):
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, arch=reader.get_field("general.architecture").contents())
    skipped = ("GGUF.", "general.architecture", "general.file_type", "general.quantization_version")
    for field in reader.fields.values():
        if not field.name.startswith(skipped):
            element = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=element)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        add_tensor(writer, tensor.name, values.reshape(tuple(reversed(tensor.shape.tolist()))))
    finish(writer)


def random_1b(target):
    vocab, hidden, intermediate, layers, heads, kv_heads, head_dim = 128256, 2048, 8192, 16, 32, 8, 64
    generator = numpy.random.default_rng(1)
    writer = gguf.GGUFWriter(target, arch="llama", use_temp_file=True)
    writer.add_name("random 1B")
    writer.add_context_length(4096)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(intermediate)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocab)
    writer.add_tokenizer_model("none")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)

    def matrix(name, rows, columns, scale):
        values = generator.random((rows, columns), dtype=numpy.float32)
        values -= 0.5
        values *= scale
        add_tensor(writer, name, values)

    matrix("token_embd.weight", vocab, hidden, 0.07)
    add_tensor(writer, "output_norm.weight", numpy.ones(hidden))
    for i in range(layers):
        add_tensor(writer, f"blk.{i}.attn_norm.weight", numpy.ones(hidden))
        add_tensor(writer, f"blk.{i}.ffn_norm.weight", numpy.ones(hidden))
        for name, rows, columns in (
            ("attn_q", heads * head_dim, hidden),
            ("attn_k", kv_heads * head_dim, hidden),
            ("attn_v", kv_heads * head_dim, hidden),
            ("attn_output", hidden, heads * head_dim),
            ("ffn_gate", intermediate, hidden),
            ("ffn_up", intermediate, hidden),
            ("ffn_down", hidden, intermediate),
        ):
            matrix(f"blk.{i}.{name}.weight", rows, columns, (12 / columns) ** 0.5)
    finish(writer)


def main(arguments):
    if len(arguments) == 3 and arguments[0] == "convert":
        convert(arguments[1], arguments[2])
    elif len(arguments) == 2 and arguments[0] == "random-1b":
        random_1b(arguments[1])
    else:
        sys.exit(__doc__.strip())


main(sys.argv[1:])
