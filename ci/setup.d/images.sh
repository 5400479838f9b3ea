# shellcheck shell=bash
# All images except the node's, and the list of images that the harness reads.

# images.d/NAME holds one line of JSON: the name in the engine, its ID, and its origin.
record_image() { # NAME IMAGE ORIGIN
  local id
  id=$(image_id "$2")
  [[ -n $id ]] || { echo "the engine does not have $2"; return 1; }
  mkdir -p "$CACHE/images.d"
  printf '{"name": "%s", "image": "%s", "id": "%s", "origin": "%s"}\n' "$1" "$2" "$id" "$3" >"$CACHE/images.d/$1"
}

# Pulls by digest and adds a tag of this project, since a kind node loads images by tag.
pull_image() { # NAME IMAGE
  local tag="spanproof/$1:${2#*:}"
  tag=${tag%@*}
  if [[ $(docker image inspect --format '{{json .RepoDigests}}' "$tag" 2>/dev/null) != *"${2#*@}"* ]]; then
    docker pull "$2"
    docker tag "$2" "$tag"
    did "pulled $2"
  fi
  record_image "$1" "$tag" "pulled ${2#*@}"
}

# Succeeds if images can be pulled: asks for one small manifest.
registry_in_reach() {
  timeout 15 docker manifest inspect "$METRICS_SERVER_IMAGE" >/dev/null 2>&1
}

# --images=auto: an earlier decision stands.
decide_images() {
  [[ $IMAGES == auto ]] || return 0
  if [[ -s $CACHE/images.way ]]; then
    IMAGES=$(<"$CACHE/images.way")
  elif docker info >/dev/null 2>&1 && registry_in_reach; then
    IMAGES=pull
  else
    IMAGES=build
  fi
}

build_collector() { # VERSION
  local version=$1
  mkdir builder && (cd builder && build_packages go.opentelemetry.io/collector/cmd/builder "$version" go.opentelemetry.io/collector/cmd/builder)
  sed -e "s/PROVIDER_VERSION/$(collector_provider_version "$version")/; s/VERSION/$version/" "$ROOT/ci/collector/builder.yaml" >builder.yaml
  ./builder/builder --config builder.yaml
  mv build/otelcol .
  rm -rf build builder
}

stage_collectors() {
  local version name
  for version in "${COLLECTOR_VERSIONS[@]}"; do
    if [[ $IMAGES == pull ]]; then
      pull_image "collector-$version" "$(collector_image "$version")"
      continue
    fi
    local dir
    dir=$GO_PROGRAMS/otelcol-$version-$(content_hash "$ROOT/ci/collector/builder.yaml")
    name=spanproof/collector:$version-$(content_hash "$ROOT/ci/collector/builder.yaml")
    if [[ ! -d $dir ]]; then
      need_go
      fill "$dir" build_collector "$version"
      did "built the Collector $version"
    fi
    # As in the contrib image: the user 10001, and the program as the entry point.
    [[ -n $(image_id "$name") ]] || program_image "$dir/otelcol" "$name" --change 'ENTRYPOINT ["/otelcol"]' --change 'USER 10001:10001'
    record_image "collector-$version" "$name" built
  done
}

stage_metrics_server() {
  local name=spanproof/metrics-server:v$METRICS_SERVER_VERSION dir=$GO_PROGRAMS/metrics-server-$METRICS_SERVER_VERSION
  if [[ $IMAGES == pull ]]; then
    pull_image metrics-server "$METRICS_SERVER_IMAGE"
    return
  fi
  if [[ ! -d $dir ]]; then
    need_go
    fill "$dir" build_packages sigs.k8s.io/metrics-server "$METRICS_SERVER_VERSION" sigs.k8s.io/metrics-server/cmd/metrics-server
    did "built metrics-server $METRICS_SERVER_VERSION"
  fi
  [[ -n $(image_id "$name") ]] || program_image "$dir/metrics-server" "$name" --change 'ENTRYPOINT ["/metrics-server"]' --change 'USER 1000:1000'
  record_image metrics-server "$name" built
}

# The probe is built with the whole workspace, so that nothing is compiled twice.
stage_probe() {
  local program name
  have cargo || { echo "Rust is needed: install it with rustup"; return 4; }
  (cd "$ROOT" && cargo build --workspace --bins)
  program=$(cd "$ROOT" && cargo metadata --format-version 1 --no-deps | jq -r .target_directory)/$(host_target)/debug/spanproof-probe
  name=spanproof/probe:$(content_hash "$program")
  if [[ -z $(image_id "$name") ]]; then
    program_image "$program" "$name" --change 'ENTRYPOINT ["/spanproof-probe"]' --change 'USER 10001:10001' \
      --change "LABEL spanproof.sources=$("$program" sources)"
    did "made $name ($(du -h "$program" | cut -f1))"
  fi
  record_image probe "$name" built
}
host_target() { rustc -vV | awk '/^host:/ { print $2 }'; }

# The list of images, written completely or not at all.
stage_images() {
  jq -s 'map({(.name): del(.name)}) | add' "$CACHE"/images.d/* >"$CACHE/images.json.new"
  mv "$CACHE/images.json.new" "$CACHE/images.json"
  printf '%s' "$IMAGES" >"$CACHE/images.way"
  did "listed in $CACHE/images.json (way: $IMAGES)"
}
