#!/bin/sh
# Decode and prefill speed of a package beside the memory bandwidth measured in the same run, as a Markdown table.
#
#     tests/bench/speed.sh PROGRAM [OPTION]...      PROGRAM: the executable of a package; OPTION: --threads N, --cpu NAME ...
#
# Runs `PROGRAM bench --json` for a few shapes. "share of roof": the least time in which the weights of a decode step could
# be read at the measured bandwidth, over the time that the step took.
set -eu
[ $# -ge 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
program=$1
shift

# A number or text of the flat JSON object in $json.
field() { printf '%s' "$json" | sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p"; }

row() { # PROMPT GEN BATCH
    prompt=$1 gen=$2 batch=$3
    shift 3
    json=$("$program" bench --prompt "$prompt" --gen "$gen" --batch "$batch" --repeat 5 --json "$@" | tr -d '\n')
    printf '%s %s %s %s %s %s %s %s %s\n' "$(field variant)" "$(field threads)" "$batch" "$prompt" \
        "$(field prefill_tokens_per_second)" "$(field decode_ms_median)" "$(field decode_tokens_per_second)" \
        "$(field bandwidth_bytes_per_second)" "$(field roof_share)" |
        awk '{ printf "| %s | %d | %d | %d | %.0f | %.2f | %.1f | %.1f | %.0f %% |\n", $1, $2, $3, $4, $5, $6, $7, $8 / 1e9, 100 * $9 }'
}

echo "| kernels | threads | sequences | prompt | prefill, tokens/s | decode, ms a step | decode, tokens/s | bandwidth, GB/s | share of roof |"
echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
row 128 64 1 "$@"
row 512 64 1 "$@"
row 128 32 8 "$@"
