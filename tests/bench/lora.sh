#!/usr/bin/env bash
# What LoRA adapters cost: decode steps of a package with adapters beside those of the same model without, as a Markdown table.
#
#     tests/bench/lora.sh MODEL [RANK] [OPTION]...      OPTION: --threads N, --cpu NAME ... of the executables
#
# MODEL: a checkpoint, or a folder with a config.json alone (random weights then). 32 copies of a random adapter of RANK (16)
# on all linear layers are read into slots. Rounds alternate; each figure is the best median of 3. The roof of 32 sequences is
# the plain step and the adapters' bytes at the bandwidth of the same run.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(dirname -- "$(readlink -f -- "$0")")
lathe=${LATHE:-$here/../../build/lathe}
model=$1 rank=16
shift
[[ ! ${1:-} =~ ^[0-9]+$ ]] || { rank=$1; shift; }
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT

options=(--quiet --max-seq 1024)
[ -e "$model/model.safetensors" ] || [ -e "$model/model.safetensors.index.json" ] || options+=(--random-weights 1)
python3 "$here/lora_folder.py" "$model" "$rank" "$folder/adapter"
"$lathe" build "$model" -o "$folder/plain" "${options[@]}"
"$lathe" build "$model" -o "$folder/slots" "${options[@]}" --lora-slots 32 --lora-max-rank "$rank"
adapters=()
for i in {1..32}; do adapters+=(--lora-dir "a$i=$folder/adapter"); done

# A number of the flat JSON object in $json.
field() { printf '%s' "$json" | sed -n "s/.*\"$1\": *\([^,}]*\).*/\1/p"; }

declare -A best bytes bandwidth
measure() { # NAME PROGRAM OPTION...
    local name=$1 program=$2 time
    shift 2
    json=$("$folder/$program/$program" bench --prompt 4 --repeat 1 --json "$@" | tr -d '\n')
    time=$(field decode_ms_median)
    best[$name]=$(printf '%s\n' "$time" "${best[$name]:-$time}" | sort -g | head -n 1)
    bandwidth[$name]=$(printf '%s\n' "$(field bandwidth_bytes_per_second)" "${bandwidth[$name]:-0}" | sort -g | tail -n 1)
    bytes[$name]=$(field adapter_bytes_read)
}
for _ in 1 2 3; do
    measure plain1 plain --gen 40 "$@"
    measure slots1 slots --gen 40 "$@"
    measure lora1 slots --gen 40 --lora a1 --lora-dir "a1=$folder/adapter" "$@"
    measure plain32 plain --gen 10 --batch 32 "$@"
    measure slots32 slots --gen 10 --batch 32 "$@"
    measure lora32 slots --gen 10 --batch 32 --lora all "${adapters[@]}" "$@"
done

echo "| sequences | adapters of rank $rank | ms a step | times the plain step | times the plain step and the bytes |"
echo "| --- | --- | --- | --- | --- |"
row() { # NAME PLAIN SEQUENCES WHAT
    awk -v t="${best[$1]}" -v plain="${best[$2]}" -v bytes="${bytes[$1]}" -v speed="${bandwidth[$1]}" -v n="$3" -v what="$4" \
        'BEGIN { printf "| %d | %s | %.2f | %.3f | %.3f |\n", n, what, t, t / plain, t / (plain + 1e3 * bytes / speed) }'
}
row plain1 plain1 1 "none"
row slots1 plain1 1 "32 slots, unused"
row lora1 plain1 1 "1"
row plain32 plain32 32 "none"
row slots32 plain32 32 "32 slots, unused"
row lora32 plain32 32 "32"
