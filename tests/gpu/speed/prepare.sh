#!/usr/bin/env bash
# Shapes of well-known models with random weights.
set -euo pipefail
dir=$1
keep() { # only the executable of a package
    find "$1" -mindepth 1 ! -name "$(basename "$1")" -exec rm -rf {} +
}
long=$(mktemp -d)
trap 'rm -rf "$long"' EXIT
shape() { # a config of these dimensions
    printf '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-05,
        "hidden_size": %d, "intermediate_size": %d, "num_hidden_layers": %d, "num_attention_heads": %d,
        "num_key_value_heads": %d, "head_dim": %d, "vocab_size": %d, "max_position_embeddings": 131072,
        "rope_theta": 500000.0, "tie_word_embeddings": %s, "eos_token_id": 1}\n' "$@" >"$long/config.json"
}
shape 2048 8192 16 32 8 64 128256 true # Llama-3.2-1B's
"$LATHE" build "$long" -o "$dir/llama1b" --target "cuda:$SM" --random-weights 1 --max-seq 9216 --quiet
keep "$dir/llama1b"
shape 4096 14336 32 32 8 128 128256 false # Llama-3.1-8B's
"$LATHE" build "$long" -o "$dir/llama8b" --target "cuda:$SM" --random-weights 1 --max-seq 9216 --quiet
keep "$dir/llama8b"
"$LATHE" build "$long" -o "$dir/llama8b_1024" --target "cuda:$SM" --random-weights 1 --max-seq 9216 --max-rows 1024 --quiet
keep "$dir/llama8b_1024"
# Qwen3-0.6B's
printf '{"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu", "rms_norm_eps": 1e-06,
    "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 40960,
    "rope_theta": 1000000.0, "tie_word_embeddings": true, "eos_token_id": 2}\n' >"$long/config.json"
"$LATHE" build "$long" -o "$dir/qwen06b" --target "cuda:$SM" --random-weights 1 --max-seq 9216 --quiet
keep "$dir/qwen06b"
