#!/usr/bin/env python3
"""Makes a LoRA adapter of random weights as peft would save it: lora_folder.py MODEL RANK DIR.

MODEL: a Llama, Mistral or Qwen checkpoint, of which config.json is read. All linear layers get the rank."""
import array
import json
import pathlib
import random
import struct
import sys

model, rank, folder = pathlib.Path(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])
config = json.loads((model / "config.json").read_text())
hidden, heads = config["hidden_size"], config["num_attention_heads"]
head = config.get("head_dim") or hidden // heads
query, key, inner = heads * head, config.get("num_key_value_heads", heads) * head, config["intermediate_size"]
layers = {
    "self_attn.q_proj": (query, hidden), "self_attn.k_proj": (key, hidden), "self_attn.v_proj": (key, hidden),
    "self_attn.o_proj": (hidden, query), "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden),
    "mlp.down_proj": (hidden, inner),
}

random.seed(rank)
noise = array.array("f", (random.uniform(-0.02, 0.02) for _ in range(65536)))
header, data, offset = {}, [], 0
for layer in range(config["num_hidden_layers"]):
    for name, (rows, columns) in layers.items():
        for matrix, shape in (("lora_A", [rank, columns]), ("lora_B", [rows, rank])):
            count = shape[0] * shape[1]
            values = (noise * (count // len(noise) + 1))[:count].tobytes()
            header[f"base_model.model.model.layers.{layer}.{name}.{matrix}.weight"] = {
                "dtype": "F32", "shape": shape, "data_offsets": [offset, offset + len(values)]}
            data.append(values)
            offset += len(values)

folder.mkdir(parents=True, exist_ok=True)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
(folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))
(folder / "adapter_config.json").write_text(json.dumps({
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": rank, "bias": "none",
    "target_modules": [name.split(".")[1] for name in layers]}))
