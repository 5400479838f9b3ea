# shellcheck shell=bash
# Programs that ci/check needs besides Rust's own.

stage_cargo_deny() {
  have cargo-deny && return
  cargo install --locked --root "$CACHE/tools" --version "$CARGO_DENY_VERSION" cargo-deny
  ln -sf "$CACHE/tools/bin/cargo-deny" "$CACHE/bin/cargo-deny"
  did "built cargo-deny $CARGO_DENY_VERSION"
}

# Without Go this stage only says so: ci/check then leaves the workflows unchecked, and says that, too.
stage_actionlint() {
  have actionlint && return
  have go || { did "not built: Go is missing"; return; }
  local program=github.com/rhysd/actionlint
  fill "$GO_PROGRAMS/actionlint-$ACTIONLINT_VERSION" build_packages "$program" "$ACTIONLINT_VERSION" "$program/cmd/actionlint"
  ln -sf "$GO_PROGRAMS/actionlint-$ACTIONLINT_VERSION/actionlint" "$CACHE/bin/actionlint"
  did "built actionlint $ACTIONLINT_VERSION"
}
