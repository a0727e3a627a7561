#!/usr/bin/env bash
# The C sources and the templates are as clang-format 14 leaves them: tests/ci/format.sh [--fix]
# shellcheck source=tests/ci/common.sh
. "$(dirname -- "$0")/common.sh"

tool=$(command -v clang-format-14 || command -v clang-format) || fail "clang-format is not there; install clang-format"
case $("$tool" --version) in
*"version 14."*) ;;
*) fail "expected clang-format 14, whose output the sources are in, found: $("$tool" --version)" ;;
esac

# A template as C that clang-format understands: control lines become preprocessor conditionals, so that each
# alternative is laid out by itself, and $values$ become names of the same length.
as_plain_c() {
    perl -pe 's{^ *//% *(if|for|while)\b}{#if 1 //}; s{^ *//% *else *$}{#else}; s{^ *//% *elseif\b}{#elif 1 //};
              s{^ *//% *end *$}{#endif}; s{^ *//%}{#pragma lathe};
              s{\$([^\$\n]+)\$}{"\$" . ($1 =~ s/\W/_/gr) . "\$"}ge unless /^#(if|elif|pragma)/' "$1"
}

mapfile -d '' -t files < <(project_files '**/*.c' '**/*.h' '**/*.cu' '**/*.cuh')
sources=() templates=()
for file in "${files[@]}"; do
    case $file in
    generated/* | */golden/*) ;;
    templates/*) templates+=("$file") ;;
    *) sources+=("$file") ;;
    esac
done
[ ${#sources[@]} -gt 0 ] || fail "found no sources"

status=0
if [ "${1:-}" = --fix ]; then
    "$tool" -i "${sources[@]}"
else
    "$tool" --dry-run --Werror --ferror-limit=3 "${sources[@]}" || status=1
fi
# Templates are put right by hand: the difference says how.
for file in ${templates[@]+"${templates[@]}"}; do
    diff -u --label "$file" --label "$file, formatted" <(as_plain_c "$file") \
        <(as_plain_c "$file" | "$tool" --assume-filename="$file") || status=1
done
[ "$status" -eq 0 ] || fail "not formatted (above); run tests/ci/format.sh --fix, which leaves templates to you"
echo "${#sources[@]} sources and ${#templates[@]} templates formatted"
