#!/usr/bin/env bash
# The engine with the fake model: the test program and its kernels. Sourced by nothing; tests/gpu/prepare runs it.
set -euo pipefail
dir=$1
cmake --build "$ROOT/build" --target gpu_engine >/dev/null
cp "$ROOT/build/gpu_engine" "$dir/engine"
strip "$dir/engine"
nvcc=${NVCC:-nvcc}
command -v "$nvcc" >/dev/null || nvcc=/usr/local/cuda/bin/nvcc
compile() {
    "$nvcc" -Werror all-warnings -O3 -I"$ROOT/runtime" -I"$ROOT/tests/support" "$ROOT/tests/gpu/engine/fake_kernels.cu" "$@"
}
compile -cubin -arch=sm_90a -o "$dir/fake_90a.cubin"
compile -cubin -arch=sm_80 -o "$dir/fake_80.cubin"
compile -ptx -arch=compute_80 -o "$dir/fake.ptx"
