#!/usr/bin/env bash
# Adapters on this GPU: against the CPU, bitwise in any company, under the sanitizer, and what they cost.
check() { # NAME COMMAND...: its last line is the detail
    local name=$1 out
    shift
    if out=$(timeout 200 "$@" 2>&1); then
        echo "ok lora $name: $(tail -n 2 <<<"$out" | tr '\n' ' ')"
    else
        echo "FAILED lora $name: $(tail -n 4 <<<"$out" | tr '\n' ' ')"
    fi
}
for name in shape odd; do
    check $name ./$name test
    check "$name, stage by stage" env LATHE_CUDA_SERIAL=1 ./$name sanitize
done
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck synccheck initcheck; do
        check "compute-sanitizer $tool" timeout 300 compute-sanitizer --tool $tool --error-exitcode 9 ./shape sanitize
    done
fi
# Reserved places that are not used: in turns, so that a card that gets warmer is the same for both.
for _ in 1 2; do
    for name in llama8b_plain llama8b_rank16; do timeout 60 ./$name bench 0 256 48 5 1 32; done
done
timeout 120 ./llama8b_rank16 bench 16 256 48 5 1 2 8 32
timeout 120 ./llama8b_rank64 bench 16 256 48 5 1 32
timeout 120 ./llama8b_rank64 bench 64 256 48 5 1 32
