# shellcheck shell=bash
# System packages. Installed only with --install; otherwise the missing ones are listed, with the command.

# Prints the Debian packages that are missing to run anything at all.
missing_packages() {
  have docker && docker info >/dev/null 2>&1 || { have docker && have dockerd && have iptables; } || echo docker.io iptables
  have jq || echo jq
  have cc || echo gcc libc6-dev
}

# Prints the Debian packages that are missing to build images.
missing_build_packages() {
  have debootstrap || echo debootstrap
}

# Prints the Debian packages that are missing to run ci/check.
missing_tool_packages() {
  have shellcheck || echo shellcheck
}

stage_packages() { install_packages "$(missing_packages | xargs)"; }
stage_build_packages() { install_packages "$(missing_build_packages | xargs)"; }
stage_tool_packages() { install_packages "$(missing_tool_packages | xargs)"; }

install_packages() { # a string of names
  local missing=$1
  [[ -n $missing ]] || return 0
  if [[ $INSTALL != yes ]]; then
    did "missing: $missing"
    echo "these system packages are missing: $missing"
    echo "install them:  apt-get install --no-install-recommends $missing"
    echo "or let the set-up do it:  ci/setup --install"
    return 4
  fi
  have apt-get || { echo "no apt-get here: install $missing by hand"; return 4; }
  apt-get update
  # The engine is started by the set-up itself, with its own options: keep the package from starting one.
  local policy=/usr/sbin/policy-rc.d guard=
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    guard=$policy
  fi
  # shellcheck disable=SC2086 # a list of words
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing || { rm -f "$guard"; return 1; }
  [[ -z $guard ]] || rm -f "$guard"
  did "installed $missing"
}
