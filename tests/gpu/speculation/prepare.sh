#!/usr/bin/env bash
# Trees of rows: small packages with their libraries, and the program that drives them. The texts are made with the default
# model and shapes of the suite `packages`, beside this one.
set -euo pipefail
dir=$1
"${CC:-cc}" -O2 -I"$ROOT/runtime" "$ROOT/tests/gpu/speculation/tree.c" -o "$dir/tree" -ldl
strip "$dir/tree"
cp "$ROOT/tests/bench/speculation.sh" "$dir/speculation.sh"
for name in llama-text mistral-window qwen2-window qwen3-ratio3; do
    "$LATHE" build "$ROOT/tests/fixtures/models/$name" -o "$dir/$name" --target c --target "cuda:$SM" --quiet
    find "$dir/$name" -mindepth 1 ! -name "$name" ! -name "lib$name.so" -exec rm -rf {} +
done
