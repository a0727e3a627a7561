#!/usr/bin/env bash
# The same model, in two folders and generated into two others, gives the same bytes.
# shellcheck source=tests/ci/common.sh
. "$(dirname -- "$0")/common.sh"

temporary_folder
mkdir -p "$folder/one" "$folder/two/a longer path/than that"
count=0
for model in tests/fixtures/models/*/; do
    name=$(basename -- "$model")
    here=$folder/one/$name
    there="$folder/two/a longer path/than that/$name"
    # NAME is in the sources, so both packages have the same.
    "$lathe" generate "$model" --target c --target cuda -o "$here" --quiet
    mkdir -p "$folder/checkpoints"
    cp -R "$model" "$folder/checkpoints/$name"
    (cd "$folder/checkpoints" && TZ=Asia/Tokyo LC_ALL=C "$lathe" generate "$name" --target c --target cuda -o "$there" --quiet)
    diff -r "$here" "$there" || fail "$name: what is generated depends on the folder or the surroundings (above)"
    count=$((count + 1))
done
[ "$count" -gt 0 ] || fail "tests/fixtures/models holds no models"
echo "$count models generated twice, the same bytes"
