# shellcheck shell=bash
# The programs that the probes are compared with: telemetrygen and the Collector, built for this machine. Pulled images
# would not do: a container also pays for its network.

# The program of a Collector's version. The set-up has built it already if it builds images.
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
