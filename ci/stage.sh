#!/usr/bin/env bash
# One stage of the set-up, in a process of its own: see `stage` in ci/lib.sh.
set -euo pipefail
# shellcheck source=ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
for part in "$ROOT"/ci/setup.d/*.sh; do
  # shellcheck disable=SC1090
  source "$part"
done
"stage_$1"
