#!/usr/bin/env bash
# The kernels of published models' shapes compile for every default target without a spill: tests/cuda/shapes.sh [SHAPE...]
# Takes minutes; not a part of CI. Prints the time that a build takes and the size of the executable, which has no weights.
set -euo pipefail
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../.."
lathe=${LATHE:-build/lathe}
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT

# name, family, hidden, MLP, layers, heads, key/value heads, head_dim, vocabulary, tied
shapes='smollm2-135m Llama 576 1536 30 9 3 64 49152 true
qwen2.5-0.5b Qwen2 896 4864 24 14 2 64 151936 true
qwen3-0.6b Qwen3 1024 3072 28 16 8 128 151936 true
tinyllama-1.1b Llama 2048 5632 22 32 4 64 32000 false
llama-3.2-1b Llama 2048 8192 16 32 8 64 128256 true
llama-3.2-3b Llama 3072 8192 28 24 8 128 128256 true
qwen2.5-7b Qwen2 3584 18944 28 28 4 128 152064 false
mistral-7b Mistral 4096 14336 32 32 8 128 32768 false
llama-3.1-8b Llama 4096 14336 32 32 8 128 128256 false
qwen3-8b Qwen3 4096 12288 36 32 8 128 151936 false
yi-9b Llama 4096 11008 48 32 4 128 64000 false
phi-shape Llama 2560 10240 32 32 32 80 51200 false'

failed=0
while read -r name family hidden mlp layers heads kv_heads head_dim vocabulary tied; do
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    mkdir "$folder/$name"
    cat >"$folder/$name/config.json" <<END
{"architectures": ["${family}ForCausalLM"], "model_type": "${family,,}", "hidden_size": $hidden, "intermediate_size": $mlp,
 "num_hidden_layers": $layers, "num_attention_heads": $heads, "num_key_value_heads": $kv_heads, "head_dim": $head_dim,
 "vocab_size": $vocabulary, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
 "tie_word_embeddings": $tied, "hidden_act": "silu", "torch_dtype": "bfloat16"}
END
    "$lathe" build "$folder/$name" --random-weights 1 --target cuda -o "$folder/$name.package" ||
        { echo "$name: failed (above)"; failed=1; }
done <<<"$shapes"
exit "$failed"
