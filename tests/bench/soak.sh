#!/bin/sh
# Whether memory stays flat while a package generates for minutes: eight sequences at a time, opened and closed over and over.
#
#     tests/bench/soak.sh PROGRAM [SECONDS] [OPTION]...     PROGRAM: the executable of a package; 600 seconds unless told
#
# Runs `PROGRAM bench --batch 8` and samples its memory each second. Everything that grows must have done so within the
# first tenth of the time; from then on neither resident memory nor the anonymous part of it may grow by more than 1 MiB
# (bench keeps 8 bytes for each step that it times). Prints one line of figures; fails, saying so, on growth or when the
# program ends by itself.
set -eu
[ $# -ge 1 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
program=$1 seconds=${2:-600} limit=1024
shift
[ $# -eq 0 ] || shift

samples=$(mktemp)
"$program" bench --batch 8 --prompt 512 --gen 512 --repeat 1000 "$@" >/dev/null 2>"$samples.err" &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; rm -f "$samples" "$samples.err"' EXIT

# VmRSS and RssAnon in KiB; nothing when the program has ended.
sample() {
    awk '/^VmRSS:/ { rss = $2 } /^RssAnon:/ { anon = $2 } END { if (rss) print rss, anon }' "/proc/$pid/status" 2>/dev/null
}

for _ in $(seq "$seconds"); do
    sleep 1
    sample >>"$samples" || true
done
cpu=$(awk '{ sub(/.*\) /, ""); print ($12 + $13) }' "/proc/$pid/stat" 2>/dev/null || echo 0)
hertz=$(getconf CLK_TCK)

if ! kill -INT "$pid" 2>/dev/null; then
    echo "soak: FAILED: the program ended before its $seconds seconds: $(cat "$samples.err")" >&2
    exit 1
fi
status=0
wait "$pid" || status=$?
if [ "$status" -ne 130 ]; then
    echo "soak: FAILED: expected status 130 after an interruption, found $status: $(cat "$samples.err")" >&2
    exit 1
fi

awk -v seconds="$seconds" -v limit="$limit" -v cpu="$cpu" -v hertz="$hertz" '
    function most(now, before) { return now > before ? now : before }
    { rss = $1; anon = $2 }
    NR <= seconds / 10 || NR == 1 { rss0 = most(rss, rss0); anon0 = most(anon, anon0); next }
    { rss1 = most(rss, rss1); anon1 = most(anon, anon1) }
    END {
        if (NR < 2) { print "soak: FAILED: no samples"; exit 1 }
        printf "%d s, %d samples, %.0f s of processor time; resident: %d KiB at most in the first tenth, %d after it, %d at " \
               "the end; anonymous: %d, %d, %d\n", seconds, NR, cpu / hertz, rss0, rss1, rss, anon0, anon1, anon
        if (rss1 - rss0 > limit || anon1 - anon0 > limit) {
            printf "soak: FAILED: memory grew by more than %d KiB\n", limit
            exit 1
        }
    }' "$samples"
