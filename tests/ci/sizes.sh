#!/usr/bin/env bash
# The tree stays small, and weights are only where they belong.
# shellcheck source=tests/ci/common.sh
. "$(dirname -- "$0")/common.sh"

tree_limit=$((44 << 20))     # everything
default_limit=$((30 << 20)) # models/default
fixtures_limit=$((12 << 20)) # tests/fixtures: tiny checkpoints with random weights, and reference outputs
file_limit=$((1 << 20))      # any one file elsewhere

tree=0 default=0 fixtures=0
while IFS= read -r -d '' file; do
    size=$(stat -c %s -- "$file")
    tree=$((tree + size))
    case $file in
    models/default/*) default=$((default + size)) ;;
    tests/fixtures/*) fixtures=$((fixtures + size)) ;;
    *)
        [ "$size" -le "$file_limit" ] || fail "$file: $size bytes; at most $file_limit outside models/default"
        case $file in
        *.safetensors | *.gguf | *.pt | *.pth | *.npz | *.bin)
            fail "$file: weights belong into models/default, or are downloaded" ;;
        esac
        ;;
    esac
done < <(project_files '**/*')

echo "tree $tree bytes, models/default $default, tests/fixtures $fixtures"
[ "$tree" -le "$tree_limit" ] || fail "the tree has $tree bytes; at most $tree_limit"
[ "$default" -le "$default_limit" ] || fail "models/default has $default bytes; at most $default_limit"
[ "$fixtures" -le "$fixtures_limit" ] || fail "tests/fixtures has $fixtures bytes; at most $fixtures_limit"
