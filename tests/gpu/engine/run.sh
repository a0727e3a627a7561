#!/usr/bin/env bash
# The engine on this GPU, bit by bit beside the CPU: graphs, stage by stage, and PTX; how fast weights are loaded.
check() {
    local name=$1 out
    shift
    if out=$("$@" 2>&1); then echo "ok engine $name: $(tail -n 1 <<<"$out")"; else echo "FAILED engine $name: $(tail -n 3 <<<"$out" | tr '\n' ' ')"; fi
}
check graphs timeout 120 ./engine .
check stages env LATHE_CUDA_SERIAL=1 timeout 120 ./engine . 200
check ptx env LATHE_CUDA_TARGET=ptx80 timeout 120 ./engine . 300
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck synccheck initcheck; do
        check "$tool" timeout 300 compute-sanitizer --tool $tool --error-exitcode 9 ./engine . 12
    done
fi
./engine . load "${LOAD_MEGABYTES:-1000}" | sed 's/^/measured /'
