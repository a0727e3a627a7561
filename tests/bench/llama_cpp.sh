#!/bin/sh
# lathe beside llama.cpp on the same bf16 weights, in one run, two threads: a Markdown table of decode, prefill of 512 tokens
# and 8 sequences together, each with its share of the roof that `bench` measures in the same run.
#
#     tests/bench/llama_cpp.sh [smollm2|random-1b]...      ROUNDS=3 THREADS=2 LATHE=build/lathe PYTHON=python3 QUIET=
#
# llama.cpp comes with the source of llama-cpp-python (PyPI) and is built for this processor in .cache/llama.cpp, once; that
# takes about twenty minutes on two cores. PYTHON needs the packages gguf and numpy. QUIET: a command before each measurement.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
lathe=${LATHE:-$here/build/lathe} python=${PYTHON:-python3} rounds=${ROUNDS:-3} threads=${THREADS:-2}
version=0.3.36
cache=$here/.cache/llama.cpp
bench=$cache/build/bin/llama-batched-bench
[ -x "$lathe" ] || { echo "$lathe: not there; run ./bootstrap build, or set LATHE" >&2; exit 1; }
mkdir -p "$cache"

if [ ! -x "$bench" ]; then
    echo "building llama.cpp (llama-cpp-python $version) in $cache" >&2
    [ -e "$cache/llama_cpp_python-$version.tar.gz" ] || "$python" -m pip download --quiet --no-deps \
        --no-binary llama-cpp-python -d "$cache" "llama-cpp-python==$version"
    tar xzf "$cache/llama_cpp_python-$version.tar.gz" -C "$cache" --exclude='*/.git/*'
    cmake -S "$cache/llama_cpp_python-$version/vendor/llama.cpp" -B "$cache/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
        -DLLAMA_BUILD_SERVER=OFF > "$cache/configure.log"
    nice cmake --build "$cache/build" --target llama-batched-bench > "$cache/build.log"
fi

# The middle one of the numbers on standard input.
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
number() { sed -n "s/.*\"$2\": *\([-0-9.e+]*\).*/\1/p" "$1"; }

compare() { # NAME
    gguf=$cache/$1.gguf package=$cache/$1-package/$1
    if [ ! -e "$gguf" ]; then
        case $1 in
        smollm2) "$python" "$here/tests/bench/bf16_gguf.py" convert \
            "${LATHE_SMOLLM2:-$("$here/bootstrap" model smollm2)}" "$gguf.part" ;;
        random-1b) "$python" "$here/tests/bench/bf16_gguf.py" random-1b "$gguf.part" ;;
        *) echo "$1: expected smollm2 or random-1b" >&2; exit 2 ;;
        esac
        mv "$gguf.part" "$gguf"
    fi
    "$lathe" build "$gguf" -o "$cache/$1-package/$1" --max-seq 2048 --quiet
    program=$package/$1
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT INT TERM
    round=0
    while [ "$round" -lt "$rounds" ]; do
        round=$((round + 1))
        ${QUIET:-} "$bench" -m "$gguf" -c 8192 -b 512 -ub 512 -npp 512 -ntg 32 -npl 1,8 -t "$threads" \
            2> /dev/null > "$folder/other"
        awk -F'|' '$4 + 0 == 1 { print $7 }' "$folder/other" >> "$folder/other.prefill"
        awk -F'|' '$4 + 0 == 1 { print $9 }' "$folder/other" >> "$folder/other.decode"
        awk -F'|' '$4 + 0 == 8 { print $9 }' "$folder/other" >> "$folder/other.eight"
        ${QUIET:-} "$program" bench -p 512 -n 32 -r 1 -t "$threads" --no-verify --json > "$folder/one"
        ${QUIET:-} "$program" bench -p 512 -n 32 -b 8 -r 1 -t "$threads" --no-verify --json > "$folder/own"
        number "$folder/one" prefill_tokens_per_second >> "$folder/own.prefill"
        number "$folder/one" decode_tokens_per_second >> "$folder/own.decode"
        number "$folder/own" decode_tokens_per_second >> "$folder/own.eight"
        awk "BEGIN { print $(number "$folder/one" bandwidth_bytes_per_second) / $(number "$folder/one" weight_bytes_read) }" \
            >> "$folder/roof.decode"
        awk "BEGIN { print 512 * $(number "$folder/one" peak_flops_per_second) / $(number "$folder/one" prefill_flops) }" \
            >> "$folder/roof.prefill"
    done
    awk '{ print 8 * $1 }' "$folder/roof.decode" > "$folder/roof.eight"
    for what in decode prefill eight; do
        echo "$1 $what $(median < "$folder/own.$what") $(median < "$folder/other.$what") $(median < "$folder/roof.$what")"
    done | awk '{
        name["decode"] = "decode"; name["prefill"] = "prefill of 512 tokens"; name["eight"] = "8 sequences together"
        printf "| %s | %s | %.1f | %.1f | %.2f | %.0f | %.0f %% | %.0f %% |\n", $1, name[$2], $3, $4, $3 / $4, $5,
            100 * $3 / $5, 100 * $4 / $5 }'
    rm -rf "$folder"
}

[ $# -gt 0 ] || set -- smollm2 random-1b
echo "| model | tokens/s | lathe | llama.cpp | ratio | roof | lathe of it | llama.cpp of it |"
echo "| --- | --- | --- | --- | --- | --- | --- | --- |"
for model; do compare "$model"; done
