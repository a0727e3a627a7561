#!/usr/bin/env bash
# A whole package, its kernels included, with the thread sanitizer: tests/ci/tsan.sh. $LATHE must have been built with it
# (preset tsan), because the package links its runtime.
# shellcheck source=tests/ci/common.sh
. "$(dirname -- "$0")/common.sh"

temporary_folder
export TSAN_OPTIONS=halt_on_error=1:exitcode=66 # an executable of lathe ends with 0, 1 or 2
package=$folder/package program=$folder/package/package
build() { CC="cc -fsanitize=thread" "$lathe" build "$1" -o "$package" --quiet || fail "lathe build $1 (above)"; }
clean() { # ARGUMENT...: runs the package and expects no complaint
    "$program" "$@" >"$folder/out" 2>&1 || { cat "$folder/out" >&2; fail "the package's $*: see above"; }
    echo "clean: $*"
}

build tests/fixtures/models/llama-text
for threads in 2 3; do
    clean run hello -n 24 --ignore-eos --threads "$threads"
    clean score --ids 5,6,7,8,9,10,11,12 --threads "$threads"
    clean bench --batch 5 --prompt 40 --gen 8 --repeat 1 --threads "$threads"
done

# That a race would be seen: one stage does not wait for the end of the one before it.
sed -i '0,/stage_end(step, thread, STAGE_ROPE_STATE)/s//if (thread < 0) &/' "$package/src/model.c"
grep -q 'if (thread < 0) stage_end' "$package/src/model.c" || fail "src/model.c has no stage rope_state to take the end from"
build "$package"
# Whether two threads meet is up to the machine: once in a few runs is enough.
for attempt in 1 2 3 4 5 6; do
    status=0
    "$program" run hello -n 24 --ignore-eos --threads 2 >"$folder/out" 2>&1 || status=$?
    if [ "$status" -eq 66 ] && grep -q "data race" "$folder/out"; then
        echo "noticed: a stage that does not wait (run $attempt)"
        exit 0
    fi
done
fail "a stage that does not wait is not noticed (status $status)"
