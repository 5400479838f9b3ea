# shellcheck shell=bash
# What the probes are measured against: telemetrygen and the Collector as programs of this machine. An image that
# was pulled would do for neither: what runs in a container pays for its network, too.

# The program of a Collector's version: built by the set-up already where it builds images.
collector_program() { printf '%s/otelcol-%s-%s/otelcol\n' "$GO_PROGRAMS" "$1" "$(content_hash "$ROOT/ci/collector/builder.yaml")"; }
telemetrygen_program() { printf '%s/telemetrygen-%s/telemetrygen\n' "$GO_PROGRAMS" "$1"; }

stage_yardsticks() {
  local version=${COLLECTOR_VERSIONS[-1]} collector telemetrygen built=()
  collector=$(collector_program "$version") telemetrygen=$(telemetrygen_program "$version")
  if [[ ! -x $collector ]]; then
    need_go
    fill "$(dirname "$collector")" build_collector "$version"
    built+=("the Collector")
  fi
  if [[ ! -x $telemetrygen ]]; then
    need_go
    fill "$(dirname "$telemetrygen")" build_packages github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen \
      "$version" github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen
    built+=("telemetrygen")
  fi
  ((${#built[@]} == 0)) || did "built $(IFS=, && echo "${built[*]}") $version"
}
