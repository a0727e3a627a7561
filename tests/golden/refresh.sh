#!/usr/bin/env bash
# Makes the golden packages anew from their fixtures: tests/golden/refresh.sh. Look at the difference before you commit
# it. The runtime's headers are left out: they are copies, which tests/codegen/test_sources.c compares with runtime/.
set -euo pipefail
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"
lathe=${LATHE:-../../build/lathe}
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT

for name in qwen2-window qwen3-ratio3 llama-bias; do
    options=()
    case $name in # as tests/codegen/test_sources.c
        qwen3-ratio3) options=(--target cuda --max-rows 8) ;;
        llama-bias) options=(--lora-slots 2) ;;
    esac
    "$lathe" generate "../fixtures/models/$name" ${options[@]+"${options[@]}"} -o "$folder/$name" --quiet
    rm -r "$folder/$name/src/runtime" "$folder/$name/lathe.h"
    sed -i '/^    "src\/runtime\//d; /^    "lathe.h"/d' "$folder/$name/MANIFEST.json"
    rm -rf "./$name"
    cp -r "$folder/$name" "./$name"
    echo "tests/golden/$name: $(find "$name" -type f | wc -l) files"
done
