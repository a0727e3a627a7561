# shellcheck shell=bash
# For the checks of .ci/run: sourced by each script of this folder, from the project's root on.
set -euo pipefail
export LC_ALL=C.UTF-8
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../.."

fail() {
    printf '%s: %s\n' "$(basename -- "$0")" "$*" >&2
    exit 1
}

# The project's own files whose path matches one of the shell patterns, each ended by a NUL: what git tracks or would.
project_files() { # PATTERN...
    if git_here rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git_here ls-files -z --cached --others --exclude-standard -- "${@/#/:(glob)}" | while IFS= read -r -d '' file; do
            [ ! -f "$file" ] || printf '%s\0' "$file"
        done
    else
        local pattern arguments=()
        for pattern; do
            arguments+=(-o -path "./${pattern/\*\*\//*}")
        done
        find . \( -name .git -o -name .cache -o -path './build*' \) -prune -o -type f \( "${arguments[@]:1}" \) -printf '%P\0'
    fi
}

# git, also where the tree belongs to another user than the one who runs this.
git_here() { git -c safe.directory='*' "$@"; }

# A folder that goes when the script ends, in $folder.
temporary_folder() {
    folder=$(mktemp -d)
    trap 'rm -rf -- "$folder"' EXIT
}

# The generator under test.
export lathe=${LATHE:-$PWD/build/lathe}

# Sets CC to a compiler for `lathe build` that takes these flags as its last words: quick_compiler COMMAND FLAG. Needs
# temporary_folder.
quick_compiler() {
    printf '#!/bin/sh\nexec %s "$@" %s\n' "$1" "$2" >"$folder/cc"
    chmod +x "$folder/cc"
    export CC=$folder/cc
}
