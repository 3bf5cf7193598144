#!/usr/bin/env bash
# Stops the node and clears away what it made on the host.
. "$(dirname "$0")/lib.sh"
holder=$(cat "$RUN/holder.pid" 2>/dev/null || true)
if [[ -n "$holder" && "$(cat "/proc/$holder/comm" 2>/dev/null)" == unshare ]]; then
    kill -9 "$holder"
fi
first=$(cat "$RUN/first.pid" 2>/dev/null || echo none)
for _ in $(seq 100); do
    [[ -d /proc/$first ]] || break
    sleep 0.1
done
ip link del e2e0 2>/dev/null || true
while read -r group; do
    for _ in 1 2 3 4 5; do
        find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || true
        [[ -d $group ]] || break
        sleep 0.3
    done
    [[ ! -d $group ]] || echo "left behind: $group" >&2
done < <(cat "$RUN/cgroups" 2>/dev/null)
