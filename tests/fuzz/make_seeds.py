#!/usr/bin/env python3
"""Makes tests/fuzz/seeds: small valid inputs of every kind for the fuzz targets.

    LATHE=build/lathe python3 make_seeds.py        needs xz and libxxhash, which building lathe needs too
"""

import ctypes
import json
import lzma
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FIXTURES = HERE.parent / "fixtures"
SEEDS = HERE / "seeds"


def put(target, name, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


# ---- config ----


def configs():
    for folder in sorted((FIXTURES / "models").iterdir()):
        parts = [folder / "config.json", folder / "generation_config.json", folder / "tokenizer_config.json"]
        texts = [compact(json.loads(part.read_text())) for part in parts if part.exists()]
        put("config", folder.name, "\0".join(texts))
        for old in sorted((folder / "reference").glob("config_*.json")):
            put("config", f"{folder.name}-{old.stem}", compact(json.loads(old.read_text())))
    chat = {"chat_template": [{"name": "default", "template": "{{ messages }}"}, {"name": "rag", "template": ""}]}
    config = compact(json.loads((FIXTURES / "models/llama-text/config.json").read_text()))
    sampling = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20, "min_p": 0.05, "eos_token_id": [1, 2],
                "repetition_penalty": 1.1}
    put("config", "everything", "\0".join([config, compact(sampling), compact(chat)]))


# ---- safetensors ----


def llama_shapes(hidden, layers, vocab, kv):
    shapes = {"model.embed_tokens.weight": [vocab, hidden], "model.norm.weight": [hidden]}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        shapes |= {prefix + "input_layernorm.weight": [hidden], prefix + "post_attention_layernorm.weight": [hidden],
                   prefix + "self_attn.q_proj.weight": [hidden, hidden], prefix + "self_attn.o_proj.weight": [hidden, hidden],
                   prefix + "self_attn.k_proj.weight": [kv, hidden], prefix + "self_attn.v_proj.weight": [kv, hidden]}
        shapes |= {prefix + f"mlp.{name}_proj.weight": [hidden, hidden] for name in ("gate", "up", "down")}
    return shapes


def elements(shape):
    total = 1
    for size in shape:
        total *= size
    return total


def safetensors(shapes, dtype, size, metadata=True):
    header, offset = {"__metadata__": {"format": "pt"}} if metadata else {}, 0
    for name, shape in shapes.items():
        end = offset + elements(shape) * size
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = compact(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes((i * 37 + 11) % 251 for i in range(offset))


def safetensors_files():
    whole = llama_shapes(8, 1, 8, 4)
    put("safetensors", "model-bf16", safetensors(whole, "BF16", 2))
    put("safetensors", "model-f32", safetensors(whole, "F32", 4, metadata=False))
    put("safetensors", "one-f16", safetensors({"a": [3, 5]}, "F16", 2))
    put("safetensors", "scalar-f64", safetensors({"a": [], "b": [0, 3]}, "F64", 8))
    put("safetensors", "empty", safetensors({}, "F32", 4, metadata=False))
    put("safetensors", "index", "INDEX\n" + compact({
        "metadata": {"total_size": 8}, "weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}))


# ---- draft heads, for the target of fuzz_eagle.c ----


def head_tensors(layer, inputs, fc, draft=None, own=False, fc_bias=False):
    shapes = {"fc.weight": [8, fc]} | ({"fc.bias": [8]} if fc_bias else {})
    for name, rows, columns in (("q", 8, inputs), ("k", 4, inputs), ("v", 4, inputs), ("o", 8, 8)):
        shapes[f"{layer}self_attn.{name}_proj.weight"] = [rows, columns]
    shapes |= {f"{layer}mlp.{name}_proj.weight": [8, 8] for name in ("gate", "up", "down")}
    shapes[f"{layer}post_attention_layernorm.weight"] = [8]
    if draft:
        shapes |= {f"{layer}input_layernorm.weight": [8], f"{layer}hidden_norm.weight": [8], "norm.weight": [8],
                   "lm_head.weight": [draft, 8]}
    if own:
        shapes["embed_tokens.weight"] = [16, 8]
    tensors = {name: ("BF16", shape, bytes(2 * elements(shape))) for name, shape in shapes.items()}
    if draft and draft < 16:
        ids = [2 * i for i in range(draft)]
        tensors["d2t"] = "I64", [draft], struct.pack(f"<{draft}q", *(id - i for i, id in enumerate(ids)))
        tensors["t2d"] = "BOOL", [16], bytes(id in ids for id in range(16))
    return tensors


def put_head(name, config, tensors):
    header, data = {}, b""
    for tensor, (dtype, shape, content) in tensors.items():
        header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = compact(header).encode()
    put("eagle", name, compact(config).encode() + b"\0" + struct.pack("<Q", len(text)) + text + data)


def heads():
    base = {"model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "num_key_value_heads": 1, "head_dim": 4, "vocab_size": 16, "rms_norm_eps": 1e-5, "hidden_act": "silu"}
    put_head("eagle1", base | {"architectures": ["LlamaForCausalLM"]}, head_tensors("layers.0.", 8, 16, own=True, fc_bias=True))
    put_head("eagle3", base | {"architectures": ["LlamaForCausalLMEagle3"], "draft_vocab_size": 6, "rope_theta": 1e6},
             head_tensors("midlayer.", 16, 24, draft=6))
    nested = {"eagle_aux_hidden_state_layer_ids": [0, 3], "use_aux_hidden_state": True}
    put_head("specforge", base | {"architectures": ["LlamaForCausalLMEagle3"], "target_hidden_size": 8, "eagle_config": nested,
                                  "rope_scaling": {"type": "linear", "factor": 2.0}}, head_tensors("midlayer.", 16, 16, draft=16))
    put_head("speculators", {"architectures": ["Eagle3Speculator"], "speculators_model_type": "eagle3", "draft_vocab_size": 6,
                             "norm_before_residual": True, "eagle_aux_hidden_state_layer_ids": [1, 4, 8],
                             "transformer_layer_config": base}, head_tensors("layers.0.", 16, 24, draft=6, own=True))


# ---- GGUF ----

U16, U32, I32, F32, BOOL, STRING, ARRAY = 2, 4, 5, 6, 7, 8, 9
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 30: (1, 2)}


def gguf_string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(kind, value):
    if kind == STRING:
        return gguf_string(value)
    if kind == ARRAY:
        inner, items = value
        return struct.pack("<IQ", inner, len(items)) + b"".join(gguf_value(inner, item) for item in items)
    return struct.pack({U16: "<H", U32: "<I", F32: "<f", BOOL: "<B", I32: "<i"}[kind], value)


def gguf(keys, tensors, alignment=32):
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for name, (kind, value) in keys.items():
        out += gguf_string(name) + struct.pack("<I", kind) + gguf_value(kind, value)
    data = b""
    for name, (kind, shape) in tensors.items():
        weights, size = BLOCKS[kind]
        out += gguf_string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *reversed(shape))
        out += struct.pack("<IQ", kind, len(data))
        count = elements(shape) // weights * size
        data += bytes((i * 37 + 11) % 120 for i in range(count))
        data += bytes(-len(data) % alignment)
    return out + bytes(-len(out) % alignment) + data


def gguf_model(kind, tokens, matrix):
    hidden, ff = 32, 32
    keys = {"general.architecture": (STRING, kind), "general.name": (STRING, "seed")}
    for name, value in {"block_count": 1, "context_length": 128, "embedding_length": hidden, "feed_forward_length": ff,
                        "attention.head_count": 2, "attention.head_count_kv": 1, "rope.dimension_count": 16}.items():
        keys[f"{kind}.{name}"] = (U32, value)
    keys[f"{kind}.attention.layer_norm_rms_epsilon"] = (F32, 1e-5)
    keys[f"{kind}.rope.freq_base"] = (F32, 10000.0)
    if kind == "qwen3":
        keys["qwen3.attention.key_length"] = (U32, 16)
    tensors = {"token_embd.weight": (matrix, [tokens, hidden]), "output_norm.weight": (0, [hidden])}
    block = {"attn_norm.weight": (0, [hidden]), "ffn_norm.weight": (0, [hidden]),
             "attn_q.weight": (matrix, [32, hidden]), "attn_k.weight": (matrix, [16, hidden]),
             "attn_v.weight": (matrix, [16, hidden]), "attn_output.weight": (matrix, [hidden, 32]),
             "ffn_gate.weight": (matrix, [ff, hidden]), "ffn_up.weight": (matrix, [ff, hidden]),
             "ffn_down.weight": (matrix, [hidden, ff])}
    if kind == "qwen2":
        block |= {"attn_q.bias": (0, [32]), "attn_k.bias": (0, [16]), "attn_v.bias": (0, [16])}
    if kind == "qwen3":
        block |= {"attn_q_norm.weight": (0, [16]), "attn_k_norm.weight": (0, [16])}
    return keys, tensors | {"blk.0." + name: value for name, value in block.items()}


def gguf_files():
    pieces = ["<unk>", "<s>", "</s>", "<0x41>", "\u2581", "a", "b", "ab", "\u2581a", "\u2581ab", "<|end|>", "\u00e9"]
    spm = {"tokenizer.ggml.model": (STRING, "llama"), "tokenizer.ggml.tokens": (ARRAY, (STRING, pieces)),
           "tokenizer.ggml.scores": (ARRAY, (F32, [0.0, 0, 0, 0, -1, -2, -3, -4, -5, -6, 0, -7])),
           "tokenizer.ggml.token_type": (ARRAY, (I32, [2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 4, 1])),
           "tokenizer.ggml.bos_token_id": (U32, 1), "tokenizer.ggml.eos_token_id": (U32, 2),
           "tokenizer.ggml.add_bos_token": (BOOL, 1), "tokenizer.ggml.add_space_prefix": (BOOL, 1),
           "tokenizer.chat_template": (STRING, "{% for m in messages %}{{ m.content }}{% endfor %}")}
    words = ["a", "b", "\u0120", "ab", "\u0120a", "<|im_end|>"]
    bpe = {"tokenizer.ggml.model": (STRING, "gpt2"), "tokenizer.ggml.pre": (STRING, "qwen2"),
           "tokenizer.ggml.tokens": (ARRAY, (STRING, words)),
           "tokenizer.ggml.token_type": (ARRAY, (I32, [1, 1, 1, 1, 1, 3])),
           "tokenizer.ggml.merges": (ARRAY, (STRING, ["a b", "\u0120 a"])),
           "tokenizer.ggml.eos_token_id": (U32, 5), "tokenizer.ggml.padding_token_id": (U32, 5)}
    for name, matrix in {"q4_0": 2, "q4_1": 3, "q8_0": 8, "f16": 1}.items():
        keys, tensors = gguf_model("llama", len(pieces), matrix)
        put("gguf", f"llama-{name}", gguf(keys | (spm if name == "q4_0" else {}), tensors))
    keys, tensors = gguf_model("qwen2", len(words), 8)
    put("gguf", "qwen2", gguf(keys | bpe, tensors))
    keys, tensors = gguf_model("qwen3", len(words), 30)
    put("gguf", "qwen3", gguf(keys | bpe | {"tokenizer.ggml.pre": (STRING, "smollm"), "general.alignment": (U32, 64)},
                              tensors, alignment=64))
    keys, tensors = gguf_model("llama", 6, 2)
    keys |= {"llama.rope.scaling.type": (STRING, "linear"), "llama.rope.scaling.factor": (F32, 4.0),
             "llama.attention.sliding_window": (U32, 16), "split.no": (U32, 0), "split.count": (U32, 0)}
    put("gguf", "mistral", gguf(keys, tensors | {"output.weight": (2, [6, 32])}))
    keys, tensors = gguf_model("llama", 6, 2)
    halves = list(tensors.items())
    first, second = ({"split.no": (U16, i), "split.count": (U16, 2), "split.tensors.count": (I32, len(tensors))} for i in (0, 1))
    first = gguf(keys | first, dict(halves[:5]))
    put("gguf", "parts", b"PARTS" + struct.pack(">H", len(first)) + first + gguf(second, dict(halves[5:])))
    put("gguf", "rope-factors", gguf(keys, tensors | {"rope_freqs.weight": (0, [8])}))


# ---- tokenizers ----

# One of each kind of component; the others of synthetic.jsonl.xz differ in small ways that mutations find.
TOKENIZERS = """merges as text|fuse_unk|byte_fallback|ignore_merges|no unk|prefix|suffix|NFD|NFKC|Lowercase|StripAccents|ByteLevel|
strip|llama|regex \\w+|[^\\w\\s]+;regex [\\p{L}&&[^a-m]]+|regex ^\\w|$;regex x*|regex \\b|regex \\S{,2}|
regex [a-f[0-4][^\\x00-\\x7f]]+|replace regex|split Removed True|split regex Isolated False|split MergedWithPrevious False|
split regex MergedWithNext True|split Contiguous False|Whitespace|WhitespaceSplit|Punctuation|BertPreTokenizer|digits True|
delimiter|metaspace always True|metaspace first True|byte level True True|qwen|added {'single_word': True}|
added {'lstrip': True, 'rstrip': True}|added {'special': True, 'normalized': True}|strip decoder|roberta"""


def wanted():
    text = TOKENIZERS.replace("\n", "")
    for with_bar in ("regex \\w+|[^\\w\\s]+", "regex ^\\w|$"):
        text = text.replace(with_bar, with_bar.replace("|", "\1"))
    return {name.replace("\1", "|") for name in text.replace(";", "|").split("|")}


def sample(cases):
    text = " ".join(case["text"] for case in cases if len(case["text"]) < 60)
    return text.encode("utf-8", "replace")[:160]


def tokenizers(lathe):
    names = wanted()
    with lzma.open(FIXTURES / "tokenizer/synthetic.jsonl.xz", "rt") as lines:
        for line in lines:
            if not line.strip():
                continue
            entry = json.loads(line)
            if entry["name"] not in names:
                continue
            names.remove(entry["name"])
            text, tail = compact(entry["tokenizer"]).encode(), sample(entry["cases"])
            name = "".join(c if c.isalnum() else "_" for c in entry["name"]).strip("_") or "none"
            name = f"{name}-{len(os.listdir(SEEDS / 'tokenizer')) if (SEEDS / 'tokenizer').exists() else 0:02d}"
            put("tokenizer", name, text + b"\0" + tail)
            if entry["name"] in ("fuse_unk", "prefix", "suffix", "NFKC", "qwen", "llama", "replace regex", "roberta",
                                 "split regex MergedWithNext True", "metaspace first True", "strip decoder",
                                 "added {'special': True, 'normalized': True}"):
                put("tables", name, tables(lathe, text) + tail + bytes([len(tail)]))
    assert not names, names


def tables(lathe, text):
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "tokenizer.json", Path(folder) / "tables"
        source.write_bytes(text)
        subprocess.run([lathe, "tokenizer-tables", source, "-o", target], check=True)
        return target.read_bytes()


# ---- packages ----


def packages():
    xxhash = ctypes.CDLL("libxxhash.so.0")

    class Hash128(ctypes.Structure):
        _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]

    xxhash.XXH3_64bits.restype, xxhash.XXH3_128bits.restype = ctypes.c_uint64, Hash128
    xxhash.XXH3_64bits.argtypes = xxhash.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    payload = bytes(i % 256 for i in range(192))
    whole = xxhash.XXH3_128bits(payload, len(payload))

    def trailer(offset):
        front = struct.pack("<8sIIQQ32sQQQ", b"LATHEPKG", 1, 96, offset, len(payload), b"0123456789abcdef" * 2, 0, 0, 0)
        front = front[:64] + struct.pack(">QQ", whole.high, whole.low) + front[80:]
        return front + struct.pack("<Q", xxhash.XXH3_64bits(front, len(front)))

    program = struct.pack("<4sBBBBQHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 0, 3, 62, 1, 0, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    program += struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 120, 120, 4096)
    put("package", "thin", payload + trailer(0))
    put("package", "fat", program + bytes(4096 - len(program)) + payload + trailer(4096))
    put("package", "stripped", program)
    put("package", "cut", program + bytes(100))


def manifests():
    manifest = json.loads((HERE.parent / "golden/qwen2-window/MANIFEST.json").read_text())
    for name in ("kernels", "variants", "inputs"):
        manifest[name] = manifest[name][:3]
    manifest["payload"]["sections"] = manifest["payload"]["sections"][:2]
    manifest["kernels"].append(dict(manifest["kernels"][0], name="qkv", source="src/qkv.c"))
    put("manifest", "package", compact(manifest))


# ---- chat ----


def chats():
    """Each published-like template as a seed of `template` lies in the fixtures; here are the random expressions."""
    chat = FIXTURES / "chat"
    names = [path.stem for path in sorted((chat / "templates").glob("*.jinja"))]
    for i, line in enumerate((chat / "conversations.jsonl").read_text().splitlines()):
        put("conversation", f"{i:02d}", f"{names[i % len(names)]}\0{compact(json.loads(line))}")
    values, *lines = (chat / "expressions.jsonl").read_text().splitlines()
    put("conversation", "expressions", f"e1\0{compact(json.loads(values))}")
    sources = [json.loads(line)["source"] for line in lines]
    for i in range(0, len(sources), 20):
        put("template", f"expressions-{i:03d}", "\n".join(sources[i : i + 20]))
    put("template", "blocks", TEMPLATE)


TEMPLATE = """{#- every statement -#}
{%- set space = namespace(n=0, text='') -%}
{% macro show(m, sep=', ') %}{{ m.role }}{{ sep }}{{ varargs }}{{ kwargs }}{{ caller() if caller else '' }}{% endmacro %}
{% for m in messages if m.content is defined %}{% break %}{% endfor %}
{% for k, v in d.items() -%} {{ loop.index ~ loop.cycle('a', 'b') }}{% if loop.changed(v) %}{% continue %}{% endif %}
{%- else %}none{% endfor %}
{% call(x) show(messages[0], sep='\\x41\\u00e9') %}<{{ x }}>{% endcall %}
{% filter upper | trim %}a{% endfilter %}{% set b %}block{{ "'" }}{% endset %}
{% with a = 1, b = a + 2 %}{{ a // b ** 2 % 3 }}{% endwith %}{% raw %}{{ raw }}{% endraw %}
{%- set space.n = space.n + 1 -%}{{ [1, 2.5e3, (3, ), {'k': none}][::-1] }}{{ 1 < 2 <= 3 and not x in y }}
{{- raise_exception('no ' + messages[-1]['role']) if false else strftime_now('%d %b %Y') -}}
"""


def lines():
    put("lines", "string", ' "a\\u00e9\\ud83d\\ude00\\ud83d \\n\\"\u00df" \n')
    put("lines", "ids", "[0, 1,22 , 2147483647]\r\n")


# ---- adapters ----


def adapter(name, tensors, dtype="F32", size=4, **config):
    """Of the model that fuzz_adapter.c describes: width 8, 8 ids, 2 layers, biases in q, k and v."""
    text = compact({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "target_modules": [], **config})
    if not isinstance(tensors, bytes):
        tensors = safetensors({"base_model.model." + key: shape for key, shape in tensors.items()}, dtype, size)
    put("adapter", name, text.encode() + b"\0" + tensors)


def low_rank(module, rows=8, rank=2):
    return {module + ".lora_A.weight": [rank, 8], module + ".lora_B.weight": [rows, rank]}


def adapters():
    first, second = "model.layers.0.self_attn.", "model.layers.1.mlp."
    adapter("plain", low_rank(first + "q_proj") | low_rank(first + "v_proj", 4), "BF16", 2, layers_to_transform=[0],
            target_modules=["q_proj", "v_proj"])
    adapter("regex", low_rank(second + "up_proj", rank=3), rank_pattern={"up_proj": 3}, alpha_pattern={".*up_proj": 1},
            use_rslora=True, target_modules=r"model\.layers\.1\..*(?P<which>up)_proj")
    adapter("dora", low_rank(second + "down_proj") | {second + "down_proj.lora_magnitude_vector": [8]}, "F16", 2, use_dora=True,
            target_modules=["down_proj"], exclude_modules=["model.layers.0.mlp.down_proj"])
    adapter("bias", low_rank(first + "k_proj", 4) | {first + "k_proj.base_layer.bias": [4], first + "k_proj.lora_B.bias": [4]},
            bias="lora_only", lora_bias=True, target_modules=[first + "k_proj"])
    adapter("ends", {"model.embed_tokens.lora_embedding_A": [2, 8], "model.embed_tokens.lora_embedding_B": [8, 2],
                     "lm_head.weight": [9, 8]}, target_modules=["embed_tokens"], modules_to_save=["lm_head"])
    adapter("norm", low_rank(first + "o_proj") | {"model.norm.weight": [8]}, target_modules=r".*0.*o_proj",
            modules_to_save=["norm"])
    for file in sorted((FIXTURES / "torch").glob("*.bin")):
        adapter("torch-" + file.stem, file.read_bytes(), target_modules=["q_proj"], layers_to_transform=[0])


if __name__ == "__main__":
    for target in ("config", "safetensors", "gguf", "tokenizer", "tables", "package", "manifest", "template",
                   "conversation", "lines", "eagle", "adapter"):
        shutil.rmtree(SEEDS / target, ignore_errors=True)
    configs()
    safetensors_files()
    heads()
    gguf_files()
    tokenizers(os.environ.get("LATHE", "build/lathe"))
    packages()
    manifests()
    chats()
    lines()
    adapters()
