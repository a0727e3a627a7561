#!/usr/bin/env bash
# Every kernel of every family compiles for every target, without a warning and without a register spilled; with NVRTC, and
# one model's with nvcc where there is one.
# shellcheck source=tests/cuda/common.sh
. "$(dirname -- "$0")/common.sh"

# The kernels of a package by its manifest: an image for each target, or for the only one that has the kernel, as 9.0a alone has
# wide ones; nothing spilled.
check() { # PACKAGE TARGETS WIDE: so many wide kernels at least
    "$lathe" inspect --json "$1" >"$folder/inspect.json"
    python3 - "$folder/inspect.json" "$2" "$3" <<'END'
import json, sys
cuda = json.load(open(sys.argv[1]))["cuda"]
targets = sys.argv[2].split()
assert cuda["targets"] == targets, cuda["targets"]
assert len(cuda["kernels"]) > 12, len(cuda["kernels"])
wide = [kernel for kernel in cuda["kernels"] if "_wide_" in kernel["name"]]
assert [kernel["only"] for kernel in wide] == ["90a"] * len(wide) and len(wide) >= int(sys.argv[3]), wide
for kernel in cuda["kernels"]:
    assert "only" not in kernel or kernel in wide, kernel["name"]
    has = [kernel["only"]] if "only" in kernel else targets
    assert sorted(kernel["images"]) == sorted(has), (kernel["name"], sorted(kernel["images"]))
    for target, image in kernel["images"].items():
        assert image["bytes"] > 500, (kernel["name"], target)
        if not target.startswith("ptx"):
            assert image["spill_bytes"] == 0 and 8 <= image["registers"] <= 255, (kernel["name"], target, image)
END
}

for model in llama-576 mistral-window qwen2-window qwen3-128; do
    rows=64 wide=5 # from here on only attention and wide products have another kernel
    [ "$model" != llama-576 ] || rows=512 wide=10
    build "$fixtures/$model" --target cuda --max-rows "$rows" -o "$folder/$model"
    check "$folder/$model" "90a 80 ptx80" "$wide"
    echo "$model: every kernel for 90a, 80 and PTX of 8.0 ($(cat "$folder/nvrtc"))"
done

# With places for adapters: a second kernel of each product.
build "$fixtures/qwen3-128" --target cuda --max-rows 64 --lora-slots 3 --lora-max-rank 32 -o "$folder/lora"
check "$folder/lora" "90a 80 ptx80" 5
[ -e "$folder/lora/src/cuda/gate_up_lora_64.cu" ] || fail "no kernel for adapters"
echo "qwen3-128 with adapters: the same"

# A draft head of each kind: a step of its own, and a target that leaves it something.
build "$fixtures/../heads/target" --eagle "$fixtures/../heads/speculators" --target cuda --max-rows 16 -o "$folder/eagle3"
check "$folder/eagle3" "90a 80 ptx80" 0
build "$fixtures/../heads/target" --eagle "$fixtures/../heads/safeailab-eagle1-qwen" --target cuda:90a --max-rows 16 -o "$folder/eagle1"
check "$folder/eagle1" "90a" 0
for name in eagle3/src/cuda/draft_{fc,qkv,down,head}_8 eagle3/src/cuda/draft_{pair,best} eagle1/src/cuda/{feature,draft_enter}; do
    [ -e "$folder/$name.cu" ] || fail "no kernel $name"
done
echo "draft heads: the same"

if nvcc=${NVCC:-$(command -v "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" || command -v nvcc)}; then
    NVCC=$nvcc build "$fixtures/qwen2-window" --target cuda --compiler nvcc --max-rows 16 -o "$folder/nvcc"
    check "$folder/nvcc" "90a 80 ptx80" 0
    echo "qwen2-window: the same with $("$nvcc" --version | sed -n 's/.*release/nvcc/p')"
else
    echo "there is no nvcc here: NVRTC alone"
fi
