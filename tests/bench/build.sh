#!/bin/sh
# Measures `lathe build` of a model from a cold cache: wall time, and peak resident memory of lathe itself and of the
# compilers it starts.
#
#     tests/bench/build.sh [MODEL] [RUNS]     LATHE=build/lathe, MODEL=SmolLM2-135M-Instruct, RUNS=3
#
# The page cache is dropped before each run where that is allowed (root); lathe keeps no cache of its own.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
lathe=${LATHE:-$here/build/lathe}
model=${1:-${LATHE_SMOLLM2:-$here/.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf}}
runs=${2:-3}
[ -x "$lathe" ] || { echo "$lathe: not there; run ./bootstrap build, or set LATHE" >&2; exit 1; }
[ -e "$model" ] || { echo "$model: not there; run ./bootstrap, or name a model" >&2; exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM

# The highest value in kB of a field of /proc/PID/status while the process lives.
watch_peak() { # PID FIELD FILE
    while value=$(sed -n "s/^$2:[^0-9]*\([0-9]*\) kB/\1/p" "/proc/$1/status" 2>/dev/null) && [ -n "$value" ]; do
        echo "$value" > "$3"
        sleep 0.02
    done
}

now() { cut -d ' ' -f 1 /proc/uptime; }

echo "model   $model ($(du -Lsm "$model" | cut -f 1) MiB)"
echo "machine $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)"
i=0
while [ "$i" -lt "$runs" ]; do
    i=$((i + 1))
    rm -rf "$folder/package"
    sync
    if echo 3 2>/dev/null > /proc/sys/vm/drop_caches; then cache=cold; else cache="warm (dropping the cache needs root)"; fi
    start=$(now)
    "$lathe" build "$model" -o "$folder/package" > "$folder/report" &
    pid=$!
    watch_peak "$pid" VmHWM "$folder/peak"
    wait "$pid"
    end=$(now)
    seconds=$(awk "BEGIN { printf \"%.2f\", $end - $start }")
    peak=$(awk "BEGIN { printf \"%.1f\", $(cat "$folder/peak") / 1024 }")
    echo "run $i   $seconds s, peak of lathe itself $peak MiB, cache $cache"
    echo "        lathe says: $(tail -1 "$folder/report" | sed "s,$folder/,,")"
done
