# shellcheck shell=bash disable=SC2034
# Every version that the set-up pins. Sourced by ci/lib.sh.
KUBERNETES_VERSION=1.34.4 # the last minor whose kubelet takes cgroup v1 without a flag
KIND_VERSION=0.33.0
ETCD_VERSION=3.6.5
COREDNS_VERSION=1.14.6
METRICS_SERVER_VERSION=0.9.0
COLLECTOR_VERSIONS=(0.160.0 0.161.0)
CARGO_DENY_VERSION=0.20.2
ACTIONLINT_VERSION=1.7.12
DEBIAN_SUITE=bookworm # systemd 257, from the next suite on, does not boot on cgroup v1

# The confmap providers have version numbers of their own: the Collector's core 0.161 goes with 1.67.
collector_provider_version() {
  case $1 in
    0.160.0) echo 1.66.0 ;;
    0.161.0) echo 1.67.0 ;;
    *) return 1 ;;
  esac
}

# Images that are pulled if a registry is in reach, by digest (each an index for several architectures).
NODE_IMAGE=kindest/node:v1.34.11@sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d
METRICS_SERVER_IMAGE=rancher/mirrored-metrics-server:v0.8.1@sha256:b2d2efaf5ac3b366ed0f839d2412a2c4279d4fc2a2a733f12c52133faed36c41
collector_image() {
  case $1 in
    0.160.0) echo otel/opentelemetry-collector-contrib:0.160.0@sha256:799dc6cf12c96192af37b5bdba804da8c10b3bc563b43cb90c3f3c58d9572ad6 ;;
    0.161.0) echo otel/opentelemetry-collector-contrib:0.161.0@sha256:fd328de2552466ad78385e1b1289c3f2402b1c45f265b252aab1955b42845ac1 ;;
    *) return 1 ;;
  esac
}
