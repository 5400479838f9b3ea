#!/bin/sh
# The pod network of a kind node built from packages: a point-to-point link to each pod of this node,
# and a route to the pods of every other node. The default CNI of kind cannot be had as a package.
set -eu

configuration() { # CIDR
  cat <<JSON
{"cniVersion": "0.3.1", "name": "podnet", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam-state",
   "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "$1"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
}

nodes() {
  kubectl get nodes -o json | jq -r '.items[] | select(.spec.podCIDR)
    | [.metadata.name, .spec.podCIDR, (.status.addresses[] | select(.type == "InternalIP").address)] | @tsv'
}

file=/etc/cni/net.d/10-podnet.conflist
while :; do
  nodes >/tmp/nodes || : >/tmp/nodes
  while read -r name cidr address; do
    if [ "$name" != "$NODE_NAME" ]; then
      ip route replace "$cidr" via "$address"
    elif ! configuration "$cidr" | cmp -s - "$file"; then
      configuration "$cidr" >"$file.new" && mv "$file.new" "$file"
    fi
  done </tmp/nodes
  sleep 2
done
