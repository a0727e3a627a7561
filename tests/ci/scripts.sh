#!/usr/bin/env bash
# The shell scripts have no complaints from shellcheck.
# shellcheck source=tests/ci/common.sh
. "$(dirname -- "$0")/common.sh"

command -v shellcheck >/dev/null || fail "shellcheck is not there; install shellcheck"
mapfile -d '' -t scripts < <(project_files '**/*.sh')
scripts+=(bootstrap .ci/run)
# SC2043: a list of one name that a loop goes over may grow.
shellcheck --external-sources --exclude=SC2043 "${scripts[@]}"
echo "${#scripts[@]} scripts checked"
