#!/usr/bin/env bash
# Trees of rows on this GPU: every row's bits, what accepting a path leaves, draft heads beside the CPU's, and texts with
# guesses beside plain ones.
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

# The allowed difference is what bfloat16 itself makes of these heads: of a CPU's guesses in bfloat16 from those in f32.
check "EAGLE-3 head, guesses" timeout 60 ./safeailab-eagle3/safeailab-eagle3 0.12
check "EAGLE-3 head with biases that normalises first, guesses" timeout 60 ./speculators/speculators 0.23
check "EAGLE-1 head, guesses" timeout 60 ./safeailab-eagle1-qwen/safeailab-eagle1-qwen 1.6

# The default model with its head: `bench` compares every token with plain steps.
head=story-eagle3/story-eagle3
greedy() { # OPTION...
    timeout 120 ./$head bench --json --no-verify --prompt 24 --gen 128 --repeat 1 "$@" | tr -d '\n' |
        sed -E 's/.*"cycles": *([0-9]+).*"accepted": *([0-9]+).*"accepted_length": *([0-9.]+).*/\1 cycles, \2 accepted, \3 each/'
}
for draft in "" "--draft-top-k 1 --draft-tokens 5" "--draft-tokens 60 --draft-depth 7 --draft-top-k 8" \
    "--draft ngram --draft-ngram 1 --draft-tokens 12"; do
    for adapter in "" "--lora news" "--lora pirate"; do
        for batch in 1 4 16; do
            read -ra options <<<"--batch $batch --seed $batch $draft $adapter"
            check "head: greedy texts (${options[*]})" greedy "${options[@]}"
        done
    done
    read -ra options <<<"$draft"
    PROMPTS=1 BATCHES=1 SAMPLED=${SAMPLED:-24} check "head: drawn texts ($draft)" timeout 400 bash speculation.sh $head "${options[@]}"
done
# Prompts of the model's own, as chains: as many tokens a cycle as on the CPU.
lengths() { # DEVICE
    while read -r ids; do
        timeout 60 ./$head run --no-verify --json --temp 0 -n 128 --ids "$ids" --device "$1" --draft-top-k 1 \
            --draft-tokens 5 </dev/null
    done <prompts | sed -E 's/.*"steps": *([0-9]+).*"accepted": *([0-9]+).*/\1 \2/' |
        awk '{ steps += $1; accepted += $2 } END { printf "%.4f", 1 + accepted / steps }'
}
same_lengths() {
    local gpu cpu
    gpu=$(lengths cuda) cpu=$(lengths cpu)
    echo "$gpu tokens a cycle, $cpu on the CPU"
    awk -v a="$gpu" -v b="$cpu" 'BEGIN { exit !(a > 0.98 * b && a < 1.02 * b) }'
}
check "head: accepted lengths" same_lengths

for options in "--draft-tokens 16" "--draft-tokens 60 --draft-depth 7" "--batch 8 --draft-tokens 8" "--draft-tokens 5 --draft-top-k 1"; do
    read -ra bench <<<"$options"
    timeout 120 ./llama8b-eagle3/llama8b-eagle3 bench --exact -p 256 -n 64 -r 2 "${bench[@]}" |
        grep -E '^(decode|drafts|cycle|floor)' | sed "s/^/measured llama8b with a head $options: /"
done
for shape in llama1b llama8b; do
    for options in "--batch 1 --draft-tokens 16" "--batch 1 --draft-tokens 60" "--batch 8 --draft-tokens 8"; do
        read -ra bench <<<"$options"
        timeout 120 "../packages/$shape/$shape" bench --exact -p 256 -n 64 -r 2 --draft ngram --draft-ngram 1 "${bench[@]}" |
            grep -E '^(decode|drafts|cycle|floor)' | sed "s/^/measured $shape $options: /"
    done
done
