#!/usr/bin/env bash
# Trees of rows on this GPU: every row's bits, what accepting a path leaves, and texts with guesses beside plain ones.
check() { # NAME COMMAND...: its last line is the detail
    local name=$1 out
    shift
    if out=$("$@" 2>&1); then
        echo "ok $name: $(tail -n 1 <<<"$out")"
    else
        echo "FAILED $name: $(tail -n 3 <<<"$out" | tr '\n' ' ')"
    fi
}
for name in llama-text mistral-window qwen2-window qwen3-ratio3; do
    check "$name: trees" timeout 120 ./tree "./$name/lib$name.so" cuda 20
    check "$name: trees, stage by stage" env LATHE_CUDA_SERIAL=1 timeout 120 ./tree "./$name/lib$name.so" cuda 3
    check "$name: trees on the CPU" timeout 120 ./tree "./$name/lib$name.so" cpu 2
done
if command -v compute-sanitizer >/dev/null; then
    check "memcheck" timeout 300 compute-sanitizer --tool memcheck --error-exitcode 9 ./tree ./qwen3-ratio3/libqwen3-ratio3.so cuda 1
fi
# One token looked up guesses often, and is often wrong.
for options in "--draft-tokens 6" "--draft-tokens 12 --draft-ngram 1"; do
    read -ra draft <<<"--draft ngram $options"
    PROMPTS=${PROMPTS:-64} SAMPLED=${SAMPLED:-24} check "story: texts with guesses ($options)" timeout 400 \
        bash speculation.sh ../packages/story/story --exact "${draft[@]}"
done
for shape in llama1b llama8b; do
    for options in "--batch 1 --draft-tokens 16" "--batch 1 --draft-tokens 60" "--batch 8 --draft-tokens 8"; do
        read -ra bench <<<"$options"
        timeout 120 "../packages/$shape/$shape" bench --exact -p 256 -n 64 -r 2 --draft ngram --draft-ngram 1 "${bench[@]}" |
            grep -E '^(decode|drafts|cycle|floor)' | sed "s/^/measured $shape $options: /"
    done
done
