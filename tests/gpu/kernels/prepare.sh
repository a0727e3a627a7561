#!/usr/bin/env bash
# Single kernels against plain C on random inputs: the kernels that lathe generates for some shapes, and their test programs.
set -euo pipefail
dir=$1 here=$ROOT/tests/gpu/kernels
nvcc=${NVCC:-nvcc}
command -v "$nvcc" >/dev/null || nvcc=/usr/local/cuda/bin/nvcc
cc=${CC:-cc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
generate() { # NAME LAYERS HIDDEN INTERMEDIATE HEADS KV_HEADS HEAD_DIM VOCABULARY: its sources in $work/NAME
    mkdir -p "$work/$1.model" "$dir/$1"
    printf '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-05,
        "num_hidden_layers": %d, "hidden_size": %d, "intermediate_size": %d, "num_attention_heads": %d,
        "num_key_value_heads": %d, "head_dim": %d, "vocab_size": %d, "max_position_embeddings": 8192,
        "rope_theta": 500000.0, "tie_word_embeddings": true, "attention_bias": true, "mlp_bias": true, "eos_token_id": 1}\n' "${@:2}" >"$work/$1.model/config.json"
    "$LATHE" generate "$work/$1.model" --target "cuda:$SM" --random-weights 1 -o "$work/$1" --quiet
}
cubin() { # NAME KERNEL: is compiled in the end, side by side with others
    local include="-I'$work/$1/src/cuda' -I'$work/$1/src/runtime'"
    echo "'$nvcc' -cubin -arch='sm_$SM' --fmad=false $include '$work/$1/src/cuda/$2.cu' -o '$dir/$1/$2.cubin'" >>"$work/jobs"
}
kernels_of() { # NAME STAGE: its kernels, a line each: name threads shared rows x y
    awk -v stage="$2" '
        FILENAME ~ /package.c$/ && match($0, /\{"[a-z_0-9]+", [0-9]+, [0-9]+, [A-Za-z0-9"]+\}/) {
            split(substr($0, RSTART + 1, RLENGTH - 2), part, ", "); gsub(/"/, "", part[1])
            threads[part[1]] = part[2]; shared[part[1]] = part[3] }
        FILENAME ~ /model.c$/ && match($0, /\{ *[0-9]+, KERNEL_[A-Z_0-9]+, *[0-9]+, *[0-9]+, *[0-9]+\}/) {
            line = substr($0, RSTART + 1, RLENGTH - 2); gsub(/ /, "", line); split(line, part, ",")
            name = tolower(substr(part[2], 8))
            if (!(name in seen) && name ~ "^" stage "_(wide_)?[0-9]+$") {
                seen[name] = 1; print name, threads[name], shared[name], part[1], part[3], part[4] } }
    ' "$work/$1/src/cuda/package.c" "$work/$1/src/cuda/model.c"
}
program() { # NAME SOURCE
    $cc -O2 -std=gnu11 -D_GNU_SOURCE -I"$dir/$1" -I"$work/$1/src/cuda" -I"$ROOT/runtime" -I"$here" "$here/$2.c" \
        "$here/support.c" "$ROOT/build/runtime/libruntime.a" -lm -ldl -lpthread -o "$dir/$1/$2"
    strip "$dir/$1/$2"
}

products() { # NAME
    local stage
    for stage in qkv attention_output gate_up down head; do
        kernels_of "$1" $stage | while read -r name threads shared rows x y; do
            echo "{\"$stage\", \"$name\", $rows, $threads, $shared, $y, $x, NULL}," >>"$dir/$1/kernels.inc"
            cubin "$1" "$name"
        done
    done
    cubin "$1" pack
    echo "'$nvcc' -cubin -arch='sm_$SM' '$here/roof.cu' -o '$dir/$1/roof.cubin'" >>"$work/jobs"
    $cc -O2 -std=gnu11 -D_GNU_SOURCE -I"$dir/$1" -I"$work/$1/src/cuda" -I"$work/$1/src/runtime" -DQK_NORM=0 -DBIAS=1 \
        "$here/products.c" -lm -ldl \
        -o "$dir/$1/products"
    strip "$dir/$1/products"
}
attention() { # NAME
    {
        echo "static const struct { int rows; unsigned shared, blocks; } CLASS[] = {"
        kernels_of "$1" attention | while read -r _ _ shared rows x _; do echo "{$rows, $shared, $x},"; done
        echo "};"
        echo "#define WINDOW 0"
    } >"$dir/$1/launch.h"
    kernels_of "$1" attention | while read -r name _; do cubin "$1" "$name"; done
    program "$1" test_attention
}
generate shape 2 256 704 4 2 64 1000
generate odd 2 288 520 9 3 32 777
generate deep 1 1024 4160 8 2 128 1000
products shape
products odd
products deep
[ ! -f "$here/test_attention.c" ] || { attention shape && attention odd; }
[ ! -f "$here/test_sample.c" ] || { cubin shape sample && cubin shape random_weights && program shape test_sample; }
tr '\n' '\0' <"$work/jobs" | xargs -0 -P "$(nproc)" -I{} bash -c '{}'
