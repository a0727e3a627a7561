#!/usr/bin/env bash
# What lathe generates compiles without a warning and links: tests/ci/warnings.sh COMPILER... Not optimised, which takes
# clang's warnings and a third of the time; gcc sees more when it optimises: .ci/run has the tests' packages built so.
# shellcheck source=tests/ci/common.sh
. "$(dirname -- "$0")/common.sh"

[ $# -gt 0 ] || fail "which compilers?"
temporary_folder
# One of each family, a page of difference between them.
models=()
for family in llama mistral qwen2 qwen3; do
    for model in tests/fixtures/models/*"$family"*/; do
        [ ! -d "$model" ] || { models+=("$model"); break; }
    done
done
[ ${#models[@]} -gt 0 ] || fail "tests/fixtures/models holds no models"
for compiler; do
    quick_compiler "$compiler -Werror" -O0
    for model in "${models[@]}"; do
        name=$(basename -- "$model") options=()
        [[ $name != qwen2* ]] || options=(--lora-slots 1) # what adapters need
        "$lathe" build "$model" -o "$folder/$name" ${options[@]+"${options[@]}"} --quiet || fail "$name with $compiler (above)"
        echo "$name: no warning from $compiler"
    done
done
