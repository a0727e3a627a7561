#!/usr/bin/env bash
# Every way in which the kernels of a package cannot be made is one line that says what to do.
# shellcheck source=tests/cuda/common.sh
. "$(dirname -- "$0")/common.sh"

model=$fixtures/llama-text
request=("$model" --target cuda:80 --max-rows 8 -o "$folder/model")

refused "--target" "90a" "ptxSM" "found cuda:91" -- build "$model" --target cuda:91 -o "$folder/model"
refused "--target" "found cuda:ptx80a" -- generate "$model" --target cuda:ptx80a -o "$folder/model"
refused "--compiler" "nvrtc or nvcc" "found clang" -- build "$model" --target cuda --compiler clang -o "$folder/model"
refused "--dtype" "bf16" "--target c" -- build "$model" --target cuda --dtype f32 -o "$folder/model"
refused "/nowhere/libnvrtc.so" "cannot be opened" "pip install nvidia-cuda-nvrtc" "--nvrtc FILE" -- \
    build "${request[@]}" --nvrtc /nowhere/libnvrtc.so
LATHE_NVRTC=$folder/nvrtc refused "$folder/nvrtc" "LATHE_NVRTC" -- build "${request[@]}"
refused "no function nvrtcVersion" -- build "${request[@]}" --nvrtc libm.so.6
printf '#!/bin/sh\nexit 1\n' >"$folder/nvcc"
chmod +x "$folder/nvcc"
if ! [ -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ] && ! command -v nvcc >/dev/null; then
    NVCC=$folder/nvcc refused "--compiler nvcc" "not found" "NVRTC" -- build "${request[@]}" --compiler nvcc
fi
[ ! -e "$folder/model" ] || fail "a build that failed has left a package"

# A package whose sources were edited: mistakes are shown where they are.
build "${request[@]}"
source=$folder/model/src/cuda/embed.cu
cp "$source" "$folder/embed.cu"
line=$(grep -n 'extern "C"' "$source" | cut -d : -f 1)
before=$(md5sum "$folder/model/model")

edit() { # TEXT: a line before the kernel
    { head -n $((line - 1)) "$folder/embed.cu"; echo "$1"; tail -n +"$line" "$folder/embed.cu"; } >"$source"
}
edit 'static __device__ int mistake() { return nothing_of_that_name; }'
refused "src/cuda/embed.cu:$line: error:" "nothing_of_that_name" -- build "$folder/model"
edit 'static __device__ int careless() { int unused; return 0; }'
refused "src/cuda/embed.cu:$line: warning" "unused" -- build "$folder/model"
cp "$folder/embed.cu" "$source"

printf '#error in a header\n' >>"$folder/model/src/cuda/prelude.cuh"
refused "src/cuda/prelude.cuh:" "in a header" -- build "$folder/model"
sed -i '$d' "$folder/model/src/cuda/prelude.cuh"

# More registers than it may have: the build says how many bytes are spilled.
edit 'extern "C" __global__ void __launch_bounds__(1024, 2) greedy(float *x)
{
    float v[64];
    for (int i = 0; i < 64; i++) v[i] = x[i * 1024 + (int)threadIdx.x];
    for (int j = 0; j < 9; j++)
        for (int i = 0; i < 64; i++) v[i] = v[i] * v[(i * 7 + j) % 64] + v[(i * 5 + 1) % 64];
    for (int i = 0; i < 64; i++) x[i * 1024 + (int)threadIdx.x] = v[i];
}'
sed -i 's/    for (int/#pragma unroll\n    for (int/' "$source"
refused "src/cuda/embed.cu" "for 80," "bytes of registers are spilled to local memory" "__launch_bounds__" -- build "$folder/model"
[ "$(md5sum "$folder/model/model")" = "$before" ] || fail "a build that failed has changed the package"

# An edit that is right is built, and said.
edit '/* a comment of mine */'
build "$folder/model"
"$lathe" inspect "$folder/model" >"$folder/out"
grep -q "sources edited: yes" "$folder/out" || fail "the edit is not said"
grep -q "80: regs shared spill stack" "$folder/out" || fail "inspect does not show registers"
grep -Eq "^qkv_8 +2 .* [0-9]+ +[0-9]+ +0 +0 +[0-9.]+ kB$" "$folder/out" || fail "inspect shows qkv_8 otherwise"
"$lathe" inspect "$folder/model" --kernel embed >"$folder/out"
cmp -s "$folder/out" "$source" || fail "inspect shows another source"
refused "--kernel" "embed" "qkv_8" "found nothing" -- inspect "$folder/model" --kernel nothing
rm "$source"
refused "src/cuda/embed.cu" "found none" -- build "$folder/model"
