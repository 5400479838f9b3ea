# shellcheck shell=bash
# The container engine: the running one, or one that is started here with its data in the cache.

# Without CAP_SYS_RESOURCE runc cannot give that capability to a privileged container, nor lower an
# OOM score, and refuses the container. This runtime omits both and changes nothing else.
write_runtime() {
  cat >"$CACHE/bin/runc-without-sys-resource" <<'RUNTIME'
#!/bin/bash
previous='' files=()
for argument in "$@"; do
  case $previous in
    --bundle) files+=("$argument/config.json") ;;
    --process) files+=("$argument") ;;
  esac
  previous=$argument
done
edit='def without: (.capabilities // {}) |= map_values(map(select(. != "CAP_SYS_RESOURCE")))
  | if (.oomScoreAdj // 0) < 0 then .oomScoreAdj = 0 else . end;
  if has("process") then .process |= without else without end'
for file in "${files[@]}"; do
  [[ -f $file ]] && edited=$(jq -c "$edit" "$file") && printf '%s' "$edited" >"$file"
done
exec runc "$@"
RUNTIME
  chmod 755 "$CACHE/bin/runc-without-sys-resource"
}

has_sys_resource() { (($((16#$(awk '/^CapBnd/ { print $2 }' /proc/self/status))) >> 24 & 1)); }

stage_engine() {
  if docker info >/dev/null 2>&1; then
    did "running: $(docker info --format '{{.ServerVersion}}, {{.Driver}}, cgroup v{{.CgroupVersion}}')"
    return
  fi
  if ((EUID != 0)) || [[ $INSTALL != yes ]]; then
    echo "no container engine answers (tried: docker info). Start Docker, or, as root: ci/setup --install"
    return 4
  fi
  local options=(--data-root "$CACHE/engine" --pidfile "$CACHE/engine.pid")
  if ! has_sys_resource; then
    write_runtime
    options+=(--add-runtime "nocap=$CACHE/bin/runc-without-sys-resource" --default-runtime nocap)
  fi
  rm -f "$CACHE/engine.pid"
  # In a session of its own, so that it outlives this script.
  setsid dockerd "${options[@]}" </dev/null >"$CACHE/log/dockerd.log" 2>&1 &
  local deadline=$((SECONDS + 60))
  until docker info >/dev/null 2>&1; do
    if ((SECONDS > deadline)); then
      echo "the engine did not answer within 60 s; its log ends:"
      tail -n 20 "$CACHE/log/dockerd.log"
      return 4
    fi
    sleep 0.2
  done
  did "started dockerd $(docker info --format '{{.ServerVersion}}'), log $CACHE/log/dockerd.log"
}

# Every node of a kind cluster takes some twenty inotify instances, and a kernel's usual 128 are shared by all clusters
# of the machine. The number is the one in kind's known issues.
INOTIFY_INSTANCES=512
stage_kernel() {
  local limit=/proc/sys/fs/inotify/max_user_instances had
  [[ -r $limit ]] || return 0
  had=$(<"$limit")
  ((had < INOTIFY_INSTANCES)) || return 0
  if [[ $INSTALL == yes ]] && { echo "$INOTIFY_INSTANCES" >"$limit"; } 2>/dev/null; then
    did "inotify instances: $INOTIFY_INSTANCES instead of $had"
  else
    did "the kernel allows $had inotify instances: one cluster at a time (more, as root: sysctl fs.inotify.max_user_instances=$INOTIFY_INSTANCES)"
  fi
}
