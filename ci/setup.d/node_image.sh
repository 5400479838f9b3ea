# shellcheck shell=bash
# The image of kind's nodes: pulled, or made from a Debian tree and programs built from Go modules.

DEBIAN=$CACHE/debian
# Debian packages of a node, and of the system pods that call network tools.
NODE_PACKAGES=systemd,systemd-sysv,dbus,iptables,nftables,iproute2,kmod,ca-certificates,containerd,runc,conntrack,ethtool,socat,ebtables,ipset,containernetworking-plugins,mount,util-linux,jq,curl,rsync,hostname,procps,iputils-ping
NET_PACKAGES=iptables,nftables,iproute2,conntrack,ipset,jq

node_tree() { echo "$DEBIAN/node-$DEBIAN_SUITE-$(content_hash <<<"$NODE_PACKAGES")"; }
net_tree() { echo "$DEBIAN/net-$DEBIAN_SUITE-$(content_hash <<<"$NET_PACKAGES")"; }

bootstrap_debian() { # PACKAGES
  mkdir -p "$CACHE/debian/packages"
  debootstrap --variant=minbase --cache-dir="$CACHE/debian/packages" --include="$1" "$DEBIAN_SUITE" "$PWD/tree"
  rm -rf tree/var/cache/apt/archives/* tree/var/lib/apt/lists/* tree/usr/share/doc tree/usr/share/man tree/usr/share/locale
}

stage_debian() {
  [[ -d $(node_tree) && -d $(net_tree) ]] && return
  if ((EUID != 0)); then
    echo "a node image is built from packages as root only: run ci/setup as root, or with a registry in reach"
    return 4
  fi
  fill "$(node_tree)" bootstrap_debian "$NODE_PACKAGES"
  fill "$(net_tree)" bootstrap_debian "$NET_PACKAGES"
  did "bootstrapped Debian $DEBIAN_SUITE for nodes and system pods"
}

# Makes an image FROM scratch out of a directory: image_from DIR NAME [docker import --change …]
image_from() {
  local dir=$1 name=$2
  shift 2
  tar -C "$dir" --numeric-owner -c . | docker import "$@" - "$name" >/dev/null
}

# Makes an image that holds one static program.
program_image() { # PROGRAM NAME [--change …]
  local program=$1 name=$2 dir
  shift 2
  dir=$(mktemp -d)
  chmod 755 "$dir"
  install -m 755 "$program" "$dir/$(basename "$program")"
  image_from "$dir" "$name" "$@"
  rm -rf "$dir"
}

# The name of the image, from everything that goes into it.
node_image_built() {
  local versions="$KUBERNETES_VERSION $KIND_VERSION $ETCD_VERSION $COREDNS_VERSION $DEBIAN_SUITE"
  echo "spanproof/node:v$KUBERNETES_VERSION-$(content_hash "$ROOT"/ci/node/* "$ROOT/ci/setup.d/node_image.sh" - <<<"$versions")"
}

# The images that kubeadm asks for, under the names that it prints.
build_system_images() { # prints the names
  local programs=$GO_PROGRAMS/kubernetes-$KUBERNETES_VERSION name short scratch
  scratch=$(mktemp -d)
  go build -ldflags '-s -w' -o "$scratch/pause" "$ROOT/ci/node/pause.go"
  while read -r name; do
    short=${name%:*}
    short=${short##*/}
    case $short in
      kube-apiserver | kube-controller-manager | kube-scheduler)
        program_image "$programs/$short" "$name" --change "ENTRYPOINT [\"/$short\"]" --change 'ENV PATH=/' ;;
      etcd) program_image "$GO_PROGRAMS/etcd-$ETCD_VERSION/etcd" "$name" --change 'ENTRYPOINT ["/etcd"]' --change 'ENV PATH=/' ;;
      coredns) program_image "$GO_PROGRAMS/coredns-$COREDNS_VERSION/coredns" "$name" --change 'ENTRYPOINT ["/coredns"]' ;;
      pause) program_image "$scratch/pause" "$name" --change 'ENTRYPOINT ["/pause"]' ;;
      kube-proxy) net_image "$name" "$programs/kube-proxy" ;;
      *) echo "kubeadm asks for an image that is not known here: $name" >&2 && return 1 ;;
    esac
    echo "$name"
  done < <("$programs/kubeadm" config images list --kubernetes-version "v$KUBERNETES_VERSION")
  net_image docker.io/kindest/podnet:1 "$programs/kubectl" "$ROOT/ci/node/podnet.sh"
  echo docker.io/kindest/podnet:1
  rm -rf "$scratch"
}

# The Debian tree with network tools, programs added to /usr/local/bin; the last one is the entry point.
net_image() { # NAME PROGRAM…
  local name=$1 dir
  shift
  dir=$(mktemp -d)
  chmod 755 "$dir"
  cp -a "$(net_tree)/tree/." "$dir"
  install -m 755 "$@" "$dir/usr/local/bin/"
  image_from "$dir" "$name" --change "ENTRYPOINT [\"/usr/local/bin/$(basename "${!#}")\"]" \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
  rm -rf "$dir"
}

# Turns a Debian tree into a node with the files of kind's own base image.
furnish_node() { # TREE PAUSE_IMAGE
  local tree=$1 pause=$2 base programs=$GO_PROGRAMS/kubernetes-$KUBERNETES_VERSION
  base=$(go mod download -json "sigs.k8s.io/kind@v$KIND_VERSION" | jq -r .Dir)/images/base/files
  cp -r --no-preserve=mode,ownership "$base/." "$tree"
  chmod 755 "$tree"/usr/local/bin/* "$tree"/kind/bin/*

  # Debian's containerd, within the limits of a container here.
  sed -i -e 's|/usr/local/bin/containerd|/usr/bin/containerd|' \
    -e '/^LimitNPROC=/d; /^LimitCORE=/d; /^OOMScoreAdjust=/d' -e 's|^LimitNOFILE=.*|LimitNOFILE=20000|' \
    "$tree/etc/systemd/system/containerd.service"
  sed -i -e '/^\[proxy_plugins/,/^$/d' -e 's|restrict_oom_score_adj = false|restrict_oom_score_adj = true|' \
    -e "s|sandbox_image = .*|sandbox_image = \"$pause\"|" "$tree/etc/containerd/config.toml"
  rm -f "$tree/etc/systemd/system/containerd-fuse-overlayfs.service"

  # As kind starts systemd: only what a node needs.
  find "$tree/lib/systemd/system/sysinit.target.wants/" -name systemd-tmpfiles-setup.service -delete
  rm -f "$tree"/lib/systemd/system/multi-user.target.wants/* "$tree"/etc/systemd/system/*.wants/* \
    "$tree"/lib/systemd/system/local-fs.target.wants/* "$tree"/lib/systemd/system/sockets.target.wants/*{udev,initctl}* \
    "$tree"/lib/systemd/system/basic.target.wants/*
  echo ReadKMsg=no >>"$tree/etc/systemd/journald.conf"
  ln -sf /usr/lib/systemd/systemd "$tree/sbin/init"
  install -m 755 "$programs"/{kubelet,kubeadm,kubectl} "$tree/usr/bin/"
  chroot "$tree" systemctl enable kubelet.service containerd.service undo-mount-hacks.service
  chroot "$tree" systemctl mask systemd-binfmt.service
  chroot "$tree" ctr oci spec |
    jq '.hooks.createContainer += [{"path": "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' >"$tree/etc/containerd/cri-base.json"

  mkdir -p "$tree/etc/kubernetes/manifests" "$tree/opt/cni/bin" "$tree/etc/cni/net.d" "$tree/kind/manifests"
  rm -f "$tree"/etc/cni/net.d/*
  cp "$tree"/usr/lib/cni/{host-local,loopback,ptp,portmap,bridge} "$tree/opt/cni/bin/"
  cp "$ROOT"/ci/node/default-{cni,storage}.yaml "$tree/kind/manifests/"
  printf 'v%s' "$KUBERNETES_VERSION" >"$tree/kind/version"
}

build_node_image() { # NAME
  local name=$1 work images
  work=$(mktemp -d "$CACHE/node.XXXXXX")
  # shellcheck disable=SC2064 # the directory of now
  trap "rm -rf '$work'; docker rm -f spanproof-node-build >/dev/null 2>&1 || true" EXIT
  images=$(build_system_images)
  cp -a "$(node_tree)/tree" "$work/tree"
  furnish_node "$work/tree" "$(grep '/pause:' <<<"$images")"
  image_from "$work/tree" spanproof/node:bare
  # The system images go into the node's containerd, so that a node pulls nothing.
  # systemd's stop signal is set on the container, and stays in the committed image.
  docker rm -f spanproof-node-build >/dev/null 2>&1 || true # left by a killed set-up
  docker run -d --name spanproof-node-build --privileged --stop-signal SIGRTMIN+3 --entrypoint sleep spanproof/node:bare infinity
  docker exec -d spanproof-node-build containerd
  local deadline=$((SECONDS + 60))
  until docker exec spanproof-node-build ctr version >/dev/null 2>&1; do
    ((SECONDS < deadline)) || { echo "containerd in the node did not answer within 60 s"; return 1; }
    sleep 0.2
  done
  # shellcheck disable=SC2086 # a list of names
  docker save $images | docker exec -i spanproof-node-build ctr -n k8s.io images import --all-platforms --no-unpack -
  docker exec spanproof-node-build pkill containerd
  docker commit --change 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]' --change 'ENV container=docker' \
    --change 'CMD []' spanproof-node-build "$name"
  docker rm -f spanproof-node-build
  # shellcheck disable=SC2086 # a list of names
  docker rmi $images spanproof/node:bare >/dev/null
}

stage_node_image() {
  local name
  # shellcheck disable=SC2153 # the set-up's variable, and not the local one above
  if [[ $IMAGES == pull ]]; then
    pull_image node "$NODE_IMAGE"
    return
  fi
  name=$(node_image_built)
  if [[ -z $(image_id "$name") ]]; then
    need_go
    build_node_image "$name"
    did "built $name"
  fi
  record_image node "$name" built
}
