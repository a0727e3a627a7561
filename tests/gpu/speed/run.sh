#!/usr/bin/env bash
# How fast packages with random weights are on this GPU: the table of docs/cuda.md, and where the time goes.
package() { # NAME: its executable
    echo "./$1/$1"
}

bench() { # NAME OPTION...
    local out name=$1
    if ! out=$(timeout 120 "$(package "$name")" bench "${@:2}" --json); then
        echo "FAILED bench $*: $out"
        return
    fi
    value() { sed -n "s/.*\"$1\": \([-0-9.e+]*\).*/\1/p" <<<"$out"; }
    echo "ok bench $*: done"
    awk -v what="$*" -v decode="$(value decode_ms_median)" -v prefill="$(value prefill_seconds)" -v share="$(value roof_share)" \
        -v bandwidth="$(value bandwidth_bytes_per_second)" 'BEGIN {
        printf "measured %s: decode %.3f ms a step, prefill %.2f ms, reads at %.0f GB/s, %.1f %% of the roof\n", what, decode,
            prefill * 1e3, bandwidth / 1e9, share * 100 }'
}
bench llama1b -p 256 -n 128 -r 5
bench llama1b -p 256 -n 64 -b 32 -r 3
bench llama1b -p 2048 -n 8 -r 5
bench llama8b -p 256 -n 64 -r 5
bench llama8b -p 8192 -n 32 -r 5
bench llama8b -p 512 -n 32 -b 32 -r 5
bench llama8b -p 256 -n 16 -b 256 -r 5
bench llama8b -p 2048 -n 8 -r 5
bench llama8b_1024 -p 2048 -n 8 -r 5
bench qwen06b -p 256 -n 64 -r 5

stages() { # NAME OPTION...
    echo "measured stages of $*:"
    timeout 120 "$(package "$1")" bench "${@:2}" -r 1 --stages | sed 's/^/measured /'
}
stages llama1b -p 256 -n 32
stages llama8b -p 256 -n 32
stages llama8b -p 8192 -n 16
stages llama8b -p 512 -n 16 -b 32
stages llama8b -p 256 -n 8 -b 256
stages qwen06b -p 256 -n 32
