# shellcheck shell=bash
# Programs built from Go modules, each kept in $CACHE/go/NAME-VERSION.

export CGO_ENABLED=0 GOFLAGS='-mod=mod -trimpath -buildvcs=false' GOWORK=off
GO_PROGRAMS=$CACHE/go

need_go() {
  have go || { echo "Go is needed to build images from packages: install Go 1.24 or later"; return 4; }
}

# build_packages MODULE VERSION PACKAGE…: builds packages of a module in this directory, with the versions that the module pins.
build_packages() {
  local module=$1 version=$2
  shift 2
  go mod init "build.invalid/$(basename "$module")" 2>/dev/null
  go get "$module@v$version"
  mkdir out
  go build -ldflags '-s -w' -o out/ "$@"
  mv out/* .
  rm -rf out go.mod go.sum
}

stage_kind() {
  if have kind; then
    did "found $(kind version -q 2>/dev/null || kind version)"
    return
  fi
  need_go
  fill "$GO_PROGRAMS/kind-$KIND_VERSION" build_packages sigs.k8s.io/kind "$KIND_VERSION" sigs.k8s.io/kind
  ln -sf "$GO_PROGRAMS/kind-$KIND_VERSION/kind" "$CACHE/bin/kind"
  did "built kind $KIND_VERSION"
}

# Kubernetes replaces each of its staging modules: so must a module that builds its programs.
build_kubernetes() {
  local version=$KUBERNETES_VERSION staging="v0.${KUBERNETES_VERSION#*.}" module programs=() tool
  go mod init build.invalid/kubernetes
  local source
  source=$(go mod download -json "k8s.io/kubernetes@v$version" | jq -r .Dir)
  go mod edit -require "k8s.io/kubernetes@v$version"
  while read -r module; do
    go mod edit -replace "$module=$module@$staging"
  done < <(go mod edit -json "$source/go.mod" | jq -r '.Replace[].Old.Path')
  for tool in kubelet kubeadm kubectl kube-apiserver kube-controller-manager kube-scheduler kube-proxy; do
    programs+=("k8s.io/kubernetes/cmd/$tool")
    go mod edit -tool "k8s.io/kubernetes/cmd/$tool"
  done
  go mod tidy
  local flags='' package minor=${KUBERNETES_VERSION#*.}
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=v$version -X $package.gitMajor=1 -X $package.gitMinor=${minor%.*}"
    flags+=" -X $package.gitCommit=module -X $package.gitTreeState=archive -X $package.buildDate=1970-01-01T00:00:00Z"
  done
  mkdir out
  go build -ldflags "-s -w$flags" -o out/ "${programs[@]}"
  mv out/* .
  rm -rf out go.mod go.sum
}

stage_kubernetes() {
  [[ -d $GO_PROGRAMS/kubernetes-$KUBERNETES_VERSION ]] && return
  need_go
  fill "$GO_PROGRAMS/kubernetes-$KUBERNETES_VERSION" build_kubernetes
  did "built Kubernetes $KUBERNETES_VERSION"
}

build_etcd() {
  build_packages go.etcd.io/etcd/server/v3 "$ETCD_VERSION" go.etcd.io/etcd/server/v3
  mv server etcd 2>/dev/null || mv v3 etcd
}

stage_cluster_parts() {
  [[ -d $GO_PROGRAMS/etcd-$ETCD_VERSION && -d $GO_PROGRAMS/coredns-$COREDNS_VERSION ]] && return
  need_go
  fill "$GO_PROGRAMS/etcd-$ETCD_VERSION" build_etcd
  fill "$GO_PROGRAMS/coredns-$COREDNS_VERSION" build_packages github.com/coredns/coredns "$COREDNS_VERSION" github.com/coredns/coredns
  did "built etcd $ETCD_VERSION, CoreDNS $COREDNS_VERSION"
}
