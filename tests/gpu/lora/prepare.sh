#!/usr/bin/env bash
# Packages with places for adapters whose main program is lora.c: two small ones for the CPU too, Llama-3.1-8B's shape with and
# without such places.
set -euo pipefail
dir=$1 here=$ROOT/tests/gpu/lora
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package() { # NAME OPTION...: of the config on stdin
    local name=$1
    shift
    mkdir -p "$work/$name"
    cat >"$work/$name/config.json"
    "$LATHE" build "$work/$name" -o "$work/$name.package" --random-weights 1 --quiet "$@"
    cp "$here/lora.c" "$work/$name.package/src/main.c"
    cp "$ROOT"/runtime/{bandwidth,engine,error,sampler}.h "$work/$name.package/src/runtime/"
    "$LATHE" build "$work/$name.package" --quiet
    cp "$work/$name.package/$name.package" "$dir/$name"
}
llama() { # HIDDEN INTERMEDIATE LAYERS HEADS KV_HEADS HEAD_DIM VOCABULARY TIED BIASES
    printf '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-05,
        "hidden_size": %d, "intermediate_size": %d, "num_hidden_layers": %d, "num_attention_heads": %d,
        "num_key_value_heads": %d, "head_dim": %d, "vocab_size": %d, "max_position_embeddings": 8192,
        "rope_theta": 500000.0, "tie_word_embeddings": %s, "attention_bias": %s, "mlp_bias": %s, "eos_token_id": 1}\n' \
        "$@" "$9"
}
llama 256 704 3 4 2 64 1000 true true |
    package shape --target c --target "cuda:$SM" --lora-slots 34 --lora-max-rank 64
printf '{"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu", "rms_norm_eps": 1e-06,
    "hidden_size": 288, "intermediate_size": 520, "num_hidden_layers": 2, "num_attention_heads": 9,
    "num_key_value_heads": 3, "head_dim": 32, "vocab_size": 777, "max_position_embeddings": 4096,
    "rope_theta": 500000.0, "tie_word_embeddings": false, "eos_token_id": 1}\n' |
    package odd --target c --target "cuda:$SM" --lora-slots 34 --lora-max-rank 64
llama 4096 14336 32 32 8 128 128256 false false >"$work/llama8b.json"
package llama8b_plain --target "cuda:$SM" --max-seq 8192 <"$work/llama8b.json"
package llama8b_rank16 --target "cuda:$SM" --max-seq 8192 --lora-slots 32 --lora-max-rank 16 <"$work/llama8b.json"
package llama8b_rank64 --target "cuda:$SM" --max-seq 8192 --lora-slots 32 --lora-max-rank 64 <"$work/llama8b.json"
