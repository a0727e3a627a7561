#!/usr/bin/env bash
# Packages on this GPU: against transformers and the CPU, bitwise in any company, sampling, long texts, errors, speed.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
verdict() { # NAME STATUS DETAIL
    if [ "$2" = 0 ]; then echo "ok $1: $3"; else echo "FAILED $1: $3"; fi
}
check() { # NAME COMMAND...: its last line is the detail
    local name=$1 out status
    shift
    out=$("$@" 2>&1)
    status=$?
    verdict "$name" $status "$(tail -n 1 <<<"$out")"
    return $status
}
ids() { # COUNT VOCABULARY: token ids
    awk -v n="$1" -v v="$2" 'BEGIN { x = 12345; for (i = 0; i < n; i++) { x = (x * 1103515245 + 12345) % 2147483648
        printf "%s%d", i ? "," : "", int(x / 65536) % v } }'
}
package() { # NAME: its executable
    echo "./$1/$1"
}
score() { # PACKAGE FILE OPTION...: logits to FILE.npy, the rest to FILE.json
    local program file=$2 class=(--exact)
    program=$(package "$1")
    [ -z "${bulk:-}" ] || class=()
    shift 2
    timeout 120 "$program" score "$@" "${class[@]}" --logits "$file.npy" --json >"$file.json" 2>"$file.err" || cat "$file.err"
}
hash_of() {
    sed -n 's/.*"logits_hash": "\([0-9a-f]*\)".*/\1/p' "$1.json"
}

for name in llama-text llama-bias mistral-window qwen2-window qwen3-ratio3; do
    prompt=$(cat $name/prompt)
    score $name "$tmp/gpu" --ids "$prompt"
    score $name "$tmp/cpu" --ids "$prompt" --device cpu
    check "$name against transformers" ./check logits $name/reference.npy "$tmp/gpu.npy" 1e-2 $name/positions
    check "$name against the CPU" ./check logits "$tmp/cpu.npy" "$tmp/gpu.npy" 1e-2
done

# Prompts in whole chunks go through cuBLASLt, where it is installed: other bits, no other numbers.
for name in story long; do
    bulk=yes score $name "$tmp/bulk" --ids "$(ids 1100 2000)"
    score $name "$tmp/exact" --ids "$(ids 1100 2000)"
    check "$name in bulk steps" ./check logits "$tmp/exact.npy" "$tmp/bulk.npy" 1e-2
done

# One text, in steps of any number of rows, beside anything: the same bits.
text=$(ids 600 2000)
for name in story long; do
    score $name "$tmp/whole" --ids "$text"
    score $name "$tmp/cpu" --ids "$text" --device cpu
    check "$name against the CPU" ./check logits "$tmp/cpu.npy" "$tmp/whole.npy" 1e-2
    for rows in 1 2 8 31 64 200 512; do
        score $name "$tmp/chunk" --ids "$text" --chunk $rows
        check "$name in steps of $rows rows" ./check bits "$tmp/whole.npy" "$tmp/chunk.npy"
    done
    for company in "--batch 3 --chunk 7" "--batch 8 --neighbours" "--batch 31 --neighbours --chunk 93"; do
        read -ra options <<<"$company"
        score "$name" "$tmp/beside" --ids "$text" "${options[@]}"
        check "$name beside others ($company)" ./check bits "$tmp/whole.npy" "$tmp/beside.npy"
    done
    score $name "$tmp/serial" --ids "$text" &&
        [ "$(hash_of "$tmp/serial")" = "$(hash_of "$tmp/whole")" ]
    verdict "$name twice" $? "$(hash_of "$tmp/serial")"
done
score story "$tmp/whole" --ids "$text"
LATHE_CUDA_TARGET=ptx80 score story "$tmp/ptx" --ids "$text"
check "story from PTX" ./check logits "$tmp/whole.npy" "$tmp/ptx.npy" 1

# Tokens chosen on the GPU are those that the CPU's sampler finds in the same logits.
sampled() { # NAME SEED TEMPERATURE TOP_K TOP_P MIN_P REPETITION FREQUENCY
    local name=$1
    timeout 60 "$(package "$name")" run --ids "$(ids 20 2000)" -n 300 --ignore-eos --json --seed "$2" --temp "$3" --top-k "$4" \
        --top-p "$5" --min-p "$6" --repetition-penalty "$7" --frequency-penalty "$8" >"$tmp/run.json"
    score "$name" "$tmp/after" --ids "$(sed 's/.*"prompt_ids": \[\([^]]*\)\], "ids": \[\([^]]*\)\].*/\1,\2/; s/ //g' "$tmp/run.json")"
    check "$name sampled (seed $2, temperature $3, top-k $4, top-p $5, min-p $6, penalties $7 and $8)" \
        ./check sampled "$tmp/run.json" "$tmp/after.npy" "${@:2}"
}
for name in story long; do
    sampled $name 1 0 0 1 0 1 0
    sampled $name 2 1 0 1 0 1 0
    sampled $name 3 0.8 40 0.95 0 1 0
    sampled $name 4 1.2 0 0.9 0.05 1.1 0.2
    sampled $name 5 0 0 1 0 1.3 0.1
done
for device in cpu cuda; do
    timeout 60 ./story/story run "Once upon a time" --temp 0 -n 200 --json --device $device >"$tmp/$device.json"
done
check "story, greedy, as on the CPU" ./check ids "$tmp/cpu.json" "$tmp/cuda.json" 20

# 10,000 tokens: each is the likeliest that one pass over the whole text finds.
timeout 120 ./long/long run --ids 5,6,7 -n 10000 --temp 0 --ignore-eos --json >"$tmp/run.json"
score long "$tmp/after" --ids "$(sed 's/.*"prompt_ids": \[\([^]]*\)\], "ids": \[\([^]]*\)\].*/\1,\2/; s/ //g' "$tmp/run.json")"
check "10,000 tokens" ./check greedy "$tmp/run.json" "$tmp/after.json"
rm -f "$tmp"/after.npy

if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck synccheck initcheck; do
        out=$(timeout 300 compute-sanitizer --tool $tool --error-exitcode 9 ./long/long run --ids "$(ids 70 2000)" -n 4 --temp 0.9 \
            --top-k 20 --kv-memory 1M 2>&1)
        verdict "compute-sanitizer $tool" $? "$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' <<<"$out" | tail -n 1)"
    done
fi

refuses() { # NAME PART COMMAND...
    local name=$1 part=$2 out status
    shift 2
    out=$("$@" 2>&1)
    status=$?
    [ $status = 1 ] && [[ $out == *"$part"* ]]
    verdict "$name" $? "$out"
}
refuses "more state than there is memory" "too little GPU memory" ./long/long run --ids 1 -n 1 --kv-memory 2T
refuses "no GPU to be seen" "no GPU" env CUDA_VISIBLE_DEVICES= ./long/long run --ids 1 -n 1
refuses "a text longer than its state" "out of state pages" ./long/long run --ids "$(ids 100 2000)" -n 1 --kv-memory 100K
