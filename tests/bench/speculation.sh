#!/usr/bin/env bash
# Does speculation leave every token as it is? tests/bench/speculation.sh EXECUTABLE [OPTION...]
#
# PROMPTS (500) random prompts, TOKENS (128) tokens each: greedily at batch 1, 4 and 16, where `bench` compares every token
# with plain steps; then drawn at random, one by one, where `run` must print the same ids and log-probabilities with guesses
# and without. The options (--draft ngram, --lora NAME, --device cuda ...) go to all of them; the draft options alone make
# the difference. Prints a line for each part; status 1 if any token differs.
set -euo pipefail
executable=$1
shift
prompts=${PROMPTS:-500} tokens=${TOKENS:-128} length=${LENGTH:-24} # tokens in a prompt
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
status=0

for batch in ${BATCHES:-1 4 16}; do
    texts=0 accepted=0 cycles=0 failed=0
    for ((seed = 1; texts < prompts; seed++, texts += batch)); do
        if ! "$executable" bench --json --no-verify --prompt "$length" --gen "$tokens" --batch "$batch" --repeat 1 \
            --seed "$((1000 * batch + seed))" "$@" >"$scratch/bench.json"; then
            echo "batch $batch, --seed $((1000 * batch + seed)): failed (above), or something ended it" >&2
            failed=$((failed + 1))
            continue
        fi
        part=$(sed 's/.*"drafts"://; s/: /:/g' "$scratch/bench.json")
        [[ $part =~ \"cycles\":([0-9]+) ]] && cycles=$((cycles + BASH_REMATCH[1]))
        [[ $part =~ \"accepted\":([0-9]+) ]] && accepted=$((accepted + BASH_REMATCH[1]))
    done
    [ "$failed" -eq 0 ] || status=1
    echo "greedy, batch $batch: $texts prompts of $tokens tokens, $failed runs failed;" \
        "$accepted tokens guessed right in $cycles cycles"
    [ "$cycles" -gt 0 ] || { echo "nothing was guessed" >&2 && status=1; }
done

# What a text is, without how it came about.
text_of() { sed -E 's/"finish".*//' "$1"; }

differences=0
vocab=$("$executable" info --json | sed -E 's/.*"vocab": *([0-9]+).*/\1/')
for ((seed = 1; seed <= ${SAMPLED:-$prompts}; seed++)); do
    ids=$(awk -v seed="$seed" -v n="$length" -v vocab="$vocab" \
        'BEGIN { srand(seed); for (i = 0; i < n; i++) printf "%s%d", i ? "," : "", int(rand() * vocab) }')
    choice=(--no-verify --json --ids "$ids" -n "$tokens" --seed "$seed" --temp "0.$((seed % 9 + 1))" --top-p 0.95
        --repetition-penalty "1.$((seed % 3))")
    "$executable" run "${choice[@]}" "$@" >"$scratch/guessed.json"
    "$executable" run "${choice[@]}" "$@" --draft none >"$scratch/plain.json"
    cmp -s <(text_of "$scratch/guessed.json") <(text_of "$scratch/plain.json") || differences=$((differences + 1))
done
[ "$differences" -eq 0 ] || status=1
echo "drawn at random: ${SAMPLED:-$prompts} prompts of up to $tokens tokens, $differences with a difference"
exit "$status"
