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
