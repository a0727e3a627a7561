#!/usr/bin/env bash
# Every package in generated/ is, byte for byte, what `lathe generate` makes now. tests/ci/regenerate.sh --update makes
# them anew, and the default model's if there is none yet. generated/NAME comes from the model that ./bootstrap calls NAME.
# shellcheck source=tests/ci/common.sh
. "$(dirname -- "$0")/common.sh"

temporary_folder
names=()
for package in generated/*/; do
    [ ! -d "$package" ] || names+=("$(basename -- "$package")")
done
if [ ${#names[@]} -eq 0 ]; then
    [ "${1:-}" = --update ] || fail "generated/ holds no package; run tests/ci/regenerate.sh --update"
    names=("$(./bootstrap model-name)")
fi

status=0
for name in "${names[@]}"; do
    if ! model=$(./bootstrap model "$name"); then
        echo "generated/$name: skipped: its model cannot be had here"
    elif [ "${1:-}" = --update ]; then
        "$lathe" generate "$model" -o "generated/$name" --quiet
        echo "generated/$name: written"
    else
        "$lathe" generate "$model" -o "$folder/$name" --quiet
        if diff -r "generated/$name" "$folder/$name" >"$folder/difference"; then
            echo "generated/$name: the same, $(find "generated/$name" -type f | wc -l) files"
        else
            head -n 60 "$folder/difference"
            echo "generated/$name: not what lathe generates now; look at it, then run tests/ci/regenerate.sh --update" >&2
            status=1
        fi
    fi
done
exit "$status"
