# shellcheck shell=bash
# Shared by the scripts in ci/: paths, the cache, and stages, which are timed and reported.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${SPANPROOF_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/spanproof}
# shellcheck source=ci/versions.sh
source "$ROOT/ci/versions.sh"
mkdir -p "$CACHE/bin" "$CACHE/log" "$CACHE/times"
export PATH="$CACHE/bin:$PATH"

say() { printf '%s\n' "$*" >&2; }
die() {
  local first=$1
  shift
  say "setup: $first"
  for line in "$@"; do say "       $line"; done
  exit 4
}
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a stage: its output goes to a log, and one line reports what it did and how long it took. A stage reports what
# it did by calling `did`; otherwise there was nothing to do. A stage is a separate process, since bash ignores `set -e`
# in a command before `||`. It does not inherit the set-up's lock (descriptor 9): an engine that it starts would hold
# that as long as it runs.
stage() {
  local name=$1 log=$CACHE/log/$1.log started=$EPOCHREALTIME status=0 seconds did
  : >"$CACHE/times/$name.did"
  INSTALL=$INSTALL IMAGES=$IMAGES STAGE=$name bash "$ROOT/ci/stage.sh" "$name" >"$log" 2>&1 9>&- || status=$?
  seconds=$(awk -v a="$started" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
  if ((status != 0)); then
    say "$(printf '%-16s %7ss  FAILED, the end of %s:' "$name" "$seconds" "$log")"
    tail -n 25 "$log" >&2
    return "$status"
  fi
  did=$(<"$CACHE/times/$name.did")
  say "$(printf '%-16s %7ss  %s' "$name" "$seconds" "${did:-nothing to do}")"
}
did() { printf '%s\n' "$*" >"$CACHE/times/$STAGE.did"; }

# Makes a directory completely or not at all: `fill DIR FUNCTION ARGS…` runs the function in DIR.partial and renames that
# at the end. Does nothing if DIR exists.
fill() {
  local target=$1
  shift
  [[ ! -d $target ]] || return 0
  rm -rf "$target.partial"
  mkdir -p "$target.partial"
  (cd "$target.partial" || exit; "$@")
  mv "$target.partial" "$target"
}

image_id() { docker image inspect --format '{{.Id}}' "$1" 2>/dev/null; }
# A hash of the files' contents, short enough for a tag.
content_hash() { cat "$@" | sha256sum | cut -c1-12; }
