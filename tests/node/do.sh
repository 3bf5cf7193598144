#!/usr/bin/env bash
# Runs a command inside the node: do.sh ctr -n k8s.io images import FILE
. "$(dirname "$0")/lib.sh"
exec nsenter -t "$(cat "$RUN/first.pid")" --mount --net --pid --uts --ipc --cgroup env PATH="$NODE_BIN:$PATH" "$@"
