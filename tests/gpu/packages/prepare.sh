#!/usr/bin/env bash
# Packages: fixtures with what transformers computed from them, the default model, and shapes with random weights.
set -euo pipefail
dir=$1
cmake --build "$ROOT/build" --target gpu_check >/dev/null
cp "$ROOT/build/gpu_check" "$dir/check"
strip "$dir/check"
list() { # the array of this name in case.json, with commas
    sed -n "s/.*\"$1\": \[\([^]]*\)\].*/\1/p" "$2" | tr -d ' '
}
keep() { # only the executable (and weights) of a package
    find "$1" -mindepth 1 ! -name "$(basename "$1")" ! -name weights.bin -exec rm -rf {} +
}
for name in llama-text llama-bias mistral-window qwen2-window qwen3-ratio3; do
    fixture=$ROOT/tests/fixtures/models/$name
    "$LATHE" build "$fixture" -o "$dir/$name" --target c --target "cuda:$SM" --quiet
    keep "$dir/$name"
    list prompt "$fixture/reference/case.json" >"$dir/$name/prompt"
    list positions "$fixture/reference/case.json" | tr ',' '\n' >"$dir/$name/positions"
    cp "$fixture/reference/logits.npy" "$dir/$name/reference.npy"
done
"$LATHE" build "$ROOT/models/default" -o "$dir/story" --target c --target cuda --quiet
keep "$dir/story"
long=$(mktemp -d)
trap 'rm -rf "$long"' EXIT
shape() { # a config of these dimensions
    printf '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-05,
        "hidden_size": %d, "intermediate_size": %d, "num_hidden_layers": %d, "num_attention_heads": %d,
        "num_key_value_heads": %d, "head_dim": %d, "vocab_size": %d, "max_position_embeddings": 131072,
        "rope_theta": 500000.0, "tie_word_embeddings": %s, "eos_token_id": 1}\n' "$@" >"$long/config.json"
}
shape 256 512 2 4 2 64 2048 true
"$LATHE" build "$long" -o "$dir/long" --target c --target "cuda:$SM" --random-weights 7 --max-seq 10240 --quiet
keep "$dir/long"
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
