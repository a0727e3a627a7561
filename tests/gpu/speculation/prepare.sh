#!/usr/bin/env bash
# Trees of rows: small packages with their libraries, and the program that drives them. Draft heads: small ones of each kind with a
# main of their own, the default model with its head, and 8 billion parameters with a head of the published shape. The texts
# without a head are made with the default model and shapes of the suite `packages`, beside this one.
set -euo pipefail
dir=$1
"${CC:-cc}" -O2 -I"$ROOT/runtime" "$ROOT/tests/gpu/speculation/tree.c" -o "$dir/tree" -ldl
strip "$dir/tree"
cp "$ROOT/tests/bench/speculation.sh" "$dir/speculation.sh"
keep() { # only the executable of a package, and its library if it is wanted
    local name=$1
    shift
    find "$dir/$name" -mindepth 1 ! -name "$name" "$@" -exec rm -rf {} +
}
for name in llama-text mistral-window qwen2-window qwen3-ratio3; do
    "$LATHE" build "$ROOT/tests/fixtures/models/$name" -o "$dir/$name" --target c --target "cuda:$SM" --quiet
    keep "$name" ! -name "lib$name.so"
done
for name in safeailab-eagle3 speculators safeailab-eagle1-qwen; do
    CC="${CC:-cc} -I$ROOT/runtime" "$LATHE" build "$ROOT/tests/fixtures/heads/target" --eagle "$ROOT/tests/fixtures/heads/$name" \
        --templates "$ROOT/tests/gpu/speculation/heads" -o "$dir/$name" --target c --target "cuda:$SM" --max-rows 128 --quiet
    keep "$name"
done
"$LATHE" build "$ROOT/models/default" --eagle "$ROOT/models/default/eagle3" --eagle-gap 1 \
    --lora news="$ROOT/models/default/lora/news" --lora pirate="$ROOT/models/default/lora/pirate" \
    -o "$dir/story-eagle3" --target c --target "cuda:$SM" --quiet
keep story-eagle3
sed -E 's/.*"prompt_ids":\[([^]]*)\],"ids":\[([^]]*)\].*/\1/' "$ROOT/tests/fixtures/default/base.jsonl" >"$dir/prompts"

# What is published for 8 billion parameters: 32,000 of the target's ids.
shape=$(mktemp -d)
trap 'rm -rf "$shape"' EXIT
mkdir "$shape/model" "$shape/head"
common='"model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-05, "hidden_size": 4096, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256, "rope_theta": 500000.0,
    "tie_word_embeddings": false'
echo "{\"architectures\": [\"LlamaForCausalLM\"], \"num_hidden_layers\": 32, \"max_position_embeddings\": 8192,
    \"eos_token_id\": 1, $common}" >"$shape/model/config.json"
echo "{\"architectures\": [\"LlamaForCausalLMEagle3\"], \"num_hidden_layers\": 1, \"max_position_embeddings\": 2048,
    \"draft_vocab_size\": 32000, $common}" >"$shape/head/config.json"
"$LATHE" build "$shape/model" --eagle "$shape/head" --eagle-tokens 17 --random-weights 1 -o "$dir/llama8b-eagle3" \
    --target "cuda:$SM" --quiet
keep llama8b-eagle3
