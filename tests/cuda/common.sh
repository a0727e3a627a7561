# shellcheck shell=bash
# For the tests of this folder, which compile CUDA kernels and need no GPU: sourced by each.
set -euo pipefail
export LC_ALL=C.UTF-8

tests=$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")
lathe=${LATHE:-$tests/../build/lathe}
export fixtures=$tests/fixtures/models
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT

# What one test has compiled the next need not.
LATHE_CACHE=$(dirname -- "$(readlink -f -- "$lathe")")/cuda-cache
export LATHE_CACHE

fail() {
    printf '%s: %s\n' "$(basename -- "$0")" "$*" >&2
    exit 1
}

skip() {
    echo "$1"
    exit 77
}

"$lathe" nvrtc --version >"$folder/nvrtc" 2>&1 || skip "$(tail -n 1 "$folder/nvrtc"): skipped"

# lathe fails with one line that holds all of the fragments.
refused() { # FRAGMENT... -- ARGUMENT...
    local fragments=() fragment
    while [ "$1" != -- ]; do
        fragments+=("$1")
        shift
    done
    shift
    if "$lathe" "$@" >"$folder/out" 2>"$folder/err"; then fail "lathe $*: expected an error"; fi
    [ "$(wc -l <"$folder/err")" -eq 1 ] || fail "lathe $*: expected one line, found: $(cat "$folder/err")"
    for fragment in "${fragments[@]}"; do
        grep -qF -- "$fragment" "$folder/err" || fail "lathe $*: expected '$fragment' in: $(cat "$folder/err")"
    done
}

build() { # ARGUMENT...
    "$lathe" build --quiet "$@" || fail "lathe build $* (above)"
}
