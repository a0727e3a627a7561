#!/usr/bin/env bash
# The same request gives the same bytes: without the cache, with an empty one and with a full one, in any folder; and a
# package built again from its own sources.
# shellcheck source=tests/cuda/common.sh
. "$(dirname -- "$0")/common.sh"

request=("$fixtures/llama-text" --target cuda:90a --target cuda:ptx80 --max-rows 8)
mkdir -p "$folder/one" "$folder/two/a longer path"
LATHE_CACHE='' build "${request[@]}" -o "$folder/one/model"
(cd / && TZ=Asia/Tokyo LATHE_CACHE="$folder/cache" build "${request[@]}" -o "$folder/two/a longer path/model")
diff -r "$folder/one/model" "$folder/two/a longer path/model" || fail "two builds differ (above)"
entries=$(find "$folder/cache" -type f | wc -l)
[ "$entries" -gt 20 ] || fail "the cache has $entries entries"

mkdir "$folder/three"
LATHE_CACHE="$folder/cache" build "${request[@]}" -o "$folder/three/model"
diff -r "$folder/one/model" "$folder/three/model" || fail "a build from the cache differs (above)"
[ "$(find "$folder/cache" -type f | wc -l)" -eq "$entries" ] || fail "the second build added to the cache"

LATHE_CACHE="$folder/cache" build "$folder/three/model"
diff -r "$folder/one/model" "$folder/three/model" || fail "a package that was built again differs (above)"

# Another name changes no kernel.
LATHE_CACHE="$folder/cache" build "${request[@]}" -o "$folder/three/other"
[ "$(find "$folder/cache" -type f | wc -l)" -eq "$entries" ] || fail "the package's name is in the kernels"

# A damaged entry is compiled anew.
entry=$(find "$folder/cache" -type f | sort | head -n 1)
printf 'X' | dd of="$entry" bs=1 seek=200 conv=notrunc status=none
LATHE_CACHE="$folder/cache" build "$folder/three/model"
diff -r "$folder/one/model" "$folder/three/model" || fail "a damaged entry of the cache came into the package (above)"

# Two builds at a time share one cache.
LATHE_CACHE="$folder/shared" build "${request[@]}" -o "$folder/three/left" &
LATHE_CACHE="$folder/shared" build "${request[@]}" -o "$folder/three/right" || fail "a build beside another one"
wait $! || fail "a build beside another one"
cmp "$folder/three/left/src/cuda/qkv_8.cu" "$folder/three/right/src/cuda/qkv_8.cu" >/dev/null && fail "the names are not there"
[ -z "$(find "$folder/shared" -name '.*.new')" ] || fail "something unfinished is left in the cache"
[ "$(find "$folder/shared" -type f | wc -l)" -eq "$entries" ] || fail "two builds at a time made other entries"
echo "$entries kernels, the same bytes in every build"
