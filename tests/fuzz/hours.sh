#!/usr/bin/env bash
# Runs the fuzzers of a prepared folder (see prepare) and sums up: hours.sh [OPTION...] [TARGET...]
#
#   -t SECONDS   for each target (60)
#   -c CORES     processes that run at the same time (all)
#   -w WORKERS   processes for each target, which share what they find (1)
#   -o DIR       where the results go (results)
#
# DIR gets summary.tsv, a line for each target (figures adds them up); crashes/TARGET-KIND-HASH, the inputs to reproduce findings; logs/, the
# last lines that each process printed; corpus/TARGET.tar.gz, what was found on the way. Exits with 1 after a finding.
set -uo pipefail
export LC_ALL=C.UTF-8

seconds=60 cores=$(nproc) workers=1 out=results
while getopts t:c:w:o: option; do
    case $option in
    t) seconds=$OPTARG ;;
    c) cores=$OPTARG ;;
    w) workers=$OPTARG ;;
    o) out=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))

archive=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)/fuzzers.tar.xz
mkdir -p "$out/crashes" "$out/logs" "$out/corpus"
out=$(cd -- "$out" && pwd)
memory=/dev/shm
[ -d "$memory" ] && [ -w "$memory" ] || memory=${TMPDIR:-/tmp}
scratch=$(mktemp -d "$memory/lathe-hours-XXXXXX") || exit 1
trap 'rm -rf -- "$scratch"' EXIT
here=$scratch/fuzzers
mkdir -p "$here"
tar -xJf "$archive" -C "$here" || exit 1

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for program in "$here"/fuzz_*; do
        targets+=("$(basename -- "$program" | sed 's/^fuzz_//')")
    done
fi

# What one input may take, far above what any takes. The sanitizers multiply time by five and memory by three.
limits=(-timeout=25 -report_slow_units=25 -rss_limit_mb=1024 -malloc_limit_mb=400 -max_len=16384)
most_findings=8 # of one process: then it stops, since the same one comes again and again
export ASAN_OPTIONS=quarantine_size_mb=32:detect_stack_use_after_return=1:allocator_may_return_null=1:detect_leaks=1
export UBSAN_OPTIONS=print_stacktrace=1

# Kernels with more random bits in addresses than this runtime of the sanitizers expects need this.
launcher=()
if setarch -R true 2>/dev/null; then launcher=(setarch -R); fi

# Looking for leaks needs ptrace, which a sandbox may forbid.
leaks=yes
if ! "${launcher[@]}" "$here/fuzz_${targets[0]}" -runs=0 >"$scratch/probe" 2>&1 &&
    grep -q "LeakSanitizer has encountered a fatal error" "$scratch/probe"; then
    leaks=no
    ASAN_OPTIONS=${ASAN_OPTIONS/detect_leaks=1/detect_leaks=0}
fi

# One process: goes on after a finding, with the time that is left.
run_worker() { # TARGET NUMBER
    local target=$1 number=$2 log="$scratch/$1.$2" end=$((SECONDS + seconds)) left findings=0 dictionary=()
    local folder="$scratch/corpus/$target"
    mkdir -p "$folder" "$scratch/tmp.$target.$number"
    [ ! -f "$here/$target.dict" ] || dictionary=(-dict="$here/$target.dict")
    local known=()
    for known_folder in "$here/seeds/$target" "$here/regressions/$target" "$here/corpus/$target"; do
        [ ! -d "$known_folder" ] || known+=("$known_folder")
    done
    : >"$log.cpu"
    while left=$((end - SECONDS)) && [ "$left" -gt 0 ] && [ "$findings" -lt "$most_findings" ]; do
        # User and system time of this run, added up in seconds.
        TIMEFORMAT='%U %S'
        { time TMPDIR="$scratch/tmp.$target.$number" "${launcher[@]}" "$here/fuzz_$target" "${limits[@]}" \
            "${dictionary[@]}" -detect_leaks=0 -reload=1 -max_total_time="$left" -print_final_stats=1 \
            -artifact_prefix="$out/crashes/$target-" "$folder" "${known[@]}" >"$log.now" 2>&1; } 2>>"$log.cpu"
        local status=$?
        cat "$log.now" >>"$log"
        [ "$status" -ne 0 ] || break
        findings=$((findings + 1))
        grep -E -a -m 40 '==fuzz:|ERROR|SUMMARY|^ +#[0-9]|stack traceback|^	' "$log.now" \
            >"$out/logs/$target.$number.finding-$findings"
    done
    echo "$findings" >"$log.findings"
    tail -n 40 "$log" >"$out/logs/$target.$number"
    rm -rf -- "$scratch/tmp.$target.$number" "$log.now"
}

printf 'target\tprocesses\tseconds\tcpu_seconds\texecutions\tper_cpu_second\tcov\tfeatures\tcorpus\tfindings\tpeak_rss_mb\tleaks_checked\tended\tcommit\n' \
    >"$out/summary.tsv"
sum_up() { # TARGET
    local target=$1
    cat "$scratch/$target".*.cpu | awk '{ s += $1 + $2 } END { printf "%d\n", s }' >"$scratch/cpu"
    cat "$scratch/$target".[0-9] "$scratch/$target".[0-9][0-9] 2>/dev/null | awk -v target="$target" \
        -v workers="$workers" -v seconds="$seconds" -v cpu="$(cat "$scratch/cpu")" -v leaks="$leaks" \
        -v findings="$(cat "$scratch/$target".*.findings | awk '{ n += $1 } END { print n + 0 }')" \
        -v ended="$(date -u +%FT%TZ)" -v commit="$(cat "$here/commit")" '
        { for (i = 1; i < NF; i++) {
            if ($i == "cov:" && $(i + 1) + 0 > cov) cov = $(i + 1) + 0
            if ($i == "ft:" && $(i + 1) + 0 > ft) ft = $(i + 1) + 0
            if ($i == "corp:" && $(i + 1) + 0 > corpus) corpus = $(i + 1) + 0 } }
        /number_of_executed_units/ { runs += $2 }
        /peak_rss_mb/ && $2 > rss { rss = $2 }
        END { printf "%s\t%d\t%d\t%d\t%d\t%.1f\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", target, workers, seconds, cpu, runs,
                     cpu ? runs / cpu : 0, cov, ft, corpus, findings, rss, leaks, ended, commit }' >>"$out/summary.tsv"
    tar -C "$scratch/corpus" -czf "$out/corpus/$target.tar.gz" "$target" 2>/dev/null
}

running=0
for target in "${targets[@]}"; do
    for ((number = 0; number < workers; number++)); do
        while [ "$running" -ge "$cores" ]; do
            wait -n
            running=$((running - 1))
        done
        run_worker "$target" "$number" &
        running=$((running + 1))
    done
done
wait
for target in "${targets[@]}"; do sum_up "$target"; done

column -t -s "$(printf '\t')" "$out/summary.tsv" 2>/dev/null || cat "$out/summary.tsv"
findings=$(awk -F '\t' 'NR > 1 { n += $10 } END { print n + 0 }' "$out/summary.tsv")
if [ "$findings" -gt 0 ]; then
    printf '\n%d findings; inputs:\n' "$findings"
    ls "$out/crashes"
    cat "$out"/logs/*.finding-1
    exit 1
fi
